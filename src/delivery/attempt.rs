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

use crate::delivery::disabling::{self, Steering};
use crate::delivery::lane::Lane;
use crate::delivery::lane_status::{LaneStatus, StatusChange};
use crate::delivery::outcome::{self, Span};
use crate::delivery::probe::Epoch;
use crate::delivery::retry::{self, Attempted};
use crate::delivery::settings::{Settings, Transport};
use crate::domain::{
    AttemptStatus, Clock, DeadReason, DeliveryId, DeliveryState, DisabledReason, Event,
    FailureReason, Flow, Next, Outcome, Timestamp,
};
use crate::egress::{Answer, SendError};
use crate::feed::{AttemptEnded, FeedEvent};
use crate::mail::{MailFailure, Mailed};
use crate::store::{Lease, StoreError};

/// The pause after an attempt for which this machine lacked something.
const LACK_PAUSE: Duration = Duration::from_secs(1);

/// The requests of an endpoint in the headers of its answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// To be left alone for so long.
    retry_after: Option<Duration>,
    steering: Steering,
    /// Nothing, as this machine lacked what an attempt needs.
    is_own_lack: bool,
}

/// Makes one attempt in this epoch of probing. Resolves when its outcome is written, which frees its slot.
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
    epoch: Epoch,
) -> Result<(), StoreError> {
    // Boxed: what a request takes is given back before its outcome is written.
    let (outcome, asked) = Box::pin(make(&settings, lease.event(), lane.clock.as_ref())).await;
    if asked.is_own_lack {
        return put_off(lane, &outcome, lease).await;
    }
    let now = lane.clock.steady();
    if let Some(reason) = outcome.reason {
        lane.attempt_failed(reason, &outcome);
    }
    let ended = Ended {
        settings: &settings,
        lease: &lease,
        epoch,
        outcome: &outcome,
        asked,
    };
    let (next, disabled, flow) = lane.change(now, |lane_status| {
        let (next, disabled) = ended.decide(lane_status, now);
        (next, disabled, lane_status.flow())
    });
    if let Some(reason) = disabled {
        lane.tell_disabled(reason);
    }
    tell(lane, &lease, &outcome, next, now);
    let counted = Counted::new(&lease, &outcome, next, now);
    let is_heard = lane.feed.has_listeners();
    let happened = is_heard.then(|| feed_event(lane, &lease, &outcome, (next, flow)));
    let event_id = lease.event().head.id;
    lane.store
        .settle(lease, outcome, next, lane.is_full())
        .await?;
    counted.count(lane);
    if let Next::Dead(reason) = next {
        lane.tell_dead(event_id, reason);
    }
    if let Some(happened) = happened {
        lane.feed.publish(|| happened);
    }
    Ok(())
}

/// Gives a delivery back after a pause: this machine lacked what an attempt needs. The endpoint has no part in that, so it
/// neither counts nor uses up a number, and what follows is decided again.
async fn put_off(lane: &Lane, outcome: &Outcome, lease: Lease) -> Result<(), StoreError> {
    lane.metrics.own_lacks.increment(1);
    let (event_id, error) = (&lease.event().head.id, outcome.error_message.as_deref());
    warn!(%event_id, subscription = %lane.name, error, "this machine lacks what an attempt needs");
    tokio::time::sleep(LACK_PAUSE).await;
    // Its lease ends here: the delivery is ready again.
    drop(lease);
    Ok(())
}

/// Sends an event once with these settings, and returns the outcome and the requests of the endpoint.
///
/// # Cancel safety
/// Dropped, the request is given up; the endpoint may have got it.
pub(super) async fn make(
    settings: &Settings,
    event: &Event,
    clock: &dyn Clock,
) -> (Outcome, Asked) {
    let started_at = clock.wall();
    let started = Instant::now();
    let sent = caught(send(settings, event, started_at)).await;
    let span = Span {
        started_at,
        duration: started.elapsed(),
    };
    match sent {
        Some(Sent::Request(Ok(answer))) => {
            let wall = started_at.plus(span.duration);
            let asked = Asked {
                retry_after: retry::retry_after(answer.status, &answer.headers, wall),
                steering: Steering::of(&answer.headers),
                is_own_lack: false,
            };
            (outcome::answered(answer, span), asked)
        }
        Some(Sent::Request(Err(error))) => {
            let asked = Asked {
                is_own_lack: error.is_own_lack,
                ..Asked::default()
            };
            (outcome::unanswered(error, span), asked)
        }
        Some(Sent::Mail(sent)) => (outcome::mailed(sent, span), Asked::default()),
        None => {
            let (event_id, how) = (&event.head.id, &settings.transport);
            error!(%event_id, ?how, "attempt panicked");
            (outcome::broken(span), Asked::default())
        }
    }
}

/// The result of sending.
enum Sent {
    Request(Result<Answer, SendError>),
    Mail(Result<Mailed, MailFailure>),
}

async fn send(settings: &Settings, event: &Event, wall: Timestamp) -> Sent {
    let limit = settings.timeout;
    match &settings.transport {
        Transport::Http(http) => {
            let request = http.plan.build(event, wall);
            Sent::Request(http.client.send(request, limit).await)
        }
        // Boxed: attempts in flight are kept in place, and almost all are requests.
        Transport::Mail(mailer) => Sent::Mail(Box::pin(mailer.send(event, limit)).await),
    }
}

/// Returns the future's output, `None` if it panics: an event that trips a bug must not end the relay, nor be attempted
/// again and again without its schedule. The future is not used any more, so no broken state is seen.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(future).catch_unwind().await.ok()
}

/// An attempt that ended, and what to judge it by.
struct Ended<'a> {
    settings: &'a Settings,
    lease: &'a Lease,
    epoch: Epoch,
    outcome: &'a Outcome,
    asked: Asked,
}

impl Ended<'_> {
    /// Counts the attempt for the subscription, does what its endpoint asked for, and returns what follows.
    fn decide(
        &self,
        lane_status: &mut LaneStatus,
        now: Timestamp,
    ) -> (Next, Option<DisabledReason>) {
        // Of an endpoint that was replaced meanwhile, the outcome concerns the delivery only.
        let is_current = lane_status.is_at(self.settings.endpoint);
        if is_current {
            self.count(lane_status, now);
        }
        let next = retry::next(&self.attempted(lane_status, now), now, jitter_sample);
        if !is_current {
            return (next, None);
        }
        if matches!(next, Next::Dead(_)) && self.is_the_endpoints() {
            lane_status.count_dead();
        }
        let reason = disabling::reason(
            self.settings,
            self.outcome.reason,
            self.asked.steering,
            lane_status.state(),
            now,
        );
        (
            next,
            reason.filter(|reason| lane_status.disable(*reason, now)),
        )
    }

    fn count(&self, lane_status: &mut LaneStatus, now: Timestamp) {
        let failure = self.outcome.reason;
        lane_status.count(failure, now);
        let event = self.lease.event().head.id;
        let concurrency = self.settings.concurrency;
        lane_status
            .probe()
            .ended(event, self.epoch, failure, concurrency, now);
        if let Some(pause) = self.asked.retry_after {
            lane_status.pause(now, pause);
        }
    }

    fn attempted(&self, lane_status: &LaneStatus, now: Timestamp) -> Attempted<'_> {
        let is_gone = self.outcome.reason == Some(FailureReason::Http410);
        Attempted {
            status: self.outcome.status,
            schedule_attempt: self.lease.schedule_attempt(),
            age: lane_status.age(self.lease.schedule_began(), now),
            retry_after: self.asked.retry_after,
            given_up: self.given_up(),
            is_gone: is_gone && !self.settings.locked,
            retry: &self.settings.retry,
        }
    }

    /// The reason to give the delivery up whatever its schedule allows.
    fn given_up(&self) -> Option<DeadReason> {
        let code = self.outcome.response_code;
        let gives_up = code.is_some_and(|code| self.settings.give_up_on.contains(&code));
        match (self.asked.steering.abort, gives_up) {
            (true, _) => Some(DeadReason::Aborted),
            (false, true) => Some(DeadReason::GaveUp),
            (false, false) => None,
        }
    }

    fn is_the_endpoints(&self) -> bool {
        let failure = self.outcome.reason;
        failure.is_some_and(FailureReason::is_the_endpoints)
    }
}

/// A random number from 0 up to 1. Without randomness there is no jitter, which is no reason to lose an attempt.
fn jitter_sample() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

/// Logs a failure and what follows from it; that an endpoint begins to fail or works again, also where only the
/// uncommon is logged.
fn tell(lane: &Lane, lease: &Lease, outcome: &Outcome, next: Next, now: Timestamp) {
    let status_change = lane
        .lane_status()
        .status_change(outcome.reason.is_some(), now);
    let (event_id, subscription) = (&lease.event().head.id, &lane.name);
    let attempt = lease.attempt();
    if status_change == Some(StatusChange::Recovered) {
        info!(%subscription, "the endpoint works again");
    }
    let Some(reason) = outcome.reason.map(FailureReason::as_str) else {
        return;
    };
    let (code, error) = (outcome.response_code, outcome.error_message.as_deref());
    if status_change == Some(StatusChange::Failing) {
        warn!(%event_id, %subscription, attempt, reason, code, error, "attempts fail");
    } else {
        debug!(%event_id, %subscription, attempt, reason, code, error, "attempt failed");
    }
    if let Next::Dead(dead_reason) = next {
        let dead_reason = dead_reason.as_str();
        warn!(%event_id, %subscription, attempt, reason, code, error, dead_reason, "delivery is dead");
    }
}

/// The event for live streams.
fn feed_event(
    lane: &Lane,
    lease: &Lease,
    outcome: &Outcome,
    (next, flow): (Next, Flow),
) -> FeedEvent {
    let head = &lease.event().head;
    FeedEvent::Attempt(AttemptEnded {
        delivery: DeliveryId {
            event: head.id,
            subscription: lane.name.clone(),
        },
        event_type: head.event_type.clone(),
        number: lease.attempt(),
        status: outcome.status,
        reason: outcome.reason,
        response_code: outcome.response_code,
        error_message: outcome.error_message.clone(),
        duration: outcome.duration,
        started_at: outcome.started_at,
        state: match next {
            Next::Delivered => DeliveryState::Delivered,
            Next::Dead(_) => DeliveryState::Dead,
            Next::Due { .. } => DeliveryState::Pending,
        },
        next_attempt_at: match next {
            Next::Due { at, .. } => Some(at),
            Next::Delivered | Next::Dead(_) => None,
        },
        flow,
    })
}

/// The values for the metrics of an attempt, kept until its outcome is written.
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
            metrics.failed(reason);
        }
        match self.next {
            Next::Delivered => {
                metrics.delivered.increment(1);
                metrics.delivery_delay.record(self.delay);
            }
            Next::Dead(reason) => metrics.given_up(reason),
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
