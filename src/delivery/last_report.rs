//! The status of a subscription as it was last reported to operators: each change is reported once.
//!
//! Compares after each change; `alerts` passes it on. Begins with the recorded state, so that a restart neither repeats
//! nor loses a report. Pure.

use crate::alerts::{Failure, StatusAlert};
use crate::domain::{DisabledReason, Status};

/// The status that was reported last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Reported {
    /// It works.
    #[default]
    Works,
    /// It fails.
    Fails,
    /// It is disabled.
    Disabled(DisabledReason),
}

/// The last report, and when the next one is due.
#[derive(Debug, Default)]
pub(super) struct LastReport {
    /// Failures in a row that are reported; `None` reports nothing.
    notify_after: Option<u32>,
    reported: Reported,
    last_failure: Option<Failure>,
}

impl LastReport {
    /// Takes a status as reported. `notify_after` is `None` for a subscription that is never reported.
    pub(super) fn begin(&mut self, notify_after: Option<u32>, status: &Status) {
        self.notify_after = notify_after;
        self.reported = match status.disabled {
            Some((reason, _)) => Reported::Disabled(reason),
            None if self.is_failing(status) => Reported::Fails,
            None => Reported::Works,
        };
    }

    /// Sets `notify_after`.
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

    /// Returns the alerts that a status leads to; no alerts in almost all cases.
    pub(super) fn look(&mut self, status: &Status) -> [Option<StatusAlert>; 2] {
        if self.notify_after.is_none() {
            return [None, None];
        }
        let consecutive_failures = status.consecutive_failures;
        let failing = (self.reported == Reported::Works && self.is_failing(status)).then(|| {
            self.reported = Reported::Fails;
            StatusAlert::Failing {
                consecutive_failures,
                last: self.last_failure.clone(),
            }
        });
        let turn = match (self.reported, status.disabled) {
            (Reported::Works | Reported::Fails, Some((reason, _))) => {
                self.reported = Reported::Disabled(reason);
                Some(StatusAlert::Disabled {
                    reason,
                    consecutive_failures,
                    last: self.last_failure.take(),
                })
            }
            (Reported::Disabled(reason), None) => Some(self.recovered(Some(reason))),
            (Reported::Fails, None) if consecutive_failures == 0 => Some(self.recovered(None)),
            (Reported::Works | Reported::Fails, None) | (Reported::Disabled(_), Some(_)) => None,
        };
        [failing, turn]
    }

    fn recovered(&mut self, disabled: Option<DisabledReason>) -> StatusAlert {
        self.reported = Reported::Works;
        self.last_failure = None;
        StatusAlert::Recovered { disabled }
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

    fn last_report(after: u32, begun: Status) -> LastReport {
        let mut report = LastReport::default();
        report.begin(Some(after), &begun);
        report
    }

    /// The words for alerts.
    fn words(turns: [Option<StatusAlert>; 2]) -> Vec<&'static str> {
        let turns = turns.into_iter().flatten();
        turns
            .map(|turn| match turn {
                StatusAlert::Failing { .. } => "failing",
                StatusAlert::Disabled { .. } => "disabled",
                StatusAlert::Recovered { disabled: None } => "works again",
                StatusAlert::Recovered { disabled: Some(_) } => "enabled again",
            })
            .collect()
    }

    #[test]
    fn failing_is_told_once_until_it_works_again() {
        let mut report = last_report(3, status(0, None));
        let mut see = |failures| words(report.look(&status(failures, None)));
        assert!(see(1).is_empty() && see(2).is_empty());
        assert_eq!(see(3), ["failing"]);
        assert!(see(4).is_empty() && see(900).is_empty());
        assert_eq!(see(0), ["works again"]);
        assert!(see(0).is_empty() && see(2).is_empty());
        assert_eq!(see(3), ["failing"]);
    }

    #[test]
    fn disabling_and_enabling_are_told_once() {
        let mut report = last_report(3, status(0, None));
        let mut see = |failures, reason| words(report.look(&status(failures, reason)));
        assert_eq!(see(2, Some(DisabledReason::Gone)), ["disabled"]);
        assert!(see(2, Some(DisabledReason::Manual)).is_empty());
        assert!(see(0, Some(DisabledReason::Manual)).is_empty());
        assert_eq!(see(0, None), ["enabled again"]);
        assert!(see(0, None).is_empty());
    }

    #[test]
    fn failing_and_disabled_at_once_are_both_told() {
        let mut report = last_report(3, status(0, None));
        let both = words(report.look(&status(3, Some(DisabledReason::Failing))));
        assert_eq!(both, ["failing", "disabled"]);
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_again() {
        let mut failing = last_report(3, status(7, None));
        assert!(words(failing.look(&status(8, None))).is_empty());
        assert_eq!(words(failing.look(&status(0, None))), ["works again"]);
        let gone = Some(DisabledReason::Gone);
        let mut disabled = last_report(3, status(7, gone));
        assert!(words(disabled.look(&status(7, gone))).is_empty());
        assert_eq!(words(disabled.look(&status(0, None))), ["enabled again"]);
    }

    #[test]
    fn a_lower_bound_is_told_by_the_next_failure() {
        let mut report = last_report(100, status(0, None));
        assert!(words(report.look(&status(7, None))).is_empty());
        report.set_notify_after(5);
        assert_eq!(words(report.look(&status(8, None))), ["failing"]);
    }

    #[test]
    fn the_last_failure_goes_with_it() {
        let mut report = last_report(1, status(0, None));
        let failure = Failure {
            reason: crate::domain::FailureReason::Http5xx,
            response_code: Some(503),
            error_message: None,
        };
        report.failed(failure.clone());
        let [Some(StatusAlert::Failing { last, .. }), None] = report.look(&status(1, None)) else {
            panic!("failing and nothing else");
        };
        assert_eq!(last, Some(failure));
    }

    #[test]
    fn nothing_is_told_of_sidehooks_own() {
        let mut report = LastReport::default();
        report.begin(None, &status(0, None));
        report.set_notify_after(1);
        let gone = status(9, Some(DisabledReason::Gone));
        assert!(words(report.look(&gone)).is_empty());
    }
}
