//! The text of an e-mail. Plain text, one paragraph for each turn.

use crate::alerts::{Failure, StatusAlert};
use crate::domain::DisabledReason;
use crate::mail::Letter;
use crate::notify::mailbag::Mail;

/// The letter about a subscription with this title.
pub(super) fn letter(mail: &Mail, title: Option<&str>) -> Letter {
    let name = mail.about.as_str();
    let mut text = match title {
        Some(title) => format!("Subscription: {name} ({title})\n"),
        None => format!("Subscription: {name}\n"),
    };
    for (at, turn) in &mail.turns {
        text.push_str(&format!("\n{at}\n{}\n", told(name, turn)));
    }
    text.push_str("\n-- \nSent by sidehook to the addresses in `notify` of this subscription.\n");
    let how = mail.turns.last().map_or("", |(_, turn)| stands(turn));
    Letter {
        subscription: name.to_owned(),
        subject: format!("[sidehook] {name} {how}"),
        text,
        recipient: None,
    }
}

fn stands(turn: &StatusAlert) -> &'static str {
    match turn {
        StatusAlert::Failing { .. } => "is failing",
        StatusAlert::Disabled { .. } => "is disabled",
        StatusAlert::Recovered { disabled: None } => "works again",
        StatusAlert::Recovered { disabled: Some(_) } => "is enabled again",
    }
}

fn told(name: &str, turn: &StatusAlert) -> String {
    match turn {
        StatusAlert::Failing {
            consecutive_failures,
            last,
        } => format!(
            "{name} is failing: {}.{}\nDeliveries are attempted again by their schedule.",
            in_a_row(*consecutive_failures),
            last_failure(last.as_ref())
        ),
        StatusAlert::Disabled {
            reason,
            consecutive_failures,
            last,
        } => format!(
            "{name} is disabled: {}.{}\nIts deliveries are held until it is enabled: sidehook enable {name}",
            disabled_because(*reason, *consecutive_failures),
            last_failure(last.as_ref())
        ),
        StatusAlert::Recovered { disabled: None } => {
            format!("{name} works again: an attempt succeeded.")
        }
        StatusAlert::Recovered { disabled: Some(_) } => {
            format!("{name} is enabled again. What was held is delivered.")
        }
    }
}

fn in_a_row(failures: u32) -> String {
    match failures {
        1 => "1 attempt failed".to_owned(),
        many => format!("{many} attempts in a row failed"),
    }
}

fn disabled_because(reason: DisabledReason, failures: u32) -> String {
    match reason {
        DisabledReason::Config => "`active: false` in the file".to_owned(),
        DisabledReason::Manual => "somebody did it".to_owned(),
        DisabledReason::Gone => "the endpoint answered 410 Gone".to_owned(),
        DisabledReason::Endpoint => "the endpoint asked for it".to_owned(),
        DisabledReason::Failing => in_a_row(failures),
    }
}

fn last_failure(failure: Option<&Failure>) -> String {
    let Some(failure) = failure else {
        return String::new();
    };
    let code = failure.response_code.map(|code| format!(" {code}"));
    let message = failure.error_message.as_deref();
    let message = message.map(|message| format!(" {message}"));
    format!(
        "\nThe last failure: {}{}{}",
        failure.reason.as_str(),
        code.unwrap_or_default(),
        message.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FailureReason, Timestamp};

    fn mail(turns: Vec<StatusAlert>) -> Mail {
        let at = Timestamp::from_millis(1_700_000_000_007);
        Mail {
            about: "billing".parse().unwrap(),
            turns: turns.into_iter().map(|turn| (at, turn)).collect(),
        }
    }

    #[test]
    fn a_letter_tells_all_turns_and_the_last_in_its_subject() {
        let last = Some(Failure {
            reason: FailureReason::Http5xx,
            response_code: Some(503),
            error_message: Some("Service Unavailable".into()),
        });
        let failing = StatusAlert::Failing {
            consecutive_failures: 10,
            last: last.clone(),
        };
        let disabled = StatusAlert::Disabled {
            reason: DisabledReason::Failing,
            consecutive_failures: 10,
            last,
        };
        let letter = letter(&mail(vec![failing, disabled]), Some("Billing events"));
        assert_eq!(letter.subject, "[sidehook] billing is disabled");
        for line in [
            "Subscription: billing (Billing events)",
            "2023-11-14T22:13:20.007Z",
            "billing is failing: 10 attempts in a row failed.",
            "The last failure: http_5xx 503 Service Unavailable",
            "billing is disabled: 10 attempts in a row failed.",
        ] {
            let is_there = letter.text.lines().any(|found| found == line);
            assert!(is_there, "{line} is not in\n{}", letter.text);
        }
    }

    #[test]
    fn every_turn_has_words() {
        let reasons = DisabledReason::ALL.iter().copied();
        let disabled = reasons.map(|reason| StatusAlert::Disabled {
            reason,
            consecutive_failures: 1,
            last: None,
        });
        let recovered = [None, Some(DisabledReason::Gone)];
        let recovered = recovered.map(|disabled| StatusAlert::Recovered { disabled });
        for turn in disabled.chain(recovered) {
            let letter = letter(&mail(vec![turn]), None);
            assert!(letter.subject.starts_with("[sidehook] billing "));
            assert!(letter.text.contains("\nbilling "), "{}", letter.text);
        }
    }
}
