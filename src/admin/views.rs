//! Answers made from values of the store and the feed: the one place where the two meet.

use bytes::Bytes;
use serde::Serialize;

use crate::admin::answer::{self, Answer};
use crate::api::{self, List, Time, WAITS, Word};
use crate::config::written_rate;
use crate::domain::{DeliveryId, DeliveryState, Flow, Label, Outcome, Timestamp};
use crate::feed::AttemptEnded;
use crate::store::{
    Attempt, DeliverySummary, EventSummary, EventView, Listing, ReplayProgress, ReplaysState,
};

/// The answer with a page of a list.
pub(super) fn list<T, V: Serialize>(found: Listing<T>, view: impl FnMut(T) -> V) -> Answer {
    answer::json(&List {
        data: found.items.into_iter().map(view).collect(),
        next_cursor: found.next,
    })
}

impl api::Attempt {
    /// An attempt with the present state of its delivery; `flow` is how the subscription's lane treats due deliveries.
    pub(super) fn new(delivery: &DeliverySummary, attempt: &Attempt, flow: Flow) -> Self {
        let is_waiting =
            attempt.next_attempt_at.is_some() && delivery.attempts == Some(attempt.number);
        // The delivery's state where it ended without another attempt: it was cancelled, or is dead.
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
            status: Word::Known(attempt.status),
            reason: attempt.reason.map(Word::Known),
            response_code: attempt.response_code,
            error_message: attempt.error_message.as_deref().map(str::to_owned),
            duration_ms: millis(attempt.duration),
            created_at: Time(attempt.started_at),
            delivery_state: Word::Known(state),
            next_attempt_at: waits.next_attempt_at.map(Time),
            waits_for: waits.waits_for.map(str::to_owned),
            blocked_by: waits.blocked_by,
        }
    }

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
            status: Word::Known(ended.status),
            reason: ended.reason.map(Word::Known),
            response_code: ended.response_code,
            error_message: ended.error_message.as_deref().map(str::to_owned),
            duration_ms: millis(ended.duration),
            created_at: Time(ended.started_at),
            delivery_state: Word::Known(ended.state),
            next_attempt_at: waits.next_attempt_at.map(Time),
            waits_for: waits.waits_for.map(str::to_owned),
            blocked_by: waits.blocked_by,
        }
    }
}

/// Fixed words as texts.
pub(super) fn texts(words: Vec<&'static str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// A duration in whole milliseconds.
fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl api::AttemptWithResponse {
    pub(super) fn new(delivery: &DeliverySummary, attempt: &Attempt, flow: Flow) -> Self {
        let (response_body, response_body_base64) = text_or_base64(&attempt.response_prefix);
        Self {
            attempt: api::Attempt::new(delivery, attempt, flow),
            response_body,
            response_body_base64,
        }
    }
}

/// Bytes as text, or in base64 if they are not UTF-8. Text that was cut within a character ends before it.
fn text_or_base64(bytes: &Bytes) -> (Option<String>, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(error) if error.error_len().is_none() => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            (Some(String::from_utf8_lossy(whole).into_owned()), None)
        }
        Err(_) => (None, Some(base64_of(bytes))),
    }
}

impl api::Delivery {
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
            state: Word::Known(found.state),
            held: is_held,
            dead_reason: found.dead_reason.map(Word::Known),
            attempt_count: found.attempts,
            next_attempt_at: waits.next_attempt_at.map(Time),
            waits_for: waits.waits_for.map(str::to_owned),
            blocked_by: waits.blocked_by,
            created_at: Time(found.accepted_at),
            ended_at: found.ended_at.map(Time),
        }
    }
}

/// The reasons why a pending delivery waits.
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

    /// Why a pending delivery waits, given its lane's `flow`. Holding is reported before a dead delivery that
    /// blocks, as that may be replayed only then; a reason of the lane before a merely pending delivery.
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

    /// Why a delivery that is due at this time waits for its lane.
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

impl api::Event {
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

impl api::EventWithDeliveries {
    /// One event, with its content if that may be seen.
    pub(super) fn new(found: &EventView, deliveries: Vec<api::Delivery>, content: bool) -> Self {
        let head = &found.event.head;
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Self {
            event: api::Event {
                id: head.id.to_string(),
                r#type: head.event_type.to_string(),
                given_id: head.given_id.as_ref().map(Label::to_string),
                key: head.key.as_ref().map(Label::to_string),
                created_at: Time(head.accepted_at),
                body_bytes: u64::try_from(found.event.body.len()).unwrap_or(u64::MAX),
                delivery_count: deliveries.len(),
            },
            source: text(&head.source),
            subject: text(&head.subject),
            content_type: head.content_type.to_string(),
            deliveries,
            content: content.then(|| api::Content::new(found)),
        }
    }
}

impl api::Content {
    fn new(found: &EventView) -> Self {
        let event = &found.event;
        let headers = event.head.headers.iter().map(|header| api::KeptHeader {
            name: header.name.to_string(),
            value: String::from_utf8_lossy(&header.value).into_owned(),
        });
        // Unlike the beginning of a response, a body is not cut: what does not end a character is no text.
        let (body, body_base64) = match str::from_utf8(&event.body) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(base64_of(&event.body))),
        };
        Self {
            headers: headers.collect(),
            body,
            body_base64,
        }
    }
}

impl api::TestAttempt {
    /// The attempt of a test event.
    pub(super) fn new(outcome: &Outcome) -> Self {
        let (response_body, response_body_base64) = text_or_base64(&outcome.response_prefix);
        Self {
            event: "sidehook.test".to_owned(),
            attempt: 1,
            status: outcome.status.into(),
            reason: outcome.reason.map(Word::Known),
            response_code: outcome.response_code,
            error_message: outcome.error_message.as_deref().map(str::to_owned),
            duration_ms: millis(outcome.duration),
            created_at: Time(outcome.started_at),
            response_body,
            response_body_base64,
        }
    }
}

impl api::Replay {
    /// How far a bulk replay is.
    pub(super) fn new(progress: ReplayProgress) -> Self {
        let request = progress.request;
        let status = match progress.state {
            ReplaysState::Running => "running",
            ReplaysState::Done => "done",
            ReplaysState::Stopped => "stopped",
        };
        Self {
            id: progress.id.0.to_string(),
            status: status.to_owned(),
            subscription: request.subscription.to_string(),
            state: request.state.into(),
            since: request.since.map(Time),
            until: request.until.map(Time),
            event_type: request.event_type.map(|it| it.to_string()),
            rate_limit: request.rate_limit.map(written_rate),
            matched: progress.matched,
            replayed: progress.replayed,
            skipped: progress.skipped,
            created_at: Time(progress.begun_at),
        }
    }
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
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
}
