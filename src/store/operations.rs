//! Operations on deliveries: replay and cancel, of one or of all of a subscription.
//!
//! An operation waits for its turn and claims the delivery, so that no attempt of it begins. It looks the delivery up
//! in the index, which is then up to date, and appends a record. The rest is done by [`Changes`].

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::domain::{
    Clock, DeliveryId, DeliveryState, EventId, EventSeq, SubscriptionName, SubscriptionNumber,
    Timestamp,
};
use crate::store::OperationError;
use crate::store::changes::{Change, Changes, Claim};
use crate::store::completions::Token;
use crate::store::entry::Entry;
use crate::store::index::rows::DeliveryRow;
use crate::store::index::{Inbox as IndexInbox, find};
use crate::store::journal::Durability;
use crate::store::queue::QueueShared;
use crate::store::record::Record;
use crate::store::subscriptions::Subscriptions;

/// The record and the change that make a pending delivery, which was due at `due`, due now; its schedule goes on.
pub(super) fn hastened(
    subscription: SubscriptionNumber,
    entry: Entry,
    due: Timestamp,
    now: Timestamp,
) -> (Record, Change) {
    let record = requeued_record(subscription, &entry, false, now);
    let change = Change::Hastened {
        entry,
        due,
        at: now,
    };
    (record, change)
}

/// The record and the change that make a delivery pending again, with a fresh schedule.
pub(super) fn requeued(
    subscription: SubscriptionNumber,
    entry: Entry,
    was_dead: bool,
    now: Timestamp,
) -> (Record, Change) {
    let record = requeued_record(subscription, &entry, true, now);
    let entry = Entry {
        since: now,
        schedule_attempts: 0,
        ..entry
    };
    let change = Change::Requeued {
        entry,
        at: now,
        was_dead,
    };
    (record, change)
}

fn requeued_record(
    subscription: SubscriptionNumber,
    entry: &Entry,
    fresh: bool,
    now: Timestamp,
) -> Record {
    Record::Requeued {
        seq: entry.seq,
        subscription,
        at: now,
        attempts: entry.attempts,
        fresh,
    }
}

/// The decision of an operation: a record and a change, or `None` if there is nothing to do.
type Decision = Option<(Record, Change)>;

/// Carries out operations.
pub(super) struct Operations {
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) index: Arc<IndexInbox>,
    pub(super) clock: Arc<dyn Clock>,
    /// Held by the operation whose turn it is.
    pub(super) turns: Arc<Mutex<()>>,
}

impl Operations {
    /// See [`Store::replay`](crate::store::Store::replay).
    pub(super) async fn replay(&self, id: &DeliveryId) -> Result<(), OperationError> {
        let now = self.clock.steady();
        self.change(id, |subscription, found| {
            if self.subscriptions.is_held(&id.subscription) {
                return Err(OperationError::Disabled);
            }
            let entry = found.entry;
            Ok(match (found.state, found.due_at) {
                // It already waits only for its turn.
                (DeliveryState::Pending, None) => None,
                (DeliveryState::Pending, Some(due)) => {
                    Some(hastened(subscription, entry, due, now))
                }
                (state, _) => {
                    let was_dead = state == DeliveryState::Dead;
                    Some(requeued(subscription, entry, was_dead, now))
                }
            })
        })
        .await
    }

    /// See [`Store::cancel`](crate::store::Store::cancel).
    pub(super) async fn cancel(&self, id: &DeliveryId) -> Result<(), OperationError> {
        let at = self.clock.steady();
        self.change(id, |subscription, found| {
            let entry = found.entry;
            let record = Record::Cancelled {
                seq: entry.seq,
                subscription,
                at,
            };
            match found.state {
                DeliveryState::Pending => Ok(Some((record, Change::Cancelled(entry)))),
                DeliveryState::Dead => Ok(Some((record, Change::Buried(entry)))),
                DeliveryState::Cancelled => Ok(None),
                DeliveryState::Delivered => Err(OperationError::Delivered),
            }
        })
        .await
    }

    /// See [`Store::cancel_all`](crate::store::Store::cancel_all).
    pub(super) async fn cancel_all(
        &self,
        subscription: SubscriptionNumber,
    ) -> Result<u64, OperationError> {
        let turn = self.turn().await;
        let queue = self.subscriptions.known_queue(subscription);
        let queue = queue.ok_or(OperationError::Unknown)?;
        let claim = Claim::all(&queue).ok_or(OperationError::InFlight)?;
        let (upto, count, bytes) = self
            .ask(move |index| find::pending_of(index, subscription))
            .await?;
        if count == 0 {
            return Ok(0);
        }
        let at = self.clock.steady();
        let record = Record::CancelledAll {
            subscription,
            upto,
            at,
        };
        let change = Change::AllCancelled { count, bytes };
        self.carry_out(turn, vec![record], vec![(queue, change)], vec![claim])
            .await?;
        Ok(count)
    }

    /// Changes one delivery as `decide` decides, given its row in the index.
    async fn change(
        &self,
        id: &DeliveryId,
        decide: impl FnOnce(SubscriptionNumber, DeliveryRow) -> Result<Decision, OperationError>,
    ) -> Result<(), OperationError> {
        let turn = self.turn().await;
        let queue = self.queue_of(&id.subscription)?;
        let number = queue.number;
        let seq = self.seq_of(id.event).await?;
        let claim = Claim::one(&queue, seq).ok_or(OperationError::InFlight)?;
        let found = self
            .ask(move |index| find::delivery(index, number, seq))
            .await?;
        let found = found.ok_or(OperationError::Unknown)?;
        let Some((record, change)) = decide(number, found)? else {
            return Ok(());
        };
        self.carry_out(turn, vec![record], vec![(queue, change)], vec![claim])
            .await
    }

    /// Appends records with their changes; resolves when all is done.
    pub(super) async fn carry_out(
        &self,
        turn: OwnedMutexGuard<()>,
        records: Vec<Record>,
        changes: Vec<(Arc<QueueShared>, Change)>,
        claims: Vec<Claim>,
    ) -> Result<(), OperationError> {
        let done = self.launch(turn, &records, changes, claims)?;
        self.landed(done).await
    }

    /// Appends records with their changes; the receiver resolves when all is done.
    pub(super) fn launch(
        &self,
        turn: OwnedMutexGuard<()>,
        records: &[Record],
        changes: Vec<(Arc<QueueShared>, Change)>,
        claims: Vec<Claim>,
    ) -> Result<oneshot::Receiver<()>, OperationError> {
        let moved = records.iter().filter_map(|record| match record {
            Record::Moved(moved) => Some(moved.accepted.seq),
            _ => None,
        });
        let (reply, done) = oneshot::channel();
        let changes = Changes {
            changes,
            claims,
            moved: moved.collect(),
            now: self.clock.steady(),
            turn,
            reply,
        };
        let token = Token::Changed(Box::new(changes));
        let journal = &self.subscriptions.appender.journal;
        journal
            .append_now(records, Durability::SyncOutcome, token)
            .map_err(|error| OperationError::of_append(&error))?;
        Ok(done)
    }

    /// Waits until a launched operation is done.
    pub(super) async fn landed(&self, done: oneshot::Receiver<()>) -> Result<(), OperationError> {
        done.await
            .map_err(|_| OperationError::Failed(self.subscriptions.appender.failure.reason()))
    }

    /// Waits for the turn of an operation.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turns).lock_owned().await
    }

    /// Queries the index, once it has everything that is committed.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OperationError> {
        let answer = self.index.ask(ask);
        answer
            .await
            .map_err(|_| OperationError::Failed(self.subscriptions.appender.failure.reason()))
    }

    pub(super) fn queue_of(
        &self,
        name: &SubscriptionName,
    ) -> Result<Arc<QueueShared>, OperationError> {
        self.subscriptions
            .queue_of(name)
            .ok_or(OperationError::Unknown)
    }

    async fn seq_of(&self, id: EventId) -> Result<EventSeq, OperationError> {
        let found = self.ask(move |index| find::seq_of(index, id)).await?;
        found.ok_or(OperationError::Unknown)
    }
}

#[cfg(test)]
#[path = "operations_tests.rs"]
mod tests;
