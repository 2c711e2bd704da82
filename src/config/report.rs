//! Collects the problems found while a configuration is read, and puts them in order with line, column and path.

use std::collections::{BinaryHeap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::config::document::{Document, Mark, Node, Root, Value};
use crate::config::problem::{MAX_PROBLEMS, Problem, Problems};
use crate::domain::{CONCEALED, conceal, looks_secret};

/// The most characters of a key that a path shows.
const KEY_SHOWN: usize = 64;

/// The most characters of a message, as some quote a text of any length.
const MESSAGE_SHOWN: usize = 1000;

/// The fields whose values are secrets, or may be.
const SECRET_FIELDS: [&str; 6] = ["secret", "password", "token", "url", "bearer", "value"];

/// The keys that refer to a secret. Where one is expected, only these are shown: others may be the secret itself.
pub(super) const KEYS_OF_SECRETS: [&str; 3] = ["env", "file", "credential"];

/// Findings whose repetitions are recognised, at most; beyond that a repetition counts as one more.
const MAX_SEEN: usize = 100_000;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: Findings,
    warnings: Findings,
}

/// The first findings in the order of places, and how many there are in all: a file with any number of faults costs no more
/// memory than one with a few. Of equal ones, such as those of a default that many subscriptions take, one is kept.
#[derive(Debug, Default)]
struct Findings {
    /// The last one on top.
    kept: BinaryHeap<Finding>,
    /// Digests of all.
    seen: HashSet<u64>,
    total: usize,
}

/// Shown in the order of places, and at one place in that in which they were found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    mark: Mark,
    number: usize,
    /// The text of a scalar up to the place inside it that is meant.
    inside: Option<String>,
    /// A field that is missing at this place.
    field: Option<&'static str>,
    message: String,
}

impl Findings {
    fn add(
        &mut self,
        mark: Mark,
        inside: Option<&str>,
        field: Option<&'static str>,
        message: String,
    ) {
        let mut hasher = DefaultHasher::new();
        (mark, inside, field, &message).hash(&mut hasher);
        let is_known = self.seen.contains(&hasher.finish());
        if is_known {
            return;
        }
        if self.seen.len() < MAX_SEEN {
            self.seen.insert(hasher.finish());
        }
        self.total += 1;
        if self.kept.len() == MAX_PROBLEMS {
            // Most of a file of faults: they need no search for secrets.
            if self.kept.peek().is_some_and(|last| last.mark <= mark) {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(Finding {
            mark,
            number: self.total,
            inside: inside.map(str::to_owned),
            field,
            message: cut(&conceal(&message), MESSAGE_SHOWN),
        });
    }

    fn located(self, documents: &[Document]) -> Problems {
        let list: Vec<Problem> = self
            .kept
            .into_sorted_vec()
            .into_iter()
            .filter_map(|finding| located(finding, documents))
            .collect();
        let more = self.total.saturating_sub(list.len());
        Problems { list, more }
    }
}

impl Report {
    /// Reports an error of the node at this place.
    pub(super) fn error(&mut self, mark: Mark, message: impl Into<String>) {
        self.errors.add(mark, None, None, message.into());
    }

    /// Reports an error inside the scalar at this place, behind `before` of its text. Where that cannot be found
    /// (unusual escapes), the scalar itself is meant.
    pub(super) fn error_inside(&mut self, mark: Mark, before: &str, message: impl Into<String>) {
        self.errors.add(mark, Some(before), None, message.into());
    }

    /// Reports an error of a field that is missing in the mapping at this place.
    pub(super) fn error_at_field(
        &mut self,
        mark: Mark,
        field: &'static str,
        message: impl Into<String>,
    ) {
        self.errors.add(mark, None, Some(field), message.into());
    }

    /// Whether anything is wrong.
    pub(super) fn has_errors(&self) -> bool {
        self.errors.total > 0
    }

    /// Reports something that is allowed but most likely not meant.
    pub(super) fn warning(&mut self, mark: Mark, message: impl Into<String>) {
        self.warnings.add(mark, None, None, message.into());
    }

    /// Adds to an error at this place, if there is one, else reports something that is most likely not meant.
    pub(super) fn hint(&mut self, mark: Mark, message: impl Into<String>) {
        let is_wrong = self.errors.kept.iter().any(|it| it.mark == mark);
        let findings = if is_wrong {
            &mut self.errors
        } else {
            &mut self.warnings
        };
        findings.add(mark, None, None, message.into());
    }

    /// The errors and the warnings, each in the order of the files; `documents` are those that the marks refer to.
    pub(super) fn into_problems(self, documents: &[Document]) -> (Problems, Problems) {
        (
            self.errors.located(documents),
            self.warnings.located(documents),
        )
    }
}

/// Where a node stands, as a problem without a message.
pub(super) fn place(mark: Mark, documents: &[Document]) -> Option<Problem> {
    let finding = Finding {
        mark,
        number: 0,
        inside: None,
        field: None,
        message: String::new(),
    };
    located(finding, documents)
}

fn located(finding: Finding, documents: &[Document]) -> Option<Problem> {
    let document = documents.get(finding.mark.file)?;
    let inside = finding.inside.as_deref();
    let within = inside.map(|before| document.offset_inside(finding.mark.start, before));
    let start = finding.mark.start + within.unwrap_or_default();
    let (line, column) = document.position(start);
    let mut path = String::new();
    if let Root::Node(root) = &document.root {
        write_path(root, finding.mark, [""; 2], &mut path);
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
        excerpt: None,
    })
}

/// The path of the node with this mark: on each level the last key or item that begins at or before it.
///
/// `above` are the keys that lead to it, the last one first.
fn write_path(node: &Node, mark: Mark, above: [&str; 2], path: &mut String) {
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
                write_path(item, mark, above, path);
            }
        }
        Value::Mapping(entries) => {
            let after = entries.partition_point(|entry| entry.key.mark.start <= mark.start);
            if let Some(entry) = after.checked_sub(1).and_then(|index| entries.get(index)) {
                let name = entry.name();
                if is_for_secret(above) && !KEYS_OF_SECRETS.contains(&name) {
                    path.push('.');
                    path.push_str(CONCEALED);
                } else {
                    let [last, _] = above;
                    // A pair in the place of a name may have a secret behind its colon.
                    let is_header = matches!(last, "headers" | "forward_headers");
                    let name = name.split_once(':').filter(|_| is_header);
                    push_key(path, name.map_or(entry.name(), |(before, _)| before));
                }
                if entry.value.mark.start <= mark.start {
                    let [last, _] = above;
                    write_path(&entry.value, mark, [name, last], path);
                }
            }
        }
    }
}

/// Whether a mapping below these keys refers to a secret.
fn is_for_secret([last, before]: [&str; 2]) -> bool {
    SECRET_FIELDS.contains(&last) || before == "headers" || last == "tokens" && before == "ingest"
}

/// Adds a key to a path, in quotes unless it is a plain word, cut to what fits on a line.
pub(super) fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let is_plain = !key.is_empty()
        && key.len() <= KEY_SHOWN
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if looks_secret(key) {
        path.push_str(CONCEALED);
    } else if is_plain {
        path.push_str(key);
    } else {
        path.push_str(&quoted(key));
    }
}

/// A text of the file in quotes, escaped and cut, for a message. Not for anything that is a secret by its place.
pub(super) fn quoted(text: &str) -> String {
    if looks_secret(text) {
        return CONCEALED.to_owned();
    }
    format!("{:?}", cut(text, KEY_SHOWN))
}

fn cut(text: &str, max: usize) -> String {
    let mut shown: String = text.chars().take(max).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
