//! One line of deliveries that wait for each other. `order` decides which delivery is in which line.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{EventSeq, Timestamp};
use crate::store::entry::Entry;

/// Deliveries that wait for each other, of one key or of all.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The delivery that is about to be leased, or is leased.
    pub(super) current: Option<EventSeq>,
    /// To be attempted again later.
    pub(super) due: BTreeSet<EventSeq>,
    /// Dead, and blocking those that follow.
    pub(super) dead: BTreeSet<EventSeq>,
    pub(super) waiting: BTreeMap<EventSeq, Entry>,
    pub(super) spill: Option<Spill>,
    /// When it was last freed: blocked time does not count towards the age of deliveries that waited.
    pub(super) freed_at: Option<Timestamp>,
}

/// The part of a line that is only in the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spill {
    /// All after this sequence.
    pub(super) after: EventSeq,
    /// The last one left to the index.
    pub(super) last: EventSeq,
    /// The approximate number of those left to the index.
    pub(super) count: u64,
    /// While a question to the index is open: it is for all up to this sequence.
    pub(super) asked: Option<EventSeq>,
}

impl Line {
    /// Whether a delivery may go: none of a lower sequence is left, and no other is current.
    pub(super) fn lets_go(&self, seq: EventSeq) -> bool {
        let free = self.current.is_none_or(|current| current == seq);
        let behind = self.firsts().any(|first| first < seq);
        let spilled = self.spill.is_some_and(|spill| spill.after < seq);
        free && !behind && !spilled
    }

    /// Whether the next delivery can only be in the index, which is not asked yet.
    pub(super) fn wants_followers(&self) -> bool {
        let Some(spill) = self.spill.filter(|spill| spill.asked.is_none()) else {
            return false;
        };
        let mut firsts = self.firsts();
        self.current.is_none() && firsts.all(|first| first > spill.after)
    }

    /// The first of each of these: due later, dead, waiting.
    pub(super) fn firsts(&self) -> impl Iterator<Item = EventSeq> {
        let firsts = [
            self.due.first(),
            self.dead.first(),
            self.waiting.keys().next(),
        ];
        firsts.into_iter().flatten().copied()
    }

    /// Whether the line is empty, so that it can be forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none()
            && self.due.is_empty()
            && self.dead.is_empty()
            && self.waiting.is_empty()
            && self.spill.is_none()
    }

    /// Lets the age of a delivery that was not attempted yet begin when the line was freed.
    pub(super) fn leave_out_blocked_time(&self, entry: &mut Entry) {
        if let Some(freed_at) = self.freed_at.filter(|_| entry.schedule_attempts == 0) {
            entry.since = entry.since.max(freed_at);
        }
    }

    /// How many wait behind a dead one.
    pub(super) fn behind_dead(&self) -> u64 {
        let Some(first) = self.dead.first() else {
            return 0;
        };
        let waiting = self.waiting.range(*first..).count();
        let spilled = self.spill.map_or(0, |spill| spill.count);
        u64::try_from(waiting).unwrap_or(u64::MAX) + spilled
    }
}
