//! Attempts: of the lists, of the stream, and of test events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::values::{Time, WAITS_OR_NULL, Word};
use crate::domain::{AttemptStatus, DeliveryState, FailureReason};

/// One HTTP request of a delivery.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Attempt {
    /// `EVENT_ID.SUBSCRIPTION.ATTEMPT`
    pub(crate) id: String,
    /// Of which event
    pub(crate) event_id: String,
    /// The type of the event
    pub(crate) event: String,
    /// Its number, from 1
    pub(crate) attempt: u32,
    /// How it ended
    pub(crate) status: Word<AttemptStatus>,
    /// Why it failed
    pub(crate) reason: Option<Word<FailureReason>>,
    /// The status code of the response, if one came
    pub(crate) response_code: Option<u16>,
    /// What went wrong; of a response the phrase of its status
    pub(crate) error_message: Option<String>,
    /// How long it took, milliseconds
    pub(crate) duration_ms: u64,
    /// When it began
    pub(crate) created_at: Time,
    /// The state that its delivery was in after it
    pub(crate) delivery_state: Word<DeliveryState>,
    /// When its delivery was due again after it, or is to be attempted if nothing was attempted since; null if the delivery
    /// ended with it or waits for no time
    pub(crate) next_attempt_at: Option<Time>,
    /// As `waits_for` of its delivery, if that waits and nothing was attempted since
    #[schemars(extend("enum" = WAITS_OR_NULL))]
    pub(crate) waits_for: Option<String>,
    /// As `blocked_by` of its delivery, likewise
    pub(crate) blocked_by: Option<String>,
}

/// An attempt with the beginning of the response.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AttemptWithResponse {
    #[serde(flatten)]
    pub(crate) attempt: Attempt,
    /// The beginning of the response body (4 KiB of a failure, 256 bytes of a success); null if it is no UTF-8
    pub(crate) response_body: Option<String>,
    /// The same in base64, if it is no UTF-8
    pub(crate) response_body_base64: Option<String>,
}

/// An attempt as the stream tells it: as in the list of attempts, and of which delivery.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamedAttempt {
    #[serde(flatten)]
    pub(crate) attempt: Attempt,
    pub(crate) subscription: String,
    pub(crate) delivery_id: String,
}

/// An attempt of an event that is not recorded.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TestAttempt {
    /// `sidehook.test`
    pub(crate) event: String,
    /// Always 1
    pub(crate) attempt: u32,
    /// How it ended
    pub(crate) status: Word<AttemptStatus>,
    /// Why it failed
    pub(crate) reason: Option<Word<FailureReason>>,
    /// The status code of the response, if one came
    pub(crate) response_code: Option<u16>,
    /// What went wrong; of a response the phrase of its status
    pub(crate) error_message: Option<String>,
    /// How long it took, milliseconds
    pub(crate) duration_ms: u64,
    /// When it began
    pub(crate) created_at: Time,
    /// The beginning of the response body; null if it is no UTF-8
    pub(crate) response_body: Option<String>,
    /// The same in base64, if it is no UTF-8
    pub(crate) response_body_base64: Option<String>,
}
