//! The handle of a store: passes each call to the part that does it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::domain::{Clock, DeliveryId, Next, Outcome, SubscriptionName, SubscriptionNumber};
use crate::metrics::StoreMetrics;
use crate::store::appender::Health;
use crate::store::batch::{NewEvent, Receipt};
use crate::store::error::{AcceptError, OperationError, StoreError};
use crate::store::gauges::DiskUse;
use crate::store::history::History;
use crate::store::journal;
use crate::store::open::{self, Parts};
use crate::store::options::StoreOptions;
use crate::store::purpose::Purpose;
use crate::store::queue::{Bounds, Lease, Queue};
use crate::store::replays::Replays;
use crate::store::state::SubscriptionState;
use crate::store::watch::Watch;

/// The store: a cheap handle.
#[derive(Clone)]
pub struct Store(pub(super) Arc<Parts>);

impl Store {
    /// Opens or makes the store and recovers it. Blocks, for long only when the index must be rebuilt.
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
        let parts = open::open(options, clock, metrics, sizes)?;
        Ok(Self(Arc::new(parts)))
    }

    /// An id that distinguishes this store from others, 16 hex digits: see [`instance`](crate::store::instance()).
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.0.instance
    }

    /// Hands commits on to waiting callers and to the queues, runs bulk replays, and removes old data. Must run as one
    /// task for as long as the store is used; ends when the store is closed.
    ///
    /// # Errors
    /// Ends with the reason when the store fails.
    ///
    /// # Cancel safety
    /// When dropped, commits are no longer reported; nothing is lost.
    pub async fn run(&self) -> Result<(), StoreError> {
        tokio::select! {
            ended = self.0.hand_on() => ended,
            never = self.0.cleaner.retain() => match never {},
        }
    }

    /// The number of a subscription name; a new one becomes durable with the first event that has it.
    #[must_use]
    pub fn subscription(&self, name: &SubscriptionName) -> SubscriptionNumber {
        self.0.subscriptions.number(name)
    }

    /// The number of a name that the store has ever had; `None` for any other.
    #[must_use]
    pub fn known(&self, name: &SubscriptionName) -> Option<SubscriptionNumber> {
        let names = self.0.subscriptions.read();
        names.number(name)
    }

    /// Every name the store has ever had, with its number.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<(SubscriptionName, SubscriptionNumber)> {
        let names = self.0.subscriptions.read();
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
        let (receipts, _) = self.0.accepting.accept(events, Purpose::Posted).await?;
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
        self.0.accepting.accept(events, Purpose::Watched).await
    }

    /// As [`Store::accept`], for notifications of operators: not refused when the limit of pending bytes is reached,
    /// nor when the disk is full, since it then uses the reserve, as outcomes do. So keep them few and small.
    ///
    /// # Errors
    /// As for [`Store::accept`], but neither `Full` nor `Pending`.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo the acceptance.
    pub async fn accept_alerts(&self, events: Vec<NewEvent>) -> Result<Vec<Receipt>, AcceptError> {
        let (receipts, _) = self.0.accepting.accept(events, Purpose::Alert).await?;
        Ok(receipts)
    }

    /// How often events were refused for lack of room, [`AcceptError::Full`] or [`AcceptError::Pending`], since the
    /// store was opened.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.accepting.refused.load(Ordering::Relaxed)
    }

    /// The queue of one subscription; an empty one for a number that belongs to no name.
    #[must_use]
    pub fn queue(&self, subscription: SubscriptionNumber) -> Queue {
        Queue(self.0.subscriptions.queue(subscription))
    }

    /// Records how an attempt ended; the record is queued when this returns, written when the future resolves.
    /// `urgent`: a lane waits for the slot, so it is written at once instead of within 2 ms.
    ///
    /// # Errors
    /// The future resolves to an error when the store has failed; the outcome may then be lost.
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
        self.0.outcomes.settle(lease, outcome, next, urgent)
    }

    /// The run-time state of a subscription, as last set.
    #[must_use]
    pub fn state(&self, subscription: SubscriptionNumber) -> SubscriptionState {
        let names = self.0.subscriptions.read();
        names
            .get(subscription)
            .map(|known| known.state.clone())
            .unwrap_or_default()
    }

    /// Records the run-time state of a subscription; synced with the next commit, within 100 ms. While the disk is
    /// full it is kept and tried again.
    pub fn set_state(&self, subscription: SubscriptionNumber, state: SubscriptionState) {
        self.0.subscriptions.set_state(subscription, state);
    }

    /// Makes a delivery pending again, with a fresh schedule, or, if it is pending, due now. Resolves when that is
    /// durable.
    ///
    /// # Errors
    /// [`OperationError`]; nothing was changed then.
    ///
    /// # Cancel safety
    /// Dropped, it may still happen.
    pub async fn replay(&self, id: &DeliveryId) -> Result<(), OperationError> {
        self.0.operations.replay(id).await
    }

    /// Cancels a pending or dead delivery; one that is cancelled stays so. Resolves when that is durable.
    ///
    /// # Errors
    /// [`OperationError`]; nothing was changed then.
    ///
    /// # Cancel safety
    /// Dropped, it may still happen.
    pub async fn cancel(&self, id: &DeliveryId) -> Result<(), OperationError> {
        self.0.operations.cancel(id).await
    }

    /// Cancels all deliveries of a subscription that are pending now; returns how many. Meant for a subscription that
    /// is disabled or gone from the file. Resolves when that is durable.
    ///
    /// # Errors
    /// [`OperationError`], `InFlight` if an attempt of any is in flight; nothing was changed then.
    ///
    /// # Cancel safety
    /// Dropped, it may still happen.
    pub async fn cancel_all(
        &self,
        subscription: SubscriptionNumber,
    ) -> Result<u64, OperationError> {
        self.0.operations.cancel_all(subscription).await
    }

    /// Whether writes work and the disk has room.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.appender.health()
    }

    /// The store's use of its disk. Asks the file system.
    #[must_use]
    pub fn disk_use(&self) -> DiskUse {
        self.0.gauges.disk_use()
    }

    /// Refreshes the gauges of `StoreMetrics`, and the queues' figures of the oldest deliveries in the index.
    pub fn publish(&self) {
        self.0.gauges.publish();
    }

    /// Resolves when the store has failed; never otherwise.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn failed(&self) -> StoreError {
        self.0.appender.failure.raised().await
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

    /// Queries for events, deliveries and attempts.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// Bulk replays.
    #[must_use]
    pub fn replays(&self) -> &Replays {
        &self.0.replays
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
