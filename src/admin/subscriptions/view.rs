//! What a subscription looks like.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::admin::Admin;
use crate::admin::openapi::NAME;
use crate::admin::views::{Disabled, Ended, Failure, Standing, Time};
use crate::config::{Subscription, subscription_properties};
use crate::domain::{Condition, DeliveryId, Flow, Secret, SubscriptionName};
use crate::store::Tally;

/// A subscription: its definition and how it stands.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct SubscriptionView {
    name: String,
    #[serde(flatten)]
    definition: Map<String, Value>,
    #[serde(flatten)]
    state: StateView,
    /// What was made for it, this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// What its deletion took back.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_deliveries: Option<u64>,
}

/// How a subscription stands.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SubscriptionState")]
struct StateView {
    /// Whether its deliveries are attempted
    #[schemars(extend("enum" = ["active", "disabled"]))]
    status: &'static str,
    /// The same, more exactly: `probing`: the endpoint fails, one delivery at a time is attempted; `paused`: it asked for a
    /// pause; `blocked`: deliveries wait, by their order, for a dead one
    state: Standing,
    /// Since when it is probing
    probing_since: Option<Time>,
    /// Until when it is paused
    paused_until: Option<Time>,
    /// Until when `rate_limit` allows no attempt
    rate_limited_until: Option<Time>,
    /// When the next attempt begins at the earliest; null: nothing waits for a time
    next_attempt_at: Option<Time>,
    /// Pending deliveries that wait, by their order, for a dead one
    blocked: u64,
    /// The dead delivery that they wait for, the first of several
    blocked_by: Option<String>,
    /// Since when it is disabled
    disabled_at: Option<Time>,
    /// Why it is disabled
    disabled_reason: Option<Disabled>,
    /// Failed attempts since the last success that were the endpoint's fault
    consecutive_failures: u32,
    /// How many of its attempts succeeded, from 0 to 1; null: there were none
    success_rate: SuccessRate,
    /// Deliveries that are to be attempted, without those held
    pending: u64,
    /// Deliveries that wait because it is disabled
    held: u64,
    /// Dead letters
    dead: u64,
    /// How long ago the event of the oldest pending delivery was accepted; null: none is pending
    oldest_pending_age_seconds: Option<f64>,
    /// When the last attempt began that succeeded
    last_success_at: Option<Time>,
    /// The last attempt that did not
    last_failure: Option<LastFailure>,
    /// When it was first seen in the file
    created_at: Option<Time>,
    /// When it was last changed, enabled or disabled
    updated_at: Option<Time>,
}

/// The names of the state's fields.
const STATE: [&str; 20] = [
    "status",
    "state",
    "probing_since",
    "paused_until",
    "rate_limited_until",
    "next_attempt_at",
    "blocked",
    "blocked_by",
    "disabled_at",
    "disabled_reason",
    "consecutive_failures",
    "success_rate",
    "pending",
    "held",
    "dead",
    "oldest_pending_age_seconds",
    "last_success_at",
    "last_failure",
    "created_at",
    "updated_at",
];

/// Whether a field tells how a subscription stands.
pub(super) fn is_state(name: &str) -> bool {
    STATE.contains(&name)
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
    /// When it began
    at: Time,
    /// Failed or timeout
    status: Ended,
    /// Why it failed
    reason: Option<Failure>,
    /// The status code of the response, if one came
    response_code: Option<u16>,
    /// What went wrong
    error_message: Option<String>,
    /// Of which event
    event_id: Option<String>,
    /// Its number, from 1
    attempt: u32,
}

impl SubscriptionView {
    pub(in crate::admin) fn new(admin: &Admin, subscription: &Subscription, tally: &Tally) -> Self {
        Self {
            definition: subscription.definition.fields(),
            ..Self::gone(admin, &subscription.name, tally)
        }
    }

    /// One that is not in the file: there is no definition of it.
    pub(super) fn gone(admin: &Admin, name: &SubscriptionName, tally: &Tally) -> Self {
        Self {
            name: name.to_string(),
            definition: Map::new(),
            state: StateView::new(admin, name, tally),
            secret: None,
            cancelled_deliveries: None,
        }
    }

    /// With the secret that was made for it.
    pub(super) fn with_secret(self, secret: &Secret) -> Self {
        let text = String::from_utf8_lossy(secret.expose()).into_owned();
        Self {
            secret: Some(text),
            ..self
        }
    }

    /// As it was when it was deleted.
    pub(super) fn deleted(self, cancelled: u64) -> Self {
        Self {
            cancelled_deliveries: Some(cancelled),
            ..self
        }
    }
}

impl StateView {
    fn new(admin: &Admin, name: &SubscriptionName, tally: &Tally) -> Self {
        let number = admin.store.subscription(name);
        let state = admin.store.state(number);
        let counts = admin.store.queue(number).counts();
        let status = state.status();
        let is_held = state.held_since.is_some();
        let now = admin.clock.steady();
        let oldest = counts.oldest_accepted_at.filter(|_| !is_held);
        let (blocked, blocked_by) = blocked(admin, name, tally);
        let (mut probing_since, mut paused_until, mut rate_limited_until) = (None, None, None);
        match counts.flow {
            Flow::Open | Flow::Held => {}
            Flow::Probing { since, .. } => probing_since = Some(Time(since)),
            Flow::Paused { until } => paused_until = Some(Time(until)),
            Flow::RateLimited { until } => rate_limited_until = Some(Time(until)),
        }
        Self {
            state: Standing(Condition::of(counts.flow, blocked > 0)),
            probing_since,
            paused_until,
            rate_limited_until,
            next_attempt_at: counts.next_attempt_at.map(Time),
            blocked,
            blocked_by,
            status: if status.is_active() {
                "active"
            } else {
                "disabled"
            },
            disabled_at: status.disabled.map(|(_, since)| Time(since)),
            disabled_reason: status.disabled.map(|(reason, _)| Disabled(reason)),
            consecutive_failures: status.consecutive_failures,
            success_rate: SuccessRate {
                last_1000: tally.success_rate.last_1000,
                last_24h: tally.success_rate.last_24h,
            },
            pending: if is_held { 0 } else { counts.pending },
            held: if is_held { counts.pending } else { 0 },
            dead: counts.dead,
            oldest_pending_age_seconds: oldest.map(|oldest| now.since(oldest).as_secs_f64()),
            last_success_at: tally.last_success_at.map(Time),
            last_failure: tally.last_failure.as_ref().map(|failure| LastFailure {
                at: Time(failure.at),
                status: Ended(failure.status),
                reason: failure.reason.map(Failure),
                response_code: failure.response_code,
                error_message: failure.error_message.as_deref().map(str::to_owned),
                event_id: failure.event.map(|event| event.to_string()),
                attempt: failure.attempt,
            }),
            created_at: state.created_at.map(Time),
            updated_at: state.updated_at.map(Time),
        }
    }
}

/// How many deliveries wait, by their order, for a dead one, and the first that they wait for.
pub(super) fn blocked(
    admin: &Admin,
    name: &SubscriptionName,
    tally: &Tally,
) -> (u64, Option<String>) {
    let number = admin.store.subscription(name);
    let blocked = admin.store.queue(number).counts().blocked;
    let first = tally.blocked_by.filter(|_| blocked > 0).map(|event| {
        let subscription = name.clone();
        DeliveryId {
            event,
            subscription,
        }
        .to_string()
    });
    (blocked, first)
}

/// The schema of what is shown: one flat object.
pub(in crate::admin) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = StateView::json_schema(generator);
    let about = "The fields as they would stand in the file, secrets redacted, and the state";
    schema.insert("description".to_owned(), about.into());
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let state = std::mem::take(properties);
        put(
            properties,
            "name",
            json!({"type": "string", "pattern": NAME, "description": "Its name"}),
        );
        properties.extend(fields("writeOnly"));
        for (name, mut field) in state {
            if let Value::Object(field) = &mut field {
                put(field, "readOnly", true.into());
            }
            properties.insert(name, field);
        }
        let about = "The secret that was made for it; told this once";
        put(
            properties,
            "secret",
            json!({"type": "string", "readOnly": true, "description": about}),
        );
        let about = "What its deletion took back";
        let count =
            json!({"type": "integer", "minimum": 0, "readOnly": true, "description": about});
        put(properties, "cancelled_deliveries", count);
    }
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.push("name".into());
    }
    let definitions = generator.definitions_mut();
    definitions.insert("Subscription".to_owned(), schema.to_value());
    Schema::new_ref("#/components/schemas/Subscription".to_owned())
}

/// The fields of a definition, without those that are marked so.
fn fields(without: &str) -> impl Iterator<Item = (String, Value)> + use<'_> {
    let is_marked = move |field: &Value| field.get(without) == Some(&Value::Bool(true));
    subscription_properties()
        .into_iter()
        .filter(move |(_, field)| !is_marked(field))
}

fn put(properties: &mut Map<String, Value>, name: &str, field: Value) {
    properties.insert(name.to_owned(), field);
}

/// The schema of a change: fields of the file, and `status`.
pub(in crate::admin) fn body_schema(generator: &mut SchemaGenerator) -> Schema {
    body("SubscriptionChange", generator)
}

/// The schema of a new one: with its name.
pub(in crate::admin) fn new_body_schema(generator: &mut SchemaGenerator) -> Schema {
    body("NewSubscription", generator)
}

fn body(name: &str, generator: &mut SchemaGenerator) -> Schema {
    let about = "Whether its deliveries are attempted; judged by the definition after the change";
    let words = ["active", "disabled"];
    let mut properties = Map::new();
    let mut required = Vec::new();
    if name == "NewSubscription" {
        put(
            &mut properties,
            "name",
            json!({"type": "string", "pattern": NAME}),
        );
        required.push("name");
    }
    properties.extend(fields("readOnly"));
    put(
        &mut properties,
        "status",
        json!({"type": "string", "enum": words, "description": about}),
    );
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    });
    generator.definitions_mut().insert(name.to_owned(), schema);
    Schema::new_ref(format!("#/components/schemas/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_state_are_those_that_are_shown() {
        let schema = schemars::schema_for!(StateView).to_value();
        let properties = schema["properties"].as_object().unwrap();
        let shown: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut names = STATE.to_vec();
        let mut shown = shown;
        names.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, names);
    }
}
