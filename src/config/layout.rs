//! The places in a YAML text: the lossless tree of `yaml-edit` turned into nodes without values.
//!
//! Tags, anchors, aliases and unquoted texts that look like them are reported here. So that the rest of the file can
//! still be judged in the same run, [`Layout::readable`] is the text with these blanked out, and with surrogate pairs as YAML
//! writes such characters.

use std::ops::Range;

use yaml_edit::{AsYaml, SyntaxKind, YamlFile, YamlNode};

use crate::config::document::{Entry, MAX_DEPTH, Mark, Node, Scalar, Value};
use crate::config::escapes::{Rewritten, Surrogate, surrogates};
use crate::config::report::Report;

const TAG: &str = "a text that begins with ! must be quoted, such as \"!invoice.draft\" (YAML tags are not supported)";
const ALIAS: &str =
    "a text that begins with * must be quoted, such as \"*\" (YAML aliases are not supported)";
const ANCHOR: &str = "a text that begins with & must be quoted (YAML anchors are not supported)";
const HALF: &str =
    "half of a surrogate pair is no character: write both escapes, or the character itself";

/// The shape of a text.
#[derive(Debug)]
pub(super) struct Layout {
    /// The outermost node of the first document, its scalars still empty; `None` if there is none, or if `too_deep`.
    pub(super) root: Option<Node>,
    /// The nesting exceeds the limit, which is reported.
    pub(super) too_deep: bool,
    /// The text without what was refused.
    pub(super) readable: Rewritten,
    /// Something was refused, and blanked out.
    pub(super) has_refusals: bool,
}

/// Finds the shape of a text and reports YAML features that a configuration does not allow. Never fails: broken syntax
/// gives some shape, and is found when the values are read.
pub(super) fn of(text: &str, file: usize, report: &mut Report) -> Layout {
    let tree = YamlFile::parse(text).tree();
    let mut documents = tree.documents();
    let root = documents.next().and_then(|document| {
        document
            .as_node()?
            .children()
            .find_map(YamlNode::from_syntax)
    });
    if let Some(start) = documents.next().map(|second| begin(&second.byte_range())) {
        let mark = Mark {
            file,
            start,
            depth: 0,
        };
        report.error(mark, "expected one document, found another after ---");
    }
    let mut builder = Builder {
        text,
        file,
        report,
        readable: text.as_bytes().to_vec(),
        pairs: Vec::new(),
        too_deep: false,
    };
    let root = root.map(|root| builder.node(&root, 0));
    let too_deep = builder.too_deep;
    let has_refusals = builder.readable != text.as_bytes();
    builder.pairs.sort_by_key(|(range, _)| range.start);
    let readable = String::from_utf8(builder.readable).unwrap_or_default();
    Layout {
        root: root.filter(|_| !too_deep),
        too_deep,
        readable: Rewritten::new(&readable, &builder.pairs),
        has_refusals,
    }
}

struct Builder<'t> {
    text: &'t str,
    file: usize,
    report: &'t mut Report,
    readable: Vec<u8>,
    /// Characters that are written as surrogate pairs.
    pairs: Vec<(Range<usize>, char)>,
    too_deep: bool,
}

impl Builder<'_> {
    fn node(&mut self, node: &YamlNode, depth: usize) -> Node {
        let range = node.byte_range();
        let range = begin(&range)..end(&range);
        let anchor = anchor(node);
        let mark = Mark {
            file: self.file,
            start: anchor.as_ref().map_or(range.start, |anchor| anchor.start),
            depth,
        };
        if let Some(anchor) = anchor {
            self.refuse(mark, ANCHOR, anchor, b' ');
        }
        if depth > MAX_DEPTH && !self.too_deep {
            self.too_deep = true;
            let message = format!("nested too deeply, expected at most {MAX_DEPTH} levels");
            self.report.error(mark, message);
        }
        let stop = range.end;
        match node {
            YamlNode::Scalar(_) => self.scalar(mark, range),
            YamlNode::Alias(_) => {
                self.refuse(mark, ALIAS, range, b'x');
                blank_scalar(mark, stop, true)
            }
            YamlNode::TaggedNode(_) => self.tagged(node, mark, stop),
            YamlNode::Sequence(_) | YamlNode::Mapping(_) if self.too_deep => {
                blank_scalar(mark, stop, true)
            }
            YamlNode::Sequence(sequence) => {
                let items = sequence.values().map(|item| self.node(&item, depth + 1));
                collection(mark, stop, Value::Sequence(items.collect()))
            }
            YamlNode::Mapping(mapping) => {
                let entries = mapping
                    .entries()
                    .filter_map(|entry| {
                        Some((
                            begin(&entry.byte_range()),
                            entry.key_node()?,
                            entry.value_node()?,
                        ))
                    })
                    .map(|(start, key, value)| Entry {
                        start,
                        key: self.node(&key, depth + 1),
                        value: self.node(&value, depth + 1),
                    });
                collection(mark, stop, Value::Mapping(entries.collect()))
            }
        }
    }

    fn scalar(&mut self, mark: Mark, range: Range<usize>) -> Node {
        let first = self
            .text
            .as_bytes()
            .get(range.start)
            .copied()
            .filter(|_| !range.is_empty());
        let refusal = match first {
            Some(b'*') => Some(ALIAS),
            Some(b'&') => Some(ANCHOR),
            Some(b'!') => Some(TAG),
            _ => None,
        };
        if let Some(message) = refusal {
            self.refuse(mark, message, range.start..range.start + 1, b'x');
        }
        let has_halves = first == Some(b'"') && self.find_surrogates(mark, range.clone());
        let mut node = blank_scalar(mark, range.end, refusal.is_some() || has_halves);
        if let Value::Scalar(scalar) = &mut node.value {
            scalar.plain = !matches!(first, Some(b'"' | b'\'' | b'|' | b'>'));
        }
        node
    }

    /// Notes the surrogate pairs of a double-quoted scalar; returns whether it has unpaired halves, which are reported.
    fn find_surrogates(&mut self, mark: Mark, range: Range<usize>) -> bool {
        let quoted = self.text.get(range.clone()).unwrap_or_default();
        let mut has_halves = false;
        for surrogate in surrogates(quoted, range.start) {
            match surrogate {
                Surrogate::Pair(range, character) => self.pairs.push((range, character)),
                Surrogate::Half(range) => {
                    has_halves = true;
                    let start = range.start;
                    self.refuse(Mark { start, ..mark }, HALF, range, b'x');
                }
            }
        }
        has_halves
    }

    /// A tag and what it is put on. A tag on nothing is most likely a text that lacks quotes.
    fn tagged(&mut self, node: &YamlNode, mark: Mark, end: usize) -> Node {
        let syntax = node.as_node();
        let tag = syntax.and_then(|syntax| {
            let tokens = syntax.children_with_tokens();
            let mut tags = tokens.filter(|token| token.kind() == SyntaxKind::TAG);
            tags.next().map(|tag| {
                usize::from(tag.text_range().start())..usize::from(tag.text_range().end())
            })
        });
        let held = syntax.and_then(|syntax| syntax.children().find_map(YamlNode::from_syntax));
        let is_empty = held
            .as_ref()
            .is_none_or(|held| held.byte_range().start == held.byte_range().end);
        let tag = tag.unwrap_or(mark.start..mark.start);
        self.refuse(mark, TAG, tag, if is_empty { b'x' } else { b' ' });
        match held {
            Some(held) if !is_empty => Node {
                mark,
                refused: true,
                ..self.node(&held, mark.depth)
            },
            _ => blank_scalar(mark, end, true),
        }
    }

    fn refuse(&mut self, mark: Mark, message: &str, range: Range<usize>, blank: u8) {
        self.report.error(mark, message);
        if let Some(bytes) = self.readable.get_mut(range) {
            bytes.fill(blank);
        }
    }
}

/// Where the anchor of a node stands: before it, with nothing but space between them.
fn anchor(node: &YamlNode) -> Option<Range<usize>> {
    let mut before = node.as_node()?.prev_sibling_or_token();
    while let Some(element) = before {
        match element.kind() {
            SyntaxKind::ANCHOR => {
                let range = element.text_range();
                return Some(range.start().into()..range.end().into());
            }
            SyntaxKind::WHITESPACE
            | SyntaxKind::NEWLINE
            | SyntaxKind::INDENT
            | SyntaxKind::COMMENT => before = element.prev_sibling_or_token(),
            _ => return None,
        }
    }
    None
}

fn collection(mark: Mark, end: usize, value: Value) -> Node {
    Node {
        mark,
        end,
        refused: false,
        value,
    }
}

fn blank_scalar(mark: Mark, end: usize, refused: bool) -> Node {
    let scalar = Scalar {
        text: String::new(),
        plain: true,
    };
    Node {
        mark,
        end,
        refused,
        value: Value::Scalar(scalar),
    }
}

fn begin(range: &yaml_edit::TextPosition) -> usize {
    usize::try_from(range.start).unwrap_or(usize::MAX)
}

fn end(range: &yaml_edit::TextPosition) -> usize {
    usize::try_from(range.end).unwrap_or(usize::MAX)
}
