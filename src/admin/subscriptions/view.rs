//! What a subscription looks like.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::admin::Admin;
use crate::admin::views::{Disabled, Failure, Time};
use crate::config::Subscription;

/// Digits of a tag.
const TAG_BYTES: usize = 16;

/// A subscription: its definition and how it stands.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct SubscriptionView {
    name: String,
    #[serde(flatten)]
    definition: Map<String, Value>,
    #[serde(flatten)]
    state: StateView,
}

/// How a subscription stands.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SubscriptionState")]
pub(in crate::admin) struct StateView {
    /// Whether its deliveries are attempted: `active`, `disabled`
    #[schemars(extend("enum" = ["active", "disabled"]))]
    pub(super) status: &'static str,
    /// Since when it is disabled
    disabled_at: Option<Time>,
    /// Why it is disabled
    disabled_reason: Option<Disabled>,
    /// Failed attempts since the last success that were the endpoint's fault
    consecutive_failures: u32,
    /// How many of its attempts succeeded, 0 to 1; null: there were none
    success_rate: SuccessRate,
    /// Deliveries that are to be attempted, without those held
    pending: u64,
    /// Deliveries that wait because it is disabled
    held: u64,
    /// Dead letters
    dead: u64,
    /// How long ago the event of the oldest pending delivery was accepted
    oldest_pending_age_seconds: Option<f64>,
    /// When the last attempt that succeeded ended
    last_success_at: Option<Time>,
    /// The last attempt that failed
    last_failure: Option<LastFailure>,
    /// When it was first seen in the file
    created_at: Option<Time>,
    /// When it was last changed, enabled or disabled
    updated_at: Option<Time>,
}

/// How many attempts succeeded.
#[derive(Debug, Serialize, JsonSchema)]
struct SuccessRate {
    /// Of the last 1,000 attempts
    last_1000: Option<f64>,
    /// Of those of the last 24 hours
    last_24h: Option<f64>,
}

/// An attempt that failed.
#[derive(Debug, Serialize, JsonSchema)]
struct LastFailure {
    /// When it ended
    at: Time,
    /// Why it failed
    reason: Option<Failure>,
}

impl SubscriptionView {
    pub(in crate::admin) fn new(admin: &Admin, subscription: &Subscription) -> Self {
        let mut definition = subscription.definition.as_ref().clone();
        definition.remove("name");
        Self {
            name: subscription.name.to_string(),
            definition,
            state: StateView::new(admin, subscription),
        }
    }
}

impl StateView {
    fn new(admin: &Admin, subscription: &Subscription) -> Self {
        let number = admin.store.subscription(&subscription.name);
        let state = admin.store.state(number);
        let counts = admin.store.queue(number).counts();
        let status = state.status();
        let is_held = state.held_since.is_some();
        let now = admin.clock.steady();
        let oldest = counts.oldest_accepted_at.filter(|_| !is_held);
        Self {
            status: if status.is_active() {
                "active"
            } else {
                "disabled"
            },
            disabled_at: status.disabled.map(|(_, since)| Time(since)),
            disabled_reason: status.disabled.map(|(reason, _)| Disabled(reason)),
            consecutive_failures: status.consecutive_failures,
            success_rate: SuccessRate {
                last_1000: None,
                last_24h: None,
            },
            pending: if is_held { 0 } else { counts.pending },
            held: if is_held { counts.pending } else { 0 },
            dead: counts.dead,
            oldest_pending_age_seconds: oldest.map(|oldest| now.since(oldest).as_secs_f64()),
            last_success_at: None,
            last_failure: None,
            created_at: None,
            updated_at: None,
        }
    }
}

/// What changes when, and only when, the definition or a secret does: for `ETag` and `If-Match`, without quotes. Run-time
/// state has no part in it.
#[must_use]
pub fn etag(subscription: &Subscription) -> String {
    let mut digest = Sha256::new();
    // A map of JSON values is written to memory: there is nothing that could fail.
    digest.update(serde_json::to_vec(subscription.definition.as_ref()).unwrap_or_default());
    let previous = subscription.previous_secrets.iter();
    for secret in subscription
        .secret
        .iter()
        .chain(previous.map(|(secret, _)| secret))
    {
        digest.update(secret.fingerprint());
    }
    for (_, until) in &subscription.previous_secrets {
        digest.update(until.as_millis().to_be_bytes());
    }
    let digest = digest.finalize();
    let bytes = digest.iter().take(TAG_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// The schema of what is shown: one flat object.
pub(in crate::admin) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = StateView::json_schema(generator);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let name = serde_json::json!({"type": "string", "description": "Its name"});
        properties.insert("name".to_owned(), name);
    }
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.push("name".into());
    }
    generator
        .definitions_mut()
        .insert("Subscription".to_owned(), schema.to_value());
    Schema::new_ref("#/components/schemas/Subscription".to_owned())
}
