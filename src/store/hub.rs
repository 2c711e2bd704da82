//! What the parts of the store share: the clock, the budget, the inboxes of its threads, and whether it has failed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::Notify;

use crate::domain::Clock;
use crate::store::book::Inbox as BookInbox;
use crate::store::budget::Budget;
use crate::store::damaged::Damaged;
use crate::store::error::StoreError;
use crate::store::history::Inbox as HistoryInbox;
use crate::store::in_place::InPlace;
use crate::store::pump::Completions;
use crate::store::queue::{Bounds, QueueShared, QueueState};
use crate::store::reader::Inbox as ReaderInbox;
use crate::store::reserve::Room;
use crate::store::watch::Watchers;

/// Shared by handles, queues and threads. Holds no thread and no file, so it may outlive the store.
pub(super) struct Hub {
    pub(super) bounds: Bounds,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) budget: Arc<Budget>,
    pub(super) failure: Failure,
    pub(super) book: BookInbox,
    pub(super) reader: ReaderInbox,
    pub(super) history: HistoryInbox,
    pub(super) completions: Completions,
    /// What outcomes and the book have when the disk is full.
    pub(super) reserve: Arc<dyn Room>,
    pub(super) in_place: Arc<InPlace>,
    /// Every queue there is, to be told when the book was written anew.
    pub(super) queues: Mutex<Vec<Weak<QueueShared>>>,
    /// An event was refused because the disk is full.
    pub(super) space_wanted: Notify,
    /// Bytes of bodies pending, those of one event once for each subscription.
    pub(super) pending_bytes: Arc<AtomicU64>,
    pub(super) watchers: Watchers,
    /// Deliveries whose event is damaged.
    pub(super) damaged: Damaged,
}

impl Hub {
    pub(super) fn new(
        bounds: Bounds,
        clock: Arc<dyn Clock>,
        memory_budget: usize,
        reserve: Arc<dyn Room>,
    ) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            clock,
            budget: Arc::new(Budget::new(memory_budget)),
            failure: Failure::default(),
            book: BookInbox::default(),
            reader: ReaderInbox::default(),
            history: HistoryInbox::default(),
            completions: Completions::default(),
            reserve,
            in_place: Arc::default(),
            queues: Mutex::default(),
            space_wanted: Notify::new(),
            pending_bytes: Arc::default(),
            watchers: Watchers::default(),
            damaged: Damaged::default(),
        })
    }

    /// Bytes of bodies pending, those of one event once for each subscription.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    /// Lets every queue read again what it has in memory: the book was damaged, and what it said may have been wrong.
    pub(super) fn reread(&self) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| queue.strong_count() > 0);
        for queue in queues.iter().filter_map(Weak::upgrade) {
            queue.step(QueueState::reread);
        }
    }

    /// Fails the store, unless it has failed before.
    pub(super) fn fail(&self, error: StoreError) {
        self.failure.set(error);
        self.completions.wake();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// Whether and why the store has failed. The first reason stays.
#[derive(Debug, Default)]
pub(super) struct Failure {
    reason: OnceLock<StoreError>,
    raised: Notify,
}

impl Failure {
    fn set(&self, error: StoreError) {
        if self.reason.set(error).is_ok() {
            self.raised.notify_waiters();
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.reason.get().is_some()
    }

    pub(super) fn get(&self) -> Option<StoreError> {
        self.reason.get().cloned()
    }

    /// The reason; that of a store which was closed if it has not failed.
    pub(super) fn reason(&self) -> StoreError {
        self.get().unwrap_or(StoreError::Closed)
    }

    /// Resolves when the store has failed.
    pub(super) async fn raised(&self) -> StoreError {
        loop {
            let raised = self.raised.notified();
            if let Some(reason) = self.get() {
                return reason;
            }
            raised.await;
        }
    }
}
