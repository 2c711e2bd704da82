//! Pending deliveries whose event is damaged on the disk: they are dead, reason `unreadable`, as what cannot be read can be
//! neither delivered nor copied, and would keep its segment and all behind it for ever.
//!
//! Only what provably cannot be read: bytes that could be read and whose checksum does not fit, and again a minute later.
//! Whatever else keeps an event from being read, such as an error of the disk, leaves its delivery pending.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::error;

use crate::domain::{
    AttemptStatus, DeadReason, EventSeq, Next, Outcome, SubscriptionNumber, Timestamp,
};
use crate::store::book::{Found, Standing, find};
use crate::store::changes::{Change, Claim};
use crate::store::journal::{JournalError, Place};
use crate::store::reader::ReadJob;
use crate::store::record::{Accepted, Attempted, Record};
use crate::store::{Inner, VerbError};

/// How long after the first look the second one is.
const PAUSE: Duration = Duration::from_secs(60);
/// How many deliveries are remembered; others are found again when they are read the next time.
const FOUND_MAX: usize = 10_000;
/// What is shown of the attempt that could not be made.
const MESSAGE: &str = "the event is damaged on the disk and cannot be read";

type Key = (SubscriptionNumber, EventSeq);

/// Deliveries whose event was found damaged, and when.
#[derive(Debug, Default)]
pub(super) struct Damaged(Mutex<HashMap<Key, Timestamp>>);

impl Damaged {
    /// Notes that the event of a delivery is damaged.
    pub(super) fn found(&self, key: Key, now: Timestamp) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() < FOUND_MAX {
            found.entry(key).or_insert(now);
        }
    }

    /// Takes those that were found long enough ago.
    fn due(&self, now: Timestamp) -> Vec<Key> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = found.extract_if(|_, at| now.since(*at) >= PAUSE);
        due.map(|(key, _)| key).collect()
    }
}

impl Inner {
    /// Gives up what was found damaged and still is.
    pub(super) async fn give_up_damaged(&self) -> Result<(), VerbError> {
        for (number, seq) in self.hub.damaged.due(self.hub.clock.steady()) {
            self.give_up_if_damaged(number, seq).await?;
        }
        Ok(())
    }

    async fn give_up_if_damaged(
        &self,
        number: SubscriptionNumber,
        seq: EventSeq,
    ) -> Result<(), VerbError> {
        let turn = self.turn().await;
        let queue = {
            let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
            names.get(number).map(|known| Arc::clone(&known.queue))
        };
        // One that is in flight was read meanwhile.
        let Some(queue) = queue else { return Ok(()) };
        let Some(claim) = Claim::one(&queue, seq) else {
            return Ok(());
        };
        if queue.step(|state| state.has_event(seq)) {
            // It can be delivered all the same.
            return Ok(());
        }
        let look = move |book: &rusqlite::Connection| {
            let event = find::event_row(book, seq)?;
            Ok((
                find::delivery(book, number, seq)?,
                event.map(|event| event.id),
            ))
        };
        let (found, event_id) = self.ask(look).await?;
        let Some(Found {
            entry,
            standing: Standing::Pending { .. },
        }) = found
        else {
            return Ok(());
        };
        if !self
            .read(entry.place)
            .await
            .is_some_and(|read| read.is_err_and(|error| error.is_damage()))
        {
            return Ok(());
        }
        let event_id = event_id.map(|id| id.to_string());
        error!(
            event_id,
            subscription = number.0,
            "{MESSAGE}: its delivery is dead"
        );
        let now = self.hub.clock.steady();
        let outcome = Outcome {
            started_at: self.hub.clock.wall(),
            duration: Duration::ZERO,
            status: AttemptStatus::Failed,
            reason: None,
            response_code: None,
            error_message: Some(MESSAGE.into()),
            response_prefix: Bytes::new(),
        };
        let record = Record::Attempted(Attempted {
            blocks: queue.blocks(entry.key),
            since: entry.since,
            seq,
            subscription: number,
            attempt: entry.attempts.saturating_add(1),
            recorded_at: now,
            outcome,
            next: Next::Dead(DeadReason::Unreadable),
        });
        let changes = vec![(queue, Change::Died(entry))];
        self.carry_out(turn, vec![record], changes, vec![claim])
            .await
    }

    /// Reads an event back; none if the store is closing.
    pub(super) async fn read(&self, place: Place) -> Option<Result<Accepted, JournalError>> {
        let (reply, read) = oneshot::channel();
        self.hub.reader.submit([ReadJob::Read { place, reply }]);
        read.await.ok()
    }
}
