//! One attempt: build and sign the request, send it, classify what came back, decide what follows, record it.
//!
//! Leaves to `lane` when an attempt is made. Invariants: an attempt always ends in an outcome that is recorded, also
//! when building or sending it panics; metrics count it only after its outcome is written.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::delivery::lane::Lane;
use crate::delivery::outcome::{self, Span};
use crate::delivery::retry::{self, Attempted};
use crate::delivery::settings::Settings;
use crate::delivery::standing::News;
use crate::domain::{AttemptStatus, FailureReason, Next, Outcome, Timestamp};
use crate::egress::{Answer, SendError};
use crate::store::{Lease, StoreError};

/// Makes one attempt with these settings. Resolves when its outcome is written, which is when its slot is free again.
///
/// # Errors
/// The store's, when the outcome could not be written.
///
/// # Cancel safety
/// Dropped before the outcome is handed to the store, the delivery is ready again and will be attempted again.
pub(super) async fn attempt(
    lane: &Lane,
    settings: Arc<Settings>,
    lease: Lease,
) -> Result<(), StoreError> {
    let started_at = lane.clock.wall();
    let started = Instant::now();
    let sent = caught(send(&settings, &lease, started_at)).await;
    let span = Span {
        started_at,
        duration: started.elapsed(),
    };
    let now = lane.clock.steady();
    let (outcome, retry_after) = match sent {
        Some(Ok(answer)) => {
            let wall = started_at.plus(span.duration);
            let retry_after = retry::retry_after(answer.status, &answer.headers, wall);
            (outcome::answered(answer, span), retry_after)
        }
        Some(Err(error)) => (outcome::unanswered(error, span), None),
        None => {
            error!(event_id = %lease.event().head.id, subscription = %lane.name, attempt = lease.attempt(),
                "attempt panicked");
            (outcome::broken(span), None)
        }
    };
    let next = decide(lane, &settings, &lease, &outcome, retry_after, now);
    tell(lane, &lease, &outcome, next, now);
    let counted = Counted::new(&lease, &outcome, next, now);
    lane.store
        .settle(lease, outcome, next, lane.is_full())
        .await?;
    counted.count(lane);
    Ok(())
}

async fn send(settings: &Settings, lease: &Lease, wall: Timestamp) -> Result<Answer, SendError> {
    let request = settings.plan.build(lease.event(), wall);
    settings.client.send(request, settings.timeout).await
}

/// What the future gives, none if it panics: an event that trips a bug must not end the relay, nor be attempted
/// again and again without its schedule. The future is not used any more, so no broken state is seen.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(future).catch_unwind().await.ok()
}

/// Counts the attempt for the subscription, pauses its lane if the endpoint asked for it, and says what follows.
fn decide(
    lane: &Lane,
    settings: &Settings,
    lease: &Lease,
    outcome: &Outcome,
    retry_after: Option<Duration>,
    now: Timestamp,
) -> Next {
    let mut standing = lane.standing();
    standing.count(outcome.reason);
    if let Some(pause) = retry_after {
        standing.pause(now, pause);
    }
    let attempted = Attempted {
        status: outcome.status,
        schedule_attempt: lease.schedule_attempt(),
        age: standing.age(lease.event().head.accepted_at, now),
        retry_after,
        retry: &settings.retry,
    };
    retry::next(&attempted, now, jitter_sample)
}

/// A random number from 0 up to 1. Without randomness there is no jitter, which is no reason to lose an attempt.
fn jitter_sample() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

/// Logs a failure and what follows from it; that an endpoint begins to fail or works again, also where only the
/// uncommon is logged.
fn tell(lane: &Lane, lease: &Lease, outcome: &Outcome, next: Next, now: Timestamp) {
    let news = lane.standing().news(outcome.reason.is_some(), now);
    let (event_id, subscription) = (&lease.event().head.id, &lane.name);
    let attempt = lease.attempt();
    if news == Some(News::Recovered) {
        info!(%subscription, "the endpoint works again");
    }
    let Some(reason) = outcome.reason.map(FailureReason::as_str) else {
        return;
    };
    let (code, error) = (outcome.response_code, outcome.error_message.as_deref());
    if news == Some(News::Failing) {
        warn!(%event_id, %subscription, attempt, reason, code, error, "attempts fail");
    } else {
        debug!(%event_id, %subscription, attempt, reason, code, error, "attempt failed");
    }
    if let Next::Dead(dead_reason) = next {
        let dead_reason = dead_reason.as_str();
        warn!(%event_id, %subscription, attempt, reason, code, error, dead_reason, "delivery is dead");
    }
}

/// What the metrics need of an attempt, kept until its outcome is written.
struct Counted {
    status: AttemptStatus,
    reason: Option<FailureReason>,
    next: Next,
    duration: Duration,
    delay: Duration,
}

impl Counted {
    fn new(lease: &Lease, outcome: &Outcome, next: Next, now: Timestamp) -> Self {
        Self {
            status: outcome.status,
            reason: outcome.reason,
            next,
            duration: outcome.duration,
            delay: now.since(lease.event().head.accepted_at),
        }
    }

    fn count(&self, lane: &Lane) {
        let metrics = &lane.metrics;
        metrics.attempts(self.status).increment(1);
        metrics.attempt_duration.record(self.duration);
        if let Some(reason) = self.reason {
            metrics.failures(reason).increment(1);
        }
        match self.next {
            Next::Delivered => {
                metrics.delivered.increment(1);
                metrics.delivery_delay.record(self.delay);
            }
            Next::Dead(reason) => {
                metrics.dead.increment(1);
                metrics.dead_letters(reason).increment(1);
            }
            Next::Due { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught() {
        assert_eq!(caught(async { panic!("a bug") }).await, None::<()>);
        assert_eq!(caught(async { 7 }).await, Some(7));
    }

    #[test]
    fn jitter_samples_are_from_0_up_to_1() {
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&jitter_sample()));
        }
    }
}
