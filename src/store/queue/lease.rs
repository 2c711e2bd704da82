//! Leases: the right to attempt a delivery.

use std::sync::Arc;

use super::shared::QueueShared;
use crate::domain::{Event, Timestamp};
use crate::store::budget::Body;
use crate::store::entry::Entry;

/// The exclusive right to attempt one delivery, until it is dropped. Dropped without
/// [`settle`](crate::store::Store::settle), the delivery is ready again, with the same attempt number.
#[derive(Debug)]
pub struct Lease {
    pub(super) queue: Arc<QueueShared>,
    pub(super) entry: Entry,
    pub(super) body: Body,
    pub(super) open: bool,
}

impl Lease {
    /// The event to deliver.
    #[must_use]
    pub fn event(&self) -> &Arc<Event> {
        &self.body.event
    }

    /// The number of the attempt to make, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.entry.attempted().attempts
    }

    /// The number of the attempt, counted since the schedule began (differs after a replay).
    #[must_use]
    pub fn schedule_attempt(&self) -> u32 {
        self.entry.attempted().schedule_attempts
    }

    /// When its schedule began: when the delivery was accepted, replayed, or no longer blocked.
    #[must_use]
    pub fn schedule_began(&self) -> Timestamp {
        self.entry.since
    }

    pub(in crate::store) fn entry(&self) -> Entry {
        self.entry
    }

    pub(in crate::store) fn queue(&self) -> &Arc<QueueShared> {
        &self.queue
    }

    /// Ends the lease without giving the delivery back: its outcome is on the way.
    pub(in crate::store) fn close(mut self) {
        self.open = false;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.open {
            let (entry, body) = (self.entry, Arc::clone(&self.body));
            self.queue.step(|state| state.give_back(entry, body));
        }
    }
}
