//! The state of one queue and its rules, without threads, locks or time of its own.
//!
//! A pending delivery is in exactly one place: in flight (leased), returned (a lease was dropped), staged (its event
//! is being read back, or waits behind one that is), due, in the window, or only in the book. Taken first is what was
//! returned, then what is staged, then what is due, then the window. What has no event in memory passes through the
//! stage, so order is kept while the reader works.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::due::Dues;
use super::refill::{DueRefilled, Load, Refilled, Wants};
use super::window::Window;
use super::{Body, Bounds, ENTRY_BYTES, Entry, Slot};
use crate::domain::{EventSeq, Next, Timestamp};
use crate::store::budget::{Budget, Permit};

/// How long a delivery waits whose event could not be read.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct QueueState {
    bounds: Bounds,
    budget: Arc<Budget>,
    window: Window,
    dues: Dues,
    /// Leases that were dropped.
    returned: VecDeque<Slot>,
    /// On their way to be leased, in order; those without a body are with the reader.
    stage: VecDeque<Slot>,
    /// Deliveries whose event could not be read, and when that is tried again.
    unreadable: Vec<(Timestamp, Entry)>,
    in_flight: BTreeMap<EventSeq, Timestamp>,
    /// How many to stage ahead.
    prefetch: usize,
    /// Entries that were charged to the budget.
    charged: usize,
    /// When the oldest delivery in the book was accepted, as last asked.
    book_oldest: Option<Timestamp>,
}

impl QueueState {
    /// The state of a queue with nothing pending in the book, or of one whose pending deliveries are all there.
    pub(super) fn new(bounds: Bounds, budget: Arc<Budget>, in_book: Option<Timestamp>) -> Self {
        let (window, dues) = match in_book {
            None => (Window::attached(), Dues::default()),
            Some(_) => (Window::spilled(), Dues::unknown()),
        };
        Self {
            bounds,
            budget,
            window,
            dues,
            returned: VecDeque::new(),
            stage: VecDeque::new(),
            unreadable: Vec::new(),
            in_flight: BTreeMap::new(),
            prefetch: 2,
            charged: 0,
            book_oldest: in_book,
        }
    }

    /// Takes a delivery that was committed. `body` is asked for only if it may stay in memory.
    pub(super) fn commit(&mut self, entry: Entry, body: impl FnOnce() -> Body) {
        let keeps_up = self.window.len() == 0;
        let fits = self.window.body_bytes() + entry.body_len() <= self.budget.share();
        let keep = self.window.is_attached() && (keeps_up || (fits && !self.budget.above_half()));
        let slot = Slot {
            entry,
            body: keep.then(body),
        };
        let entries = self.window.len();
        let room = entries < self.bounds.window
            && (entries < self.bounds.granted || !self.budget.exhausted());
        self.window.admit(slot, room, &self.bounds);
        self.account();
    }

    /// Hands up to `credit` deliveries to `taken`; they are in flight from now on.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        credit: usize,
        mut taken: impl FnMut(Entry, Body),
    ) {
        self.prefetch = credit.saturating_mul(2).max(2);
        self.promote(now);
        for _ in 0..credit {
            let Some((entry, body)) = self.pop_loaded() else {
                break;
            };
            self.in_flight.insert(entry.seq, entry.accepted_at);
            taken(entry, body);
        }
        self.account();
    }

    /// Whether [`QueueState::take`] would give something.
    pub(super) fn is_ready(&mut self, now: Timestamp) -> bool {
        self.promote(now);
        match (self.returned.front(), self.stage.front()) {
            (Some(_), _) => true,
            (None, Some(slot)) => slot.body.is_some(),
            (None, None) => {
                self.dues.front().is_none()
                    && self.window.front().is_some_and(|slot| slot.body.is_some())
            }
        }
    }

    /// When [`QueueState::is_ready`] may turn true by the passing of time.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let unreadable = self.unreadable.iter().map(|(at, _)| *at);
        unreadable.chain(self.dues.next_due()).min()
    }

    fn promote(&mut self, now: Timestamp) {
        self.dues.promote(now);
        if self.unreadable.iter().any(|(at, _)| *at <= now) {
            for (_, entry) in self.unreadable.extract_if(.., |(at, _)| *at <= now) {
                self.dues.make_ready(entry);
            }
        }
    }

    fn pop_loaded(&mut self) -> Option<(Entry, Body)> {
        let slot = if let Some(slot) = self.returned.pop_front() {
            slot
        } else if let Some(front) = self.stage.front() {
            front.body.as_ref()?;
            self.stage.pop_front()?
        } else if self.dues.front().is_some() {
            return None;
        } else {
            self.window.front()?.body.as_ref()?;
            self.window.pop()?
        };
        Some((slot.entry, slot.body?))
    }

    /// What to ask of the book and the reader now.
    pub(super) fn wants(&mut self) -> Wants {
        let mut loads = Vec::new();
        self.fill_stage(&mut loads);
        let scarce = self.budget.exhausted();
        let due_bound = self.due_bound();
        let refill = self.window.begin_refill(scarce, &self.bounds);
        let limit = if scarce {
            self.bounds.granted
        } else {
            self.bounds.refill
        };
        let wants = Wants {
            refill: refill.map(|after| (after, limit)),
            due_refill: self.dues.begin_refill(due_bound),
            loads,
        };
        self.account();
        wants
    }

    /// Stages deliveries whose events must be read back, and with them, to keep the order, those that follow.
    fn fill_stage(&mut self, loads: &mut Vec<Load>) {
        while self.stage.len() < self.prefetch {
            let due = self.dues.front().is_some();
            let loaded = !due && self.window.front().is_none_or(|slot| slot.body.is_some());
            let idle = self.stage.is_empty() && self.in_flight.is_empty();
            if (loaded && self.stage.is_empty()) || (self.budget.exhausted() && !idle) {
                return;
            }
            let next = self.dues.pop().map(Slot::unloaded);
            let Some(slot) = next.or_else(|| self.window.pop()) else {
                return;
            };
            if slot.body.is_none() {
                loads.push(Load {
                    seq: slot.entry.seq,
                    place: slot.entry.place,
                    permit: Permit::of_body(&self.budget, slot.entry.body_len()),
                });
            }
            self.stage.push_back(slot);
        }
    }

    /// Takes an event that was read back, or that it could not be read.
    pub(super) fn loaded(&mut self, seq: EventSeq, body: Option<Body>, now: Timestamp) {
        let Some(position) = self.stage.iter().position(|slot| slot.entry.seq == seq) else {
            return;
        };
        if body.is_some() {
            if let Some(slot) = self.stage.get_mut(position) {
                slot.body = body;
            }
        } else if let Some(slot) = self.stage.remove(position) {
            let again = now.plus(UNREADABLE_PAUSE);
            self.unreadable.push((again, slot.entry));
        }
    }

    /// Takes back a delivery whose lease was dropped.
    pub(super) fn give_back(&mut self, entry: Entry, body: Body) {
        self.in_flight.remove(&entry.seq);
        self.returned.push_front(Slot {
            entry,
            body: Some(body),
        });
        self.account();
    }

    /// Takes the outcome of an attempt, once it is written; `entry` is the delivery before it.
    pub(super) fn settle(&mut self, entry: Entry, next: Next) {
        self.in_flight.remove(&entry.seq);
        self.dues.note_settled(entry.seq);
        match next {
            Next::Delivered | Next::Dead(_) => {}
            Next::Due { at, .. } => {
                let bound = self.due_bound();
                self.dues.insert(at, entry.attempted(), bound);
                self.account();
            }
        }
    }

    fn due_bound(&self) -> usize {
        if self.budget.exhausted() {
            self.bounds.granted
        } else {
            self.bounds.dues
        }
    }

    pub(super) fn refilled(&mut self, answer: Refilled) {
        self.window.refilled(answer);
        self.account();
    }

    pub(super) fn due_refilled(&mut self, answer: DueRefilled) {
        let bound = self.due_bound();
        let staged = self.stage.iter().chain(&self.returned);
        let elsewhere = staged
            .map(|slot| slot.entry.seq)
            .chain(self.unreadable.iter().map(|(_, entry)| entry.seq))
            .chain(self.in_flight.keys().copied());
        self.dues.refilled(answer, elsewhere, bound);
        self.account();
    }

    /// Keeps the budget's count of entries right.
    fn account(&mut self) {
        let entries = self.window.len() + self.dues.len() + self.stage.len() + self.returned.len();
        if entries > self.charged {
            self.budget.charge((entries - self.charged) * ENTRY_BYTES);
        } else {
            self.budget.release((self.charged - entries) * ENTRY_BYTES);
        }
        self.charged = entries;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether some pending deliveries may be only in the book.
    pub(super) fn is_partial(&self) -> bool {
        !self.window.is_attached() || self.dues.is_partial()
    }

    pub(super) fn set_book_oldest(&mut self, accepted_at: Option<Timestamp>) {
        self.book_oldest = accepted_at;
    }

    /// When the oldest pending delivery was accepted.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let slots = self.stage.iter().chain(&self.returned);
        let entries = slots
            .chain(self.window.front())
            .map(|slot| &slot.entry)
            .chain(self.dues.entries())
            .chain(self.unreadable.iter().map(|(_, entry)| entry));
        let in_memory = entries
            .map(|entry| entry.accepted_at)
            .chain(self.in_flight.values().copied());
        let in_book = self.book_oldest.filter(|_| self.is_partial());
        in_memory.chain(in_book).min()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
