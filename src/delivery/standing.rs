//! How a subscription stands: held, paused, or failing how often in a row; and when that is to be recorded.
//!
//! Leaves the recording to the lane. Pure: time comes in as [`Clock::steady`](crate::domain::Clock::steady).
//! Counts and pauses are recorded at most once per [`WRITE_PAUSE`], so a crash may forget the last second of them;
//! holding and resuming are recorded at once. Invariant: while held there is no pause, so that no time is counted as
//! stopped twice.

use std::time::Duration;

use crate::delivery::retry::RETRY_AFTER_MAX;
use crate::delivery::stops;
use crate::domain::{FailureReason, Timestamp};
use crate::store::SubscriptionState;

/// The least time between two recordings of counts and pauses.
pub(super) const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two times that failing is told.
const TELL_PAUSE: Duration = Duration::from_secs(60);

/// What people are told when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Attempts fail.
    Failing,
    /// An attempt succeeded after failing was told.
    Recovered,
}

/// How one subscription stands.
#[derive(Debug)]
pub(super) struct Standing {
    state: SubscriptionState,
    paused_until: Option<Timestamp>,
    /// The state is not recorded as it is; from this time on it may be.
    unwritten_from: Option<Timestamp>,
    written_at: Timestamp,
    /// Failing was told, and no attempt succeeded since.
    is_failing: bool,
    /// When failing was told last.
    told_at: Option<Timestamp>,
}

impl Standing {
    /// Goes on from the recorded state. A pause that was asked for goes on too, unless the clock was set back.
    pub(super) fn new(state: SubscriptionState, now: Timestamp) -> Self {
        let paused_until = state
            .stops
            .last()
            .filter(|span| span.0 <= now && span.1 > now && span.1.since(now) <= RETRY_AFTER_MAX)
            .map(|span| span.1);
        Self {
            state,
            paused_until,
            unwritten_from: None,
            written_at: Timestamp::default(),
            is_failing: false,
            told_at: None,
        }
    }

    /// Begins to hold; changes nothing if it is held already.
    pub(super) fn hold(&mut self, now: Timestamp) {
        if self.is_held() {
            return;
        }
        self.lift_pause(now);
        self.state.held_since = Some(now);
        self.unwritten_from = Some(now);
    }

    /// Ends holding: counting of failures begins anew, and the time until now counts as stopped.
    pub(super) fn resume(&mut self, now: Timestamp) {
        let Some(since) = self.state.held_since.take() else {
            return;
        };
        stops::add(&mut self.state.stops, (since, now));
        self.state.consecutive_failures = 0;
        self.unwritten_from = Some(now);
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

    /// Ends a pause before its time.
    pub(super) fn lift_pause(&mut self, now: Timestamp) {
        if self.paused_until.take().is_some() {
            stops::cut(&mut self.state.stops, now);
            self.changed();
        }
    }

    /// Counts an attempt: `failure` is why it failed, none for a success.
    pub(super) fn count(&mut self, failure: Option<FailureReason>) {
        let failures = match failure {
            None => 0,
            Some(reason) if reason.is_the_endpoints() => {
                self.state.consecutive_failures.saturating_add(1)
            }
            Some(_) => return,
        };
        if failures != self.state.consecutive_failures {
            self.state.consecutive_failures = failures;
            self.changed();
        }
    }

    /// What is to be told of an attempt, whoever's fault its failure was: the first failure and the first success after
    /// it. An endpoint that works now and then is told of once in [`TELL_PAUSE`].
    pub(super) fn news(&mut self, has_failed: bool, now: Timestamp) -> Option<News> {
        let may_tell = self.told_at.is_none_or(|at| now.since(at) >= TELL_PAUSE);
        match (self.is_failing, has_failed) {
            (false, true) if may_tell => {
                self.is_failing = true;
                self.told_at = Some(now);
                Some(News::Failing)
            }
            (true, false) => {
                self.is_failing = false;
                Some(News::Recovered)
            }
            (false, _) | (true, true) => None,
        }
    }

    /// Whether nothing is attempted because the subscription is inactive or gone from the file.
    pub(super) fn is_held(&self) -> bool {
        self.state.held_since.is_some()
    }

    /// Whether nothing is attempted for now.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_held() || self.paused_until.is_some()
    }

    /// Failed attempts since the last success that were the endpoint's.
    pub(super) fn consecutive_failures(&self) -> u32 {
        self.state.consecutive_failures
    }

    /// How old a delivery is at `now`, time stopped not counted.
    pub(super) fn age(&self, accepted_at: Timestamp, now: Timestamp) -> Duration {
        let held = match self.state.held_since {
            Some(since) => now.since(since.max(accepted_at)),
            None => Duration::ZERO,
        };
        stops::age(accepted_at, now, &self.state.stops).saturating_sub(held)
    }

    /// When [`Standing::tend`] has something to do; none while all is quiet.
    pub(super) fn alarm(&self) -> Option<Timestamp> {
        match (self.paused_until, self.unwritten_from) {
            (Some(pause), Some(write)) => Some(pause.min(write)),
            (pause, write) => pause.or(write),
        }
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
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn active() -> Standing {
        Standing::new(SubscriptionState::default(), at(0))
    }

    #[test]
    fn time_held_does_not_count_towards_the_age() {
        let mut standing = active();
        standing.hold(at(100));
        assert!(standing.is_stopped());
        assert_eq!(standing.age(at(40), at(500)), MINUTE);
        standing.resume(at(1000));
        assert!(!standing.is_stopped());
        assert_eq!(standing.age(at(40), at(1060)), 2 * MINUTE);
    }

    #[test]
    fn holding_again_keeps_the_beginning() {
        let mut standing = active();
        standing.hold(at(100));
        standing.hold(at(200));
        let state = standing.unwritten(at(200)).unwrap();
        assert_eq!(state.held_since, Some(at(100)));
    }

    #[test]
    fn a_pause_ends_by_itself_and_does_not_count_towards_the_age() {
        let mut standing = active();
        standing.pause(at(100), MINUTE);
        assert!(standing.is_stopped());
        standing.tend(at(159));
        assert!(standing.is_stopped());
        standing.tend(at(160));
        assert!(!standing.is_stopped());
        assert_eq!(standing.age(at(40), at(220)), 2 * MINUTE);
    }

    #[test]
    fn a_shorter_pause_does_not_shorten_a_longer_one() {
        let mut standing = active();
        standing.pause(at(0), 2 * MINUTE);
        standing.pause(at(10), MINUTE);
        standing.tend(at(119));
        assert!(standing.is_stopped());
        standing.pause(at(119), Duration::ZERO);
        standing.tend(at(120));
        assert!(!standing.is_stopped());
    }

    #[test]
    fn lifting_a_pause_counts_the_rest_of_it_towards_the_age() {
        let mut standing = active();
        standing.pause(at(0), 60 * MINUTE);
        standing.lift_pause(at(60));
        assert!(!standing.is_stopped());
        assert_eq!(standing.age(at(0), at(120)), MINUTE);
    }

    #[test]
    fn holding_ends_a_pause_and_no_pause_begins_while_held() {
        let mut standing = active();
        standing.pause(at(0), 60 * MINUTE);
        standing.hold(at(60));
        standing.pause(at(70), 60 * MINUTE);
        assert_eq!(standing.age(at(0), at(120)), Duration::ZERO);
        standing.resume(at(120));
        assert!(!standing.is_stopped());
        assert_eq!(standing.age(at(0), at(180)), MINUTE);
    }

    #[test]
    fn failures_of_the_endpoint_are_counted_until_a_success_or_an_enabling() {
        let mut standing = active();
        standing.count(Some(FailureReason::Http5xx));
        standing.count(Some(FailureReason::Blocked));
        standing.count(Some(FailureReason::Timeout));
        assert_eq!(standing.consecutive_failures(), 2);
        standing.count(None);
        assert_eq!(standing.consecutive_failures(), 0);
        standing.count(Some(FailureReason::Connect));
        standing.hold(at(5));
        standing.resume(at(6));
        assert_eq!(standing.consecutive_failures(), 0);
    }

    #[test]
    fn failing_is_told_once_and_so_is_its_end() {
        let mut standing = active();
        assert_eq!(standing.news(false, at(1)), None);
        assert_eq!(standing.news(true, at(2)), Some(News::Failing));
        assert_eq!(standing.news(true, at(500)), None);
        assert_eq!(standing.news(false, at(501)), Some(News::Recovered));
        assert_eq!(standing.news(false, at(502)), None);
        assert_eq!(standing.news(true, at(503)), Some(News::Failing));
    }

    #[test]
    fn an_endpoint_that_works_now_and_then_is_told_of_once_a_minute() {
        let mut standing = active();
        assert_eq!(standing.news(true, at(0)), Some(News::Failing));
        assert_eq!(standing.news(false, at(1)), Some(News::Recovered));
        assert_eq!(standing.news(true, at(2)), None);
        assert_eq!(standing.news(false, at(3)), None);
        assert_eq!(standing.news(true, at(59)), None);
        assert_eq!(standing.news(true, at(60)), Some(News::Failing));
    }

    #[test]
    fn counts_are_recorded_at_most_once_a_second() {
        let mut standing = active();
        standing.count(Some(FailureReason::Http5xx));
        assert_eq!(standing.tend(at(10)).unwrap().consecutive_failures, 1);
        assert_eq!(standing.alarm(), None);
        standing.count(Some(FailureReason::Http5xx));
        assert_eq!(standing.tend(at(10)), None);
        assert_eq!(standing.alarm(), Some(at(11)));
        assert_eq!(standing.tend(at(11)).unwrap().consecutive_failures, 2);
        assert_eq!(standing.unwritten(at(11)), None);
    }

    #[test]
    fn holding_is_recorded_at_once() {
        let mut standing = active();
        standing.count(Some(FailureReason::Http5xx));
        standing.tend(at(10));
        standing.count(Some(FailureReason::Http5xx));
        standing.hold(at(10));
        assert_eq!(standing.tend(at(10)).unwrap().held_since, Some(at(10)));
    }

    #[test]
    fn successes_in_a_row_have_nothing_to_record() {
        let mut standing = active();
        standing.count(None);
        standing.count(None);
        assert_eq!(standing.alarm(), None);
    }

    #[test]
    fn a_pause_goes_on_after_a_restart_unless_the_clock_was_set_back() {
        let mut standing = active();
        standing.pause(at(1000), MINUTE);
        let state = standing.unwritten(at(1000)).unwrap();
        let mut again = Standing::new(state.clone(), at(1030));
        assert!(again.is_stopped());
        assert_eq!(again.alarm(), Some(at(1060)));
        again.tend(at(1060));
        assert!(!again.is_stopped());
        assert!(!Standing::new(state.clone(), at(1061)).is_stopped());
        assert!(!Standing::new(state, at(500)).is_stopped());
    }
}
