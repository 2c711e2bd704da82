//! The outlook of a queue: what its lane would find, computed without changing anything, for readers of its figures.
//! The rules are in `state`: the answers here equal those of a step that does the work.

use std::collections::VecDeque;

use super::state::QueueState;
use crate::domain::{EventSeq, Timestamp};
use crate::store::entry::Entry;

/// The findings of a step, had it been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Outlook {
    /// Something can be taken.
    pub(super) is_ready: bool,
    /// How many wait behind a dead one.
    pub(super) blocked: u64,
    /// When another delivery becomes due.
    pub(super) next_due: Option<Timestamp>,
}

/// A delivery that may be looked at next.
enum Candidate<'a> {
    Due(&'a Entry),
    Fresh(&'a Entry),
}

impl QueueState {
    /// The outlook at `now`; `pending` is how many are pending in all.
    pub(super) fn outlook(&self, now: Timestamp, pending: u64) -> Outlook {
        let later = self.unreadable.iter().map(|(at, _)| *at);
        let next_due = later.filter(|at| *at > now).chain(self.dues.due_after(now));
        let (is_ready, passed) = match self.returned.front().or(self.stage.front()) {
            Some(slot) => (slot.body.is_some() && !self.is_claimed(slot.entry.seq), 0),
            None => self.would_find(now),
        };
        Outlook {
            is_ready,
            blocked: self.lines.blocked(pending) + passed,
            next_due: next_due.min(),
        }
    }

    /// Whether the next delivery that may go has its event in memory, and how many would be put behind a dead one before.
    fn would_find(&self, now: Timestamp) -> (bool, u64) {
        let (mut taken, mut passed) = (0, 0);
        if self.new_order.is_some() || self.lines.front().is_some() {
            return (false, passed);
        }
        let mut due: VecDeque<&Entry> = self.dues.due_by(now).into();
        let readable = self.unreadable.iter().filter(|(at, _)| *at <= now);
        due.extend(readable.map(|(_, entry)| entry));
        if self.lines.has_order() {
            due.make_contiguous()
                .sort_unstable_by_key(|entry| entry.seq);
        }
        loop {
            let Some(candidate) = self.would_look_at(&due, taken) else {
                return (false, passed);
            };
            let (Candidate::Due(entry) | Candidate::Fresh(entry)) = candidate;
            if self.is_claimed(entry.seq) {
                return (false, passed);
            }
            let is_due = matches!(candidate, Candidate::Due(_));
            if self.lines.lets_go(entry) {
                let slot = self.window.get(taken).filter(|_| !is_due);
                return (slot.is_some_and(|slot| slot.body.is_some()), passed);
            }
            passed += u64::from(self.lines.would_block(entry, is_due));
            match due.iter().position(|due| due.seq == entry.seq) {
                Some(position) if is_due => drop(due.remove(position)),
                Some(_) | None => taken += 1,
            }
        }
    }

    /// The delivery that may be looked at when `taken` ones of the window were taken.
    fn would_look_at<'a>(
        &'a self,
        due: &VecDeque<&'a Entry>,
        taken: usize,
    ) -> Option<Candidate<'a>> {
        let first = due.front().copied();
        if !self.lines.has_order() {
            let fresh = || Some(Candidate::Fresh(&self.window.get(taken)?.entry));
            return first.map(Candidate::Due).or_else(fresh);
        }
        if !self.dues_known {
            return None;
        }
        let most = self.limits.bounds.lines;
        let has_passed = |seq: EventSeq| self.window.would_have_passed(taken, seq);
        let due = match first.filter(|entry| has_passed(entry.seq)) {
            None if self.lines.is_full(most) => {
                let mut due = due.iter().copied();
                due.find(|entry| entry.schedule_attempts > 0)
            }
            due => due,
        };
        if let Some(entry) = due.filter(|entry| self.lines.knows(entry.seq)) {
            return Some(Candidate::Due(entry));
        }
        let fresh = &self.window.get(taken)?.entry;
        let may_pass = self.lines.may_pass(fresh.seq, most);
        may_pass.then_some(Candidate::Fresh(fresh))
    }
}

#[cfg(test)]
#[path = "outlook_tests.rs"]
mod tests;
