//! Collects what is found wrong while a configuration is read, and puts it in order with line, column and path.

use std::collections::HashSet;

use crate::config::document::{Document, Mark, Node, Root, Value};
use crate::config::problem::Problem;

/// The most characters of a key that a path shows.
const KEY_SHOWN: usize = 64;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// Shown in the order of places. Of equal ones, such as those of a default that many subscriptions take, one is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Finding {
    mark: Mark,
    /// The text of a scalar up to the place inside it that is meant.
    inside: Option<String>,
    /// A field that is missing at this place.
    field: Option<&'static str>,
    message: String,
}

impl Report {
    /// Says what is wrong with the node at this place.
    pub(super) fn error(&mut self, mark: Mark, message: impl Into<String>) {
        self.errors.push(Finding {
            mark,
            inside: None,
            field: None,
            message: message.into(),
        });
    }

    /// Says what is wrong inside the scalar at this place, behind `before` of its text. Where the file does not have just
    /// that text there (a block scalar, escapes), the scalar itself is meant.
    pub(super) fn error_inside(&mut self, mark: Mark, before: &str, message: impl Into<String>) {
        self.errors.push(Finding {
            mark,
            inside: Some(before.to_owned()),
            field: None,
            message: message.into(),
        });
    }

    /// Says what is wrong with a field that the mapping at this place does not have.
    pub(super) fn error_at_field(
        &mut self,
        mark: Mark,
        field: &'static str,
        message: impl Into<String>,
    ) {
        self.errors.push(Finding {
            mark,
            inside: None,
            field: Some(field),
            message: message.into(),
        });
    }

    /// Says what is allowed and most likely not meant.
    pub(super) fn warning(&mut self, mark: Mark, message: impl Into<String>) {
        self.warnings.push(Finding {
            mark,
            inside: None,
            field: None,
            message: message.into(),
        });
    }

    /// The errors and the warnings, each in the order of the files; `documents` are those that the marks speak of.
    pub(super) fn into_problems(self, documents: &[Document]) -> (Vec<Problem>, Vec<Problem>) {
        (
            located(self.errors, documents),
            located(self.warnings, documents),
        )
    }
}

fn located(mut findings: Vec<Finding>, documents: &[Document]) -> Vec<Problem> {
    let mut seen = HashSet::new();
    findings.retain(|finding| seen.insert(finding.clone()));
    findings.sort_by_key(|finding| finding.mark);
    findings
        .into_iter()
        .filter_map(|finding| {
            let document = documents.get(finding.mark.file)?;
            let inside = finding.inside.as_deref();
            let within = inside.map(|before| document.offset_inside(finding.mark.start, before));
            let start = finding.mark.start + within.unwrap_or_default();
            let (line, column) = document.position(start);
            let mut path = String::new();
            if let Root::Node(root) = &document.root {
                write_path(root, finding.mark, &mut path);
            }
            if let Some(field) = finding.field {
                push_key(&mut path, field);
            }
            Some(Problem {
                file: document.path.clone(),
                line,
                column,
                path,
                message: finding.message,
            })
        })
        .collect()
}

/// The path of the node with this mark: on each level the last key or item that begins at or before it.
fn write_path(node: &Node, mark: Mark, path: &mut String) {
    if node.mark.depth >= mark.depth {
        return;
    }
    match &node.value {
        Value::Scalar(_) => {}
        Value::Sequence(items) => {
            let after = items.partition_point(|item| item.mark.start <= mark.start);
            if let Some((index, item)) = after
                .checked_sub(1)
                .and_then(|index| Some((index, items.get(index)?)))
            {
                path.push_str(&format!("[{index}]"));
                write_path(item, mark, path);
            }
        }
        Value::Mapping(entries) => {
            let after = entries.partition_point(|entry| entry.key.mark.start <= mark.start);
            if let Some(entry) = after.checked_sub(1).and_then(|index| entries.get(index)) {
                push_key(path, entry.name());
                if entry.value.mark.start <= mark.start {
                    write_path(&entry.value, mark, path);
                }
            }
        }
    }
}

/// Adds a key to a path, in quotes unless it is a plain word, and not more of it than a line bears.
pub(super) fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let is_plain = !key.is_empty()
        && key.len() <= KEY_SHOWN
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_plain {
        path.push_str(key);
    } else {
        path.push_str(&quoted(key));
    }
}

/// A text of the file in quotes, escaped and cut, for a message. Not for anything that could be a secret.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(KEY_SHOWN).collect();
    let rest = if shown.len() < text.len() { "…" } else { "" };
    format!("{:?}", format!("{shown}{rest}"))
}
