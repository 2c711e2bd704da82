//! Attempt results of subscriptions in figures, and how long deliveries have been pending.
//!
//! Every attempt counts, whatever the cause of its failure: also one whose template could not be rendered, whose token
//! could not be obtained, or whose address was blocked.

use super::thread::Reading;
use crate::domain::{AttemptStatus, EventId, FailureReason, SubscriptionNumber, Timestamp};
use crate::store::index::{find, query, refill, tallies};

/// How a subscription does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// The share of attempts that succeeded.
    pub success_rate: SuccessRate,
    /// When the last successful attempt began, by the wall clock.
    pub last_success_at: Option<Timestamp>,
    /// The last failed attempt.
    pub last_failure: Option<LastFailure>,
    /// When the oldest delivery that is pending or held was accepted, by the steady clock.
    pub oldest_pending_at: Option<Timestamp>,
    /// The event of the first dead delivery that blocks others because of their order.
    pub blocked_by: Option<EventId>,
}

/// The share of successful attempts, from 0 to 1; `None` if there were no attempts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SuccessRate {
    /// Of the last 1,000 attempts.
    pub last_1000: Option<f64>,
    /// Of the attempts that began in the last 24 hours, to ten minutes.
    pub last_24h: Option<f64>,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// When it began, by the wall clock.
    pub at: Timestamp,
    /// Failed or timeout.
    pub status: AttemptStatus,
    /// Why it failed.
    pub reason: Option<FailureReason>,
    /// The status code of the response, if one came.
    pub response_code: Option<u16>,
    /// A description of the error, for people.
    pub error_message: Option<Box<str>>,
    /// The event's id; `None` if damage took the event.
    pub event: Option<EventId>,
    /// Its number, from 1.
    pub attempt: u32,
}

/// How a subscription does.
pub(super) fn tally(
    reading: &Reading<'_>,
    number: SubscriptionNumber,
    wall: Timestamp,
) -> rusqlite::Result<Tally> {
    let tally = tallies::tally(reading.index, number)?.unwrap_or_default();
    let blockers = refill::blockers(reading.index, number, 1)?.entries;
    let blocker = blockers
        .first()
        .map(|dead| find::event_row(reading.index, dead.seq));
    let blocker = blocker.transpose()?.flatten();
    Ok(Tally {
        success_rate: SuccessRate {
            last_1000: rate(tally.last_thousand()),
            last_24h: rate(tally.last_day(wall)),
        },
        last_success_at: tally.last_success_at,
        last_failure: tally.last_failure.map(|failure| LastFailure {
            at: failure.at,
            status: failure.status,
            reason: failure.reason,
            response_code: failure.response_code,
            error_message: failure.error_message,
            event: failure.event,
            attempt: failure.attempt,
        }),
        oldest_pending_at: query::oldest(reading.index, number)?,
        blocked_by: blocker.map(|event| event.id),
    })
}

fn rate(counted: tallies::Counted) -> Option<f64> {
    let succeeded = f64::from(counted.succeeded);
    let all = succeeded + f64::from(counted.failed);
    (all > 0.0).then(|| succeeded / all)
}
