//! The waiting lines of a queue with an order: one per key, or one for all.
//!
//! A line lets one delivery go at a time, the one of the lowest sequence. Others of its key wait here, without their
//! events, as far as they fit. Beyond that they are left to the index, and the line is *spilled* after the last one
//! here. For a spilled line, the index is asked only for deliveries that were passed over: the queue has yet to come
//! to the others.
//!
//! `state` decides where deliveries come from and go to. Invariants: at most one of a line is current (about to be
//! leased, or leased); nothing goes while one of a lower sequence waits, is due later, or is dead and blocks; an empty
//! line does not exist, so memory grows with the stuck keys and not with all keys.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::mem;

use super::line::{Line, Spill};
use crate::domain::{EventSeq, Order, Timestamp, WhenStuck};
use crate::store::entry::Entry;
use crate::store::index::refill::{FollowersWanted, Page};

/// The only line when all deliveries are in one order.
const STRICT: u64 = 1;

/// How deliveries of a queue wait for each other, and those that do.
#[derive(Debug, Default)]
pub(super) struct Lines {
    order: Order,
    when_stuck: WhenStuck,
    lines: HashMap<u64, Line>,
    /// Deliveries that have their turn: current in their line, to be leased next.
    freed: VecDeque<Entry>,
    /// How many wait in all lines.
    waiting: usize,
    /// The highest sequence that was passed over.
    passed: EventSeq,
    /// Lines for which the index is to be asked for the deliveries that follow.
    to_refill: BTreeSet<u64>,
    blockers: BlockersKnown,
}

/// Whether the dead deliveries that block are known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum BlockersKnown {
    /// The index must be asked for them.
    #[default]
    Unknown,
    /// The index was asked for them.
    Asked,
    /// Those up to here are known; `None`: all.
    Known(Option<EventSeq>),
}

impl Lines {
    pub(super) fn new(order: Order, when_stuck: WhenStuck) -> Self {
        Self {
            order,
            when_stuck,
            ..Self::default()
        }
    }

    pub(super) fn rules(&self) -> (Order, WhenStuck) {
        (self.order, self.when_stuck)
    }

    /// Whether these are the rules already.
    pub(super) fn is(&self, order: Order, when_stuck: WhenStuck) -> bool {
        let no_matter = order == Order::None;
        self.order == order && (no_matter || self.when_stuck == when_stuck)
    }

    pub(super) fn has_order(&self) -> bool {
        self.order != Order::None
    }

    /// Whether deliveries of this key wait for each other.
    pub(super) fn is_ordered(&self, key: u64) -> bool {
        self.line_of(key).is_some()
    }

    /// Whether a delivery of this key that dies blocks those that follow.
    pub(super) fn blocks(&self, key: u64) -> bool {
        self.when_stuck == WhenStuck::Block && self.line_of(key).is_some()
    }

    /// The line of an event's key; `None` if its deliveries do not wait for others.
    fn line_of(&self, key: u64) -> Option<u64> {
        match self.order {
            Order::None => None,
            Order::Key => (key != 0).then_some(key),
            Order::Strict => Some(STRICT),
        }
    }

    /// Whether every dead delivery that may block this one is known.
    pub(super) fn knows(&self, seq: EventSeq) -> bool {
        match self.blockers {
            BlockersKnown::Known(upto) => upto.is_none_or(|upto| seq <= upto),
            BlockersKnown::Unknown | BlockersKnown::Asked => self.when_stuck == WhenStuck::Skip,
        }
    }

    /// Whether a delivery that was never attempted may be looked at. All blockers up to it must be known, and fewer
    /// than `most` lines be stuck; if everything is in one line, only its head is looked at.
    pub(super) fn may_pass(&self, seq: EventSeq, most: usize) -> bool {
        let room = match self.order {
            Order::None => return true,
            Order::Key => !self.is_full(most),
            Order::Strict => self.lines.get(&STRICT).is_none_or(|line| line.lets_go(seq)),
        };
        room && self.knows(seq)
    }

    /// Whether the maximum number of lines is stuck.
    pub(super) fn is_full(&self, most: usize) -> bool {
        self.order == Order::Key && self.lines.len() >= most
    }

    /// Whether a delivery may go now: then the caller must call [`Lines::go`], otherwise [`Lines::wait`] or `pass`.
    pub(super) fn lets_go(&self, entry: &Entry) -> bool {
        let line = self.line_of(entry.key).and_then(|key| self.lines.get(&key));
        line.is_none_or(|line| line.lets_go(entry.seq))
    }

    /// A delivery goes: it is current from now on. Returns it with the beginning of its schedule set.
    pub(super) fn go(&mut self, mut entry: Entry) -> Entry {
        if let Some(key) = self.line_of(entry.key) {
            let line = self.lines.entry(key).or_default();
            line.current = Some(entry.seq);
            line.due.remove(&entry.seq);
            line.leave_out_blocked_time(&mut entry);
        }
        entry
    }

    /// A delivery that was never attempted waits; `room` is how many may wait in memory.
    pub(super) fn pass(&mut self, entry: Entry, room: usize) {
        self.passed = self.passed.max(entry.seq);
        let Some(key) = self.line_of(entry.key) else {
            return;
        };
        let line = self.lines.entry(key).or_default();
        match &mut line.spill {
            Some(spill) => {
                spill.last = entry.seq;
                spill.count += 1;
            }
            None if self.waiting >= room => {
                // A due delivery may wait here although it comes later.
                let before = line.waiting.range(..entry.seq).next_back();
                let before = before.map(|(seq, _)| *seq);
                line.spill = Some(Spill {
                    after: before.unwrap_or(EventSeq(entry.seq.0.saturating_sub(1))),
                    last: entry.seq,
                    count: 1,
                    asked: None,
                });
            }
            None => {
                line.waiting.insert(entry.seq, entry);
                self.waiting += 1;
            }
        }
        self.advance(key);
    }

    /// A delivery that is due waits for its turn.
    pub(super) fn wait(&mut self, entry: Entry) {
        let Some(key) = self.line_of(entry.key) else {
            return;
        };
        let line = self.lines.entry(key).or_default();
        line.due.remove(&entry.seq);
        if line.waiting.insert(entry.seq, entry).is_none() {
            self.waiting += 1;
        }
        self.advance(key);
    }

    /// A delivery is to be attempted later; also one that the index has returned.
    pub(super) fn due_later(&mut self, entry: &Entry) {
        self.change(entry, |line| {
            if line.current == Some(entry.seq) {
                line.current = None;
            }
            if !line.waiting.contains_key(&entry.seq) {
                line.due.insert(entry.seq);
            }
        });
    }

    /// A delivery has ended, dead if `dead`.
    pub(super) fn ended(&mut self, entry: &Entry, dead: bool) {
        let blocks = dead && self.blocks(entry.key);
        self.change(entry, |line| {
            if line.current == Some(entry.seq) {
                line.current = None;
            }
            line.due.remove(&entry.seq);
            if blocks {
                line.dead.insert(entry.seq);
            }
        });
    }

    /// A dead delivery no longer blocks: it was replayed, cancelled or forgotten.
    pub(super) fn revived(&mut self, key: u64, seq: EventSeq, now: Timestamp) {
        let Some(key) = self.line_of(key) else {
            return;
        };
        if let Some(line) = self.lines.get_mut(&key)
            && line.dead.remove(&seq)
        {
            line.freed_at = Some(now);
        }
        if matches!(self.blockers, BlockersKnown::Known(Some(_))) {
            self.blockers = BlockersKnown::Unknown;
        }
        self.advance(key);
    }

    /// Removes a delivery that was cancelled, wherever it waits.
    pub(super) fn remove(&mut self, key: u64, seq: EventSeq) {
        let Some(key) = self.line_of(key) else {
            return;
        };
        self.freed.retain(|entry| entry.seq != seq);
        if let Some(line) = self.lines.get_mut(&key) {
            if line.current == Some(seq) {
                line.current = None;
            }
            line.due.remove(&seq);
            if line.waiting.remove(&seq).is_some() {
                self.waiting -= 1;
            }
        }
        self.advance(key);
    }

    fn change(&mut self, entry: &Entry, change: impl FnOnce(&mut Line)) {
        if let Some(key) = self.line_of(entry.key) {
            change(self.lines.entry(key).or_default());
            self.advance(key);
        }
    }

    /// Lets the next delivery of a line go, marks the line for a refill, or forgets it.
    fn advance(&mut self, key: u64) {
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        if line.current.is_none()
            && let Some((seq, _)) = line.waiting.first_key_value()
            && line.lets_go(*seq)
            && let Some((seq, mut entry)) = line.waiting.pop_first()
        {
            self.waiting -= 1;
            line.current = Some(seq);
            line.leave_out_blocked_time(&mut entry);
            self.freed.push_back(entry);
        }
        if line.wants_followers() {
            self.to_refill.insert(key);
        }
        if line.is_empty() {
            self.lines.remove(&key);
            self.to_refill.remove(&key);
        }
    }

    /// The first of the deliveries that have their turn.
    pub(super) fn front(&self) -> Option<&Entry> {
        self.freed.front()
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.freed.pop_front()
    }

    /// The questions to the index about lines.
    pub(super) fn begin_followers(&mut self) -> Vec<FollowersWanted> {
        let passed = self.passed;
        let lines = &mut self.lines;
        let to_refill = mem::take(&mut self.to_refill).into_iter();
        let ask = to_refill.filter_map(|key| {
            let spill = lines.get_mut(&key)?.spill.as_mut()?;
            spill.asked = Some(passed);
            Some(FollowersWanted {
                line: key,
                after: spill.after,
                upto: passed,
            })
        });
        ask.collect()
    }

    /// Takes the index's answer.
    pub(super) fn followers(&mut self, key: u64, answer: Page) {
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        let Some(spill) = line.spill else { return };
        let Some(asked) = spill.asked else { return };
        let last = answer.entries.last().map_or(spill.after, |entry| entry.seq);
        let found = u64::try_from(answer.entries.len()).unwrap_or(u64::MAX);
        let rest = Spill {
            after: if answer.complete { asked } else { last },
            count: spill.count.saturating_sub(found),
            asked: None,
            ..spill
        };
        line.spill = (!answer.complete || spill.last > asked).then_some(rest);
        for entry in answer.entries {
            if line.waiting.insert(entry.seq, entry).is_none() {
                self.waiting += 1;
            }
        }
        self.advance(key);
    }

    /// Whether the index must now be asked for the dead deliveries that block.
    pub(super) fn begin_blockers(&mut self) -> bool {
        let ask = self.has_order()
            && self.when_stuck == WhenStuck::Block
            && self.blockers == BlockersKnown::Unknown;
        if ask {
            self.blockers = BlockersKnown::Asked;
        }
        ask
    }

    /// Takes the index's answer: the dead deliveries that block.
    pub(super) fn blockers(&mut self, answer: &Page) {
        if self.blockers != BlockersKnown::Asked {
            return;
        }
        for dead in &answer.entries {
            if let Some(key) = self.line_of(dead.key) {
                self.lines.entry(key).or_default().dead.insert(dead.seq);
            }
        }
        let last = answer.entries.last().map(|dead| dead.seq);
        self.blockers = BlockersKnown::Known(last.filter(|_| !answer.complete));
    }

    /// Deliveries that wait here or are on their way from here.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let waiting = self.lines.values().flat_map(|line| line.waiting.values());
        waiting.chain(&self.freed)
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        let lines = self.lines.values_mut();
        lines
            .flat_map(|line| line.waiting.values_mut())
            .chain(&mut self.freed)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting + self.freed.len()
    }

    /// How many replayed deliveries wait in lines that have a current one, or have their turn.
    pub(super) fn replayed(&self) -> usize {
        let moving = self.lines.values().filter(|line| line.current.is_some());
        let waiting = moving.flat_map(|line| line.waiting.values());
        let replayed = |entry: &&Entry| entry.since > entry.accepted_at;
        waiting.chain(&self.freed).filter(replayed).count()
    }

    /// Whether a delivery that cannot go will count as blocked once it waits in its line, but does not yet. `is_due`:
    /// it was attempted or replayed before.
    pub(super) fn would_block(&self, entry: &Entry, is_due: bool) -> bool {
        let line = self.line_of(entry.key).and_then(|key| self.lines.get(&key));
        let Some((line, first_dead)) = line.and_then(|line| Some((line, line.dead.first()?)))
        else {
            return false;
        };
        match self.order {
            Order::None => false,
            Order::Key => entry.seq >= *first_dead,
            Order::Strict => is_due && line.due.contains(&entry.seq),
        }
    }

    /// Whether an answer of the index is under way.
    pub(super) fn is_asking(&self) -> bool {
        let spills = self.lines.values().filter_map(|line| line.spill);
        self.blockers == BlockersKnown::Asked
            || spills.into_iter().any(|spill| spill.asked.is_some())
    }

    /// Forgets every line; the rules stay.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.order, self.when_stuck);
    }

    /// How many wait behind a dead one; `pending` is how many are pending in all.
    pub(super) fn blocked(&self, pending: u64) -> u64 {
        let blocked = self.lines.values().filter(|line| !line.dead.is_empty());
        match self.order {
            Order::None => 0,
            Order::Key => blocked.map(Line::behind_dead).sum(),
            Order::Strict => blocked
                .map(|line| {
                    let ahead = line.due.len() + usize::from(line.current.is_some());
                    pending.saturating_sub(u64::try_from(ahead).unwrap_or(u64::MAX))
                })
                .sum(),
        }
    }

    /// Whether a delivery must wait for another one now.
    pub(super) fn is_behind(&self, key: u64, seq: EventSeq) -> bool {
        let line = self.line_of(key).and_then(|key| self.lines.get(&key));
        line.is_some_and(|line| line.current != Some(seq) && !line.lets_go(seq))
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
