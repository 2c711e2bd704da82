//! What follows an attempt: delivered, due again, or dead; and what an endpoint asks for with `Retry-After`.
//!
//! Leaves the arithmetic of pauses to [`Retry`], and pausing the lane to `standing`. Pure.

use std::time::{Duration, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::domain::{AttemptStatus, DeadReason, Next, Retry, RetryDecision, Timestamp};

/// The longest pause that an endpoint can ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// What the decision about a delivery depends on.
#[derive(Debug)]
pub(super) struct Attempted<'a> {
    /// How the attempt ended.
    pub(super) status: AttemptStatus,
    /// Attempts since the schedule began, this one included.
    pub(super) schedule_attempt: u32,
    /// How old the delivery is, time stopped not counted.
    pub(super) age: Duration,
    /// How long the endpoint asked to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Why it is given up whatever the schedule says.
    pub(super) given_up: Option<DeadReason>,
    /// The endpoint is gone, so that the delivery is held and not given up by the schedule: it is due at once then.
    pub(super) is_gone: bool,
    /// The schedule.
    pub(super) retry: &'a Retry,
}

/// Decides what becomes of a delivery. `now` is by [`Clock::steady`](crate::domain::Clock::steady); `sample`
/// draws a random number from 0 up to 1 for the jitter, and is asked only after a failure.
pub(super) fn next(
    attempted: &Attempted<'_>,
    now: Timestamp,
    sample: impl FnOnce() -> f64,
) -> Next {
    match attempted.status {
        AttemptStatus::Success => return Next::Delivered,
        AttemptStatus::Failed | AttemptStatus::Timeout => {}
    }
    if let Some(reason) = attempted.given_up {
        return Next::Dead(reason);
    }
    let decision = attempted
        .retry
        .after(attempted.schedule_attempt, attempted.age, sample());
    match decision {
        RetryDecision::GiveUp(_) if attempted.is_gone => Next::Due {
            at: now,
            pause: Duration::ZERO,
        },
        RetryDecision::GiveUp(reason) => Next::Dead(reason),
        RetryDecision::After(planned) => {
            let pause = planned.max(attempted.retry_after.unwrap_or_default());
            Next::Due {
                at: now.plus(pause),
                pause,
            }
        }
    }
}

/// How long the endpoint asks to be left alone: `Retry-After` of a 429 or 503, in seconds or as a date, at most
/// [`RETRY_AFTER_MAX`]. A date that has passed is zero; anything else is ignored. `wall` is the wall clock.
///
/// Source: RFC 9110, section 10.2.3.
pub(super) fn retry_after(
    status: StatusCode,
    headers: &HeaderMap,
    wall: Timestamp,
) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = seconds(value).or_else(|| until(value, wall))?;
    Some(pause.min(RETRY_AFTER_MAX))
}

fn seconds(value: &str) -> Option<Duration> {
    let digits_only = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than a number holds is a long time, not junk.
    digits_only.then(|| Duration::from_secs(value.parse().unwrap_or(u64::MAX)))
}

fn until(value: &str, wall: Timestamp) -> Option<Duration> {
    let date = httpdate::parse_http_date(value).ok()?;
    let date = Timestamp::default().plus(date.duration_since(UNIX_EPOCH).ok()?);
    Some(date.since(wall))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn half() -> f64 {
        0.5
    }

    fn failed(retry: &Retry, retry_after: Option<Duration>) -> Attempted<'_> {
        Attempted {
            status: AttemptStatus::Failed,
            schedule_attempt: 1,
            age: Duration::from_secs(5),
            retry_after,
            given_up: None,
            is_gone: false,
            retry,
        }
    }

    fn due(pause: Duration) -> Next {
        Next::Due {
            at: NOW.plus(pause),
            pause,
        }
    }

    fn asked(status: u16, value: &'static [u8]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_bytes(value).unwrap());
        // 1994-11-06T08:49:37Z
        let wall = Timestamp::from_millis(784_111_777_000);
        retry_after(StatusCode::from_u16(status).unwrap(), &headers, wall)
    }

    #[test]
    fn a_success_is_delivered_whatever_the_schedule_says() {
        let retry = Retry::none();
        let attempted = Attempted {
            status: AttemptStatus::Success,
            ..failed(&retry, None)
        };
        assert_eq!(next(&attempted, NOW, half), Next::Delivered);
    }

    #[test]
    fn a_failure_is_due_again_after_the_pause_of_the_schedule() {
        let retry = Retry::schedule(vec![MINUTE]).with_jitter(0.0);
        assert_eq!(next(&failed(&retry, None), NOW, half), due(MINUTE));
        let timeout = Attempted {
            status: AttemptStatus::Timeout,
            ..failed(&retry, None)
        };
        assert_eq!(next(&timeout, NOW, half), due(MINUTE));
    }

    #[test]
    fn the_later_of_schedule_and_retry_after_counts() {
        let retry = Retry::schedule(vec![MINUTE]).with_jitter(0.0);
        assert_eq!(
            next(&failed(&retry, Some(MINUTE * 2)), NOW, half),
            due(MINUTE * 2)
        );
        assert_eq!(
            next(&failed(&retry, Some(MINUTE / 2)), NOW, half),
            due(MINUTE)
        );
    }

    #[test]
    fn the_last_failure_of_the_schedule_is_the_end() {
        let retry = Retry::schedule(vec![MINUTE]);
        let last = Attempted {
            schedule_attempt: 2,
            ..failed(&retry, Some(MINUTE))
        };
        assert_eq!(next(&last, NOW, half), Next::Dead(DeadReason::Exhausted));
    }

    #[test]
    fn a_delivery_that_would_be_too_old_is_expired() {
        let retry = Retry::exponential(MINUTE, 2.0, MINUTE, 9, MINUTE).with_jitter(0.0);
        assert_eq!(
            next(&failed(&retry, None), NOW, half),
            Next::Dead(DeadReason::Expired)
        );
    }

    #[test]
    fn what_is_given_up_is_dead_whatever_the_schedule_says() {
        let retry = Retry::schedule(vec![MINUTE]);
        let attempted = Attempted {
            given_up: Some(DeadReason::GaveUp),
            is_gone: true,
            ..failed(&retry, Some(MINUTE))
        };
        assert_eq!(next(&attempted, NOW, half), Next::Dead(DeadReason::GaveUp));
        let success = Attempted {
            status: AttemptStatus::Success,
            ..attempted
        };
        assert_eq!(next(&success, NOW, half), Next::Delivered);
    }

    #[test]
    fn what_met_a_gone_endpoint_is_due_by_its_schedule_or_at_once_after_its_end() {
        let retry = Retry::schedule(vec![MINUTE]).with_jitter(0.0);
        let first = Attempted {
            is_gone: true,
            ..failed(&retry, None)
        };
        assert_eq!(next(&first, NOW, half), due(MINUTE));
        let last = Attempted {
            schedule_attempt: 2,
            ..first
        };
        assert_eq!(next(&last, NOW, half), due(Duration::ZERO));
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        assert_eq!(asked(429, b"120"), Some(MINUTE * 2));
        assert_eq!(asked(503, b" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(asked(503, b"0"), Some(Duration::ZERO));
    }

    #[test]
    fn retry_after_is_read_as_a_date() {
        assert_eq!(asked(503, b"Sun, 06 Nov 1994 08:50:37 GMT"), Some(MINUTE));
        assert_eq!(
            asked(503, b"Sun, 06 Nov 1994 08:00:00 GMT"),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn retry_after_is_at_most_a_day() {
        assert_eq!(asked(429, b"1000000000000000000"), Some(RETRY_AFTER_MAX));
        assert_eq!(
            asked(429, b"99999999999999999999999999"),
            Some(RETRY_AFTER_MAX)
        );
        assert_eq!(
            asked(429, b"Sat, 06 Nov 2094 08:49:37 GMT"),
            Some(RETRY_AFTER_MAX)
        );
    }

    #[test]
    fn junk_in_retry_after_is_ignored() {
        for junk in [&b"-1"[..], b"", b"soon", b"1.5", b"+3", b"5s", b"\xff"] {
            assert_eq!(asked(429, junk), None, "{junk:?}");
        }
    }

    #[test]
    fn retry_after_counts_on_429_and_503_only() {
        for status in [200, 301, 404, 500, 502] {
            assert_eq!(asked(status, b"60"), None, "{status}");
        }
        let none = retry_after(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), NOW);
        assert_eq!(none, None);
    }
}
