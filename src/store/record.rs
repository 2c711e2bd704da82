//! The records of the journal, as values; `journal/codec.rs` writes and reads their bytes.

use std::sync::Arc;

use crate::domain::{
    DeadReason, Event, EventSeq, Next, Outcome, SubscriptionName, SubscriptionNumber, Timestamp,
};
use crate::store::SubscriptionState;

/// One record of the journal. Everything is keyed by (seq, subscription number).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    /// An event was accepted with these deliveries.
    Accepted(Accepted),
    /// An attempt of a delivery ended.
    Attempted(Attempted),
    /// An event was copied from a segment that will be removed, with those of its deliveries that are still needed.
    Moved(Moved),
    /// A name got its number.
    SubscriptionNamed {
        /// The number from now on.
        number: SubscriptionNumber,
        /// The name.
        name: SubscriptionName,
    },
    /// A delivery is to be attempted now. `fresh`: it had reached a final state, and its schedule begins again;
    /// otherwise it was pending, and its schedule goes on.
    Requeued {
        /// Of which event.
        seq: EventSeq,
        /// For which subscription.
        subscription: SubscriptionNumber,
        /// When, by the steady clock.
        at: Timestamp,
        /// Attempts made until now.
        attempts: u32,
        /// Its schedule begins again.
        fresh: bool,
    },
    /// A pending or dead delivery was cancelled.
    Cancelled {
        /// Of which event.
        seq: EventSeq,
        /// For which subscription.
        subscription: SubscriptionNumber,
        /// When, by the steady clock.
        at: Timestamp,
    },
    /// All pending deliveries of a subscription up to a sequence were cancelled.
    CancelledAll {
        /// For which subscription.
        subscription: SubscriptionNumber,
        /// The last event concerned.
        upto: EventSeq,
        /// When, by the steady clock.
        at: Timestamp,
    },
    /// The complete run-time state of a subscription.
    SubscriptionState {
        /// The subscription.
        number: SubscriptionNumber,
        /// The state from now on.
        state: SubscriptionState,
    },
    /// The complete progress of a bulk replay.
    Job {
        /// The number of the bulk replay.
        id: u64,
        /// The bytes that `replays/job.rs` writes; empty: it is forgotten.
        state: Vec<u8>,
    },
}

/// An accepted event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Accepted {
    /// Its place in the order.
    pub(crate) seq: EventSeq,
    /// Head and body.
    pub(crate) event: Arc<Event>,
    /// Its deliveries, each pending or dead from the start (`overflow`).
    pub(crate) deliveries: Vec<(SubscriptionNumber, Option<Death>)>,
    /// Those of them whose subscription was ordered by key then. The index keeps the key only of these: keys come in no
    /// order, and indexing them costs more than all else that is written of a backlog.
    pub(crate) keyed: Vec<SubscriptionNumber>,
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attempted {
    /// Of which event.
    pub(crate) seq: EventSeq,
    /// For which subscription.
    pub(crate) subscription: SubscriptionNumber,
    /// Its number, from 1.
    pub(crate) attempt: u32,
    /// When the outcome was recorded, by the steady clock.
    pub(crate) recorded_at: Timestamp,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The next state of the delivery.
    pub(crate) next: Next,
    /// If it is dead: whether the deliveries that follow it in order wait for it.
    pub(crate) blocks: bool,
    /// When its schedule began, by the steady clock.
    pub(crate) since: Timestamp,
}

/// An event that was copied. Its deliveries are those that are pending or dead.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moved {
    /// The event, with its sequence, and the deliveries that are still needed.
    pub(crate) accepted: Accepted,
    /// The progress of each delivery, in the same order.
    pub(crate) progress: Vec<Progress>,
}

/// The progress of a pending or dead delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Attempts made.
    pub(crate) attempts: u32,
    /// Attempts made since the schedule began.
    pub(crate) schedule_attempts: u32,
    /// When the schedule began.
    pub(crate) since: Timestamp,
    /// When it is due again, and the pause that led there, in ms; `None` if it was never attempted, or is dead.
    pub(crate) due: Option<(Timestamp, i64)>,
    /// When it died; for a pending one, when it was accepted.
    pub(crate) ended_at: Timestamp,
}

/// How a delivery is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    /// Why.
    pub(crate) reason: DeadReason,
    /// Whether the deliveries that follow it in order wait until it is replayed or cancelled.
    pub(crate) blocks: bool,
}
