//! The changes that operations make to the deliveries of a queue in memory.
//!
//! An operation claims a delivery and records the change. Once the index has applied it, it changes the queue and
//! releases the claim. Between claim and release the delivery is not taken, and any answer of the index from before
//! the change is in memory when the queue is changed.

use std::collections::HashMap;

use super::due::Dues;
use super::order::Lines;
use super::state::QueueState;
use super::window::Window;
use crate::domain::{EventSeq, Order, Timestamp, WhenStuck};
use crate::store::entry::Entry;
use crate::store::journal::Place;

impl QueueState {
    /// Sets how deliveries wait for each other. A different order takes effect once nothing is in flight or asked for.
    pub(in crate::store) fn set_order(&mut self, order: Order, when_stuck: WhenStuck) {
        let unchanged = self.lines.is(order, when_stuck);
        let rereads = self.new_order == Some(self.lines.rules());
        if !unchanged || !rereads {
            self.new_order = (!unchanged).then_some((order, when_stuck));
        }
        self.reorder();
    }

    /// How deliveries wait for each other, or will once nothing is in flight or asked for.
    pub(in crate::store) fn order(&self) -> (Order, WhenStuck) {
        self.new_order.unwrap_or(self.lines.rules())
    }

    /// Reads the entries in memory from the index again, once nothing is in flight or asked for.
    pub(in crate::store) fn reread(&mut self) {
        self.new_order.get_or_insert(self.lines.rules());
        self.reorder();
    }

    /// Applies another order if nothing is in flight or asked for: forgets the entries in memory, to be read again.
    pub(in crate::store) fn reorder(&mut self) {
        let Some((order, when_stuck)) = self.new_order else {
            return;
        };
        if !self.in_flight.is_empty() || self.is_asking() {
            return;
        }
        self.new_order = None;
        let waiting = self.lines.len();
        self.lines = Lines::new(order, when_stuck);
        self.forget(waiting);
    }

    /// Whether an answer of the index is under way.
    fn is_asking(&self) -> bool {
        self.window.is_refilling() || self.dues.is_refilling() || self.lines.is_asking()
    }

    /// Forgets all in memory that is not in flight and leaves it to the index; `waiting` is how many waited in lines.
    fn forget(&mut self, waiting: usize) {
        let coming = self.stage.len() + self.returned.len();
        let elsewhere = coming + self.unreadable.len() + waiting;
        if self.window.len() + self.dues.len() + elsewhere > 0 || self.is_partial() {
            self.window = Window::spilled();
            self.dues = Dues::unknown();
            self.dues_known = false;
        }
        self.dues.keep_order(self.lines.has_order());
        self.stage.clear();
        self.returned.clear();
        self.unreadable.clear();
        self.account();
    }

    /// Claims a delivery for an operation; returns false while an attempt of it is in flight.
    pub(in crate::store) fn claim(&mut self, seq: EventSeq) -> bool {
        let free = !self.in_flight.contains_key(&seq);
        if free {
            self.claimed.insert(seq);
        }
        free
    }

    /// Claims every delivery for an operation; returns false while any attempt is in flight, or answers of the index
    /// are under way.
    pub(in crate::store) fn claim_all(&mut self) -> bool {
        let free = self.in_flight.is_empty() && !self.is_asking();
        self.all_claimed |= free;
        free
    }

    /// Whether a delivery must not be taken: an operation has claimed it, or it belongs to an order that is about to
    /// end.
    pub(in crate::store) fn is_claimed(&self, seq: EventSeq) -> bool {
        self.all_claimed || self.new_order.is_some() || self.claimed.contains(&seq)
    }

    pub(in crate::store) fn release(&mut self, seq: EventSeq) {
        self.claimed.remove(&seq);
    }

    pub(in crate::store) fn release_all(&mut self) {
        self.all_claimed = false;
    }

    /// A delivery was dead from the start, and blocks.
    pub(in crate::store) fn died_at_once(&mut self, entry: &Entry) {
        self.lines.ended(entry, true);
    }

    /// Whether the event of a delivery is in memory.
    pub(in crate::store) fn has_event(&self, seq: EventSeq) -> bool {
        let coming = self.stage.iter().chain(&self.returned);
        let mut slots = coming.chain(self.window.slots());
        slots.any(|slot| slot.entry.seq == seq && slot.body.is_some())
    }

    /// A claimed pending delivery is dead without an attempt.
    pub(in crate::store) fn died(&mut self, entry: &Entry) {
        // First, so that deliveries waiting behind it do not go when it is taken out.
        self.lines.ended(entry, true);
        self.cancelled(entry);
    }

    /// A claimed pending delivery was cancelled.
    pub(in crate::store) fn cancelled(&mut self, entry: &Entry) {
        let seq = entry.seq;
        self.window.remove(seq);
        self.dues.remove(seq);
        self.stage.retain(|slot| slot.entry.seq != seq);
        self.returned.retain(|slot| slot.entry.seq != seq);
        self.unreadable.retain(|(_, entry)| entry.seq != seq);
        self.lines.remove(entry.key, seq);
        self.account();
    }

    /// Every delivery was cancelled, except those that came later.
    pub(in crate::store) fn all_cancelled(&mut self) {
        let waiting = self.lines.len();
        self.lines.restart();
        self.forget(waiting);
    }

    /// A delivery that was dead was replayed, cancelled or forgotten.
    pub(in crate::store) fn revived(&mut self, key: u64, seq: EventSeq, now: Timestamp) {
        self.lines.revived(key, seq, now);
        self.account();
    }

    /// A delivery is pending again, due at `at`.
    pub(in crate::store) fn requeued(&mut self, entry: Entry, at: Timestamp) {
        let bound = self.due_bound();
        // The index may have returned it already.
        self.dues.remove(entry.seq);
        if !self.is_coming(entry.seq) {
            self.dues.insert(at, entry, bound);
            self.lines.due_later(&entry);
        }
        // Last, so that deliveries that it blocked go behind it.
        self.lines.revived(entry.key, entry.seq, at);
        self.account();
    }

    /// A claimed pending delivery that was attempted before and was due at `due` is due now, at `at`.
    pub(in crate::store) fn hastened(&mut self, entry: Entry, due: Timestamp, at: Timestamp) {
        let seq = entry.seq;
        if self.is_coming(seq) {
            return;
        }
        self.unreadable.retain(|(_, entry)| entry.seq != seq);
        self.dues.remove_hastened(seq, due, at);
        self.dues.make_ready(entry);
        self.lines.due_later(&entry);
        self.account();
    }

    /// How many deliveries in memory are due at `now` and wait for their turn, including replayed ones that wait in
    /// moving lines.
    pub(in crate::store) fn due_at(&self, now: Timestamp) -> usize {
        self.dues.due_len(now) + self.lines.replayed()
    }

    /// Whether dead deliveries block those that follow them.
    pub(in crate::store) fn dead_ones_block(&self) -> bool {
        let (_, when_stuck) = self.lines.rules();
        self.lines.has_order() && when_stuck == WhenStuck::Block
    }

    /// Whether a delivery is on its way to be attempted, or waits in a line.
    fn is_coming(&self, seq: EventSeq) -> bool {
        let mut coming = self.stage.iter().chain(&self.returned);
        coming.any(|slot| slot.entry.seq == seq)
            || self.lines.entries().any(|waiting| waiting.seq == seq)
    }

    /// Events were copied to other places.
    pub(in crate::store) fn relocated(&mut self, places: &HashMap<EventSeq, Place>) {
        let coming = self.stage.iter_mut().chain(&mut self.returned);
        let coming = coming.map(|slot| &mut slot.entry);
        let unreadable = self.unreadable.iter_mut().map(|(_, entry)| entry);
        let entries = self.window.entries_mut().chain(self.dues.entries_mut());
        let entries = entries.chain(coming).chain(unreadable);
        for entry in entries.chain(self.lines.entries_mut()) {
            if let Some(place) = places.get(&entry.seq) {
                entry.place = *place;
            }
        }
    }

    /// Whether deliveries of this key wait for each other.
    pub(in crate::store) fn is_ordered(&self, key: u64) -> bool {
        self.lines.is_ordered(key)
    }

    /// Whether a delivery of this key that dies blocks those that follow it.
    pub(in crate::store) fn blocks(&self, key: u64) -> bool {
        self.lines.blocks(key)
    }

    /// Whether a delivery must wait for another one now.
    pub(in crate::store) fn is_behind(&self, key: u64, seq: EventSeq) -> bool {
        self.lines.is_behind(key, seq)
    }
}
