//! The outcome of an attempt, for people: why it failed, and what followed.

use std::time::Duration;

use crate::api::{Attempt, Time, Word};
use crate::cli::show::Cell;
use crate::cli::show::text::span;
use crate::domain::{DeliveryState, FailureReason};

/// Returns what followed: `delivered`, `dead`, `held`, how long after it the next attempt was due and what that waits for
/// (`retry in 5m`, `retry in 1h (retry_after)`), or after which delivery (`after evt_…`).
pub(crate) fn then(attempt: &Attempt) -> Cell {
    let is_pending = attempt.delivery_state.is(DeliveryState::Pending);
    let waits = attempt.waits_for.as_deref();
    match attempt.next_attempt_at.filter(|_| is_pending) {
        _ if is_pending && waits == Some("enabling") => Cell::status("held"),
        Some(Time(next)) => {
            let pause = next.since(attempt.created_at.0);
            let took = Duration::from_millis(attempt.duration_ms);
            let waits = waits.map_or_else(String::new, |waits| format!(" ({waits})"));
            let pause = span(pause.saturating_sub(took));
            Cell::from(format!("retry in {pause}{waits}"))
        }
        None => match &attempt.blocked_by {
            Some(first) => Cell::from(after(first)),
            None => Cell::status(attempt.delivery_state.as_str()),
        },
    }
}

/// Why an attempt failed: reason and message; empty for a success.
pub(crate) fn why(reason: Option<&Word<FailureReason>>, message: Option<&str>) -> String {
    let parts = [reason.map(Word::as_str), message];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    parts.join(": ")
}

/// The same of one attempt.
pub(crate) fn why_of(attempt: &Attempt) -> String {
    why(attempt.reason.as_ref(), attempt.error_message.as_deref())
}

/// `after evt_…`: what waits for the dead delivery of this event.
pub(crate) fn after(blocked_by: &str) -> String {
    let event = blocked_by
        .split_once('.')
        .map_or(blocked_by, |(event, _)| event);
    format!("after {event}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::operate::samples::attempt;
    use crate::cli::show::Style;

    #[test]
    fn what_follows_is_what_its_delivery_waits_for() {
        let shown = |state: &str, next: Value, waits: Value, blocked_by: Value| {
            let attempt = attempt(
                json!({"created_at": "2026-11-24T10:00:00.000Z", "duration_ms": 0, "delivery_state": state,
                "next_attempt_at": next, "waits_for": waits, "blocked_by": blocked_by}),
            );
            then(&attempt).marked(Style::default())
        };
        let (null, in_an_hour) = (Value::Null, json!("2026-11-24T11:00:00.000Z"));
        let retry = shown("pending", in_an_hour.clone(), null.clone(), null.clone());
        assert_eq!(retry, "retry in 60m");
        for waits in ["retry_after", "probing", "rate_limit", "order"] {
            let line = shown("pending", in_an_hour.clone(), json!(waits), null.clone());
            assert_eq!(line, format!("retry in 60m ({waits})"));
        }
        let held = shown("pending", null.clone(), json!("enabling"), null.clone());
        assert_eq!(held, "held");
        let blocked = shown("pending", null.clone(), json!("order"), json!("evt_1.a"));
        assert_eq!(blocked, "after evt_1");
        for state in ["dead", "cancelled", "delivered"] {
            assert_eq!(
                shown(state, null.clone(), null.clone(), null.clone()),
                state
            );
        }
    }
}
