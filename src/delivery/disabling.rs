//! When a subscription is disabled by itself, and what an endpoint asks for with the header `webhook-delivery`.
//!
//! Leaves to `lane_status` what being disabled means. Pure.

use http::HeaderMap;

use crate::delivery::settings::Settings;
use crate::domain::{AutoDisable, DisabledReason, FailureReason, Timestamp, list_elements};
use crate::store::SubscriptionState;

/// The response header with which an endpoint steers its deliveries.
const STEERING: &str = "webhook-delivery";

/// The requests of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Steering {
    /// To give this delivery up.
    pub(super) abort: bool,
    /// To send it nothing any more.
    pub(super) disable: bool,
}

impl Steering {
    /// Reads the header, a list: its elements may be the two words, in any case; anything else is ignored.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let asks_for = |word: &str| {
            let values = headers.get_all(STEERING).iter();
            let mut elements = values.flat_map(|value| list_elements(value.as_bytes()));
            elements.any(|element| element.eq_ignore_ascii_case(word.as_bytes()))
        };
        Self {
            abort: asks_for("abort-message"),
            disable: asks_for("disable"),
        }
    }
}

/// Why the subscription is to be disabled after an attempt that ended like this, if it is; `state` counts it already.
/// A locked one never is.
pub(super) fn reason(
    settings: &Settings,
    failure: Option<FailureReason>,
    steering: Steering,
    state: &SubscriptionState,
    now: Timestamp,
) -> Option<DisabledReason> {
    if settings.locked {
        return None;
    }
    if failure == Some(FailureReason::Http410) {
        return Some(DisabledReason::Gone);
    }
    if steering.disable {
        return Some(DisabledReason::Endpoint);
    }
    let is_failing = failure.is_some_and(FailureReason::is_the_endpoints)
        && has_failed_enough(settings.auto_disable, state, now);
    is_failing.then_some(DisabledReason::Failing)
}

fn has_failed_enough(auto: AutoDisable, state: &SubscriptionState, now: Timestamp) -> bool {
    match auto {
        AutoDisable::Never => false,
        AutoDisable::Failures { failures, lasting } => {
            let lasted = state.first_failure_at.map(|first| now.since(first));
            state.consecutive_failures >= failures && lasted.is_some_and(|lasted| lasted >= lasting)
        }
        AutoDisable::Dead(dead) => state.consecutive_dead >= dead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::time::Duration;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn asked(values: &[&'static str]) -> Steering {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(STEERING, HeaderValue::from_static(value));
        }
        Steering::of(&headers)
    }

    fn failed(failures: u32, first: i64, dead: u32) -> SubscriptionState {
        SubscriptionState {
            consecutive_failures: failures,
            first_failure_at: (failures > 0).then(|| at(first)),
            consecutive_dead: dead,
            ..SubscriptionState::default()
        }
    }

    #[test]
    fn words_are_read_in_any_case_and_with_space_around() {
        let (abort, disable) = (true, true);
        let none = Steering::default();
        assert_eq!(asked(&["abort-message"]), Steering { abort, ..none });
        assert_eq!(asked(&["\t Abort-Message "]), Steering { abort, ..none });
        assert_eq!(asked(&["DISABLE"]), Steering { disable, ..none });
        let both = Steering { abort, disable };
        assert_eq!(asked(&["disable", "abort-message"]), both);
        assert_eq!(asked(&["abort-message, disable"]), both);
        assert_eq!(asked(&[",x,DISABLE\t,, Abort-Message,"]), both);
    }

    #[test]
    fn other_words_are_ignored() {
        for other in ["", "disabled", "abort", "abort message", "disable!"] {
            assert_eq!(asked(&[other]), Steering::default(), "{other}");
        }
        assert_eq!(asked(&[]), Steering::default());
    }

    #[test]
    fn failures_are_enough_when_they_are_many_and_the_first_is_long_ago() {
        let auto = AutoDisable::Failures {
            failures: 3,
            lasting: Duration::from_secs(60),
        };
        let enough = |failures, now| has_failed_enough(auto, &failed(failures, 100, 0), at(now));
        assert!(enough(3, 160));
        assert!(enough(900, 5000));
        assert!(!enough(3, 159));
        assert!(!enough(2, 5000));
        assert!(!enough(0, 5000));
    }

    #[test]
    fn deaths_are_enough_when_they_are_many() {
        let enough = |dead| has_failed_enough(AutoDisable::Dead(2), &failed(9, 0, dead), at(0));
        assert_eq!((enough(1), enough(2), enough(3)), (false, true, true));
        let never = has_failed_enough(AutoDisable::Never, &failed(9999, 0, 9999), at(99_999_999));
        assert!(!never);
    }
}
