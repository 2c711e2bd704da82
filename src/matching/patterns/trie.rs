//! The wildcard patterns as a trie over segments.
//!
//! A piece is a segment together with the separator that follows it (`invoice.` of `invoice.paid`), so that one
//! comparison checks both. Each node is reached by one way only and a walk visits each at most once: the work for one
//! type is bounded by the trie, however many segments the type has.

use std::collections::{BTreeMap, HashMap};

/// The characters that end a segment.
const SEPARATORS: [char; 3] = ['.', ':', '/'];

/// Positions of subscriptions by wildcard pattern.
#[derive(Debug, Default)]
pub(super) struct Trie {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// By a piece that must stand there as it is.
    literal: HashMap<Box<str>, Node>,
    /// By the separator that must follow a segment of any text.
    any: BTreeMap<char, Node>,
    /// Patterns that end here with `*`: they take what is left, one segment or more.
    takes_rest: Vec<usize>,
    /// Patterns whose last segment, a literal one, led here.
    ends: Vec<usize>,
}

impl Trie {
    /// Adds a pattern with at least one `*` segment for a subscription.
    pub(super) fn insert(&mut self, pattern: &str, position: usize) {
        let mut node = &mut self.root;
        let mut rest = Some(pattern);
        while let Some(text) = rest {
            let (piece, after) = next_piece(text);
            rest = after;
            node = match piece.strip_prefix('*') {
                Some("") => {
                    node.takes_rest.push(position);
                    return;
                }
                Some(separator) => node.child_of_any(separator),
                None => node.literal.entry(piece.into()).or_default(),
            };
        }
        node.ends.push(position);
    }

    /// Appends the positions whose pattern matches, in no order, one that has several patterns several times.
    pub(super) fn find(&self, event_type: &str, found: &mut Vec<usize>) {
        self.root.find(event_type, found);
    }
}

impl Node {
    fn child_of_any(&mut self, separator: &str) -> &mut Node {
        let separator = separator.chars().next().unwrap_or_default();
        self.any.entry(separator).or_default()
    }

    fn find(&self, rest: &str, found: &mut Vec<usize>) {
        found.extend_from_slice(&self.takes_rest);
        let (piece, after) = next_piece(rest);
        if let Some(child) = self.literal.get(piece) {
            match after {
                Some(after) => child.find(after, found),
                None => found.extend_from_slice(&child.ends),
            }
        }
        let Some(after) = after else { return };
        for (separator, child) in &self.any {
            if piece.ends_with(*separator) {
                child.find(after, found);
            }
        }
    }
}

/// The first segment with its separator, and what follows; a text that ends with a separator is followed by an empty
/// segment.
fn next_piece(text: &str) -> (&str, Option<&str>) {
    match text.find(SEPARATORS) {
        Some(end) => {
            let (piece, after) = text.split_at(end + 1);
            (piece, Some(after))
        }
        None => (text, None),
    }
}
