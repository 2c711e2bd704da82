//! A pending delivery without its event, as queues keep it and as its row in the index contains it.

use crate::domain::{EventSeq, SubscriptionNumber, Timestamp};
use crate::store::dedup::DedupKey;
use crate::store::journal::Place;
use crate::store::record::Accepted;

/// A pending delivery as queues and the index keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: EventSeq,
    /// Where its event is in the journal.
    pub(super) place: Place,
    pub(super) body_bytes: u32,
    pub(super) accepted_at: Timestamp,
    /// When its schedule began: when it was accepted, or replayed.
    pub(super) since: Timestamp,
    /// A hash of the event's key; 0 if it has none, or the subscription was not ordered by key when it was accepted.
    pub(super) key: u64,
    /// Attempts made.
    pub(super) attempts: u32,
    /// Attempts made since the schedule began.
    pub(super) schedule_attempts: u32,
}

impl Entry {
    /// The entry of the deliveries of an event that was just accepted, with its key: see [`Entry::of`].
    pub(super) fn accepted(accepted: &Accepted, place: Place, key: DedupKey) -> Self {
        let head = &accepted.event.head;
        Self {
            seq: accepted.seq,
            place,
            body_bytes: u32::try_from(accepted.event.body.len()).unwrap_or(u32::MAX),
            accepted_at: head.accepted_at,
            since: head.accepted_at,
            key: key.order(head),
            attempts: 0,
            schedule_attempts: 0,
        }
    }

    /// The entry for this subscription: without the key unless the subscription was ordered by key.
    pub(super) fn of(self, accepted: &Accepted, subscription: SubscriptionNumber) -> Self {
        let keyed = accepted.keyed.contains(&subscription);
        let key = if keyed { self.key } else { 0 };
        Self { key, ..self }
    }

    /// Bytes of its body.
    pub(super) fn body_len(&self) -> usize {
        usize::try_from(self.body_bytes).unwrap_or(usize::MAX)
    }

    /// The same delivery with one more attempt made.
    pub(super) fn attempted(self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(1),
            schedule_attempts: self.schedule_attempts.saturating_add(1),
            ..self
        }
    }
}
