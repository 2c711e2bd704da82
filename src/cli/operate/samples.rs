//! Whole answers of the API for tests, in which fields can be changed.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{Attempt, Delivery, Event, Replay, Subscription};
use crate::cli::client::read;

pub(super) fn attempt(fields: Value) -> Attempt {
    let whole = json!({"id": "evt_1.a.2", "event_id": "evt_1", "event": "t", "attempt": 2, "status": "failed",
        "reason": "http_5xx", "response_code": 503, "error_message": "Service Unavailable", "duration_ms": 12,
        "created_at": "2026-11-24T10:00:00.250Z", "delivery_state": "pending",
        "next_attempt_at": "2026-11-24T10:05:00.262Z", "waits_for": null, "blocked_by": null});
    of(whole, fields)
}

pub(super) fn delivery(fields: Value) -> Delivery {
    let whole = json!({"id": "evt_1.a", "event_id": "evt_1", "subscription": "a", "event": "t", "state": "pending",
        "held": false, "dead_reason": null, "attempt_count": 1, "next_attempt_at": null, "waits_for": null,
        "blocked_by": null, "created_at": "2026-11-24T10:00:00.250Z", "ended_at": null});
    of(whole, fields)
}

pub(super) fn event(fields: Value) -> Event {
    let whole = json!({"id": "evt_1", "type": "a", "given_id": null, "key": null, "body_bytes": 1234,
        "delivery_count": 2, "created_at": "2026-11-24T10:00:00.250Z"});
    of(whole, fields)
}

pub(super) fn replay(fields: Value) -> Replay {
    let whole = json!({"id": "7", "status": "running", "subscription": "a", "state": "dead", "since": null,
        "until": null, "event_type": null, "rate_limit": null, "matched": 2, "replayed": 0, "skipped": 0,
        "created_at": "2026-11-24T10:00:00.250Z"});
    of(whole, fields)
}

pub(super) fn subscription(fields: Value) -> Subscription {
    of(whole_subscription(fields), json!({}))
}

/// A subscription as it is sent.
pub(super) fn whole_subscription(fields: Value) -> Value {
    let whole = json!({"name": "a", "url": null, "status": "active", "state": "active", "blocked": 0,
        "consecutive_failures": 0, "success_rate": {"last_1000": null, "last_24h": null}, "pending": 0, "held": 0,
        "dead": 0});
    with(whole, fields)
}

fn of<T: DeserializeOwned>(whole: Value, fields: Value) -> T {
    read(&with(whole, fields)).unwrap()
}

fn with(mut whole: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else {
        panic!("not an object")
    };
    whole.as_object_mut().unwrap().extend(fields);
    whole
}
