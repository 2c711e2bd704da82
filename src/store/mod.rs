//! The durable store. One handle: accept events, take deliveries, settle attempts.
//!
//! **The journal is the truth, the book is a view that reads the journal, queues are windows over the book.**
//!
//! - [`accept`](Store::accept) gives events their place in the order and appends them to the journal; it resolves when
//!   they are on the disk. Its thread lays down what it wrote, and one task ([`Store::run`]) hands it on.
//! - A queue keeps what may be attempted now or soon in memory: deliveries just committed come with their event, others
//!   are asked of the book and read back from the journal by a thread of their own.
//! - [`settle`](Store::settle) appends the outcome of an attempt; its consequence is visible when it is written.
//! - The book follows the journal in its thread. The plain case, delivered at the first attempt, touches the journal
//!   and memory only; the book hears of it later and nobody waits for it.
//! - Queries read the book in a thread of their own (`history/`).
//!
//! In the folder: `lock`, `journal/`, `book.sqlite3`, `reserve`. One process holds it at a time.
//!
//! Left to others: what to attempt and when (delivery), which subscriptions an event is for (matching).
//!
//! Invariants: no receipt before the event and its deliveries are durable; what was not durable is never leased; a
//! delivery has at most one lease; memory does not grow with what is pending.

mod accept;
mod book;
mod budget;
mod changes;
mod check;
mod damaged;
mod dedup;
mod error;
mod folder;
mod gauges;
mod history;
mod hub;
mod in_place;
mod journal;
mod lock;
mod names;
mod offer;
mod open;
mod pump;
mod purpose;
mod queue;
mod reader;
mod record;
mod replays;
mod reserve;
mod retention;
mod settle;
mod verbs;
mod watch;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use accept::Intake;
pub use check::{BookState, StoreReport, SubscriptionReport, check};
use dedup::DedupKey;
pub use error::{AcceptError, StoreError, VerbError};
pub use folder::{FolderState, examine, instance};
pub use gauges::DiskUse;
pub use history::{
    Attempt, AttemptFilter, AttemptView, DeliveryFilter, DeliverySummary, DeliveryView,
    EventFilter, EventSummary, EventView, LastFailure, Listing, PAGE_MAX, Page, Predecessor,
    QueryError, SuccessRate, Tally,
};
use hub::Hub;
use journal::Journal;
use lock::FolderLock;
use names::{Known, Names};
use pump::Token;
use purpose::Purpose;
use queue::{Bounds, Counters, QueueShared};
pub use queue::{Lease, Queue, QueueCounts};
use replays::Replays;
pub use replays::{ReplayId, ReplayProgress, ReplayRequest, ReplaysState};
pub use retention::Retention;
pub use watch::{FirstAttempt, Watch};

use crate::domain::{
    Clock, DeliveryId, DisabledReason, Event, EventId, Next, Outcome, Status, SubscriptionName,
    SubscriptionNumber, Timestamp,
};
use crate::metrics::StoreMetrics;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder; made when absent (0700).
    pub path: PathBuf,
    /// How long a given id is remembered.
    pub dedup_window: Duration,
    /// How many given ids are remembered at most; 17 bytes of memory each.
    pub dedup_max: usize,
    /// Bytes of memory for bodies and windows, all queues together.
    pub memory_budget: usize,
    /// Bytes of bodies that may be pending, those of one event once for each subscription; above it no event is accepted.
    pub max_pending: u64,
    /// What is kept, and for how long.
    pub retention: Retention,
    /// Events are accepted when they are written, and synced within a second: a power cut may lose those.
    pub relaxed: bool,
}

/// An event to accept, with the subscriptions it is for.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The event; its id and accepted_at are already set.
    pub event: Event,
    /// The deliveries to make.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery to make.
#[derive(Debug, Clone, Copy)]
pub struct NewDelivery {
    /// For which subscription.
    pub subscription: SubscriptionNumber,
    /// Bytes that may be pending of this subscription; beyond it the delivery is dead at once, reason `overflow`.
    pub max_pending: u64,
}

/// What became of an event that was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its id, of the first one for a duplicate.
    pub id: EventId,
    /// How many deliveries it has.
    pub deliveries: usize,
    /// It was accepted before.
    pub duplicate: bool,
    /// Deliveries that are dead because `max_pending` was reached; none for a duplicate.
    pub overflowed: Vec<SubscriptionNumber>,
}

/// Whether writes work: `store_healthy`, `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Healthy,
    /// It works, but the disk is full: no new events.
    Full,
    /// A write or sync failed.
    Failed,
}

/// Run-time state of a subscription that outlives a restart. Times are of the steady clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionState {
    /// Failed attempts since the last success.
    pub consecutive_failures: u32,
    /// When the first of them failed; none when there are none.
    pub first_failure_at: Option<Timestamp>,
    /// Deliveries that died since the last success.
    pub consecutive_dead: u32,
    /// Since when its deliveries are held (disabled or gone from the file).
    pub held_since: Option<Timestamp>,
    /// Disabled at run time, why and since when; never [`DisabledReason::Config`].
    pub disabled: Option<(DisabledReason, Timestamp)>,
    /// The file said `active: false` when it was last looked at.
    pub inactive: bool,
    /// Since when it is gone from the file.
    pub removed_at: Option<Timestamp>,
    /// A digest of the url that it last had in the file, 0 before there was one: another url enables it.
    pub endpoint: u64,
    /// Spans in which it was stopped (held, paused): not counted towards `max_age`. At most 32, oldest first; merged
    /// beyond.
    pub stops: Vec<(Timestamp, Timestamp)>,
    /// A digest of the definition that it last had in the file, 0 before there was one.
    pub definition: u64,
    /// When it was first seen in the file; none if an older version recorded this state, or it never was.
    pub created_at: Option<Timestamp>,
    /// When its definition changed last, or whether it is enabled; never before `created_at`.
    pub updated_at: Option<Timestamp>,
}

impl SubscriptionState {
    /// What it says about how the subscription stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let by_file = self.held_since.filter(|_| self.inactive);
        let by_file = by_file.map(|since| (DisabledReason::Config, since));
        Status {
            disabled: by_file.or(self.disabled),
            consecutive_failures: self.consecutive_failures,
        }
    }
}

/// The store: a cheap handle.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// What all handles share.
struct Inner {
    hub: Arc<Hub>,
    journal: Arc<Journal<Token>>,
    intake: Mutex<Intake>,
    /// Verbs take turns.
    verbs: Arc<tokio::sync::Mutex<()>>,
    /// Locked after `intake` by those who need both.
    names: RwLock<Names>,
    replays: Replays,
    /// What hashes of given ids and of keys are keyed with.
    key: DedupKey,
    retention: Retention,
    /// Bytes of bodies that may be pending.
    max_pending: u64,
    /// How often events were refused for want of room.
    refused: AtomicU64,
    opened_at: Timestamp,
    /// From this segment on, names and states of all subscriptions are told.
    standing_from: AtomicU32,
    counted: Mutex<retention::Counted>,
    /// The last segment that takes part in the rotation under way: see [`retention`].
    rotation_upto: AtomicU32,
    metrics: StoreMetrics,
    book_path: PathBuf,
    /// The journal's thread sleeps, and something was added.
    added: Notify,
    /// Some state of a subscription is not in the journal yet.
    unsaved_states: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// None once the store is closed.
    lock: Mutex<Option<FolderLock>>,
    /// See [`Store::instance`].
    instance: String,
}

impl Inner {
    /// Everything that [`Store::run`] does but for removing what is old.
    async fn hand_on(&self) -> Result<(), StoreError> {
        tokio::select! {
            ended = self.pump() => ended,
            never = self.wake_journal() => match never {},
            never = self.run_replays() => match never {},
        }
    }
}

impl Store {
    /// Opens or makes the store and recovers it. Blocks, for long only when the book must be written anew.
    ///
    /// Nothing is handed on until [`Store::run`] is polled.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be used, is in use, or holds a journal that is damaged beyond recovery or
    /// of a newer format.
    pub fn open(
        options: StoreOptions,
        clock: Arc<dyn Clock>,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let sizes = (Bounds::default(), journal::Bounds::STORE);
        Inner::open(options, clock, metrics, sizes).map(|inner| Self(Arc::new(inner)))
    }

    /// What tells this store from others, 16 hex digits: see [`instance`](instance()).
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.0.instance
    }

    /// Hands on what is committed, to those who wait and to the queues, and carries bulk replays on. To be run as one task for as long as the store
    /// is used; ends when the store is closed.
    ///
    /// # Errors
    /// Ends with the reason when the store fails.
    ///
    /// # Cancel safety
    /// When dropped, nobody is told of commits any more; nothing is lost.
    pub async fn run(&self) -> Result<(), StoreError> {
        tokio::select! {
            ended = self.0.hand_on() => ended,
            never = self.0.retain() => match never {},
        }
    }

    /// The number of a subscription name; a new one becomes durable with the first event that has it.
    #[must_use]
    pub fn subscription(&self, name: &SubscriptionName) -> SubscriptionNumber {
        let mut names = self.0.names.write();
        if let Some(number) = names.number(name) {
            return number;
        }
        let number = names.next();
        names.add(Known {
            name: name.clone(),
            queue: QueueShared::new(number, &self.0.hub, self.0.no_deliveries(), None),
            state: SubscriptionState::default(),
            named: false,
            saved: true,
        });
        number
    }

    /// The number of a name that the store has had; none for any other.
    #[must_use]
    pub fn known(&self, name: &SubscriptionName) -> Option<SubscriptionNumber> {
        let names = self.0.names.read();
        names.number(name)
    }

    /// Every name the store has ever had, with its number.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<(SubscriptionName, SubscriptionNumber)> {
        let names = self.0.names.read();
        names
            .iter()
            .map(|known| (known.name.clone(), known.queue.number))
            .collect()
    }

    /// Accepts a batch, all or none; resolves when it is durable.
    ///
    /// # Errors
    /// [`AcceptError`]; nothing of the batch was stored then, except that after `Failed` it may turn out to be.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo the acceptance.
    pub async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Receipt>, AcceptError> {
        let (receipts, _) = self.0.accept(events, Purpose::Posted).await?;
        Ok(receipts)
    }

    /// As [`Store::accept`], with a watch over the first attempts of what was new. No watch when everything was
    /// accepted before, or when too many deliveries are waited for already.
    ///
    /// # Errors
    /// As for [`Store::accept`].
    ///
    /// # Cancel safety
    /// Dropping the future does not undo the acceptance.
    pub async fn accept_watched(
        &self,
        events: Vec<NewEvent>,
    ) -> Result<(Vec<Receipt>, Option<Watch>), AcceptError> {
        self.0.accept(events, Purpose::Watched).await
    }

    /// As [`Store::accept`], for what operators are to be told: not refused when as much is pending as may be, nor when
    /// the disk is full, as it uses the reserve then like outcomes do. So it is to be little.
    ///
    /// # Errors
    /// As for [`Store::accept`], but neither `Full` nor `Pending`.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo the acceptance.
    pub async fn accept_notices(&self, events: Vec<NewEvent>) -> Result<Vec<Receipt>, AcceptError> {
        let (receipts, _) = self.0.accept(events, Purpose::Notice).await?;
        Ok(receipts)
    }

    /// How often events were refused for want of room, [`AcceptError::Full`] or [`AcceptError::Pending`], since it was
    /// opened.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// The queue of one subscription. Of a number that no name has, an empty one.
    #[must_use]
    pub fn queue(&self, subscription: SubscriptionNumber) -> Queue {
        let names = self.0.names.read();
        match names.get(subscription) {
            Some(known) => Queue(Arc::clone(&known.queue)),
            None => {
                let counters = self.0.no_deliveries();
                Queue(QueueShared::new(subscription, &self.0.hub, counters, None))
            }
        }
    }

    /// Records how an attempt ended; the record is queued when this returns, written when the future resolves.
    /// `urgent`: a lane waits for the slot, write at once instead of within 2 ms.
    ///
    /// # Errors
    /// The future resolves to an error when the store has failed: the outcome may be lost then.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo the record. If the journal had no room for it yet, the delivery is ready again.
    pub fn settle(
        &self,
        lease: Lease,
        outcome: Outcome,
        next: Next,
        urgent: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static + use<> {
        self.0.settle(lease, outcome, next, urgent)
    }

    /// The run-time state of a subscription, as last set.
    #[must_use]
    pub fn state(&self, subscription: SubscriptionNumber) -> SubscriptionState {
        let names = self.0.names.read();
        names
            .get(subscription)
            .map(|known| known.state.clone())
            .unwrap_or_default()
    }

    /// Records the run-time state of a subscription; synced with the next commit, within 100 ms. While the disk is
    /// full it is kept and tried again.
    pub fn set_state(&self, subscription: SubscriptionNumber, state: SubscriptionState) {
        self.0.set_state(subscription, state);
    }

    /// Makes a delivery pending again, with a fresh schedule, or, if it is pending, due now. Resolves when that is durable.
    ///
    /// # Errors
    /// [`VerbError`]; nothing was changed then.
    ///
    /// # Cancel safety
    /// Dropped, it may still happen.
    pub async fn replay(&self, id: &DeliveryId) -> Result<(), VerbError> {
        self.0.replay(id).await
    }

    /// Takes a pending or dead delivery back; one that is cancelled stays so. Resolves when that is durable.
    ///
    /// # Errors
    /// [`VerbError`]; nothing was changed then.
    ///
    /// # Cancel safety
    /// Dropped, it may still happen.
    pub async fn cancel(&self, id: &DeliveryId) -> Result<(), VerbError> {
        self.0.cancel(id).await
    }

    /// Takes all pending deliveries of a subscription back that were accepted until now; answers how many. Meant for
    /// one that is disabled or gone from the file.
    ///
    /// # Errors
    /// [`VerbError`], in flight if an attempt of any is; nothing was changed then.
    ///
    /// # Cancel safety
    /// Dropped, it may still happen.
    pub async fn cancel_all(&self, subscription: SubscriptionNumber) -> Result<u64, VerbError> {
        self.0.cancel_all(subscription).await
    }

    /// Whether writes work and the disk has room.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health()
    }

    /// What the store takes of its disk. Asks the file system.
    #[must_use]
    pub fn disk_use(&self) -> DiskUse {
        self.0.disk_use()
    }

    /// Refreshes the gauges of StoreMetrics, and what queues know of the oldest deliveries in the book.
    pub fn publish(&self) {
        self.0.publish();
    }

    /// Resolves when the store has failed; never otherwise.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn failed(&self) -> StoreError {
        self.0.hub.failure.raised().await
    }

    /// Syncs everything and ends the threads. Every lease must have been settled or dropped.
    ///
    /// # Errors
    /// Why the store has failed, if it has, or why the last sync did.
    ///
    /// # Cancel safety
    /// Dropped, it goes on by itself.
    pub async fn close(&self) -> Result<(), StoreError> {
        open::close(Arc::clone(&self.0)).await
    }
}

impl Inner {
    /// The counters of a queue that is empty.
    fn no_deliveries(&self) -> Counters {
        Counters::new(0, 0, 0, &self.hub.pending_bytes)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod harness;
#[cfg(test)]
mod in_place_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
