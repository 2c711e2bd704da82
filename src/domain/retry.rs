//! Retry arithmetic: when the next attempt is due, or that there is none.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::domain::DeadReason;

/// When failed deliveries are attempted again: the field `retry` with its jitter.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    form: RetryForm,
    jitter: f64,
}

/// The pauses between attempts.
#[derive(Debug, Clone, PartialEq)]
pub enum RetryForm {
    /// These pauses; empty for one attempt only. Shared by the thousands of subscriptions that may have the same.
    Schedule(Arc<[Duration]>),
    /// Growing ones.
    Exponential {
        /// The first.
        initial: Duration,
        /// The factor from one pause to the next, at least 1.
        factor: f64,
        /// The longest.
        max_interval: Duration,
        /// Attempts at most.
        max_attempts: u32,
        /// How old a delivery may become, time stopped not counted.
        max_age: Duration,
    },
}

/// The decision after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Attempt again after this pause, jitter included.
    After(Duration),
    /// Give up.
    GiveUp(DeadReason),
}

impl Retry {
    /// The jitter when none is configured: up to 20 % is added to each pause.
    pub const DEFAULT_JITTER: f64 = 0.2;

    /// The pauses of the `standard` schedule, that of Standard Webhooks 1.0 ("Delivery retries").
    #[must_use]
    pub fn standard() -> Self {
        static STANDARD: LazyLock<Retry> = LazyLock::new(|| {
            let pauses = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
            Retry::schedule(pauses.into_iter().map(Duration::from_secs).collect())
        });
        STANDARD.clone()
    }

    /// One attempt only.
    #[must_use]
    pub fn none() -> Self {
        Self::schedule(Vec::new())
    }

    /// These pauses between attempts: one attempt more than pauses.
    #[must_use]
    pub fn schedule(pauses: Vec<Duration>) -> Self {
        Self {
            form: RetryForm::Schedule(pauses.into()),
            jitter: Self::DEFAULT_JITTER,
        }
    }

    /// Pauses that grow from `initial` by `factor` up to `max_interval`, for at most `max_attempts` attempts and
    /// until a delivery is `max_age` old (time held, paused or blocked not counted).
    #[must_use]
    pub fn exponential(
        initial: Duration,
        factor: f64,
        max_interval: Duration,
        max_attempts: u32,
        max_age: Duration,
    ) -> Self {
        let form = RetryForm::Exponential {
            initial,
            factor,
            max_interval,
            max_attempts,
            max_age,
        };
        Self {
            form,
            jitter: Self::DEFAULT_JITTER,
        }
    }

    /// The same with up to `jitter` (0 to 1) of each pause added to it.
    #[must_use]
    pub fn with_jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter.clamp(0.0, 1.0);
        self
    }

    /// The pauses without their jitter.
    #[must_use]
    pub fn form(&self) -> &RetryForm {
        &self.form
    }

    /// The part of each pause that is added to it at most, 0 to 1.
    #[must_use]
    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// Decides after failed attempt number `attempt` (from 1, counted since the schedule began) of a delivery that
    /// is `age` old, time stopped not counted. `sample` is a random number from 0 up to 1 for the jitter.
    #[must_use]
    pub fn after(&self, attempt: u32, age: Duration, sample: f64) -> RetryDecision {
        let pause = match &self.form {
            RetryForm::Schedule(pauses) => {
                let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
                match pauses.get(index) {
                    Some(pause) => *pause,
                    None => return RetryDecision::GiveUp(DeadReason::Exhausted),
                }
            }
            RetryForm::Exponential {
                initial,
                factor,
                max_interval,
                max_attempts,
                max_age,
            } => {
                if attempt >= *max_attempts {
                    return RetryDecision::GiveUp(DeadReason::Exhausted);
                }
                let pause = grown(*initial, *factor, attempt, *max_interval);
                if age.saturating_add(pause) > *max_age {
                    return RetryDecision::GiveUp(DeadReason::Expired);
                }
                pause
            }
        };
        RetryDecision::After(
            pause.saturating_add(scaled(pause, self.jitter * sample.clamp(0.0, 1.0))),
        )
    }
}

/// `initial * factor^(attempt - 1)`, at most `limit`.
fn grown(initial: Duration, factor: f64, attempt: u32, limit: Duration) -> Duration {
    let exponent = f64::from(attempt.saturating_sub(1));
    let seconds = initial.as_secs_f64() * factor.powf(exponent);
    if seconds.is_finite() && seconds < limit.as_secs_f64() {
        Duration::from_secs_f64(seconds.max(0.0))
    } else {
        limit
    }
}

fn scaled(pause: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(pause.as_secs_f64() * share).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AGE: Duration = Duration::from_secs(1);

    #[test]
    fn standard_schedule_has_ten_attempts() {
        let retry = Retry::standard().with_jitter(0.0);
        assert_eq!(
            retry.after(1, AGE, 0.9),
            RetryDecision::After(Duration::from_secs(5))
        );
        assert_eq!(
            retry.after(9, AGE, 0.9),
            RetryDecision::After(Duration::from_secs(86_400))
        );
        assert_eq!(
            retry.after(10, AGE, 0.9),
            RetryDecision::GiveUp(DeadReason::Exhausted)
        );
    }

    #[test]
    fn none_gives_up_after_the_first_attempt() {
        assert_eq!(
            Retry::none().after(1, AGE, 0.0),
            RetryDecision::GiveUp(DeadReason::Exhausted)
        );
    }

    #[test]
    fn exponential_pauses_grow_to_their_limit_and_end_by_count_or_age() {
        let seconds = Duration::from_secs;
        let retry =
            Retry::exponential(seconds(1), 2.0, seconds(10), 6, seconds(100)).with_jitter(0.0);
        let pauses: Vec<_> = (1..=5)
            .map(|attempt| retry.after(attempt, AGE, 0.5))
            .collect();
        assert_eq!(
            pauses,
            [1, 2, 4, 8, 10].map(|pause| RetryDecision::After(seconds(pause)))
        );
        assert_eq!(
            retry.after(6, AGE, 0.5),
            RetryDecision::GiveUp(DeadReason::Exhausted)
        );
        assert_eq!(
            retry.after(5, seconds(91), 0.5),
            RetryDecision::GiveUp(DeadReason::Expired)
        );
    }

    proptest! {
        #[test]
        fn a_pause_is_never_shorter_than_planned_nor_longer_than_its_jitter(
            initial in 1u64..100_000, factor in 1.0f64..10.0, attempt in 1u32..1000, jitter in 0.0f64..1.0, sample in 0.0f64..1.0,
        ) {
            let limit = Duration::from_secs(3600);
            let base = Retry::exponential(Duration::from_millis(initial), factor, limit, u32::MAX, Duration::MAX);
            let RetryDecision::After(planned) = base.clone().with_jitter(0.0).after(attempt, AGE, sample) else {
                panic!("gave up");
            };
            let RetryDecision::After(pause) = base.with_jitter(jitter).after(attempt, AGE, sample) else {
                panic!("gave up");
            };
            prop_assert!(planned <= limit.max(Duration::from_millis(initial)));
            prop_assert!(pause >= planned);
            prop_assert!(pause.as_secs_f64() <= planned.as_secs_f64() * (1.0 + jitter) + 1e-6);
        }
    }
}
