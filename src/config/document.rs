//! One YAML file as a tree of nodes, each with its place in the text.
//!
//! `parse` makes it.
//!
//! Invariant: a node is at most [`MAX_DEPTH`] deep, so walking it by recursion is safe.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::config::inside;

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
    /// A file with this text, whose root is not known yet.
    pub(super) fn new(path: PathBuf, text: String, has_byte_order_mark: bool) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            path,
            text: Zeroizing::new(text),
            has_byte_order_mark,
            line_starts,
            root: Root::Broken,
        }
    }

    /// Returns the outermost node, if the file can be read and is not empty.
    pub(super) fn node(&self) -> Option<&Node> {
        match &self.root {
            Root::Node(root) => Some(root),
            Root::Broken | Root::Empty => None,
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
