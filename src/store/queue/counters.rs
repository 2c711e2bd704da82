//! Figures of one queue that can be read at once, without the index.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::domain::{DeadReason, EventId};

/// Live figures, ahead of the index: they count accepted events before these are committed.
#[derive(Debug, Default)]
pub(in crate::store) struct Counters {
    pub(super) pending: AtomicU64,
    pub(super) pending_bytes: AtomicU64,
    pub(super) dead: AtomicU64,
    /// Deliveries that were cancelled while they were pending, since the store was opened.
    pub(super) cancelled: AtomicU64,
    /// Events that could not be read, not yet taken by [`Queue::take_unreadable`](super::Queue::take_unreadable).
    pub(super) unreadable: Mutex<Vec<EventId>>,
    /// Bytes pending of all subscriptions.
    total: Arc<AtomicU64>,
}

/// Subtracts, not below 0: a wrong figure must not wrap around to one that refuses every event.
fn lower(figure: &AtomicU64, by: u64) {
    let less = |value: u64| Some(value.saturating_sub(by));
    let before = figure.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    if before.is_ok_and(|before| before < by) {
        tracing::error!("a figure of the store is wrong until the next start");
    }
}

impl Counters {
    /// Starts from these figures, and adds the pending bytes to `total`.
    pub(in crate::store) fn new(
        pending: u64,
        pending_bytes: u64,
        dead: u64,
        total: &Arc<AtomicU64>,
    ) -> Self {
        total.fetch_add(pending_bytes, Ordering::Relaxed);
        Self {
            pending: AtomicU64::new(pending),
            pending_bytes: AtomicU64::new(pending_bytes),
            dead: AtomicU64::new(dead),
            cancelled: AtomicU64::new(0),
            unreadable: Mutex::default(),
            total: Arc::clone(total),
        }
    }

    /// Counts a delivery as pending, or as dead if more than `max_pending` bytes would be pending. Called under the
    /// intake's lock, so that nothing comes between the check and the count.
    pub(in crate::store) fn reserve(&self, bytes: u64, max_pending: u64) -> Option<DeadReason> {
        let pending = self.pending_bytes.load(Ordering::Relaxed);
        if pending.saturating_add(bytes) > max_pending {
            self.dead.fetch_add(1, Ordering::Relaxed);
            return Some(DeadReason::Overflow);
        }
        self.begin(bytes);
        None
    }

    /// Reverts the count of a delivery that was not accepted after all.
    pub(in crate::store) fn undo(&self, bytes: u64, dead: bool) {
        if dead {
            lower(&self.dead, 1);
        } else {
            self.end(bytes);
        }
    }

    /// Counts a delivery as no longer pending.
    pub(in crate::store) fn end(&self, bytes: u64) {
        self.end_many(1, bytes);
    }

    /// Counts deliveries as no longer pending.
    fn end_many(&self, count: u64, bytes: u64) {
        lower(&self.pending, count);
        lower(&self.pending_bytes, bytes);
        lower(&self.total, bytes);
    }

    /// Counts pending deliveries as cancelled.
    pub(in crate::store) fn cancel(&self, count: u64, bytes: u64) {
        self.end_many(count, bytes);
        self.cancelled.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a pending delivery, whose event cannot be read, as dead.
    pub(in crate::store) fn give_up(&self, bytes: u64, event: EventId) {
        self.end(bytes);
        self.dead.fetch_add(1, Ordering::Relaxed);
        self.unreadable.lock().push(event);
    }

    /// Counts a delivery as pending.
    pub(in crate::store) fn begin(&self, bytes: u64) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts deliveries as no longer dead.
    pub(in crate::store) fn bury(&self, count: u64) {
        lower(&self.dead, count);
    }
}
