//! An index over the patterns of subscriptions.
//!
//! It answers what [`Patterns::matches`] would answer for each subscription in turn, without asking each: literals are
//! found in a hash map, wildcards by one walk down a trie, and exclusions are looked at for candidates only.

mod trie;

use std::collections::HashMap;

use crate::domain::{Pattern, Patterns};
use crate::matching::patterns::trie::Trie;

/// An index over the patterns of some subscriptions. Immutable; a subscription is identified by its position.
#[derive(Debug, Default)]
pub(super) struct PatternIndex {
    /// Those with the pattern `*`.
    any: Vec<usize>,
    /// Those with a pattern without wildcard, by its text.
    literals: HashMap<Box<str>, Vec<usize>>,
    /// Those with a wildcard between or behind other segments.
    wildcards: Trie,
    /// The exclusions of each, by position; most exclude nothing.
    excluded: Vec<Box<[Pattern]>>,
}

impl PatternIndex {
    /// Builds the index; a subscription is identified by its position in the iteration.
    pub(super) fn new<'a>(subscriptions: impl IntoIterator<Item = &'a Patterns>) -> Self {
        let mut index = Self::default();
        for (position, patterns) in subscriptions.into_iter().enumerate() {
            for pattern in &patterns.included {
                index.include(pattern, position);
            }
            index.excluded.push(patterns.excluded.as_slice().into());
        }
        index
    }

    /// Appends the positions of all subscriptions that match to `found`, ascending, each once.
    pub(super) fn matching(&self, event_type: &str, found: &mut Vec<usize>) {
        let start = found.len();
        found.extend_from_slice(&self.any);
        found.extend(self.literal(event_type));
        self.wildcards.find(event_type, found);
        if found.len() - start > 1 {
            sort_and_deduplicate(found, start);
        }
        self.remove_excluded(event_type, found, start);
    }

    /// Whether any of them matches.
    pub(super) fn matches_any(&self, event_type: &str) -> bool {
        let mut candidates = self.any.iter().chain(self.literal(event_type));
        if candidates.any(|position| !self.excludes(*position, event_type)) {
            return true;
        }
        let mut found = Vec::new();
        self.wildcards.find(event_type, &mut found);
        found
            .iter()
            .any(|position| !self.excludes(*position, event_type))
    }

    fn include(&mut self, pattern: &Pattern, position: usize) {
        match pattern {
            Pattern::Any => self.any.push(position),
            Pattern::Literal(text) => self
                .literals
                .entry(text.clone())
                .or_default()
                .push(position),
            Pattern::Wildcard(text) => self.wildcards.insert(text, position),
        }
    }

    /// A literal matches the type itself, and as a subject what stands before the first colon.
    fn literal<'i>(&'i self, event_type: &'i str) -> impl Iterator<Item = &'i usize> {
        let subject = event_type.split_once(':').map(|(subject, _)| subject);
        std::iter::once(event_type)
            .chain(subject)
            .filter_map(|text| self.literals.get(text))
            .flatten()
    }

    fn remove_excluded(&self, event_type: &str, found: &mut Vec<usize>, start: usize) {
        let mut kept = start;
        for next in start..found.len() {
            let Some(position) = found.get(next).copied() else {
                break;
            };
            if !self.excludes(position, event_type) {
                found.swap(kept, next);
                kept += 1;
            }
        }
        found.truncate(kept);
    }

    fn excludes(&self, position: usize, event_type: &str) -> bool {
        self.excluded
            .get(position)
            .is_some_and(|patterns| patterns.iter().any(|pattern| pattern.matches(event_type)))
    }
}

/// Sorts the positions in `found` from `start` on; several patterns of one subscription may have matched.
pub(super) fn sort_and_deduplicate(found: &mut Vec<usize>, start: usize) {
    if let Some(appended) = found.get_mut(start..) {
        appended.sort_unstable();
    }
    let mut kept = start;
    for next in start..found.len() {
        if kept == start || found.get(kept - 1) != found.get(next) {
            found.swap(kept, next);
            kept += 1;
        }
    }
    found.truncate(kept);
}

#[cfg(test)]
mod tests;
