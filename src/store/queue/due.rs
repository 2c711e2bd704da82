//! Deliveries that wait for their next attempt, ordered by due time, as far as they are in memory.
//!
//! Deliveries due up to the *horizon* are here; later ones may be only in the index. The horizon falls when the bound
//! is passed and the latest are evicted. It rises when half has drained and the index is asked for those that follow.
//! Those due now count towards the bound, unless there is an order, which needs all of them. While a question is open
//! nothing is evicted, and settled deliveries are remembered, because the answer may be older than the state in
//! memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;

use crate::domain::{EventSeq, Timestamp};
use crate::store::entry::Entry;
use crate::store::index::refill::{DueKey, Page};

/// Before every key.
pub(super) const BEGINNING: DueKey = (Timestamp::from_millis(i64::MIN), EventSeq(0));

#[derive(Debug)]
pub(super) struct Dues {
    waiting: BTreeMap<DueKey, Entry>,
    /// Due now, in the order in which they became due; in order of acceptance if the queue has an order.
    ready: BTreeMap<(u64, EventSeq), Entry>,
    /// How many became due; `None` if the queue has an order.
    became_ready: Option<u64>,
    /// Deliveries due later than this may be only in the index; `None`: everything is here.
    horizon: Option<DueKey>,
    /// While a question to the index is open: the deliveries settled since it was asked.
    settled: Option<BTreeSet<EventSeq>>,
}

impl Dues {
    /// For a subscription that has none in the index.
    pub(super) fn none() -> Self {
        Self {
            waiting: BTreeMap::new(),
            ready: BTreeMap::new(),
            became_ready: Some(0),
            horizon: None,
            settled: None,
        }
    }

    /// For a subscription whose retries are all in the index.
    pub(super) fn unknown() -> Self {
        Self {
            horizon: Some(BEGINNING),
            ..Self::none()
        }
    }

    /// Sets whether due deliveries are taken in order of acceptance instead of due time.
    pub(super) fn keep_order(&mut self, keep: bool) {
        self.became_ready = (!keep).then_some(0);
    }

    /// Takes a delivery that is due at `at`; keeps at most `bound`.
    pub(super) fn insert(&mut self, at: Timestamp, entry: Entry, bound: usize) {
        let key = (at, entry.seq);
        let beyond = self.horizon.is_some_and(|horizon| key > horizon);
        if beyond && self.settled.is_none() {
            return;
        }
        self.waiting.insert(key, entry);
        self.evict(bound);
    }

    fn evict(&mut self, bound: usize) {
        if self.settled.is_some() {
            return;
        }
        while self.bounded_len() > bound {
            let Some(((at, seq), _)) = self.waiting.pop_last() else {
                break;
            };
            let before = (at, EventSeq(seq.0.saturating_sub(1)));
            self.horizon = Some(self.horizon.map_or(before, |old| old.min(before)));
        }
    }

    /// How many count towards the bound.
    fn bounded_len(&self) -> usize {
        match self.became_ready {
            Some(_) => self.len(),
            None => self.waiting.len(),
        }
    }

    /// Makes deliveries due by `now` ready.
    pub(super) fn promote(&mut self, now: Timestamp) {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            let entry = first.remove();
            self.make_ready(entry);
        }
    }

    /// Takes a delivery that is due already.
    pub(super) fn make_ready(&mut self, entry: Entry) {
        let rank = match &mut self.became_ready {
            None => 0,
            Some(count) => {
                *count += 1;
                *count
            }
        };
        self.ready.insert((rank, entry.seq), entry);
    }

    /// The first that is due now, as of the last [`Dues::promote`].
    pub(super) fn front(&self) -> Option<&Entry> {
        self.ready.values().next()
    }

    /// The first that is due now and was attempted before.
    pub(super) fn first_attempted(&self) -> Option<&Entry> {
        self.ready
            .values()
            .find(|entry| entry.schedule_attempts > 0)
    }

    /// Takes the delivery that [`Dues::front`] or [`Dues::first_attempted`] has returned.
    pub(super) fn take(&mut self, seq: EventSeq) -> Option<Entry> {
        let first = self.ready.first_entry()?;
        if first.key().1 == seq {
            return Some(first.remove());
        }
        self.ready.remove(&(0, seq))
    }

    /// Removes a delivery, wherever it is.
    pub(super) fn remove(&mut self, seq: EventSeq) {
        self.waiting.retain(|key, _| key.1 != seq);
        self.ready.retain(|key, _| key.1 != seq);
    }

    /// Removes a delivery that was due at `due` and is now due at `at`, which the index may have returned already.
    pub(super) fn remove_hastened(&mut self, seq: EventSeq, due: Timestamp, at: Timestamp) {
        self.waiting.remove(&(at, seq));
        self.remove_at((due, seq));
    }

    /// Removes a delivery that is or was due at this key, wherever it is.
    fn remove_at(&mut self, key: DueKey) {
        let is_beyond = self.horizon.is_some_and(|horizon| key > horizon);
        if self.waiting.remove(&key).is_some() {
            return;
        }
        if is_beyond && self.settled.is_none() {
            self.ready.retain(|known, _| known.1 != key.1);
        } else {
            self.remove(key.1);
        }
    }

    /// Those due by `now`, in the order in which they are taken; if the queue has an order, in order of acceptance.
    pub(super) fn due_by(&self, now: Timestamp) -> Vec<&Entry> {
        let unpromoted = self.waiting.range(..=(now, EventSeq(u64::MAX)));
        let ready = self.ready.values();
        let mut due: Vec<&Entry> = ready.chain(unpromoted.map(|(_, entry)| entry)).collect();
        if self.became_ready.is_none() {
            due.sort_unstable_by_key(|entry| entry.seq);
        }
        due
    }

    /// How many are due by `now`.
    pub(super) fn due_len(&self, now: Timestamp) -> usize {
        let unpromoted = self.waiting.range(..=(now, EventSeq(u64::MAX)));
        self.ready.len() + unpromoted.count()
    }

    /// When the first of those in memory that are not due by `now` becomes due.
    pub(super) fn due_after(&self, now: Timestamp) -> Option<Timestamp> {
        let now = Bound::Excluded((now, EventSeq(u64::MAX)));
        let mut later = self.waiting.range((now, Bound::Unbounded));
        later.next().map(|((at, _), _)| *at)
    }

    /// Whether the index is asked.
    pub(super) fn is_refilling(&self) -> bool {
        self.settled.is_some()
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.waiting.values_mut().chain(self.ready.values_mut())
    }

    /// When the next one in memory becomes due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.ready.len()
    }

    /// Whether some may be only in the index.
    pub(super) fn is_partial(&self) -> bool {
        self.horizon.is_some()
    }

    /// Those in memory.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.values().chain(self.ready.values())
    }

    /// Notes that an attempt of this delivery was recorded.
    pub(super) fn note_settled(&mut self, seq: EventSeq) {
        if let Some(settled) = &mut self.settled {
            settled.insert(seq);
        }
    }

    /// Begins a refill if one is needed: returns the key after which to read, and how many.
    pub(super) fn begin_refill(&mut self, bound: usize) -> Option<(DueKey, usize)> {
        let kept = self.bounded_len();
        if self.settled.is_some() || kept > bound / 2 {
            return None;
        }
        let horizon = self.horizon?;
        self.settled = Some(BTreeSet::new());
        Some((horizon, bound.saturating_sub(kept).max(1)))
    }

    /// Takes the index's answer; `elsewhere` are the deliveries that the queue has in memory but not here.
    pub(super) fn refilled(
        &mut self,
        answer: Page<(DueKey, Entry)>,
        elsewhere: impl Iterator<Item = EventSeq>,
        bound: usize,
    ) {
        let Some(settled) = self.settled.take() else {
            return;
        };
        let mut known: HashSet<EventSeq> = self.entries().map(|entry| entry.seq).collect();
        known.extend(elsewhere);
        let last = answer.entries.last().map(|(key, _)| *key);
        self.horizon = if answer.complete {
            None
        } else {
            last.or(self.horizon)
        };
        for (key, entry) in answer.entries {
            if !known.contains(&entry.seq) && !settled.contains(&entry.seq) {
                self.waiting.insert(key, entry);
            }
        }
        self.evict(bound);
    }
}

#[cfg(test)]
#[path = "due_tests.rs"]
mod tests;
