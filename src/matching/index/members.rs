//! Some subscriptions of the index, found by their patterns.

use crate::domain::Patterns;
use crate::matching::patterns::PatternIndex;

/// Some subscriptions and their patterns.
#[derive(Debug, Default)]
pub(super) struct Members {
    patterns: PatternIndex,
    /// The positions in the index by those in `patterns`; `None` if they are the same.
    positions: Option<Box<[usize]>>,
}

impl Members {
    pub(super) fn new(members: &[(usize, &Patterns)]) -> Self {
        let is_all = members
            .iter()
            .enumerate()
            .all(|(own, (position, _))| own == *position);
        Self {
            patterns: PatternIndex::new(members.iter().map(|(_, patterns)| *patterns)),
            positions: (!is_all).then(|| members.iter().map(|(position, _)| *position).collect()),
        }
    }

    /// Appends the positions of those whose patterns match, ascending.
    pub(super) fn find(&self, event_type: &str, found: &mut Vec<usize>) {
        let start = found.len();
        self.patterns.matching(event_type, found);
        if let Some(positions) = &self.positions {
            for place in found.iter_mut().skip(start) {
                if let Some(position) = positions.get(*place) {
                    *place = *position;
                }
            }
        }
    }
}
