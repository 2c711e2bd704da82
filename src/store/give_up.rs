//! Pending deliveries whose event is damaged on the disk become dead, reason `unreadable`. Such an event can be neither
//! delivered nor copied, and would keep its segment and all later ones forever.
//!
//! Only a proven damage counts: the bytes can be read but their checksum is wrong, again a minute later, and in a part
//! of the segment that is damaged. Otherwise the place of the event may be wrong. Any other obstacle to reading an
//! event, such as an error of the disk, leaves its delivery as it is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::error;

use crate::domain::{
    AttemptStatus, DeadReason, DeliveryState, EventSeq, Next, Outcome, SubscriptionNumber,
};
use crate::store::OperationError;
use crate::store::changes::{Change, Claim};
use crate::store::damaged::Damaged;
use crate::store::index::find;
use crate::store::journal::{Damage, Place};
use crate::store::operations::Operations;
use crate::store::reader::Inbox as Reader;
use crate::store::record::{Attempted, Record};

/// The error message of the attempt that could not be made.
const MESSAGE: &str = "the event is damaged on the disk and cannot be read";

/// Gives up deliveries whose event is damaged.
pub(super) struct Unreadable {
    pub(super) operations: Arc<Operations>,
    pub(super) reader: Arc<Reader>,
    pub(super) damaged: Arc<Damaged>,
}

impl Unreadable {
    /// Gives up the deliveries whose event was found damaged and still is.
    pub(super) async fn give_up(&self) -> Result<(), OperationError> {
        let mut damages = HashMap::new();
        for (number, seq) in self.damaged.due(self.operations.clock.steady()) {
            self.give_up_if_damaged(number, seq, &mut damages).await?;
        }
        Ok(())
    }

    async fn give_up_if_damaged(
        &self,
        number: SubscriptionNumber,
        seq: EventSeq,
        damages: &mut HashMap<u32, Vec<Damage>>,
    ) -> Result<(), OperationError> {
        let turn = self.operations.turn().await;
        let queue = self.operations.subscriptions.known_queue(number);
        // A delivery that is in flight was read meanwhile.
        let Some(queue) = queue else { return Ok(()) };
        let Some(claim) = Claim::one(&queue, seq) else {
            return Ok(());
        };
        if queue.step(|state| state.has_event(seq)) {
            // It can be delivered nevertheless.
            return Ok(());
        }
        let look = move |index: &rusqlite::Connection| {
            let event = find::event_row(index, seq)?;
            Ok((
                find::delivery(index, number, seq)?,
                event.map(|event| event.id),
            ))
        };
        let (Some(found), Some(event)) = self.operations.ask(look).await? else {
            return Ok(());
        };
        let entry = found.entry;
        if found.state != DeliveryState::Pending {
            return Ok(());
        }
        if !self.is_damaged(entry.place, damages).await {
            return Ok(());
        }
        error!(
            event_id = %event,
            subscription = number.0,
            "{MESSAGE}: its delivery is dead"
        );
        let now = self.operations.clock.steady();
        let outcome = Outcome {
            started_at: self.operations.clock.wall(),
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
        self.operations
            .carry_out(turn, vec![record], changes, vec![claim])
            .await
    }

    /// Whether the event at a place cannot be read because its segment is damaged there.
    pub(super) async fn is_damaged(
        &self,
        place: Place,
        damages: &mut HashMap<u32, Vec<Damage>>,
    ) -> bool {
        let read = self.reader.read(place).await;
        if !read.is_some_and(|read| read.is_err_and(|error| error.is_damage())) {
            return false;
        }
        if let Entry::Vacant(unknown) = damages.entry(place.segment) {
            let Some(Ok(found)) = self.reader.examine(place.segment).await else {
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
                "an event is not where the index has it, and its segment is whole there: the index is wrong"
            );
        }
        is_damaged
    }
}
