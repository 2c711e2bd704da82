//! Deliveries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::attempt::AttemptWithResponse;
use crate::api::values::{Time, WAITS_OR_NULL, Word};
use crate::domain::{DeadReason, DeliveryState};

/// One event for one subscription.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Delivery {
    /// `<event id>.<subscription>`
    pub(crate) id: String,
    /// Of which event
    pub(crate) event_id: String,
    /// For which subscription
    pub(crate) subscription: String,
    /// The type of the event
    pub(crate) event: String,
    /// Where it stands
    pub(crate) state: Word<DeliveryState>,
    /// It is pending and waits because its subscription is disabled or was removed from the file
    pub(crate) held: bool,
    /// Why it is dead
    pub(crate) dead_reason: Option<Word<DeadReason>>,
    /// Attempts made; null in a list for one that was delivered
    pub(crate) attempt_count: Option<u32>,
    /// When it is to be attempted at the earliest, if that is a matter of time: of its schedule, or of what it waits for
    pub(crate) next_attempt_at: Option<Time>,
    /// Condition that must end before it is attempted, beside its schedule; null if there is none. `order`: another delivery
    /// comes first
    #[schemars(extend("enum" = WAITS_OR_NULL))]
    pub(crate) waits_for: Option<String>,
    /// The dead delivery that it waits for, by their order, until that is replayed or cancelled
    pub(crate) blocked_by: Option<String>,
    /// When the event was accepted
    pub(crate) created_at: Time,
    /// When it died or was cancelled, or, unless in a list, was delivered
    pub(crate) ended_at: Option<Time>,
}

/// A change of a delivery that is no attempt, as the stream tells it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamedDelivery {
    pub(crate) id: String,
    pub(crate) event_id: String,
    pub(crate) subscription: String,
    pub(crate) state: Word<DeliveryState>,
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DeliveryWithAttempts {
    #[serde(flatten)]
    pub(crate) delivery: Delivery,
    /// The last 200, newest first
    pub(crate) attempts: Vec<AttemptWithResponse>,
}
