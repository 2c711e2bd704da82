//! A test of a subscription: one attempt of an event that was not posted, beside its queue.
//!
//! It is built, signed, sent and judged as any attempt is, and then forgotten: not recorded, counted or reported.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use crate::delivery::attempt;
use crate::delivery::settings::Settings;
use crate::domain::{Clock, Event, EventHead, EventId, Label, Outcome, Timestamp};

/// The type of the event.
const TYPE: &str = "sidehook.test";
/// The message in its body.
const MESSAGE: &str = "a test of this subscription, sent by sidehook on request";

/// Sends a test event with these settings, within their `timeout`.
///
/// # Cancel safety
/// Dropped, the attempt is given up; the endpoint may have got the request.
pub(super) async fn run(
    settings: Arc<Settings>,
    event_type: Label,
    clock: Arc<dyn Clock>,
) -> Outcome {
    let event = event(event_type, clock.as_ref());
    let (outcome, _) = attempt::make(&settings, &event, clock.as_ref()).await;
    outcome
}

/// The type of a test event.
pub(super) fn event_type() -> Option<Label> {
    TYPE.parse().ok()
}

fn event(event_type: Label, clock: &dyn Clock) -> Event {
    let wall = clock.wall();
    let mut random = [0; 10];
    // Without randomness the id is less unique, which is enough for a test.
    getrandom::fill(&mut random).unwrap_or_default();
    Event {
        body: body(&event_type, wall),
        head: EventHead {
            id: EventId::new(wall, random),
            given_id: None,
            event_type,
            key: None,
            source: None,
            subject: None,
            content_type: "application/json".into(),
            headers: Vec::new(),
            accepted_at: clock.steady(),
        },
    }
}

fn body(event_type: &Label, wall: Timestamp) -> Bytes {
    let body = json!({
        "type": event_type.as_str(),
        "timestamp": wall.to_string(),
        "data": {"message": MESSAGE},
    });
    Bytes::from(body.to_string())
}
