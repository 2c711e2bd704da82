//! The state of one queue and its rules, without threads, locks or a clock.
//!
//! A pending delivery is in exactly one place: in flight (leased), returned (a lease was dropped), staged (its event
//! is being read back, or waits behind one that is), in a line behind others of its order, due, in the window, or only
//! in the index. They are taken in this order: returned, staged, those that have their turn in a line, due, window.
//! Deliveries without their event in memory pass through the stage, so the order is kept while the reader works.
//!
//! An operation *claims* a delivery before it changes it: a claimed one is not taken until it is released.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::dispatcher::Wants;
use super::due::Dues;
use super::limits::Limits;
use super::order::Lines;
use super::slot::Slot;
use super::window::Window;
use crate::domain::{EventSeq, Next, Order, Timestamp, WhenStuck};
use crate::store::budget::{Body, Permit};
use crate::store::entry::Entry;
use crate::store::index::refill::{Answer, DueKey, Page, Wanted};
use crate::store::reader::Load;

/// The approximate memory of a queue's entry, bytes: its 56, a key where it waits for its time, and the unused space
/// of maps and deques.
const ENTRY_BYTES: usize = 112;

/// How many deliveries of a line are requested from the index at a time.
const FOLLOWERS_MAX: usize = 64;

/// The pause of a delivery after its event could not be read.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);

/// The place of a delivery that may go next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Its turn has come.
    Lines,
    /// It is due.
    Dues,
    /// It was never attempted.
    Window,
}

#[derive(Debug)]
pub(in crate::store) struct QueueState {
    pub(super) limits: Arc<Limits>,
    pub(super) window: Window,
    pub(super) dues: Dues,
    pub(super) lines: Lines,
    /// The lines have every delivery that is due later. Until then, one that comes first may be only in the index.
    pub(super) dues_known: bool,
    /// Another order, to be applied once nothing is in flight or asked of the index.
    pub(super) new_order: Option<(Order, WhenStuck)>,
    /// Deliveries that operations are changing.
    pub(super) claimed: BTreeSet<EventSeq>,
    /// Whether an operation changes all deliveries.
    pub(super) all_claimed: bool,
    /// Leases that were dropped.
    pub(super) returned: VecDeque<Slot>,
    /// About to be leased, in order; the reader is reading those without a body.
    pub(super) stage: VecDeque<Slot>,
    /// Deliveries whose event could not be read, with the time of the next try.
    pub(super) unreadable: Vec<(Timestamp, Entry)>,
    pub(super) in_flight: BTreeMap<EventSeq, Entry>,
    /// How many to stage ahead.
    prefetch: usize,
    /// Entries that were charged to the budget.
    charged: usize,
    /// When the oldest delivery in the index was accepted, as last asked.
    index_oldest: Option<Timestamp>,
}

impl QueueState {
    /// The state of a queue with nothing pending in the index (`None`), or with all its pending deliveries there.
    pub(super) fn new(limits: Arc<Limits>, in_index: Option<Timestamp>) -> Self {
        let (window, dues) = match in_index {
            None => (Window::attached(), Dues::none()),
            Some(_) => (Window::spilled(), Dues::unknown()),
        };
        Self {
            limits,
            window,
            dues,
            lines: Lines::default(),
            dues_known: in_index.is_none(),
            new_order: None,
            claimed: BTreeSet::new(),
            all_claimed: false,
            returned: VecDeque::new(),
            stage: VecDeque::new(),
            unreadable: Vec::new(),
            in_flight: BTreeMap::new(),
            prefetch: 2,
            charged: 0,
            index_oldest: in_index,
        }
    }

    /// Takes a delivery that was committed. `body` is called only if the event may stay in memory.
    pub(super) fn commit(&mut self, entry: Entry, body: impl FnOnce() -> Body) {
        let keeps_up = self.window.len() == 0;
        let fits = self.window.body_bytes() + entry.body_len() <= self.limits.budget.share();
        let keep =
            self.window.is_attached() && (keeps_up || (fits && !self.limits.budget.above_half()));
        let slot = Slot {
            entry,
            body: keep.then(body),
        };
        let entries = self.window.len();
        let room = entries < self.limits.bounds.window
            && (entries < self.limits.bounds.granted || !self.limits.budget.exhausted());
        self.window.admit(slot, room, &self.limits.bounds);
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
        self.reorder();
        for _ in 0..credit {
            let Some((entry, body)) = self.pop_loaded() else {
                break;
            };
            self.in_flight.insert(entry.seq, entry);
            taken(entry, body);
        }
        self.account();
    }

    /// Whether [`QueueState::take`] would return something.
    pub(super) fn is_ready(&mut self, now: Timestamp) -> bool {
        self.promote(now);
        self.reorder();
        match self.returned.front().or(self.stage.front()) {
            Some(slot) => slot.body.is_some() && !self.is_claimed(slot.entry.seq),
            None => self.front_is_loaded(),
        }
    }

    /// When [`QueueState::is_ready`] may become true by the passing of time.
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
        let waits = |slot: &Slot| slot.body.is_none() || self.is_claimed(slot.entry.seq);
        let slot = if let Some(front) = self.returned.front() {
            if waits(front) {
                return None;
            }
            self.returned.pop_front()?
        } else if let Some(front) = self.stage.front() {
            if waits(front) {
                return None;
            }
            self.stage.pop_front()?
        } else if self.front_is_loaded() {
            self.pop(Source::Window, EventSeq(0))?
        } else {
            return None;
        };
        Some((slot.entry, slot.body?))
    }

    /// Whether the next delivery that may go has its event in memory.
    fn front_is_loaded(&mut self) -> bool {
        let front = self.front();
        front.is_some_and(|(source, _)| source == Source::Window)
            && self.window.front().is_some_and(|slot| slot.body.is_some())
    }

    /// Finds the next delivery that may go. Those before it that must wait are put into their lines.
    fn front(&mut self) -> Option<(Source, EventSeq)> {
        if self.new_order.is_some() {
            return None;
        }
        loop {
            let (source, entry) = self.candidate()?;
            if self.is_claimed(entry.seq) {
                return None;
            }
            if source == Source::Lines || self.lines.lets_go(&entry) {
                return Some((source, entry.seq));
            }
            if source == Source::Dues {
                self.dues.take(entry.seq);
                self.lines.wait(entry);
            } else {
                self.window.pop();
                self.lines.pass(entry, self.limits.bounds.window);
            }
        }
    }

    /// The next delivery that may be looked at: one that has its turn in a line, then a due one, then one never
    /// attempted. With an order, none is looked at before all that come first are known.
    fn candidate(&mut self) -> Option<(Source, Entry)> {
        if let Some(entry) = self.lines.front() {
            return Some((Source::Lines, *entry));
        }
        if !self.lines.has_order() {
            let due = self.dues.front().map(|entry| (Source::Dues, *entry));
            let fresh = || Some((Source::Window, self.window.front()?.entry));
            return due.or_else(fresh);
        }
        if !self.dues_known {
            return None;
        }
        let most = self.limits.bounds.lines;
        // Deliveries never attempted and accepted before come first. If too much is stuck to look at them, attempted
        // ones go on: they have had their turn before.
        let due = self.dues.front();
        let due = due.filter(|entry| self.window.has_passed(entry.seq));
        let due = match due {
            None if self.lines.is_full(most) => self.dues.first_attempted(),
            due => due,
        };
        if let Some(entry) = due.filter(|entry| self.lines.knows(entry.seq)) {
            return Some((Source::Dues, *entry));
        }
        let fresh = self.window.front()?.entry;
        let may_pass = self.lines.may_pass(fresh.seq, most);
        may_pass.then_some((Source::Window, fresh))
    }

    /// Takes the delivery that [`QueueState::front`] found, and lets it go.
    fn pop(&mut self, source: Source, seq: EventSeq) -> Option<Slot> {
        let mut slot = match source {
            Source::Lines => Slot::unloaded(self.lines.pop()?),
            Source::Dues => Slot::unloaded(self.dues.take(seq)?),
            Source::Window => self.window.pop()?,
        };
        slot.entry = self.lines.go(slot.entry);
        Some(slot)
    }

    /// The requests to the index and the reader now.
    pub(super) fn wants(&mut self) -> Wants {
        let mut loads = Vec::new();
        self.reorder();
        self.fill_stage(&mut loads);
        let mut wants = Wants {
            loads,
            ..Wants::default()
        };
        if self.new_order.is_none() {
            self.ask_index(&mut wants.questions);
        }
        self.account();
        wants
    }

    fn ask_index(&mut self, questions: &mut Vec<Wanted>) {
        let bounds = &self.limits.bounds;
        let scarce = self.limits.budget.exhausted();
        let limit = if scarce {
            bounds.granted
        } else {
            bounds.refill
        };
        let refill = self.window.begin_refill(scarce, bounds);
        questions.extend(refill.map(|after| Wanted::Fresh(after, limit)));
        let due_refill = self.dues.begin_refill(self.due_bound());
        questions.extend(due_refill.map(|(after, limit)| Wanted::Due(after, limit)));
        let limit = self.limits.bounds.refill.min(FOLLOWERS_MAX);
        let followers = self.lines.begin_followers().into_iter();
        questions.extend(followers.map(|wanted| Wanted::Followers(wanted, limit)));
        if self.lines.begin_blockers() {
            questions.push(Wanted::Blockers(self.limits.bounds.lines));
        }
    }

    /// Stages deliveries whose events must be read back, and, to keep the order, those that follow them.
    fn fill_stage(&mut self, loads: &mut Vec<Load>) {
        while self.stage.len() < self.prefetch {
            let Some((source, seq)) = self.front() else {
                return;
            };
            let loaded = source == Source::Window
                && self.window.front().is_some_and(|slot| slot.body.is_some());
            let idle = self.stage.is_empty() && self.in_flight.is_empty();
            if (loaded && self.stage.is_empty()) || (self.limits.budget.exhausted() && !idle) {
                return;
            }
            let Some(slot) = self.pop(source, seq) else {
                return;
            };
            if slot.body.is_none() {
                loads.push(Load {
                    seq: slot.entry.seq,
                    place: slot.entry.place,
                    permit: Permit::of_body(&self.limits.budget, slot.entry.body_len()),
                });
            }
            self.stage.push_back(slot);
        }
    }

    /// Takes an event that was read back; `None` if it could not be read.
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
            Next::Delivered => self.lines.ended(&entry, false),
            Next::Dead(_) => self.lines.ended(&entry, true),
            Next::Due { at, .. } => {
                let bound = self.due_bound();
                self.dues.insert(at, entry.attempted(), bound);
                self.lines.due_later(&entry);
            }
        }
        self.account();
    }

    pub(super) fn due_bound(&self) -> usize {
        if self.limits.budget.exhausted() {
            self.limits.bounds.granted
        } else {
            self.limits.bounds.dues
        }
    }

    /// Takes an answer of the index.
    pub(super) fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Fresh(page, upto) => self.window.refilled((page, upto)),
            Answer::Due(answer) => self.due_refilled(answer),
            Answer::Followers(line, page) => self.lines.followers(line, page),
            Answer::Blockers(answer) => self.lines.blockers(&answer),
        }
        self.account();
    }

    fn due_refilled(&mut self, answer: Page<(DueKey, Entry)>) {
        let bound = self.due_bound();
        let staged = self.stage.iter().chain(&self.returned);
        let elsewhere = staged
            .map(|slot| slot.entry.seq)
            .chain(self.unreadable.iter().map(|(_, entry)| entry.seq))
            .chain(self.lines.entries().map(|entry| entry.seq))
            .chain(self.in_flight.keys().copied());
        self.dues.refilled(answer, elsewhere, bound);
        if self.lines.has_order() {
            for entry in self.dues.entries() {
                self.lines.due_later(entry);
            }
        }
        self.dues_known |= !self.dues.is_partial();
    }

    /// Updates the budget's count of entries.
    pub(super) fn account(&mut self) {
        let entries = self.window.len()
            + self.dues.len()
            + self.lines.len()
            + self.stage.len()
            + self.returned.len();
        if entries > self.charged {
            self.limits
                .budget
                .charge((entries - self.charged) * ENTRY_BYTES);
        } else {
            self.limits
                .budget
                .release((self.charged - entries) * ENTRY_BYTES);
        }
        self.charged = entries;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn is_in_flight(&self, seq: EventSeq) -> bool {
        self.in_flight.contains_key(&seq)
    }

    /// Whether some pending deliveries may be only in the index.
    pub(super) fn is_partial(&self) -> bool {
        !self.window.is_attached() || self.dues.is_partial()
    }

    pub(super) fn set_index_oldest(&mut self, accepted_at: Option<Timestamp>) {
        self.index_oldest = accepted_at;
    }

    /// When the oldest pending delivery was accepted.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let slots = self.stage.iter().chain(&self.returned);
        let entries = slots
            .chain(self.window.front())
            .map(|slot| &slot.entry)
            .chain(self.dues.entries())
            .chain(self.lines.entries())
            .chain(self.unreadable.iter().map(|(_, entry)| entry));
        let in_memory = entries
            .map(|entry| entry.accepted_at)
            .chain(self.in_flight.values().map(|entry| entry.accepted_at));
        let in_index = self.index_oldest.filter(|_| self.is_partial());
        in_memory.chain(in_index).min()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
