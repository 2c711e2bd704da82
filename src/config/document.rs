//! One YAML file as a tree of nodes, each with its place in the text.
//!
//! Two parsers share the work: the lossless tree of `yaml-edit` gives the places (`layout`), and
//! `serde_yaml` checks the syntax and gives the meaning of scalars (`values`). YAML features that a configuration does
//! not allow (tags, anchors, aliases, merge keys, several documents, duplicate keys) are reported here; the readers
//! interpret the keys.
//!
//! Invariant: a node is at most [`MAX_DEPTH`] deep, so walking it by recursion is safe.

use std::collections::HashMap;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::config::inside;
use crate::config::layout;
use crate::config::report::Report;
use crate::config::values;

/// The deepest nesting of mappings and lists; a valid file has 6 levels at most.
pub(super) const MAX_DEPTH: usize = 32;

/// The optional first character of a UTF-8 file.
pub(super) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Where a node stands: its file, the byte where it begins, and its depth, as a mapping begins where its first key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Mark {
    pub(super) file: usize,
    pub(super) start: usize,
    pub(super) depth: usize,
}

/// A value or key with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    /// The byte after it; what is in block style ends with the line, comment included.
    pub(super) end: usize,
    /// It is written in a way that was already reported; readers pass over it.
    pub(super) refused: bool,
    pub(super) value: Value,
}

/// The content of a node.
#[derive(Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A scalar: its text as written when it is plain, else the text in its quotes or block.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) plain: bool,
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// The byte where it begins: that of its key, or of a `?` before it.
    pub(super) start: usize,
    pub(super) key: Node,
    pub(super) value: Node,
}

impl Node {
    /// Whether it stands for no value: nothing at all, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        match &self.value {
            _ if self.refused => false,
            Value::Scalar(scalar) => {
                scalar.plain && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            Value::Sequence(_) | Value::Mapping(_) => false,
        }
    }

    /// Returns the value of a key of a mapping; of a duplicate key the first.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        let Value::Mapping(entries) = &self.value else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.name() == key)?;
        Some(&entry.value)
    }

    /// Returns the items of a list.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::Sequence(items) => items,
            Value::Scalar(_) | Value::Mapping(_) => &[],
        }
    }

    /// Returns the text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// Whether it stands for no value, or is an empty text or list.
    pub(super) fn is_blank(&self) -> bool {
        let is_empty = match &self.value {
            Value::Sequence(items) => items.is_empty(),
            Value::Scalar(scalar) => scalar.text.is_empty(),
            Value::Mapping(_) => false,
        };
        self.is_null() || is_empty
    }

    /// Returns its kind, for messages, without its content.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(_) if self.is_null() => "nothing",
            Value::Scalar(_) => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

impl Entry {
    /// The key's text; empty when the key is not a scalar, which is reported.
    pub(super) fn name(&self) -> &str {
        match &self.key.value {
            Value::Scalar(scalar) => &scalar.text,
            Value::Sequence(_) | Value::Mapping(_) => "",
        }
    }

    /// `<<`, unquoted.
    pub(super) fn is_merge(&self) -> bool {
        matches!(&self.key.value, Value::Scalar(scalar) if scalar.plain && scalar.text == "<<")
    }
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    /// Without the byte order mark.
    pub(super) text: Zeroizing<String>,
    /// The file begins with a byte order mark.
    pub(super) has_byte_order_mark: bool,
    line_starts: Vec<usize>,
    pub(super) root: Root,
}

/// The outermost node of a file.
#[derive(Debug)]
pub(super) enum Root {
    /// The syntax is broken, which is reported: nothing else can be reported about the file.
    Broken,
    /// Nothing but comments.
    Empty,
    Node(Node),
}

impl Document {
    /// Takes the bytes of a file; everything wrong with them is reported.
    pub(super) fn parse(file: usize, path: PathBuf, bytes: Vec<u8>, report: &mut Report) -> Self {
        let has_byte_order_mark = bytes.starts_with(BYTE_ORDER_MARK.as_bytes());
        let (text, problem) = decode(bytes);
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        let mut document = Self {
            path,
            text: Zeroizing::new(text),
            has_byte_order_mark,
            line_starts,
            root: Root::Broken,
        };
        match problem {
            Some((start, message)) => report.error(
                Mark {
                    file,
                    start,
                    depth: 0,
                },
                message,
            ),
            None => document.root = document.parse_text(file, report),
        }
        document
    }

    /// Returns the outermost node, if the file can be read and is not empty.
    pub(super) fn node(&self) -> Option<&Node> {
        match &self.root {
            Root::Node(root) => Some(root),
            Root::Broken | Root::Empty => None,
        }
    }

    fn parse_text(&self, file: usize, report: &mut Report) -> Root {
        let layout = layout::of(&self.text, file, report);
        let Some(mut root) = layout.root else {
            return if layout.too_deep {
                Root::Broken
            } else {
                Root::Empty
            };
        };
        match values::fill(&mut root, &layout.readable) {
            Ok(()) => {
                self.check_keys(&root, report);
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
    fn check_keys(&self, node: &Node, report: &mut Report) {
        match &node.value {
            Value::Scalar(_) => {}
            Value::Sequence(items) => {
                for item in items {
                    self.check_keys(item, report);
                }
            }
            Value::Mapping(entries) => {
                let mut seen = HashMap::with_capacity(entries.len());
                for entry in entries {
                    if let Some(message) = wrong_key(entry) {
                        report.error(entry.key.mark, message);
                    } else if let Some(first) = seen.insert(entry.name(), entry.key.mark.start) {
                        let line = self.position(first).0;
                        report.error(
                            entry.key.mark,
                            format!("duplicate key, the first one is in line {line}"),
                        );
                    }
                    self.check_keys(&entry.value, report);
                }
            }
        }
    }

    /// Line and column of a byte, both from 1; columns in characters.
    pub(super) fn position(&self, start: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|begin| *begin <= start);
        let begin = line
            .checked_sub(1)
            .and_then(|index| self.line_starts.get(index));
        let before = self
            .text
            .get(begin.copied().unwrap_or(0)..start)
            .unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The bytes where a line begins, and where its character in this column does, both counted from 1.
    pub(super) fn offsets(&self, line: usize, column: usize) -> Option<(usize, usize)> {
        let begin = *self.line_starts.get(line.checked_sub(1)?)?;
        let rest = self.text.get(begin..)?;
        let before = rest.chars().take(column.checked_sub(1)?);
        Some((begin, begin + before.map(char::len_utf8).sum::<usize>()))
    }

    /// How many bytes behind `start`, where a scalar begins, its text continues behind `before`; 0 if unknown.
    pub(super) fn offset_inside(&self, start: usize, before: &str) -> usize {
        let written = self.text.get(start..).unwrap_or_default();
        inside::offset(written, before).unwrap_or_default()
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
