//! The state of a subscription: held, paused, probed, or failing how often in a row; and when that is to be recorded.
//!
//! It is held while it is inactive in the file, disabled at run time, or gone from the file. Leaves the recording to the
//! lane, and to `disabling` why it is disabled. Pure: time comes in as [`Clock::steady`](crate::domain::Clock::steady).
//! Counts and pauses are recorded at most once per [`WRITE_PAUSE`], so a crash may forget the last second of them;
//! holding and resuming are recorded at once. Invariants: while held there is no pause, so that no time is counted as
//! stopped twice; the endpoint is recorded with every fact about it.

use std::time::Duration;

use crate::delivery::probe::Probe;
use crate::delivery::retry::RETRY_AFTER_MAX;
use crate::delivery::stops;
use crate::domain::{DisabledReason, FailureReason, Flow, Timestamp};
use crate::store::SubscriptionState;

/// The least time between two recordings of counts and pauses.
pub(super) const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two reports of failing.
const TELL_PAUSE: Duration = Duration::from_secs(60);

/// The changes that people are notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusChange {
    /// Attempts fail.
    Failing,
    /// An attempt succeeded after failing was reported.
    Recovered,
}

/// The part of a subscription's definition in the file on which the status of its lane depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Defined {
    /// The field `active`.
    pub(super) active: bool,
    /// A digest of the url; `None` if it has none.
    pub(super) endpoint: Option<u64>,
    /// A digest of all of it, as [`digest_of`](super::settings::digest_of) makes it.
    pub(super) definition: u64,
}

/// Why it may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grounds {
    inactive: bool,
    disabled: Option<(DisabledReason, Timestamp)>,
    removed_at: Option<Timestamp>,
}

/// The state of one subscription.
#[derive(Debug)]
pub(super) struct LaneStatus {
    state: SubscriptionState,
    probe: Probe,
    paused_until: Option<Timestamp>,
    /// The state is not recorded as it is; from this time on it may be.
    unwritten_from: Option<Timestamp>,
    written_at: Timestamp,
    /// Failing was reported, and no attempt succeeded since.
    is_failing: bool,
    /// When failing was reported last.
    told_at: Option<Timestamp>,
}

impl LaneStatus {
    /// Goes on from the recorded state. A pause that was asked for goes on too, unless the clock was set back.
    pub(super) fn new(state: SubscriptionState, now: Timestamp) -> Self {
        let paused_until = state
            .stops
            .last()
            .filter(|span| span.0 <= now && span.1 > now && span.1.since(now) <= RETRY_AFTER_MAX)
            .map(|span| span.1);
        Self {
            state,
            probe: Probe::default(),
            paused_until,
            unwritten_from: None,
            written_at: Timestamp::default(),
            is_failing: false,
            told_at: None,
        }
    }

    /// Follows the definition in the file from now on, `None` if it is gone. A changed url, or becoming active
    /// again, enables what was disabled for what the endpoint did; returns whether it did.
    pub(super) fn follow(&mut self, defined: Option<Defined>, now: Timestamp) -> bool {
        let mut is_lifted = false;
        let before = self.grounds();
        match defined {
            None => {
                self.state.removed_at.get_or_insert(now);
            }
            Some(Defined {
                active,
                endpoint,
                definition,
            }) => {
                self.note(definition, now);
                let has_moved = endpoint.is_some_and(|endpoint| self.move_to(endpoint, now));
                let is_activated = active && self.state.inactive;
                if has_moved || is_activated {
                    is_lifted = self.forgive();
                }
                self.state.inactive = !active;
                self.state.removed_at = None;
            }
        }
        self.hold_or_resume(before, now);
        is_lifted && !self.is_held()
    }

    /// Disables it at run time, answers whether it was not before. A manual reason replaces another, which a new url
    /// would lift.
    pub(super) fn disable(&mut self, reason: DisabledReason, now: Timestamp) -> bool {
        let before = self.grounds();
        let was_enabled = match self.state.disabled {
            None => {
                self.state.disabled = Some((reason, now));
                true
            }
            Some((_, since)) if reason == DisabledReason::Manual => {
                self.state.disabled = Some((reason, since));
                false
            }
            Some(_) => false,
        };
        self.hold_or_resume(before, now);
        was_enabled
    }

    /// Enables it again whatever disabled it at run time; answers whether something had.
    pub(super) fn enable(&mut self, now: Timestamp) -> bool {
        let before = self.grounds();
        let was_disabled = self.state.disabled.take().is_some();
        self.hold_or_resume(before, now);
        was_disabled
    }

    /// Attempts what is due at once, on request: ends a pause, and probing until attempts fail again.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        self.lift_pause(now);
        self.probe.open();
    }

    /// Pauses for this long, unless it is held or paused for longer.
    pub(super) fn pause(&mut self, now: Timestamp, pause: Duration) {
        let until = now.plus(pause);
        if self.is_held() || until <= self.paused_until.unwrap_or(now) {
            return;
        }
        self.paused_until = Some(until);
        stops::add(&mut self.state.stops, (now, until));
        self.changed();
    }

    /// Counts an attempt: `failure` is why it failed, `None` for a success.
    pub(super) fn count(&mut self, failure: Option<FailureReason>, now: Timestamp) {
        match failure {
            None => self.forget_failures(),
            Some(reason) if reason.is_the_endpoints() => {
                let failures = &mut self.state.consecutive_failures;
                *failures = failures.saturating_add(1);
                self.state.first_failure_at.get_or_insert(now);
                self.changed();
            }
            Some(_) => {}
        }
    }

    /// Counts a delivery that died of an attempt that failed by the endpoint's fault.
    pub(super) fn count_dead(&mut self) {
        self.state.consecutive_dead = self.state.consecutive_dead.saturating_add(1);
        self.changed();
    }

    /// The change to report after an attempt, whichever side caused a failure: the first failure and the first success
    /// after it. An endpoint that works now and then is reported once in [`TELL_PAUSE`].
    pub(super) fn status_change(
        &mut self,
        has_failed: bool,
        now: Timestamp,
    ) -> Option<StatusChange> {
        let may_tell = self.told_at.is_none_or(|at| now.since(at) >= TELL_PAUSE);
        match (self.is_failing, has_failed) {
            (false, true) if may_tell => {
                self.is_failing = true;
                self.told_at = Some(now);
                Some(StatusChange::Failing)
            }
            (true, false) => {
                self.is_failing = false;
                Some(StatusChange::Recovered)
            }
            (false, _) | (true, true) => None,
        }
    }

    /// Whether nothing is attempted because the subscription is inactive, disabled, or gone from the file.
    pub(super) fn is_held(&self) -> bool {
        self.state.held_since.is_some()
    }

    /// How many attempts may be in flight now, of `concurrency`.
    pub(super) fn slots(&self, concurrency: usize, now: Timestamp) -> usize {
        if self.is_held() || self.paused_until.is_some() {
            return 0;
        }
        self.probe.slots(concurrency, now)
    }

    /// How the lane treats deliveries that are due, the rate not looked at.
    pub(super) fn flow(&self) -> Flow {
        if self.is_held() {
            return Flow::Held;
        }
        match (self.paused_until, self.probe.probing()) {
            (Some(until), _) => Flow::Paused { until },
            (None, Some((since, next_at))) => Flow::Probing { since, next_at },
            (None, None) => Flow::Open,
        }
    }

    /// Probing, as the endpoint's answers left it.
    pub(super) fn probe(&mut self) -> &mut Probe {
        &mut self.probe
    }

    /// Whether this is the endpoint that the file names. The answers of another one do not matter any more.
    pub(super) fn is_at(&self, endpoint: u64) -> bool {
        self.state.endpoint == endpoint
    }

    /// The state that is recorded, sooner or later.
    pub(super) fn state(&self) -> &SubscriptionState {
        &self.state
    }

    /// How old a delivery is at `now` whose schedule began at `since`, time stopped not counted.
    pub(super) fn age(&self, since: Timestamp, now: Timestamp) -> Duration {
        let held = match self.state.held_since {
            Some(held_since) => now.since(held_since.max(since)),
            None => Duration::ZERO,
        };
        stops::age(since, now, &self.state.stops).saturating_sub(held)
    }

    /// When there is something to do for [`LaneStatus::tend`] or a slot to fill; `None` while there is nothing.
    pub(super) fn alarm(&self, now: Timestamp) -> Option<Timestamp> {
        let probe = self.probe.alarm(now).filter(|_| !self.is_held());
        [self.paused_until, self.unwritten_from, probe]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends a pause that is over, and answers the state if it is time to record it.
    pub(super) fn tend(&mut self, now: Timestamp) -> Option<SubscriptionState> {
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let is_due = self.unwritten_from.is_some_and(|from| from <= now);
        is_due.then(|| self.written(now))
    }

    /// The state if it is not recorded as it is, whatever the time.
    pub(super) fn unwritten(&mut self, now: Timestamp) -> Option<SubscriptionState> {
        self.unwritten_from.is_some().then(|| self.written(now))
    }

    /// Notes when it was first seen in the file, and when it is defined otherwise than before.
    fn note(&mut self, definition: u64, now: Timestamp) {
        let state = &mut self.state;
        if state.created_at.is_some() && state.definition == definition {
            return;
        }
        state.definition = definition;
        state.created_at.get_or_insert(now);
        self.updated(now);
    }

    /// Its definition changed, or whether it is enabled.
    fn updated(&mut self, now: Timestamp) {
        self.state.updated_at = Some(now);
        self.unwritten_from = Some(now);
    }

    /// Goes by another url, if it is one: what one endpoint asked for does not bind another.
    fn move_to(&mut self, endpoint: u64, now: Timestamp) -> bool {
        let before = std::mem::replace(&mut self.state.endpoint, endpoint);
        let has_moved = before != 0 && before != endpoint;
        if has_moved {
            self.lift_pause(now);
            self.probe = Probe::default();
        }
        has_moved
    }

    /// Lifts what the endpoint brought about, and nothing that a user decided.
    fn forgive(&mut self) -> bool {
        use DisabledReason::{Config, Endpoint, Failing, Gone, Manual};
        let is_lifted = match self.state.disabled {
            Some((Gone | Endpoint | Failing, _)) => true,
            Some((Config | Manual, _)) | None => false,
        };
        if is_lifted {
            self.state.disabled = None;
        }
        is_lifted
    }

    fn grounds(&self) -> Grounds {
        Grounds {
            inactive: self.state.inactive,
            disabled: self.state.disabled,
            removed_at: self.state.removed_at,
        }
    }

    fn hold_or_resume(&mut self, before: Grounds, now: Timestamp) {
        let grounds = self.grounds();
        if grounds != before {
            self.updated(now);
        }
        let is_to_be_held =
            grounds.inactive || grounds.disabled.is_some() || grounds.removed_at.is_some();
        match (self.state.held_since, is_to_be_held) {
            (None, true) => {
                self.lift_pause(now);
                self.state.held_since = Some(now);
                self.unwritten_from = Some(now);
            }
            (Some(since), false) => self.resume(since, now),
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Ends holding: counting of failures starts again, and the time until now counts as stopped.
    fn resume(&mut self, since: Timestamp, now: Timestamp) {
        self.state.held_since = None;
        stops::add(&mut self.state.stops, (since, now));
        self.forget_failures();
        self.probe = Probe::default();
        self.unwritten_from = Some(now);
    }

    /// Ends a pause before its time.
    fn lift_pause(&mut self, now: Timestamp) {
        if self.paused_until.take().is_some() {
            stops::cut(&mut self.state.stops, now);
            self.changed();
        }
    }

    fn forget_failures(&mut self) {
        let state = &mut self.state;
        if state.consecutive_failures == 0 && state.consecutive_dead == 0 {
            return;
        }
        state.consecutive_failures = 0;
        state.first_failure_at = None;
        state.consecutive_dead = 0;
        self.changed();
    }

    fn changed(&mut self) {
        let from = self.written_at.plus(WRITE_PAUSE);
        self.unwritten_from.get_or_insert(from);
    }

    fn written(&mut self, now: Timestamp) -> SubscriptionState {
        self.unwritten_from = None;
        self.written_at = now;
        self.state.clone()
    }
}

#[cfg(test)]
#[path = "lane_status_tests.rs"]
mod tests;
