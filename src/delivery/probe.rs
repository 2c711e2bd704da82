//! Probing: an endpoint that cannot be reached is tried by one delivery at a time, and the way is opened gradually.
//!
//! Leaves to the lane which delivery that is, and to `retry` when its next attempt is due: nothing is attempted before
//! its schedule, and those not chosen wait without using up attempts. Pure: time comes in as
//! [`Clock::steady`](crate::domain::Clock::steady). Kept in memory only: after a restart the way is open, and what fails
//! closes it again.

use std::time::Duration;

use crate::domain::{EventId, FailureReason, Timestamp};

/// So many different deliveries in a row fail before probing begins.
const ROW: usize = 5;
/// The pause after the first failure of a probe.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between probes.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Identifies attempts that began under the same conditions: outcomes of earlier epochs do not describe the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Epoch(u64);

/// How an attempt ended, as far as probing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// 2xx.
    Success,
    /// The endpoint could not be reached, or not work: dns, connect, tls, timeout, reset, 5xx.
    Down,
    /// Any other answer of the endpoint.
    Answer,
    /// Not the endpoint's fault.
    Nothing,
}

impl Sign {
    fn of(failure: Option<FailureReason>) -> Self {
        use FailureReason::{
            Auth, Blocked, Connect, Dns, Http3xx, Http4xx, Http5xx, Http410, Http429, Protocol,
            Proxy, Reset, Template, Timeout, Tls,
        };
        match failure {
            None => Self::Success,
            Some(Dns | Connect | Tls | Timeout | Reset | Http5xx) => Self::Down,
            Some(Protocol | Http3xx | Http4xx | Http410 | Http429) => Self::Answer,
            Some(Blocked | Auth | Proxy | Template) => Self::Nothing,
        }
    }
}

/// How many attempts may be in flight, by how the last ones ended.
#[derive(Debug, Default)]
pub(super) struct Probe {
    phase: Phase,
    epoch: Epoch,
}

#[derive(Debug)]
enum Phase {
    /// As many as `concurrency`; with the different deliveries that failed in a row.
    Open(Vec<EventId>),
    /// One, and not before a time.
    Probing {
        since: Timestamp,
        not_before: Timestamp,
        pause: Duration,
    },
    /// So many.
    Opening(usize),
}

impl Default for Phase {
    fn default() -> Self {
        Self::Open(Vec::new())
    }
}

impl Probe {
    /// How many attempts may be in flight now.
    pub(super) fn slots(&self, concurrency: usize, now: Timestamp) -> usize {
        match &self.phase {
            Phase::Open(_) => concurrency,
            Phase::Probing { not_before, .. } => usize::from(*not_before <= now),
            Phase::Opening(slots) => concurrency.min(*slots),
        }
    }

    /// When there is a slot again, if that takes time only.
    pub(super) fn alarm(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.phase {
            Phase::Probing { not_before, .. } => Some(*not_before).filter(|at| *at > now),
            Phase::Open(_) | Phase::Opening(_) => None,
        }
    }

    /// Opens the way at once: outcomes of attempts in flight do not describe the present any more.
    pub(super) fn open(&mut self) {
        self.phase = Phase::default();
        self.epoch.0 += 1;
    }

    /// Since when it probes, and before when no attempt begins; None while it does not.
    pub(super) fn probing(&self) -> Option<(Timestamp, Timestamp)> {
        match self.phase {
            Phase::Probing {
                since, not_before, ..
            } => Some((since, not_before)),
            Phase::Open(_) | Phase::Opening(_) => None,
        }
    }

    /// The epoch of attempts that begin now.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Records how an attempt of `delivery`, begun in `epoch`, ended; `failure` is why it failed, `None` for a success.
    pub(super) fn ended(
        &mut self,
        delivery: EventId,
        epoch: Epoch,
        failure: Option<FailureReason>,
        concurrency: usize,
        now: Timestamp,
    ) {
        match Sign::of(failure) {
            Sign::Success => self.succeeded(concurrency),
            // Attempts in flight when probing began, or when it ended, simply end.
            Sign::Down if epoch == self.epoch => self.failed(delivery, now),
            Sign::Answer if epoch == self.epoch => self.answered(now),
            Sign::Nothing if epoch == self.epoch => self.learned_nothing(now),
            Sign::Down | Sign::Answer | Sign::Nothing => {}
        }
    }

    fn succeeded(&mut self, concurrency: usize) {
        let slots = match &mut self.phase {
            Phase::Open(row) => return row.clear(),
            Phase::Probing { .. } => {
                self.epoch.0 += 1;
                1
            }
            Phase::Opening(slots) => slots.saturating_mul(2),
        };
        self.phase = if slots < concurrency {
            Phase::Opening(slots)
        } else {
            Phase::default()
        };
    }

    fn failed(&mut self, delivery: EventId, now: Timestamp) {
        let pause = match &mut self.phase {
            Phase::Open(row) => {
                if !row.contains(&delivery) {
                    row.push(delivery);
                }
                if row.len() < ROW {
                    return;
                }
                PAUSE
            }
            Phase::Probing { pause, .. } => pause.saturating_mul(2).min(PAUSE_MAX),
            Phase::Opening(_) => PAUSE,
        };
        if !matches!(self.phase, Phase::Probing { .. }) {
            self.epoch.0 += 1;
        }
        self.probe(now, pause);
    }

    /// It can be reached, so the pauses start again; only a success shows whether it works.
    fn answered(&mut self, now: Timestamp) {
        match &mut self.phase {
            Phase::Open(row) => row.clear(),
            Phase::Probing { .. } => self.probe(now, PAUSE),
            Phase::Opening(_) => {}
        }
    }

    fn learned_nothing(&mut self, now: Timestamp) {
        if let Phase::Probing { pause, .. } = self.phase {
            self.probe(now, pause);
        }
    }

    fn probe(&mut self, now: Timestamp, pause: Duration) {
        let since = self.probing().map_or(now, |(since, _)| since);
        self.phase = Phase::Probing {
            since,
            not_before: now.plus(pause),
            pause,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureReason::{Blocked, Connect, Http4xx, Http5xx, Template, Timeout};
    use proptest::prelude::*;

    const CONCURRENCY: usize = 6;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn event(number: u8) -> EventId {
        EventId::new(at(0), [number; 10])
    }

    fn end(probe: &mut Probe, number: u8, failure: Option<FailureReason>, now: Timestamp) {
        probe.ended(event(number), probe.epoch(), failure, CONCURRENCY, now);
    }

    /// Probing since 0, with nothing in flight.
    fn probing() -> Probe {
        let mut probe = Probe::default();
        for number in 0..5 {
            assert_eq!(probe.slots(CONCURRENCY, at(0)), CONCURRENCY);
            end(&mut probe, number, Some(Connect), at(0));
        }
        probe
    }

    #[test]
    fn five_different_deliveries_that_fail_in_a_row_begin_it() {
        let probe = probing();
        assert_eq!(probe.slots(CONCURRENCY, at(99)), 0);
        assert_eq!(probe.alarm(at(99)), Some(at(100)));
        assert_eq!(probe.slots(CONCURRENCY, at(100)), 1);
        assert_eq!(probe.alarm(at(100)), None);
    }

    #[test]
    fn one_delivery_that_fails_again_and_again_does_not() {
        let mut probe = Probe::default();
        for _ in 0..20 {
            end(&mut probe, 1, Some(Http5xx), at(0));
        }
        assert_eq!(probe.slots(CONCURRENCY, at(0)), CONCURRENCY);
    }

    #[test]
    fn any_other_answer_ends_the_row_and_failures_of_our_side_count_nowhere() {
        for (failure, slots) in [
            (None, CONCURRENCY),
            (Some(Http4xx), CONCURRENCY),
            (Some(Blocked), 0),
            (Some(Template), 0),
        ] {
            let mut probe = Probe::default();
            for number in 0..4 {
                end(&mut probe, number, Some(Timeout), at(0));
            }
            end(&mut probe, 5, failure, at(0));
            end(&mut probe, 6, Some(Timeout), at(0));
            assert_eq!(probe.slots(CONCURRENCY, at(0)), slots, "{failure:?}");
        }
    }

    #[test]
    fn its_pauses_grow_to_five_minutes() {
        let mut probe = probing();
        let mut now = at(100);
        let mut pauses = Vec::new();
        for number in 0..15 {
            end(&mut probe, number, Some(Connect), now);
            let next = probe.alarm(now).unwrap();
            pauses.push(next.since(now).as_millis());
            now = next;
        }
        assert_eq!(pauses[..4], [200, 400, 800, 1600]);
        assert_eq!(pauses[12..], [300_000, 300_000, 300_000]);
    }

    #[test]
    fn it_knows_since_when_it_lasts_until_a_success() {
        let mut probe = probing();
        end(&mut probe, 6, Some(Connect), at(500));
        assert_eq!(probe.probing(), Some((at(0), at(700))));
        end(&mut probe, 6, None, at(800));
        assert_eq!(probe.probing(), None);
        end(&mut probe, 6, Some(Connect), at(900));
        assert_eq!(probe.probing(), Some((at(900), at(1000))));
    }

    #[test]
    fn what_was_in_flight_when_it_began_simply_ends() {
        let mut probe = Probe::default();
        let before = probe.epoch();
        for number in 0..5 {
            end(&mut probe, number, Some(Connect), at(0));
        }
        probe.ended(event(6), before, Some(Connect), CONCURRENCY, at(50));
        probe.ended(event(7), before, Some(Http4xx), CONCURRENCY, at(90));
        assert_eq!(probe.alarm(at(90)), Some(at(100)));
        probe.ended(event(8), before, None, CONCURRENCY, at(95));
        assert_eq!(probe.slots(CONCURRENCY, at(95)), 1);
        probe.ended(event(9), before, Some(Connect), CONCURRENCY, at(96));
        assert_eq!(probe.slots(CONCURRENCY, at(96)), 1);
    }

    #[test]
    fn successes_open_the_way_gradually() {
        let mut probe = probing();
        let mut slots = Vec::new();
        for number in 0..5 {
            end(&mut probe, number, None, at(100));
            slots.push(probe.slots(CONCURRENCY, at(100)));
        }
        assert_eq!(slots, [1, 2, 4, 6, 6]);
    }

    #[test]
    fn a_failure_while_opening_goes_back_to_probing() {
        let mut probe = probing();
        end(&mut probe, 0, None, at(100));
        end(&mut probe, 1, None, at(100));
        end(&mut probe, 2, Some(Http4xx), at(100));
        end(&mut probe, 2, Some(Template), at(100));
        assert_eq!(probe.slots(CONCURRENCY, at(100)), 2);
        end(&mut probe, 2, Some(Http5xx), at(100));
        assert_eq!(probe.slots(CONCURRENCY, at(100)), 0);
        assert_eq!(probe.alarm(at(100)), Some(at(200)));
    }

    #[test]
    fn an_endpoint_that_answers_is_probed_without_long_pauses() {
        let mut probe = probing();
        for number in 0..9 {
            end(&mut probe, number, Some(Timeout), at(1000));
        }
        end(&mut probe, 1, Some(Http4xx), at(60_000));
        assert_eq!(probe.alarm(at(60_000)), Some(at(60_100)));
        end(&mut probe, 1, Some(Timeout), at(60_100));
        end(&mut probe, 1, Some(Blocked), at(60_300));
        assert_eq!(probe.alarm(at(60_300)), Some(at(60_500)));
    }

    #[test]
    fn with_a_concurrency_of_one_a_success_opens_the_way_at_once() {
        let mut probe = probing();
        probe.ended(event(1), probe.epoch(), None, 1, at(100));
        for number in 0..4 {
            probe.ended(event(number), probe.epoch(), Some(Connect), 1, at(100));
        }
        assert_eq!(probe.slots(1, at(100)), 1);
    }

    proptest! {
        /// However attempts end, there is a slot, or a time when there is one.
        #[test]
        fn it_never_stops_for_good(ends in prop::collection::vec((0u8..8, 0usize..20, 0i64..1000), 0..100)) {
            let mut probe = Probe::default();
            let mut now = 0;
            for (number, failure, pause) in ends {
                now += pause;
                end(&mut probe, number, FailureReason::ALL.get(failure).copied(), at(now));
                let slots = probe.slots(CONCURRENCY, at(now));
                prop_assert!(slots <= CONCURRENCY);
                let alarm = probe.alarm(at(now));
                prop_assert_eq!(slots == 0, alarm.is_some());
                prop_assert!(alarm.is_none_or(|alarm| probe.slots(CONCURRENCY, alarm) == 1));
            }
        }
    }
}
