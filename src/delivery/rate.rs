//! The field `rate_limit`: how many attempts may begin now, and when the next one may.
//!
//! Leaves the waiting to the lane. Pure: time comes in as [`Clock::steady`](crate::domain::Clock::steady). Invariant: in
//! any span no more attempts begin than the limit gives for it, and one second's worth (one at least) on top.

use std::time::Duration;

use crate::domain::{RateLimit, Timestamp};

/// A bucket of tokens, one for each attempt. It is full at the start and fills by the limit.
///
/// It counts in whole numbers, so that nothing is lost to rounding: a token is as many units as the period has
/// milliseconds, and with each millisecond come as many units as the period has attempts.
#[derive(Debug)]
pub(super) struct Rate {
    limit: Option<RateLimit>,
    units: u64,
    at: Timestamp,
}

impl Rate {
    /// A full bucket; without a limit it never empties.
    pub(super) fn new(limit: Option<RateLimit>, now: Timestamp) -> Self {
        Self {
            limit,
            units: limit.map_or(0, capacity),
            at: now,
        }
    }

    /// Goes on with another limit. Saved tokens are converted at once, so that changing the limit is no way around it.
    pub(super) fn set(&mut self, limit: Option<RateLimit>, now: Timestamp) {
        if limit == self.limit {
            return;
        }
        self.refill(now);
        self.units = match (self.limit, limit) {
            (Some(old), Some(new)) => converted(self.units, old, new).min(capacity(new)),
            (None, Some(new)) => capacity(new),
            (_, None) => 0,
        };
        self.limit = limit;
    }

    /// How many attempts may begin now.
    pub(super) fn available(&mut self, now: Timestamp) -> usize {
        self.refill(now);
        match self.limit {
            Some(limit) => usize::try_from(self.units / token(limit)).unwrap_or(usize::MAX),
            None => usize::MAX,
        }
    }

    /// Takes the tokens of attempts that begin.
    pub(super) fn spend(&mut self, attempts: usize) {
        if let Some(limit) = self.limit {
            let attempts = u64::try_from(attempts).unwrap_or(u64::MAX);
            let units = attempts.saturating_mul(token(limit));
            self.units = self.units.saturating_sub(units);
        }
    }

    /// In how long an attempt may begin; `None` if one may now.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Duration> {
        if self.available(now) > 0 {
            return None;
        }
        let limit = self.limit?;
        let missing = token(limit).saturating_sub(self.units);
        Some(Duration::from_millis(missing.div_ceil(gain(limit))))
    }

    fn refill(&mut self, now: Timestamp) {
        let Some(limit) = self.limit else { return };
        let passed = millis(now.since(self.at));
        let gained = passed.saturating_mul(gain(limit));
        self.units = self.units.saturating_add(gained).min(capacity(limit));
        self.at = self.at.max(now);
    }
}

/// Units of one attempt: the milliseconds of the period.
fn token(limit: RateLimit) -> u64 {
    millis(limit.per).max(1)
}

/// Units that come with each millisecond: the attempts of the period.
fn gain(limit: RateLimit) -> u64 {
    u64::from(limit.attempts).max(1)
}

/// One second's worth, one attempt at least.
fn capacity(limit: RateLimit) -> u64 {
    gain(limit).saturating_mul(1000).max(token(limit))
}

/// The same tokens in the units of another limit, rounded down.
fn converted(units: u64, old: RateLimit, new: RateLimit) -> u64 {
    let converted = u128::from(units) * u128::from(token(new)) / u128::from(token(old));
    u64::try_from(converted).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn limit(attempts: u32, seconds: u64) -> Option<RateLimit> {
        let per = Duration::from_secs(seconds);
        Some(RateLimit { attempts, per })
    }

    fn spent(rate: &mut Rate, now: Timestamp) -> usize {
        let attempts = rate.available(now);
        rate.spend(attempts);
        attempts
    }

    #[test]
    fn bursts_are_one_second_s_worth() {
        for (limit, burst) in [
            (limit(100, 1), 100),
            (limit(6000, 60), 100),
            (limit(3600, 3600), 1),
            (limit(1, 3600), 1),
            (limit(90, 60), 1),
        ] {
            let mut rate = Rate::new(limit, at(0));
            assert_eq!(spent(&mut rate, at(1_000_000)), burst, "{limit:?}");
            assert_eq!(spent(&mut rate, at(1_000_000)), 0, "{limit:?}");
        }
    }

    #[test]
    fn the_next_attempt_may_begin_when_its_token_is_there() {
        let mut rate = Rate::new(limit(3, 1), at(0));
        assert_eq!(rate.next(at(0)), None);
        rate.spend(3);
        let next = rate.next(at(0)).unwrap();
        assert_eq!(next, Duration::from_millis(334));
        assert_eq!(rate.available(at(333)), 0);
        assert_eq!(rate.available(at(334)), 1);
        assert_eq!(rate.next(at(334)), None);
    }

    #[test]
    fn one_an_hour_is_one_an_hour() {
        let mut rate = Rate::new(limit(1, 3600), at(0));
        assert_eq!(spent(&mut rate, at(0)), 1);
        assert_eq!(rate.next(at(0)), Some(Duration::from_secs(3600)));
        assert_eq!(rate.available(at(3_599_999)), 0);
        assert_eq!(rate.available(at(3_600_000)), 1);
    }

    #[test]
    fn without_a_limit_there_is_no_end() {
        let mut rate = Rate::new(None, at(0));
        rate.spend(1_000_000);
        assert_eq!(rate.available(at(0)), usize::MAX);
        assert_eq!(rate.next(at(0)), None);
    }

    #[test]
    fn another_limit_applies_at_once_and_gives_no_burst() {
        let mut rate = Rate::new(limit(100, 1), at(0));
        rate.spend(100);
        rate.set(limit(1000, 1), at(0));
        assert_eq!(rate.available(at(0)), 0);
        assert_eq!(rate.next(at(0)), Some(Duration::from_millis(1)));
        rate.set(limit(2, 1), at(10_000));
        assert_eq!(rate.available(at(10_000)), 2);
        rate.set(None, at(10_000));
        assert_eq!(rate.available(at(10_000)), usize::MAX);
        rate.set(limit(5, 1), at(10_000));
        assert_eq!(rate.available(at(10_000)), 5);
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_gives_nothing() {
        let mut rate = Rate::new(limit(1, 1), at(5000));
        rate.spend(1);
        assert_eq!(rate.available(at(4000)), 0);
        assert_eq!(rate.available(at(5999)), 0);
        assert_eq!(rate.available(at(6000)), 1);
    }

    proptest! {
        #[test]
        fn no_span_has_more_than_the_limit_gives_and_one_burst(
            attempts in 1u32..2000, per in prop::sample::select(vec![1u64, 60, 3600]),
            pauses in prop::collection::vec(0i64..3000, 1..60),
        ) {
            let limit = RateLimit { attempts, per: Duration::from_secs(per) };
            let mut rate = Rate::new(Some(limit), at(0));
            let mut begun = vec![(0i64, spent(&mut rate, at(0)))];
            let mut now = 0;
            for pause in pauses {
                now += pause;
                begun.push((now, spent(&mut rate, at(now))));
            }
            let burst = usize::try_from(capacity(limit) / token(limit)).unwrap();
            for (first, (from, _)) in begun.iter().enumerate() {
                let mut sum = 0;
                for (to, count) in &begun[first..] {
                    sum += count;
                    let passed = u64::try_from(to - from).unwrap();
                    let given = usize::try_from(passed * gain(limit) / token(limit)).unwrap();
                    prop_assert!(sum <= given + burst + 1, "{sum} in {} ms", to - from);
                }
            }
        }

        #[test]
        fn who_waits_as_told_gets_one(attempts in 1u32..5000, per in prop::sample::select(vec![1u64, 60, 3600])) {
            let limit = RateLimit { attempts, per: Duration::from_secs(per) };
            let mut rate = Rate::new(Some(limit), at(0));
            let mut now = at(0);
            for _ in 0..50 {
                spent(&mut rate, now);
                let pause = rate.next(now).unwrap();
                prop_assert!(pause > Duration::ZERO);
                now = now.plus(pause);
                prop_assert!(rate.available(now) >= 1);
            }
        }
    }
}
