//! Subscriptions: their definition and how they stand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::replay::Begun;
use crate::api::values::{Time, Word};
use crate::domain::{AttemptStatus, Condition, DisabledReason, FailureReason};

/// A subscription: its definition and how it stands. Its schema names the fields of the definition, so `admin` makes it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) name: String,
    /// Its fields as they would stand in the file; where an answer was read, those of the state are among them.
    #[serde(flatten)]
    pub(crate) definition: Map<String, Value>,
    #[serde(flatten)]
    pub(crate) state: SubscriptionState,
    /// What was made for it, this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
    /// What its deletion took back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cancelled_deliveries: Option<u64>,
}

/// How a subscription stands.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SubscriptionState {
    /// Whether its deliveries are attempted
    #[schemars(extend("enum" = ["active", "disabled"]))]
    pub(crate) status: String,
    /// The same, more exactly: `probing`: the endpoint fails, one delivery at a time is attempted; `paused`: it asked for a
    /// pause; `blocked`: deliveries wait, by their order, for a dead one
    pub(crate) state: Word<Condition>,
    /// Since when it is probing
    pub(crate) probing_since: Option<Time>,
    /// Until when it is paused
    pub(crate) paused_until: Option<Time>,
    /// Until when `rate_limit` allows no attempt
    pub(crate) rate_limited_until: Option<Time>,
    /// When the next attempt begins at the earliest; null: nothing waits for a time
    pub(crate) next_attempt_at: Option<Time>,
    /// Pending deliveries that wait, by their order, for a dead one
    pub(crate) blocked: u64,
    /// The dead delivery that they wait for, the first of several
    pub(crate) blocked_by: Option<String>,
    /// Since when it is disabled
    pub(crate) disabled_at: Option<Time>,
    /// Why it is disabled
    pub(crate) disabled_reason: Option<Word<DisabledReason>>,
    /// Failed attempts since the last success that were the endpoint's fault
    pub(crate) consecutive_failures: u32,
    /// How many of its attempts succeeded, from 0 to 1; null: there were none
    pub(crate) success_rate: SuccessRate,
    /// Deliveries that are to be attempted, without those held
    pub(crate) pending: u64,
    /// Deliveries that wait because it is disabled
    pub(crate) held: u64,
    /// Dead letters
    pub(crate) dead: u64,
    /// How long ago the event of the oldest pending delivery was accepted; null: none is pending
    pub(crate) oldest_pending_age_seconds: Option<f64>,
    /// When the last attempt began that succeeded
    pub(crate) last_success_at: Option<Time>,
    /// The last attempt that did not
    pub(crate) last_failure: Option<LastFailure>,
    /// When it was first seen in the file
    pub(crate) created_at: Option<Time>,
    /// When it was last changed, enabled or disabled
    pub(crate) updated_at: Option<Time>,
}

/// A change of how a subscription stands, as the stream tells it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamedSubscription {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) disabled_at: Option<Time>,
    pub(crate) disabled_reason: Option<Word<DisabledReason>>,
    pub(crate) consecutive_failures: u32,
}

/// How many attempts succeeded.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SuccessRate {
    /// Of the last 1,000 attempts
    pub(crate) last_1000: Option<f64>,
    /// Of those of the last 24 hours
    pub(crate) last_24h: Option<f64>,
}

/// An attempt that failed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LastFailure {
    /// When it began
    pub(crate) at: Time,
    /// Failed or timeout
    pub(crate) status: Word<AttemptStatus>,
    /// Why it failed
    pub(crate) reason: Option<Word<FailureReason>>,
    /// The status code of the response, if one came
    pub(crate) response_code: Option<u16>,
    /// What went wrong
    pub(crate) error_message: Option<String>,
    /// Of which event
    pub(crate) event_id: Option<String>,
    /// Its number, from 1
    pub(crate) attempt: u32,
}

/// A retry that has begun.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Retried {
    #[serde(flatten)]
    pub(crate) begun: Begun,
    /// Pending deliveries that wait, by their order, for a dead one: they are not retried
    pub(crate) blocked: u64,
    /// The dead delivery that they wait for, the first of several, until it is replayed or cancelled
    pub(crate) blocked_by: Option<String>,
}

/// How a secret is rotated.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old secret signs along; default `24h`
    #[schemars(regex(pattern = "^[1-9][0-9]{0,3}(ms|s|m|h)$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grace: Option<String>,
    /// The new secret; default: one is made, and told this once
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
}
