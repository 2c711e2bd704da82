//! How a queue stands: figures for gauges and for those who ask.

use std::mem;
use std::sync::atomic::Ordering;

use super::Queue;
use crate::domain::{EventId, Flow, Timestamp};

/// Figures of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Deliveries pending, those in flight included.
    pub pending: u64,
    /// Bytes of their bodies.
    pub pending_bytes: u64,
    /// Dead letters.
    pub dead: u64,
    /// Deliveries cancelled while they were pending, since the store was opened, by whatever verb or for being removed for
    /// too long. Dead letters that were cancelled are not among them: they had ended before.
    pub cancelled: u64,
    /// Leases out.
    pub in_flight: u64,
    /// Pending ones behind a dead one that blocks them.
    pub blocked: u64,
    /// When the oldest pending one was accepted. Of deliveries that are only in the book as of the last
    /// [`Store::publish`](crate::store::Store::publish).
    pub oldest_accepted_at: Option<Timestamp>,
    /// What the lane does with deliveries that are due.
    pub flow: Flow,
    /// When the next attempt may begin, as far as time decides that; None: nothing waits for a time.
    pub next_attempt_at: Option<Timestamp>,
}

impl Queue {
    /// The events whose delivery is dead since the last call because they cannot be read; no lane knows of them.
    #[must_use]
    pub fn take_unreadable(&self) -> Vec<EventId> {
        mem::take(&mut self.0.counters.unreadable.lock())
    }

    /// Figures for gauges.
    #[must_use]
    pub fn counts(&self) -> QueueCounts {
        let counters = &self.0.counters;
        let pending = counters.pending.load(Ordering::Relaxed);
        let flow = self.flow();
        let now = self.0.hub.clock.steady();
        let (in_flight, oldest_accepted_at, blocked, next_due) = {
            let locked = self.0.lock();
            let state = &locked.state;
            let outlook = state.outlook(now, pending);
            let next_due = match outlook.is_ready {
                true => Some(now),
                false => outlook.next_due,
            };
            (state.in_flight(), state.oldest(), outlook.blocked, next_due)
        };
        QueueCounts {
            pending,
            pending_bytes: counters.pending_bytes.load(Ordering::Relaxed),
            dead: counters.dead.load(Ordering::Relaxed),
            cancelled: counters.cancelled.load(Ordering::Relaxed),
            in_flight: u64::try_from(in_flight).unwrap_or(u64::MAX),
            blocked,
            oldest_accepted_at: oldest_accepted_at.filter(|_| pending > 0),
            flow,
            next_attempt_at: next_due
                .filter(|_| flow != Flow::Held)
                .map(|due| due.max(flow.opens_at().unwrap_or(due))),
        }
    }
}
