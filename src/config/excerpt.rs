//! What of a file may be shown beside a problem: the key and the value that are meant, never more of their line.
//!
//! Invariant: a value is shown only where the schema takes a plain value and no reference to a secret, a key only where no
//! secret is expected; and nothing that looks like a secret. Of a file whose syntax is broken nothing is shown.

use std::ops::Range;

use serde_json::Value as Json;

use crate::config::document::{Document, Entry, Node, Value};
use crate::config::problem::{Excerpt, Problems};
use crate::config::schema::forms::is_reference;
use crate::config::schema::schema;
use crate::domain::looks_secret;

/// Keys in whose values secrets stand beside other texts, so that one may be in the place of the other.
const AMONG_SECRETS: [&str; 3] = ["headers", "previous_secrets", "tokens"];

/// Adds excerpts to problems of these files.
pub(super) fn add(problems: &mut Problems, documents: &[Document]) {
    if problems.list.is_empty() {
        return;
    }
    let schema = schema();
    for problem in &mut problems.list {
        let document = documents.iter().find(|it| it.path == problem.file);
        problem.excerpt =
            document.and_then(|document| excerpt(document, problem.line, problem.column, &schema));
    }
}

fn excerpt(document: &Document, line: usize, column: usize, schema: &Json) -> Option<Excerpt> {
    let root = document.node()?;
    let (begin, at) = document.offsets(line, column)?;
    let mut path = Vec::new();
    let place = find(root, at, &mut path)?;
    if !place.may_be_shown(&path, schema) {
        return None;
    }
    let text = document.text.get(begin..)?.lines().next()?;
    let end = begin + text.len();
    let shown = place.range.start.max(begin)..place.range.end.min(end);
    let marked = place.marked(at, document);
    let visible = document.text.get(shown.clone())?.trim_end();
    if visible.is_empty() || looks_secret(visible) {
        return None;
    }
    let before = document.text.get(begin..shown.start)?;
    let is_plain = before.chars().all(|it| matches!(it, ' ' | '-'));
    let before = if is_plain { before } else { "… " };
    let last = shown.start + visible.len();
    let shift = |offset: usize| offset.clamp(shown.start, last) - shown.start + before.len();
    Some(Excerpt {
        marked: shift(marked.start)..shift(marked.end),
        text: format!("{before}{visible}"),
    })
}

/// What a problem is about.
struct Place<'n> {
    /// The bytes that may be shown: of a key, or of a value with its key.
    range: Range<usize>,
    /// The value; `None` if the problem is about the key.
    value: Option<&'n Node>,
}

impl Place<'_> {
    fn may_be_shown(&self, path: &[&str], schema: &Json) -> bool {
        let above = match (self.value, path) {
            (None, [above @ .., _]) => above,
            (_, path) => path,
        };
        let is_among_secrets = above.iter().any(|key| AMONG_SECRETS.contains(key));
        let Some(forms) = forms_at(above, schema).filter(|_| !is_among_secrets) else {
            return false;
        };
        let is_plain = |form: &&Json| {
            let kinds = ["string", "integer", "number", "boolean"];
            kinds.iter().any(|kind| has_type(form, kind))
        };
        let may_be_secret = forms.iter().any(|form| is_reference(form));
        !may_be_secret && (self.value.is_none() || forms.iter().any(is_plain))
    }

    /// The bytes that are meant: inside a value one word, else the whole value or key.
    fn marked(&self, at: usize, document: &Document) -> Range<usize> {
        match self.value {
            None => self.range.clone(),
            Some(node) if at <= node.mark.start => node.mark.start..self.range.end,
            Some(_) => {
                let rest = document.text.get(at..).unwrap_or_default();
                let is_word = |it: &char| it.is_alphanumeric() || *it == '_';
                let word: usize = rest.chars().take_while(is_word).map(char::len_utf8).sum();
                at..at + word.max(rest.chars().next().map_or(0, char::len_utf8))
            }
        }
    }
}

/// The innermost key or scalar that begins at or before a byte; its path goes into `path`.
fn find<'n>(node: &'n Node, at: usize, path: &mut Vec<&'n str>) -> Option<Place<'n>> {
    match &node.value {
        Value::Scalar(_) => Some(Place {
            range: node.mark.start..node.end,
            value: Some(node),
        }),
        Value::Sequence(items) => {
            let item = items.iter().rev().find(|item| item.mark.start <= at)?;
            path.push("[]");
            find(item, at, path)
        }
        Value::Mapping(entries) => {
            let entry = entries.iter().rev().find(|entry| entry.start <= at)?;
            path.push(entry.name());
            in_entry(entry, at, path)
        }
    }
}

fn in_entry<'n>(entry: &'n Entry, at: usize, path: &mut Vec<&'n str>) -> Option<Place<'n>> {
    let key = Place {
        range: entry.key.mark.start..entry.key.end,
        value: None,
    };
    if at < entry.value.mark.start || entry.value.is_null() {
        return Some(key);
    }
    let depth = path.len();
    match find(&entry.value, at, path) {
        Some(place) if matches!(entry.value.value, Value::Scalar(_)) => Some(Place {
            range: entry.key.mark.start..place.range.end,
            ..place
        }),
        Some(place) => Some(place),
        // It is about the mapping or list as a whole.
        None => {
            path.truncate(depth);
            Some(key)
        }
    }
}

/// The forms of the values that the schema takes at a path; `None` where it says nothing, or a secret may be on the way.
fn forms_at<'s>(path: &[&str], schema: &'s Json) -> Option<Vec<&'s Json>> {
    let mut forms = vec![schema];
    for (depth, key) in path.iter().enumerate() {
        let mut next = Vec::new();
        for form in forms {
            let child = match *key {
                _ if is_reference(form) => None,
                "[]" => form.get("items"),
                // Names of subscriptions; others are not known to be plain.
                _ if depth == 1 && path.first() == Some(&"subscriptions") => {
                    form.get("additionalProperties")
                }
                key => form.get("properties").and_then(|keys| keys.get(key)),
            };
            if let Some(child) = child {
                match child.get("anyOf").and_then(Json::as_array) {
                    Some(forms) => next.extend(forms),
                    None => next.push(child),
                }
            }
        }
        forms = next;
    }
    (!forms.is_empty()).then_some(forms)
}

fn has_type(schema: &Json, name: &str) -> bool {
    match schema.get("type") {
        Some(Json::String(only)) => only == name,
        Some(Json::Array(names)) => names.iter().any(|it| it == name),
        _ => false,
    }
}
