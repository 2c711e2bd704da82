//! Deliveries that were never attempted, in order of acceptance, as far as they are in memory.
//!
//! A window is *attached* when it reaches up to the head: everything committed is in it. When it is full it is
//! *spilled* with one number, the highest sequence admitted: later deliveries are only in the index, and were never
//! attempted, so spilling writes nothing. A refill asks the index for later ones; commits that arrive meanwhile wait
//! in a bounded tail, so that the window attaches again if the index had nothing more. If the tail overflows, the next
//! refill finds those deliveries in the index.

use std::collections::VecDeque;
use std::mem;

use super::limits::Bounds;
use super::slot::Slot;
use crate::domain::EventSeq;
use crate::store::entry::Entry;
use crate::store::index::refill::Page;

#[derive(Debug)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    /// Bytes of the bodies that are kept in `slots`.
    body_bytes: usize,
    reach: Reach,
    /// Everything up to here was admitted by a refill, although the pump may still hand over the commit.
    covered: EventSeq,
}

#[derive(Debug)]
enum Reach {
    Attached,
    Spilled {
        /// The highest sequence admitted.
        admitted: EventSeq,
    },
    Refilling {
        admitted: EventSeq,
        tail: VecDeque<Entry>,
        overflowed: bool,
    },
}

impl Window {
    /// The window of a subscription that has no deliveries in the index.
    pub(super) fn attached() -> Self {
        Self::new(Reach::Attached)
    }

    /// The window of a subscription whose deliveries are all in the index.
    pub(super) fn spilled() -> Self {
        Self::new(Reach::Spilled {
            admitted: EventSeq(0),
        })
    }

    fn new(reach: Reach) -> Self {
        Self {
            slots: VecDeque::new(),
            body_bytes: 0,
            reach,
            covered: EventSeq(0),
        }
    }

    /// Takes a delivery that was just committed; `room`: whether it may be kept. Commits come in order.
    pub(super) fn admit(&mut self, slot: Slot, room: bool, bounds: &Bounds) {
        let seq = slot.entry.seq;
        if seq <= self.covered {
            return;
        }
        match &mut self.reach {
            Reach::Attached if room => self.push(slot),
            Reach::Attached => {
                let admitted = EventSeq(seq.0.saturating_sub(1));
                self.reach = Reach::Spilled { admitted };
            }
            Reach::Spilled { .. } => {}
            Reach::Refilling {
                tail, overflowed, ..
            } => {
                if tail.len() >= bounds.tail {
                    *overflowed = true;
                    tail.clear();
                }
                if !*overflowed {
                    tail.push_back(slot.entry);
                }
            }
        }
    }

    fn push(&mut self, slot: Slot) {
        if slot.body.is_some() {
            self.body_bytes += slot.entry.body_len();
        }
        self.slots.push_back(slot);
    }

    pub(super) fn front(&self) -> Option<&Slot> {
        self.slots.front()
    }

    /// The deliveries in the window.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// The delivery that is in front once `taken` ones were taken.
    pub(super) fn get(&self, taken: usize) -> Option<&Slot> {
        self.slots.get(taken)
    }

    pub(super) fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        if slot.body.is_some() {
            self.body_bytes -= slot.entry.body_len();
        }
        Some(slot)
    }

    /// Whether everything up to this sequence has left the window.
    pub(super) fn has_passed(&self, seq: EventSeq) -> bool {
        self.would_have_passed(0, seq)
    }

    /// The same, once `taken` ones were taken.
    pub(super) fn would_have_passed(&self, taken: usize, seq: EventSeq) -> bool {
        match (self.slots.get(taken), &self.reach) {
            (Some(slot), _) => slot.entry.seq > seq,
            (None, Reach::Attached) => true,
            (None, Reach::Spilled { admitted } | Reach::Refilling { admitted, .. }) => {
                *admitted >= seq
            }
        }
    }

    /// Removes a delivery that was cancelled.
    pub(super) fn remove(&mut self, seq: EventSeq) {
        let position = self.slots.partition_point(|slot| slot.entry.seq < seq);
        let found = self.slots.get(position);
        if found.is_some_and(|slot| slot.entry.seq == seq)
            && let Some(slot) = self.slots.remove(position)
            && slot.body.is_some()
        {
            self.body_bytes -= slot.entry.body_len();
        }
        if let Reach::Refilling { tail, .. } = &mut self.reach {
            tail.retain(|entry| entry.seq != seq);
        }
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        let tail = match &mut self.reach {
            Reach::Refilling { tail, .. } => Some(tail),
            Reach::Attached | Reach::Spilled { .. } => None,
        };
        let slots = self.slots.iter_mut().map(|slot| &mut slot.entry);
        slots.chain(tail.into_iter().flatten())
    }

    /// Whether the index is asked.
    pub(super) fn is_refilling(&self) -> bool {
        matches!(self.reach, Reach::Refilling { .. })
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() + self.tail_len()
    }

    fn tail_len(&self) -> usize {
        match &self.reach {
            Reach::Refilling { tail, .. } => tail.len(),
            Reach::Attached | Reach::Spilled { .. } => 0,
        }
    }

    /// Bytes of the bodies that wait here.
    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    pub(super) fn is_attached(&self) -> bool {
        matches!(self.reach, Reach::Attached)
    }

    /// Begins a refill if one is needed: returns the sequence after which to read. `scarce`: the memory budget is used
    /// up, so only an empty window asks.
    pub(super) fn begin_refill(&mut self, scarce: bool, bounds: &Bounds) -> Option<EventSeq> {
        let low = if scarce { 0 } else { bounds.window / 4 };
        let Reach::Spilled { admitted } = self.reach else {
            return None;
        };
        if self.slots.len() > low {
            return None;
        }
        self.reach = Reach::Refilling {
            admitted,
            tail: VecDeque::new(),
            overflowed: false,
        };
        Some(admitted)
    }

    /// Takes the index's answer, with the sequence up to which the index was complete.
    pub(super) fn refilled(&mut self, (answer, upto): (Page, EventSeq)) {
        let reach = mem::replace(&mut self.reach, Reach::Attached);
        let Reach::Refilling {
            admitted,
            tail,
            overflowed,
        } = reach
        else {
            self.reach = reach;
            return;
        };
        let last = answer.entries.last().map_or(admitted, |entry| entry.seq);
        for entry in answer.entries {
            self.push(Slot::unloaded(entry));
        }
        if !answer.complete {
            self.reach = Reach::Spilled { admitted: last };
        } else if overflowed {
            let admitted = upto.max(admitted);
            self.reach = Reach::Spilled { admitted };
        } else {
            self.covered = upto;
            for entry in tail.into_iter().filter(|entry| entry.seq > upto) {
                self.push(Slot::unloaded(entry));
            }
        }
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
