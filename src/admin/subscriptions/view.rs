//! The representation of a subscription.

use std::sync::LazyLock;

use http::HeaderValue;
use http::header::ETAG;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::admin::answer::{self, Answer};
use crate::admin::openapi::NAME;
use crate::admin::state::Admin;
use crate::api::{LastFailure, Subscription, SubscriptionState, SuccessRate, Time, Word};
use crate::config::{self, etag, subscription_properties};
use crate::domain::{Condition, DeliveryId, Flow, Secret, SubscriptionName};
use crate::store::Tally;

/// The fields that report the state of a subscription.
static STATE: LazyLock<Value> = LazyLock::new(|| {
    let schema = schemars::schema_for!(SubscriptionState).to_value();
    schema.get("properties").cloned().unwrap_or_default()
});

/// Whether a field reports the state of a subscription.
pub(super) fn is_state(name: &str) -> bool {
    STATE.get(name).is_some()
}

impl Subscription {
    pub(in crate::admin) fn new(
        admin: &Admin,
        subscription: &config::Subscription,
        tally: &Tally,
    ) -> Self {
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
            state: SubscriptionState::new(admin, name, tally),
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

impl SubscriptionState {
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
            state: Condition::of(counts.flow, blocked > 0).into(),
            probing_since,
            paused_until,
            rate_limited_until,
            next_attempt_at: counts.next_attempt_at.map(Time),
            blocked,
            blocked_by,
            status: status.word().to_owned(),
            disabled_at: status.disabled.map(|(_, since)| Time(since)),
            disabled_reason: status.disabled.map(|(reason, _)| reason.into()),
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
                status: failure.status.into(),
                reason: failure.reason.map(Word::Known),
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

/// The answer with one.
pub(super) fn show(subscription: &config::Subscription, view: &Subscription) -> Answer {
    let mut answer = answer::json(view);
    // A tag is hexadecimal digits in quotes.
    if let Ok(tag) = HeaderValue::from_str(&etag(subscription)) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
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
    let mut schema = SubscriptionState::json_schema(generator);
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
