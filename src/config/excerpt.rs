//! The part of a file that is shown beside a problem: its key, and its value where that is one simple word.
//!
//! Invariant: a value is shown only where the schema takes a plain value and no reference to a secret, a key only where no
//! secret is expected; nothing that looks like a secret, as written or as read, and nothing but letters, digits and
//! `_.*!-`, at most [`WORD_MAX`] of them. Of a file whose syntax is broken nothing is shown.

use std::ops::Range;

use serde_json::Value as Json;

use crate::config::document::{Document, Entry, Node, Value};
use crate::config::problem::{Excerpt, Problem, Problems};
use crate::config::report::push_key;
use crate::config::schema::forms::is_reference;
use crate::config::schema::schema;
use crate::domain::looks_secret;

/// Keys in whose values secrets stand beside other texts, so that one may be in the place of the other.
const AMONG_SECRETS: [&str; 5] = [
    "auth",
    "forward_headers",
    "headers",
    "previous_secrets",
    "tokens",
];

/// The most characters of a word that is shown.
const WORD_MAX: usize = 64;

/// The most spaces and dashes in front of it that are shown.
const INDENT_MAX: usize = 64;

/// Adds excerpts to problems of these files.
pub(super) fn add(problems: &mut Problems, documents: &[Document]) {
    if problems.list.is_empty() {
        return;
    }
    let schema = schema();
    for problem in &mut problems.list {
        let document = documents.iter().find(|it| it.path == problem.file);
        problem.excerpt = document.and_then(|document| excerpt(document, problem, &schema));
    }
}

fn excerpt(document: &Document, problem: &Problem, schema: &Json) -> Option<Excerpt> {
    let root = document.node()?;
    let (_, at) = document.offsets(problem.line, problem.column)?;
    let mut walk = Walk {
        at,
        wanted: &problem.path,
        path: Vec::new(),
    };
    let place = walk.find(root, "")?;
    if !place.may_be_shown(&walk.path, schema) {
        return None;
    }
    let (line, _) = document.position(place.start());
    let (begin, _) = document.offsets(line, 1)?;
    let before = document.text.get(begin..place.start())?;
    let is_indent = before.chars().all(|it| matches!(it, ' ' | '-')) && before.len() <= INDENT_MAX;
    let before = if is_indent { before } else { "… " };
    let (shown, marked) = place.shown(at, document)?;
    let shift = |offset: usize| offset - shown.start + before.len();
    Some(Excerpt {
        line,
        marked: shift(marked.start)..shift(marked.end),
        text: format!("{before}{}", document.text.get(shown)?),
    })
}

/// The node that a problem is about.
struct Place<'n> {
    /// Its key; `None` of an item of a list.
    key: Option<&'n Node>,
    /// Its value, if that is a scalar and not only the key is meant.
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

    fn start(&self) -> usize {
        self.key.or(self.value).map_or(0, |node| node.mark.start)
    }

    /// Returns the bytes that are shown, and among them those that are marked: inside a value one word, else the whole value,
    /// or the key.
    fn shown(&self, at: usize, document: &Document) -> Option<(Range<usize>, Range<usize>)> {
        let key = match self.key {
            Some(key) => Some(word(key, document)?),
            None => None,
        };
        let value = self.value.and_then(|node| word(node, document));
        match (key, value) {
            (Some(key), None) => Some((key.clone(), key)),
            (None, value) => value.map(|value| (value.clone(), value)),
            (Some(key), Some(value)) => {
                let between = document.text.get(key.end..value.start)?;
                if !between.chars().all(|it| matches!(it, ' ' | ':')) || between.len() > INDENT_MAX
                {
                    return Some((key.clone(), key));
                }
                let shown = key.start..value.end;
                let rest = document
                    .text
                    .get(at..value.end)
                    .filter(|_| at > value.start);
                let is_word = |it: &char| it.is_ascii_alphanumeric() || *it == '_';
                let inside = rest.map(|rest| rest.chars().take_while(is_word).count().max(1));
                let marked = inside.map(|length| at..at + length).unwrap_or(value);
                Some((shown, marked))
            }
        }
    }
}

/// Returns where a scalar stands in the file, with its quotes, if it is one simple word.
fn word(node: &Node, document: &Document) -> Option<Range<usize>> {
    let is_simple = |it: char| it.is_ascii_alphanumeric() || "_.*!-".contains(it);
    let text = node.text().filter(|text| text.chars().all(is_simple))?;
    let range = node.mark.start..node.end;
    let written = document.text.get(range.clone())?.trim_end();
    let bare = written.trim_matches(['"', '\'']);
    let is_as_read = bare == text && !text.is_empty() && text.len() <= WORD_MAX;
    (is_as_read && !looks_secret(text)).then(|| range.start..range.start + written.len())
}

/// The way to the node that a problem is about.
struct Walk<'n, 'p> {
    at: usize,
    /// Its path, as in problems.
    wanted: &'p str,
    /// The keys that lead to it, `[]` for an item of a list.
    path: Vec<&'n str>,
}

impl<'n> Walk<'n, '_> {
    /// Finds it below a node with this path.
    fn find(&mut self, node: &'n Node, shown: &str) -> Option<Place<'n>> {
        match &node.value {
            Value::Scalar(_) => None,
            Value::Sequence(items) => {
                let mut before = items.iter().enumerate().rev();
                let (index, item) = before.find(|(_, item)| item.mark.start <= self.at)?;
                self.path.push("[]");
                let shown = format!("{shown}[{index}]");
                if shown == self.wanted {
                    let value = item.text().map(|_| item);
                    return value.map(|_| Place { key: None, value });
                }
                self.find(item, &shown)
            }
            Value::Mapping(entries) => {
                let entry = entries.iter().rev().find(|entry| entry.start <= self.at)?;
                // A key that is not text may contain a secret.
                entry.key.text()?;
                self.path.push(entry.name());
                self.in_entry(entry, shown)
            }
        }
    }

    fn in_entry(&mut self, entry: &'n Entry, above: &str) -> Option<Place<'n>> {
        let mut shown = above.to_owned();
        push_key(&mut shown, entry.name());
        let is_missing = |rest: &str| !rest.contains(['.', '[']) && !has_key(&entry.value, rest);
        let field = self.wanted.strip_prefix(shown.as_str());
        let field = field.and_then(|rest| rest.strip_prefix('.'));
        if shown != self.wanted && !field.is_some_and(is_missing) {
            return self.find(&entry.value, &shown);
        }
        let is_scalar = entry.value.text().is_some() && !entry.value.is_null();
        let is_meant = shown == self.wanted && self.at >= entry.value.mark.start;
        Some(Place {
            key: Some(&entry.key),
            value: Some(&entry.value).filter(|_| is_scalar && is_meant),
        })
    }
}

/// Whether a mapping has this key.
fn has_key(node: &Node, name: &str) -> bool {
    let Value::Mapping(entries) = &node.value else {
        return false;
    };
    entries.iter().any(|entry| entry.name() == name)
}

/// The forms of the values that the schema takes at a path; `None` if it has none, or if a secret may be on the way.
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
