//! Where the parts of mappings and lists stand in the text: their lines, indentation, and ends without comments.

use std::ops::Range;

use crate::config::document::{Document, Node, Value};
use crate::config::edit::render::Quotes;

/// A key with its value, or an item of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'n> {
    /// The byte where it begins: a key, the `?` before one, the `-` of an item in block style, or the item.
    pub(super) start: usize,
    pub(super) key: Option<&'n Node>,
    pub(super) value: &'n Node,
}

/// A text and where things are in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'t> {
    text: &'t str,
}

impl<'t> Places<'t> {
    pub(super) fn new(document: &'t Document) -> Self {
        Self {
            text: &document.text,
        }
    }

    /// The text in a range.
    pub(super) fn slice(self, range: Range<usize>) -> &'t str {
        self.text.get(range).unwrap_or_default()
    }

    /// The quotes around a text, or those around the first text in a list or mapping.
    pub(super) fn quotes_of(self, node: &Node) -> Quotes {
        match &node.value {
            Value::Scalar(_) => match self.slice(node.mark.start..node.end).chars().next() {
                Some('"') => Quotes::Double,
                Some('\'') => Quotes::Single,
                _ => Quotes::None,
            },
            Value::Sequence(items) => items
                .first()
                .map_or(Quotes::None, |item| self.quotes_of(item)),
            Value::Mapping(entries) => entries
                .first()
                .map_or(Quotes::None, |entry| self.quotes_of(&entry.value)),
        }
    }

    pub(super) fn len(self) -> usize {
        self.text.len()
    }

    /// The line break of this file.
    pub(super) fn newline(self) -> &'static str {
        let first = self.text.find('\n').unwrap_or(0);
        if self.slice(0..first).ends_with('\r') {
            "\r\n"
        } else {
            "\n"
        }
    }

    /// Where the line of a byte begins.
    pub(super) fn line_start(self, at: usize) -> usize {
        self.slice(0..at)
            .rfind('\n')
            .map_or(0, |newline| newline + 1)
    }

    /// Where the line after that of a byte begins, or the text ends.
    pub(super) fn line_end(self, at: usize) -> usize {
        let rest = self.slice(at..self.len());
        rest.find('\n')
            .map_or(self.len(), |newline| at + newline + 1)
    }

    /// Whether only spaces stand before a byte in its line.
    pub(super) fn is_first_in_line(self, at: usize) -> bool {
        let before = self.slice(self.line_start(at)..at);
        before.bytes().all(|byte| byte == b' ')
    }

    /// The column of a byte, in characters; a list's dash or a question mark before it counts.
    pub(super) fn column(self, at: usize) -> usize {
        self.slice(self.line_start(at)..at).chars().count()
    }

    /// Whether a line is empty or has only spaces.
    pub(super) fn is_blank_line(self, start: usize) -> bool {
        self.slice(start..self.line_end(start)).trim().is_empty()
    }

    /// Whether a mapping or list is in flow style, as is all in it then.
    pub(super) fn is_flow(self, node: &Node) -> bool {
        let is_collection = !matches!(node.value, Value::Scalar(_));
        is_collection
            && self
                .slice(node.mark.start..node.end)
                .starts_with(['{', '['])
    }

    /// A mapping or list in block style.
    pub(super) fn is_block(self, node: &Node) -> bool {
        !matches!(node.value, Value::Scalar(_)) && !self.is_flow(node)
    }

    /// A scalar after `|` or `>`.
    pub(super) fn is_block_scalar(self, node: &Node) -> bool {
        let is_marked = self
            .slice(node.mark.start..node.end)
            .starts_with(['|', '>']);
        matches!(&node.value, Value::Scalar(scalar) if !scalar.plain) && is_marked
    }

    /// The parts of a mapping or list; `None` if they cannot be separated.
    pub(super) fn parts<'n>(self, node: &'n Node) -> Option<Vec<Part<'n>>> {
        match &node.value {
            Value::Scalar(_) => Some(Vec::new()),
            Value::Mapping(entries) => Some(
                entries
                    .iter()
                    .map(|entry| Part {
                        start: entry.start,
                        key: Some(&entry.key),
                        value: &entry.value,
                    })
                    .collect(),
            ),
            Value::Sequence(items) => items
                .iter()
                .map(|item| {
                    let start = if self.is_flow(node) {
                        item.mark.start
                    } else {
                        self.dash(item)?
                    };
                    Some(Part {
                        start,
                        key: None,
                        value: item,
                    })
                })
                .collect(),
        }
    }

    /// The dash of an item in block style: before it, with nothing but space between them.
    fn dash(self, item: &Node) -> Option<usize> {
        let before = self.slice(0..item.mark.start).trim_end();
        before.strip_suffix('-').map(str::len)
    }

    /// The byte after the colon of a key; `None` if it has no colon.
    pub(super) fn after_colon(self, key: &Node) -> Option<usize> {
        let rest = self.slice(key.end..self.len());
        let after = rest.trim_start().strip_prefix(':')?;
        Some(self.len() - after.len())
    }

    /// The byte after the last one of a part, without what follows in its line.
    pub(super) fn part_end(self, part: Part<'_>) -> usize {
        let value = part.value;
        if self.is_nothing(value) {
            match part.key {
                Some(key) => self.after_colon(key).unwrap_or(key.end),
                None => (part.start + 1).min(self.len()),
            }
        } else {
            self.end(value)
        }
    }

    /// Whether not even `null` stands there.
    pub(super) fn is_nothing(self, node: &Node) -> bool {
        node.mark.start >= node.end
    }

    /// The byte after the last one of a value, without what follows in its line.
    pub(super) fn end(self, node: &Node) -> usize {
        match &node.value {
            Value::Scalar(_) if self.is_block_scalar(node) => self.block_scalar_end(node),
            Value::Scalar(_) => node.end,
            Value::Mapping(_) | Value::Sequence(_) if self.is_flow(node) => node.end,
            Value::Mapping(_) | Value::Sequence(_) => {
                let parts = self.parts(node).unwrap_or_default();
                parts.last().map_or(node.end, |part| self.part_end(*part))
            }
        }
    }

    /// Blank lines at the end belong to a text only with the indicator `+`.
    fn block_scalar_end(self, node: &Node) -> usize {
        let written = self.slice(node.mark.start..node.end);
        let header = written.lines().next().unwrap_or_default();
        let indicators = header.split('#').next().unwrap_or_default();
        let kept = if indicators.contains('+') {
            let line = written.strip_suffix('\n').unwrap_or(written);
            line.strip_suffix('\r').unwrap_or(line)
        } else {
            written.trim_end()
        };
        node.mark.start + kept.len()
    }
}
