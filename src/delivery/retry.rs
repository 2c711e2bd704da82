//! The decision after an attempt: delivered, due again, or dead; and the pause of an endpoint's `Retry-After`.
//!
//! Leaves the arithmetic of pauses to [`Retry`], and pausing the lane to `lane_status`. Pure.

use std::time::{Duration, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::domain::{AttemptStatus, DeadReason, Next, Retry, RetryDecision, Timestamp};

/// The longest pause that an endpoint can ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The inputs of the decision about a delivery.
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
    /// The reason to give it up whatever the schedule allows.
    pub(super) given_up: Option<DeadReason>,
    /// The endpoint is gone, so that the delivery is held and not given up by the schedule: it is due at once then.
    pub(super) is_gone: bool,
    /// The schedule.
    pub(super) retry: &'a Retry,
}

/// Decides how a delivery goes on. `now` is by [`Clock::steady`](crate::domain::Clock::steady); `sample`
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

/// The pause of `Retry-After` in a 429 or 503, in seconds or as a date, the longest of several, at most
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
    let values = headers.get_all(RETRY_AFTER).iter();
    let pauses = values.filter_map(|value| {
        let value = value.to_str().ok()?.trim();
        seconds(value).or_else(|| until(value, wall))
    });
    Some(pauses.max()?.min(RETRY_AFTER_MAX))
}

/// Seconds, also with a fraction; of a list the most.
fn seconds(value: &str) -> Option<Duration> {
    let mut longest = None;
    for element in value.split(',').map(str::trim) {
        let (whole, fraction) = element.split_once('.').unwrap_or((element, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return None;
        }
        // More digits than a number holds is a long time, not junk.
        let seconds: f64 = element.parse().ok()?;
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        longest = longest.max(Some(pause));
    }
    longest
}

fn until(value: &str, wall: Timestamp) -> Option<Duration> {
    let since_1970 = match httpdate::parse_http_date(value) {
        Ok(date) => date.duration_since(UNIX_EPOCH).ok()?,
        Err(_) => other_date(value)?,
    };
    let date = Timestamp::default().plus(since_1970);
    Some(date.since(wall))
}

/// Dates that are not those of HTTP, but that endpoints send: HTTP's own with another name for UTC or an offset, and
/// those of ISO 8601, which are in UTC where they have no offset. Time since 1970.
fn other_date(value: &str) -> Option<Duration> {
    let iso = || {
        let instant: Option<jiff::Timestamp> = value.parse().ok();
        let civil = || value.parse::<jiff::civil::DateTime>().ok();
        instant.or_else(|| Some(civil()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()))
    };
    let written = || {
        // The weekday adds nothing to the date.
        let date = value.split_once(',').map_or(value, |(_, date)| date).trim();
        let (date, zone) = date.rsplit_once(' ')?;
        let zone = match zone {
            "GMT" | "UTC" | "UT" | "Z" | "utc" | "gmt" => "+0000".to_owned(),
            offset => offset.replace(':', ""),
        };
        let date = format!("{} {zone}", date.trim());
        let formats = [
            "%d %b %Y %H:%M:%S %z",
            "%d-%b-%y %H:%M:%S %z",
            "%d-%b-%Y %H:%M:%S %z",
            "%a %b %d %H:%M:%S %Y %z",
            "%Y-%m-%d %H:%M:%S %z",
        ];
        formats
            .iter()
            .find_map(|format| jiff::Timestamp::strptime(format, &date).ok())
    };
    let instant = iso().or_else(written)?;
    let millis = u64::try_from(instant.as_millisecond()).ok()?;
    Some(Duration::from_millis(millis))
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

    fn asked(status: u16, value: &[u8]) -> Option<Duration> {
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
    fn retry_after_is_read_in_every_form_that_is_sent() {
        for date in [
            "Sun, 06 Nov 1994 08:50:37 UTC",
            "Sun, 06 Nov 1994 08:50:37 +0000",
            "Sun, 06 Nov 1994 09:50:37 +0100",
            "Sun, 06 Nov 1994 08:50:37 Z",
            "06 Nov 1994 08:50:37 GMT",
            "Sunday, 06-Nov-94 08:50:37 GMT",
            "Sunday, 06-Nov-94 08:50:37 UTC",
            "Sun, 06-Nov-1994 08:50:37 GMT",
            "Sun Nov  6 08:50:37 1994",
            "Sun Nov  6 08:50:37 1994 UTC",
            "1994-11-06T08:50:37Z",
            "1994-11-06T08:50:37.000+00:00",
            "1994-11-06T09:50:37+01:00",
            "1994-11-06T08:50:37",
            "1994-11-06 08:50:37",
            "1994-11-06 08:50:37 UTC",
            "60.0",
            "60, 60",
            "\t060 ",
        ] {
            assert_eq!(asked(503, date.as_bytes()), Some(MINUTE), "{date}");
        }
        assert_eq!(asked(429, b"1.5"), Some(Duration::from_millis(1500)));
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
        for junk in [
            &b"-1"[..],
            b"",
            b"soon",
            b"1.",
            b".5",
            b"1e3",
            b"1,",
            b"+3",
            b"5s",
            b"\xff",
        ] {
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
