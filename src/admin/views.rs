//! What things look like in answers. The schemas in the OpenAPI document are made of these types.

use std::borrow::Cow;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::admin::answer::{self, Answer};
use crate::domain::{
    AttemptStatus, Condition, DeadReason, DeliveryId, DeliveryState, DisabledReason, FailureReason,
    Flow, Label, Timestamp,
};
use crate::feed::AttemptEnded;
use crate::store::{Attempt, DeliverySummary, EventSummary, Listing};

/// A point in time: RFC 3339 UTC with milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// Words of the contract, as their text.
macro_rules! words {
    ($($name:ident of $domain:ident,)*) => { $(
        #[doc = concat!("A [`", stringify!($domain), "`] as its text.")]
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $name(pub(super) $domain);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($domain).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let all: Vec<_> = $domain::ALL.iter().map(|word| word.as_str()).collect();
                json_schema!({"type": "string", "enum": all})
            }
        }
    )* };
}

words! {
    Ended of AttemptStatus,
    Failure of FailureReason,
    Death of DeadReason,
    State of DeliveryState,
    Standing of Condition,
    Disabled of DisabledReason,
}

/// A page of a list, newest first unless said otherwise.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct List<T> {
    /// What is on it: there may be fewer than the limit, or none, although more follows
    pub(super) data: Vec<T>,
    /// For `cursor` of the next page, URL-safe; null: there is none
    pub(super) next_cursor: Option<String>,
}

/// The answer with a page of a list.
pub(super) fn list<T, V: Serialize>(found: Listing<T>, view: impl FnMut(T) -> V) -> Answer {
    answer::json(&List {
        data: found.items.into_iter().map(view).collect(),
        next_cursor: found.next,
    })
}

/// One HTTP request of a delivery.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
pub(super) struct AttemptView {
    /// `EVENT_ID.SUBSCRIPTION.ATTEMPT`
    id: String,
    /// Of which event
    event_id: String,
    /// The type of the event
    event: String,
    /// Its number, from 1
    attempt: u32,
    /// How it ended
    status: Ended,
    /// Why it failed
    reason: Option<Failure>,
    /// The status code of the response, if one came
    response_code: Option<u16>,
    /// What went wrong; of a response the phrase of its status
    error_message: Option<String>,
    /// How long it took, milliseconds
    duration_ms: u64,
    /// When it began
    created_at: Time,
    /// The state that its delivery was in after it
    delivery_state: State,
    /// When its delivery was due again after it, or is to be attempted if nothing was attempted since; null if the delivery
    /// ended with it or waits for no time
    next_attempt_at: Option<Time>,
    /// As `waits_for` of its delivery, if that waits and nothing was attempted since
    #[schemars(extend("enum" = WAITS_OR_NULL))]
    waits_for: Option<&'static str>,
    /// As `blocked_by` of its delivery, likewise
    blocked_by: Option<String>,
}

impl AttemptView {
    /// An attempt of a delivery that stands so now, and whose subscription's lane does so with what is due.
    pub(super) fn new(delivery: &DeliverySummary, attempt: &Attempt, flow: Flow) -> Self {
        let is_waiting =
            attempt.next_attempt_at.is_some() && delivery.attempts == Some(attempt.number);
        // What became of it without another attempt: it was cancelled, or is dead.
        let state = match attempt.delivery_state() {
            DeliveryState::Pending if is_waiting => delivery.state,
            state => state,
        };
        let waits = match state {
            DeliveryState::Pending if is_waiting => Waits::of(delivery, flow),
            DeliveryState::Pending => Waits::until(attempt.next_attempt_at),
            DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Cancelled => {
                Waits::until(None)
            }
        };
        Self {
            id: format!("{}.{}", delivery.id, attempt.number),
            event_id: delivery.id.event.to_string(),
            event: delivery.event_type.to_string(),
            attempt: attempt.number,
            status: Ended(attempt.status),
            reason: attempt.reason.map(Failure),
            response_code: attempt.response_code,
            error_message: attempt.error_message.as_deref().map(str::to_owned),
            duration_ms: millis(attempt.duration),
            created_at: Time(attempt.started_at),
            delivery_state: State(state),
            next_attempt_at: waits.next_attempt_at.map(Time),
            waits_for: waits.waits_for,
            blocked_by: waits.blocked_by,
        }
    }
}

impl AttemptView {
    /// The same of one that ended just now.
    pub(super) fn told(ended: &AttemptEnded) -> Self {
        let waits = match ended.next_attempt_at {
            Some(_) => Waits::for_lane(ended.next_attempt_at, ended.flow),
            None => Waits::until(None),
        };
        Self {
            id: format!("{}.{}", ended.delivery, ended.number),
            event_id: ended.delivery.event.to_string(),
            event: ended.event_type.to_string(),
            attempt: ended.number,
            status: Ended(ended.status),
            reason: ended.reason.map(Failure),
            response_code: ended.response_code,
            error_message: ended.error_message.as_deref().map(str::to_owned),
            duration_ms: millis(ended.duration),
            created_at: Time(ended.started_at),
            delivery_state: State(ended.state),
            next_attempt_at: waits.next_attempt_at.map(Time),
            waits_for: waits.waits_for,
            blocked_by: waits.blocked_by,
        }
    }
}

/// A duration in whole milliseconds.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An attempt with the beginning of the response.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AttemptWithResponse")]
pub(super) struct AnsweredAttempt {
    #[serde(flatten)]
    attempt: AttemptView,
    /// The beginning of the response body (4 KiB of a failure, 256 bytes of a success); null if it is no UTF-8
    response_body: Option<String>,
    /// The same in base64, if it is no UTF-8
    response_body_base64: Option<String>,
}

impl AnsweredAttempt {
    pub(super) fn new(delivery: &DeliverySummary, attempt: &Attempt, flow: Flow) -> Self {
        let (response_body, response_body_base64) = text_or_base64(&attempt.response_prefix);
        Self {
            attempt: AttemptView::new(delivery, attempt, flow),
            response_body,
            response_body_base64,
        }
    }
}

/// Bytes as text, or in base64 if they are no UTF-8. What was cut within a character is text up to it.
pub(super) fn text_or_base64(bytes: &Bytes) -> (Option<String>, Option<String>) {
    use base64::Engine as _;
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(error) if error.error_len().is_none() => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            (Some(String::from_utf8_lossy(whole).into_owned()), None)
        }
        Err(_) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
            (None, Some(encoded))
        }
    }
}

/// One event for one subscription.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
pub(super) struct DeliveryRow {
    /// `<event id>.<subscription>`
    pub(super) id: String,
    /// Of which event
    pub(super) event_id: String,
    /// For which subscription
    pub(super) subscription: String,
    /// The type of the event
    pub(super) event: String,
    /// Where it stands
    pub(super) state: State,
    /// It is pending and waits because its subscription is disabled or was removed from the file
    pub(super) held: bool,
    /// Why it is dead
    pub(super) dead_reason: Option<Death>,
    /// Attempts made; null in a list for one that was delivered
    pub(super) attempt_count: Option<u32>,
    /// When it is to be attempted at the earliest, if that is a matter of time: of its schedule, or of what it waits for
    pub(super) next_attempt_at: Option<Time>,
    /// Condition that must end before it is attempted, beside its schedule; null if there is none. `order`: another delivery
    /// comes first
    #[schemars(extend("enum" = WAITS_OR_NULL))]
    pub(super) waits_for: Option<&'static str>,
    /// The dead delivery that it waits for, by their order, until that is replayed or cancelled
    pub(super) blocked_by: Option<String>,
    /// When the event was accepted
    pub(super) created_at: Time,
    /// When it died or was cancelled, or, unless in a list, was delivered
    pub(super) ended_at: Option<Time>,
}

impl DeliveryRow {
    /// One of a subscription whose lane does so with what is due.
    pub(super) fn new(found: &DeliverySummary, flow: Flow) -> Self {
        let flow = match found.state {
            DeliveryState::Pending => flow,
            DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Cancelled => Flow::Open,
        };
        let is_held = flow == Flow::Held;
        let waits = match found.state {
            DeliveryState::Pending => Waits::of(found, flow),
            DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Cancelled => {
                Waits::until(None)
            }
        };
        Self {
            id: found.id.to_string(),
            event_id: found.id.event.to_string(),
            subscription: found.id.subscription.to_string(),
            event: found.event_type.to_string(),
            state: State(found.state),
            held: is_held,
            dead_reason: found.dead_reason.map(Death),
            attempt_count: found.attempts,
            next_attempt_at: waits.next_attempt_at.map(Time),
            waits_for: waits.waits_for,
            blocked_by: waits.blocked_by,
            created_at: Time(found.accepted_at),
            ended_at: found.ended_at.map(Time),
        }
    }
}

/// Words for what a pending delivery waits for, beside its schedule.
const WAITS: [&str; 5] = ["enabling", "probing", "retry_after", "rate_limit", "order"];
const WAITS_OR_NULL: [Option<&str>; 6] = {
    let [enabling, probing, retry_after, rate_limit, order] = WAITS;
    [
        Some(enabling),
        Some(probing),
        Some(retry_after),
        Some(rate_limit),
        Some(order),
        None,
    ]
};

/// What a pending delivery waits for.
struct Waits {
    next_attempt_at: Option<Timestamp>,
    waits_for: Option<&'static str>,
    blocked_by: Option<String>,
}

impl Waits {
    /// For a time only, or for nothing.
    const fn until(next_attempt_at: Option<Timestamp>) -> Self {
        Self {
            next_attempt_at,
            waits_for: None,
            blocked_by: None,
        }
    }

    /// What a pending delivery of a subscription waits for whose lane does so with what is due. Holding is told before a dead
    /// delivery that blocks, as that may be replayed only then; one that is merely pending before whatever keeps both.
    fn of(found: &DeliverySummary, flow: Flow) -> Self {
        let [.., order] = WAITS;
        let lane = Self::for_lane(found.due_at, flow);
        match found.behind {
            Some(before) if before.is_dead && flow != Flow::Held => Self {
                next_attempt_at: None,
                waits_for: Some(order),
                blocked_by: Some(
                    DeliveryId {
                        event: before.event,
                        subscription: found.id.subscription.clone(),
                    }
                    .to_string(),
                ),
            },
            Some(_) => Self {
                waits_for: lane.waits_for.or(Some(order)),
                ..lane
            },
            None => lane,
        }
    }

    /// What a delivery waits for that is due at this time.
    fn for_lane(due_at: Option<Timestamp>, flow: Flow) -> Self {
        let [enabling, probing, retry_after, rate_limit, _] = WAITS;
        let waits_for = match flow {
            Flow::Open => None,
            Flow::Held => Some(enabling),
            Flow::Probing { .. } => Some(probing),
            Flow::Paused { .. } => Some(retry_after),
            Flow::RateLimited { .. } => Some(rate_limit),
        };
        // None is less than any time.
        let next_attempt_at = due_at.filter(|_| flow != Flow::Held).max(flow.opens_at());
        Self {
            next_attempt_at,
            waits_for,
            blocked_by: None,
        }
    }
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DeliveryWithAttempts {
    #[serde(flatten)]
    pub(super) delivery: DeliveryRow,
    /// The last 200, newest first
    pub(super) attempts: Vec<AnsweredAttempt>,
}

/// What the application posted.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub(super) struct EventRow {
    /// `evt_` and a UUID
    pub(super) id: String,
    /// The type that patterns match
    pub(super) r#type: String,
    /// The id that the application gave it
    pub(super) given_id: Option<String>,
    /// What orders its deliveries
    pub(super) key: Option<String>,
    /// When it was accepted
    pub(super) created_at: Time,
    /// Bytes of its body
    pub(super) body_bytes: u64,
    /// How many deliveries it has
    pub(super) delivery_count: usize,
}

impl EventRow {
    pub(super) fn new(found: &EventSummary) -> Self {
        Self {
            id: found.id.to_string(),
            r#type: found.event_type.to_string(),
            given_id: found.given_id.as_ref().map(Label::to_string),
            key: found.key.as_ref().map(Label::to_string),
            created_at: Time(found.accepted_at),
            body_bytes: found.body_bytes.into(),
            delivery_count: found.deliveries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_if_they_are() {
        let shown = |bytes: &'static [u8]| text_or_base64(&Bytes::from_static(bytes));
        assert_eq!(shown("aü".as_bytes()), (Some("aü".to_owned()), None));
        assert_eq!(shown(b"a\xc3"), (Some("a".to_owned()), None));
        assert_eq!(shown(b"a\xffb"), (None, Some("Yf9i".to_owned())));
        assert_eq!(shown(b""), (Some(String::new()), None));
    }

    #[test]
    fn times_have_milliseconds() {
        let json = serde_json::to_string(&Time(Timestamp::from_millis(1000))).unwrap();
        assert_eq!(json, "\"1970-01-01T00:00:01.000Z\"");
    }
}
