//! Pending deliveries whose event is damaged on the disk: they are dead, reason `unreadable`, as what cannot be read can be
//! neither delivered nor copied, and would keep its segment and all behind it for ever.
//!
//! Only what provably cannot be read: bytes that could be read and whose checksum does not fit, and again a minute later, in
//! a part of the segment that is damaged: the place of an event may be what is wrong. Whatever else keeps an event from being
//! read, such as an error of the disk, leaves its delivery as it is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::error;

use crate::domain::{
    AttemptStatus, DeadReason, EventSeq, Next, Outcome, SubscriptionNumber, Timestamp,
};
use crate::store::book::{Found, Standing, find};
use crate::store::changes::{Change, Claim};
use crate::store::journal::{Damage, JournalError, Place};
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
        let mut found = self.0.lock();
        if found.len() < FOUND_MAX {
            found.entry(key).or_insert(now);
        }
    }

    /// Takes those that were found long enough ago.
    fn due(&self, now: Timestamp) -> Vec<Key> {
        let mut found = self.0.lock();
        let due = found.extract_if(|_, at| now.since(*at) >= PAUSE);
        due.map(|(key, _)| key).collect()
    }
}

impl Inner {
    /// Gives up what was found damaged and still is.
    pub(super) async fn give_up_damaged(&self) -> Result<(), VerbError> {
        let mut damages = HashMap::new();
        for (number, seq) in self.hub.damaged.due(self.hub.clock.steady()) {
            self.give_up_if_damaged(number, seq, &mut damages).await?;
        }
        Ok(())
    }

    async fn give_up_if_damaged(
        &self,
        number: SubscriptionNumber,
        seq: EventSeq,
        damages: &mut HashMap<u32, Vec<Damage>>,
    ) -> Result<(), VerbError> {
        let turn = self.turn().await;
        let queue = {
            let names = self.names.read();
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
        let (
            Some(Found {
                entry,
                standing: Standing::Pending { .. },
            }),
            Some(event),
        ) = self.ask(look).await?
        else {
            return Ok(());
        };
        if !self.is_damaged(entry.place, damages).await {
            return Ok(());
        }
        error!(
            event_id = %event,
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
        let changes = vec![(queue, Change::Died(entry, event))];
        self.carry_out(turn, vec![record], changes, vec![claim])
            .await
    }

    /// Whether the event at a place cannot be read, for damage that its segment has there.
    pub(super) async fn is_damaged(
        &self,
        place: Place,
        damages: &mut HashMap<u32, Vec<Damage>>,
    ) -> bool {
        let read = self.read(place).await;
        if !read.is_some_and(|read| read.is_err_and(|error| error.is_damage())) {
            return false;
        }
        if let Entry::Vacant(unknown) = damages.entry(place.segment) {
            let (reply, examined) = oneshot::channel();
            let segment = place.segment;
            let job = ReadJob::Examine { segment, reply };
            self.hub.reader.submit([job]);
            let Ok(Ok(found)) = examined.await else {
                return false;
            };
            unknown.insert(found);
        }
        let mut found = damages.get(&place.segment).into_iter().flatten();
        let is_damaged = found.any(|damage| (damage.from..damage.to).contains(&place.offset));
        if !is_damaged {
            error!(
                segment = place.segment,
                offset = place.offset,
                "an event is not where the book has it, and its segment is whole there: the book is wrong"
            );
        }
        is_damaged
    }

    /// Reads an event back; none if the store is closing.
    pub(super) async fn read(&self, place: Place) -> Option<Result<Accepted, JournalError>> {
        let (reply, read) = oneshot::channel();
        self.hub.reader.submit([ReadJob::Read { place, reply }]);
        read.await.ok()
    }
}
