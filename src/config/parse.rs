//! From the bytes of a YAML file to a [`Document`].
//!
//! Two parsers share the work: the lossless tree of `yaml-edit` gives the places (`layout`), and
//! `serde_yaml` checks the syntax and gives the meaning of scalars (`values`). YAML features that a configuration does
//! not allow (tags, anchors, aliases, merge keys, several documents, duplicate keys) are reported here; the readers
//! interpret the keys.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::document::{BYTE_ORDER_MARK, Document, Entry, Mark, Node, Root, Value};
use crate::config::layout;
use crate::config::report::Report;
use crate::config::values;

/// Takes the bytes of a file; everything wrong with them is reported.
pub(super) fn parse(file: usize, path: PathBuf, bytes: Vec<u8>, report: &mut Report) -> Document {
    let has_byte_order_mark = bytes.starts_with(BYTE_ORDER_MARK.as_bytes());
    let (text, problem) = decode(bytes);
    let mut document = Document::new(path, text, has_byte_order_mark);
    match problem {
        Some((start, message)) => {
            let depth = 0;
            report.error(Mark { file, start, depth }, message);
        }
        None => document.root = root(&document, file, report),
    }
    document
}

fn root(document: &Document, file: usize, report: &mut Report) -> Root {
    let layout = layout::of(&document.text, file, report);
    let Some(mut root) = layout.root else {
        return if layout.too_deep {
            Root::Broken
        } else {
            Root::Empty
        };
    };
    match values::fill(&mut root, &layout.readable) {
        Ok(()) => {
            check_keys(document, &root, report);
            Root::Node(root)
        }
        // With parts blanked out the shape may change; what was there is reported already.
        Err(error) if error.is_ambiguous && layout.has_refusals => Root::Broken,
        Err(error) => {
            let start = layout.readable.original(error.line, error.column);
            let depth = 0;
            report.error(Mark { file, start, depth }, error.message);
            Root::Broken
        }
    }
}

/// Reports keys that are duplicate or invalid, in all mappings.
fn check_keys(document: &Document, node: &Node, report: &mut Report) {
    match &node.value {
        Value::Scalar(_) => {}
        Value::Sequence(items) => {
            for item in items {
                check_keys(document, item, report);
            }
        }
        Value::Mapping(entries) => {
            let mut seen = HashMap::with_capacity(entries.len());
            for entry in entries {
                if let Some(message) = wrong_key(entry) {
                    report.error(entry.key.mark, message);
                } else if let Some(first) = seen.insert(entry.name(), entry.key.mark.start) {
                    let line = document.position(first).0;
                    report.error(
                        entry.key.mark,
                        format!("duplicate key, the first one is in line {line}"),
                    );
                }
                check_keys(document, &entry.value, report);
            }
        }
    }
}

fn wrong_key(entry: &Entry) -> Option<&'static str> {
    if entry.key.refused {
        return None;
    }
    if entry.is_merge() {
        return Some("merge keys are not supported: put what subscriptions share into defaults");
    }
    match &entry.key.value {
        Value::Scalar(scalar) if scalar.text.is_empty() => Some("a key cannot be empty"),
        Value::Scalar(_) => None,
        Value::Sequence(_) | Value::Mapping(_) => Some("a key must be text"),
    }
}

/// The text without its byte order mark, and why it cannot be YAML: the byte and what is wrong with it.
fn decode(bytes: Vec<u8>) -> (String, Option<(usize, String)>) {
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let start = error.utf8_error().valid_up_to();
            let valid = String::from_utf8_lossy(error.as_bytes().get(..start).unwrap_or_default());
            return (
                valid.into_owned(),
                Some((start, "expected text in UTF-8".to_owned())),
            );
        }
    };
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len());
    }
    let problem = text
        .char_indices()
        .find(|(_, character)| !is_printable(*character))
        .map(|(start, character)| {
            let code = u32::from(character);
            (start, format!("the character U+{code:04X} is not allowed in YAML, write it as an escape in double quotes"))
        });
    (text, problem)
}

/// `c-printable` of YAML 1.1, without the byte order mark.
fn is_printable(character: char) -> bool {
    matches!(character,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}'
        | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}
