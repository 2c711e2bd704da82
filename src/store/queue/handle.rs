//! The handle of a queue: its lane takes deliveries from it; others read its figures.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::lease::Lease;
use super::shared::QueueShared;
use crate::domain::{EventId, Flow, Order, Timestamp, WhenStuck};

/// Figures of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Deliveries pending, those in flight included.
    pub pending: u64,
    /// Bytes of their bodies.
    pub pending_bytes: u64,
    /// Dead letters.
    pub dead: u64,
    /// Deliveries cancelled while they were pending, since the store was opened, by any operation or because their
    /// subscription was removed too long ago. Cancelled dead letters do not count: they had ended before.
    pub cancelled: u64,
    /// Deliveries that are leased.
    pub in_flight: u64,
    /// Pending deliveries behind a dead one that blocks them.
    pub blocked: u64,
    /// When the oldest pending one was accepted. For deliveries that are only in the index, as of the last
    /// [`Store::publish`](crate::store::Store::publish).
    pub oldest_accepted_at: Option<Timestamp>,
    /// How the lane treats deliveries that are due.
    pub flow: Flow,
    /// When the next attempt may begin, as far as time decides that; `None` if nothing waits for a time.
    pub next_attempt_at: Option<Timestamp>,
}

/// The pending deliveries of one subscription: a cheap handle, meant for one lane.
#[derive(Debug, Clone)]
pub struct Queue(pub(in crate::store) Arc<QueueShared>);

impl Queue {
    /// Takes up to `credit` deliveries that are ready, due retries first, otherwise in order of acceptance. Never
    /// blocks; returns nothing once the store has failed. Events that are only on the disk are fetched ahead, about
    /// twice as many as `credit`.
    pub fn take(&self, credit: usize, leases: &mut Vec<Lease>) {
        if self.0.dispatcher.failure.is_set() {
            return;
        }
        let now = self.0.dispatcher.clock.steady();
        let wants = {
            let mut locked = self.0.lock();
            locked.state.take(now, credit, |entry, body| {
                leases.push(Lease {
                    queue: Arc::clone(&self.0),
                    entry,
                    body,
                    open: true,
                });
            });
            locked.state.wants()
        };
        self.0.ask(wants);
    }

    /// Resolves when `take` would return something; never once the store has failed.
    ///
    /// # Cancel safety
    /// Cancel safe. Of several waiters of one queue only one is woken at a time.
    pub async fn ready(&self) {
        loop {
            if self.0.dispatcher.failure.is_set() {
                return std::future::pending().await;
            }
            let (ready, due, wants) = {
                let now = self.0.dispatcher.clock.steady();
                let mut locked = self.0.lock();
                let ready = locked.state.is_ready(now);
                locked.waiting = !ready;
                let due = locked.state.next_due().map(|at| at.since(now));
                (ready, due, locked.state.wants())
            };
            self.0.ask(wants);
            if ready {
                return;
            }
            match due {
                None => self.0.changed.notified().await,
                Some(pause) => {
                    tokio::select! {
                        () = self.0.changed.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// Whether its deliveries are held, according to the state last set.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.held.load(Ordering::Relaxed)
    }

    /// How its lane treats deliveries that are due; [`Flow::Held`] according to the state last set.
    #[must_use]
    pub fn flow(&self) -> Flow {
        match self.is_held() {
            true => Flow::Held,
            false => *self.0.flow(),
        }
    }

    /// Sets how deliveries wait for each other. A different order takes effect once the deliveries in flight have
    /// ended; nothing is taken until then. Order by key applies to deliveries accepted from now on.
    pub fn set_order(&self, order: Order, when_stuck: WhenStuck) {
        self.0.keyed.store(order == Order::Key, Ordering::Relaxed);
        self.0.step(|state| state.set_order(order, when_stuck));
    }

    /// Sets what the lane does with deliveries that are due, and whether it attempts nothing for now, so that no
    /// request waits in vain. Must be called by the lane before it takes anything.
    pub fn set_flow(&self, flow: Flow, stalled: bool) {
        *self.0.flow() = flow;
        if self.0.stalled.load(Ordering::Relaxed) == stalled {
            return;
        }
        self.0.stalled.store(stalled, Ordering::Release);
        if stalled {
            let locked = self.0.lock();
            let in_flight = |seq| locked.state.is_in_flight(seq);
            self.0.dispatcher.watchers.stalled(self.0.number, in_flight);
        }
    }

    /// The events whose delivery died since the last call because they cannot be read; no lane attempted them.
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
        let now = self.0.dispatcher.clock.steady();
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
