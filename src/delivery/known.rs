//! What operators know of a subscription: each turn of it is told once.
//!
//! Looks at how the subscription stands after each change and compares; leaves to `notices` that somebody hears of it.
//! Begins with what the recorded state says, so that a restart neither repeats nor forgets. Pure.

use crate::domain::{DisabledReason, Status};
use crate::notices::{Failure, Turn};

/// What was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Told {
    /// It works.
    #[default]
    Works,
    /// It fails.
    Fails,
    /// It is disabled.
    Disabled(DisabledReason),
}

/// What operators know.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// So many failures in a row are told; none: nothing is.
    notify_after: Option<u32>,
    told: Told,
    last_failure: Option<Failure>,
}

impl Known {
    /// Whoever looks at this state the first time has been told it, or is about to be told what changes it now. The
    /// field `notify_after`; none for a subscription that is never told of.
    pub(super) fn begin(&mut self, notify_after: Option<u32>, status: &Status) {
        self.notify_after = notify_after;
        self.told = match status.disabled {
            Some((reason, _)) => Told::Disabled(reason),
            None if self.is_failing(status) => Told::Fails,
            None => Told::Works,
        };
    }

    /// Goes by another `notify_after` from now on.
    pub(super) fn set_notify_after(&mut self, notify_after: u32) {
        if self.notify_after.is_some() {
            self.notify_after = Some(notify_after);
        }
    }

    /// Remembers why the last attempt failed.
    pub(super) fn failed(&mut self, failure: Failure) {
        if self.notify_after.is_some() {
            self.last_failure = Some(failure);
        }
    }

    /// What is to be told now that it stands like this; nothing in almost all cases.
    pub(super) fn look(&mut self, status: &Status) -> [Option<Turn>; 2] {
        if self.notify_after.is_none() {
            return [None, None];
        }
        let consecutive_failures = status.consecutive_failures;
        let failing = (self.told == Told::Works && self.is_failing(status)).then(|| {
            self.told = Told::Fails;
            Turn::Failing {
                consecutive_failures,
                last: self.last_failure.clone(),
            }
        });
        let turn = match (self.told, status.disabled) {
            (Told::Works | Told::Fails, Some((reason, _))) => {
                self.told = Told::Disabled(reason);
                Some(Turn::Disabled {
                    reason,
                    consecutive_failures,
                    last: self.last_failure.take(),
                })
            }
            (Told::Disabled(reason), None) => Some(self.recovered(Some(reason))),
            (Told::Fails, None) if consecutive_failures == 0 => Some(self.recovered(None)),
            (Told::Works | Told::Fails, None) | (Told::Disabled(_), Some(_)) => None,
        };
        [failing, turn]
    }

    fn recovered(&mut self, disabled: Option<DisabledReason>) -> Turn {
        self.told = Told::Works;
        self.last_failure = None;
        Turn::Recovered { disabled }
    }

    fn is_failing(&self, status: &Status) -> bool {
        let enough = self.notify_after;
        enough.is_some_and(|enough| status.consecutive_failures >= enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn status(consecutive_failures: u32, disabled: Option<DisabledReason>) -> Status {
        Status {
            disabled: disabled.map(|reason| (reason, Timestamp::default())),
            consecutive_failures,
        }
    }

    fn known(after: u32, begun: Status) -> Known {
        let mut known = Known::default();
        known.begin(Some(after), &begun);
        known
    }

    /// The words for what is told.
    fn words(turns: [Option<Turn>; 2]) -> Vec<&'static str> {
        let turns = turns.into_iter().flatten();
        turns
            .map(|turn| match turn {
                Turn::Failing { .. } => "failing",
                Turn::Disabled { .. } => "disabled",
                Turn::Recovered { disabled: None } => "works again",
                Turn::Recovered { disabled: Some(_) } => "enabled again",
            })
            .collect()
    }

    #[test]
    fn failing_is_told_once_until_it_works_again() {
        let mut known = known(3, status(0, None));
        let mut see = |failures| words(known.look(&status(failures, None)));
        assert!(see(1).is_empty() && see(2).is_empty());
        assert_eq!(see(3), ["failing"]);
        assert!(see(4).is_empty() && see(900).is_empty());
        assert_eq!(see(0), ["works again"]);
        assert!(see(0).is_empty() && see(2).is_empty());
        assert_eq!(see(3), ["failing"]);
    }

    #[test]
    fn disabling_and_enabling_are_told_once() {
        let mut known = known(3, status(0, None));
        let mut see = |failures, reason| words(known.look(&status(failures, reason)));
        assert_eq!(see(2, Some(DisabledReason::Gone)), ["disabled"]);
        assert!(see(2, Some(DisabledReason::Manual)).is_empty());
        assert!(see(0, Some(DisabledReason::Manual)).is_empty());
        assert_eq!(see(0, None), ["enabled again"]);
        assert!(see(0, None).is_empty());
    }

    #[test]
    fn failing_and_disabled_at_once_are_both_told() {
        let mut known = known(3, status(0, None));
        let both = words(known.look(&status(3, Some(DisabledReason::Failing))));
        assert_eq!(both, ["failing", "disabled"]);
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_again() {
        let mut failing = known(3, status(7, None));
        assert!(words(failing.look(&status(8, None))).is_empty());
        assert_eq!(words(failing.look(&status(0, None))), ["works again"]);
        let gone = Some(DisabledReason::Gone);
        let mut disabled = known(3, status(7, gone));
        assert!(words(disabled.look(&status(7, gone))).is_empty());
        assert_eq!(words(disabled.look(&status(0, None))), ["enabled again"]);
    }

    #[test]
    fn a_lower_bound_is_told_by_the_next_failure() {
        let mut known = known(100, status(0, None));
        assert!(words(known.look(&status(7, None))).is_empty());
        known.set_notify_after(5);
        assert_eq!(words(known.look(&status(8, None))), ["failing"]);
    }

    #[test]
    fn the_last_failure_goes_with_it() {
        let mut known = known(1, status(0, None));
        let failure = Failure {
            reason: crate::domain::FailureReason::Http5xx,
            response_code: Some(503),
            error_message: None,
        };
        known.failed(failure.clone());
        let [Some(Turn::Failing { last, .. }), None] = known.look(&status(1, None)) else {
            panic!("failing and nothing else");
        };
        assert_eq!(last, Some(failure));
    }

    #[test]
    fn nothing_is_told_of_sidehooks_own() {
        let mut known = Known::default();
        known.begin(None, &status(0, None));
        known.set_notify_after(1);
        let gone = status(9, Some(DisabledReason::Gone));
        assert!(words(known.look(&gone)).is_empty());
    }
}
