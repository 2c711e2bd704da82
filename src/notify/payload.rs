//! The payloads for `notifications.webhook`: `{type, timestamp, data}`, as Standard Webhooks recommends.
//!
//! ```text
//! sidehook.subscription.failing    {subscription, consecutive_failures, last_failure}
//! sidehook.subscription.disabled   {subscription, reason, consecutive_failures, last_failure}
//! sidehook.subscription.recovered  {subscription, was: failing | disabled, disabled_reason}
//! sidehook.delivery.dead           {subscription, count, reasons: {reason: count}, since, first_event_ids, last_event_ids}
//! sidehook.config.reload_failed    {count, problem_count, problems: [{file, line, column, path, message}]}
//! sidehook.store.full              {reason: disk | max_pending}
//! ```
//!
//! `last_failure` is `{reason, response_code, error_message}` or null, each of its fields as in the list of attempts.
//! Fields may be added, none is removed.

use serde_json::{Value, json};

use crate::alerts::{Alert, AlertKind, Deaths, FailedReloads, Failure, Shortage, StatusAlert};
use crate::config::Problem;
use crate::domain::{DisabledReason, FailureReason, SubscriptionName};

/// The body of the event for an alert.
pub(super) fn of(alert: &Alert) -> Value {
    json!({
        "type": event_type(&alert.kind),
        "timestamp": alert.at.to_string(),
        "data": data(&alert.kind),
    })
}

/// The type of the event for an alert.
pub(super) fn event_type(kind: &AlertKind) -> &'static str {
    match kind {
        AlertKind::Status(_, turn) => turn_type(turn),
        AlertKind::Dead(..) => "sidehook.delivery.dead",
        AlertKind::ReloadFailed(_) => "sidehook.config.reload_failed",
        AlertKind::StoreFull(_) => "sidehook.store.full",
    }
}

/// The type of the event for a change of a subscription's status.
pub(super) fn turn_type(turn: &StatusAlert) -> &'static str {
    match turn {
        StatusAlert::Failing { .. } => "sidehook.subscription.failing",
        StatusAlert::Disabled { .. } => "sidehook.subscription.disabled",
        StatusAlert::Recovered { .. } => "sidehook.subscription.recovered",
    }
}

/// The subscription concerned.
pub(super) fn about(kind: &AlertKind) -> Option<&SubscriptionName> {
    match kind {
        AlertKind::Status(name, _) | AlertKind::Dead(name, _) => Some(name),
        AlertKind::ReloadFailed(_) | AlertKind::StoreFull(_) => None,
    }
}

fn data(kind: &AlertKind) -> Value {
    match kind {
        AlertKind::Status(name, turn) => of_turn(name, turn),
        AlertKind::Dead(name, deaths) => of_deaths(name, deaths),
        AlertKind::ReloadFailed(failed) => of_failed_reloads(failed),
        AlertKind::StoreFull(Shortage::Disk) => json!({"reason": "disk"}),
        AlertKind::StoreFull(Shortage::Pending) => json!({"reason": "max_pending"}),
    }
}

fn of_turn(name: &SubscriptionName, turn: &StatusAlert) -> Value {
    let subscription = name.as_str();
    match turn {
        StatusAlert::Failing {
            consecutive_failures,
            last,
        } => json!({
            "subscription": subscription,
            "consecutive_failures": consecutive_failures,
            "last_failure": last.as_ref().map(of_failure),
        }),
        StatusAlert::Disabled {
            reason,
            consecutive_failures,
            last,
        } => json!({
            "subscription": subscription,
            "reason": reason.as_str(),
            "consecutive_failures": consecutive_failures,
            "last_failure": last.as_ref().map(of_failure),
        }),
        StatusAlert::Recovered { disabled } => json!({
            "subscription": subscription,
            "was": if disabled.is_some() { "disabled" } else { "failing" },
            "disabled_reason": disabled.map(DisabledReason::as_str),
        }),
    }
}

fn of_failure(failure: &Failure) -> Value {
    json!({
        "reason": FailureReason::as_str(failure.reason),
        "response_code": failure.response_code,
        "error_message": failure.error_message,
    })
}

fn of_deaths(name: &SubscriptionName, deaths: &Deaths) -> Value {
    let first = deaths.first.iter().map(ToString::to_string);
    let last = deaths.last.iter().map(ToString::to_string);
    json!({
        "subscription": name.as_str(),
        "count": deaths.count,
        "reasons": deaths.reasons,
        "since": deaths.since.to_string(),
        "first_event_ids": first.collect::<Vec<_>>(),
        "last_event_ids": last.collect::<Vec<_>>(),
    })
}

fn of_failed_reloads(failed: &FailedReloads) -> Value {
    let problem = |problem: &Problem| {
        json!({
            "file": problem.file.display().to_string(),
            "line": problem.line,
            "column": problem.column,
            "path": problem.path,
            "message": problem.message,
        })
    };
    json!({
        "count": failed.count,
        "problem_count": failed.problem_count,
        "problems": failed.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventId, Timestamp};
    use std::collections::{BTreeMap, VecDeque};

    const AT: Timestamp = Timestamp::from_millis(1_700_000_000_007);

    fn written(kind: AlertKind) -> Value {
        of(&Alert { at: AT, kind })
    }

    fn billing(turn: StatusAlert) -> Value {
        written(AlertKind::Status("billing".parse().unwrap(), turn))
    }

    #[test]
    fn a_disabled_subscription_is_told_with_reason_and_last_failure() {
        let failure = Failure {
            reason: FailureReason::Http5xx,
            response_code: Some(503),
            error_message: Some("Service Unavailable".into()),
        };
        let told = billing(StatusAlert::Disabled {
            reason: DisabledReason::Failing,
            consecutive_failures: 10,
            last: Some(failure),
        });
        let last_failure = json!({
            "reason": "http_5xx",
            "response_code": 503,
            "error_message": "Service Unavailable",
        });
        let expected = json!({
            "type": "sidehook.subscription.disabled",
            "timestamp": "2023-11-14T22:13:20.007Z",
            "data": {
                "subscription": "billing",
                "reason": "failing",
                "consecutive_failures": 10,
                "last_failure": last_failure,
            },
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn recovery_says_from_what() {
        let enabled = billing(StatusAlert::Recovered {
            disabled: Some(DisabledReason::Gone),
        });
        assert_eq!(enabled["data"]["was"], "disabled");
        assert_eq!(enabled["data"]["disabled_reason"], "gone");
        let works = billing(StatusAlert::Recovered { disabled: None });
        assert_eq!(works["data"]["was"], "failing");
        assert_eq!(works["data"]["disabled_reason"], Value::Null);
    }

    #[test]
    fn deaths_are_told_with_their_reasons_and_ids() {
        let id = |number| EventId::new(AT, [number; 10]);
        let told = written(AlertKind::Dead(
            "billing".parse().unwrap(),
            Deaths {
                count: 7,
                reasons: BTreeMap::from([("exhausted", 6), ("gave_up", 1)]),
                since: AT,
                first: vec![id(1)],
                last: VecDeque::from([id(2)]),
            },
        ));
        assert_eq!(told["type"], "sidehook.delivery.dead");
        let data = &told["data"];
        assert_eq!(data["count"], 7);
        assert_eq!(data["reasons"], json!({"exhausted": 6, "gave_up": 1}));
        assert_eq!(data["first_event_ids"], json!([id(1).to_string()]));
        assert_eq!(data["last_event_ids"], json!([id(2).to_string()]));
    }

    #[test]
    fn every_type_is_a_label() {
        let turn = StatusAlert::Recovered { disabled: None };
        assert!(turn_type(&turn).parse::<crate::domain::Label>().is_ok());
        for shortage in [Shortage::Disk, Shortage::Pending] {
            let kind = AlertKind::StoreFull(shortage);
            assert!(event_type(&kind).parse::<crate::domain::Label>().is_ok());
            assert!(written(kind)["data"]["reason"].is_string());
        }
    }
}
