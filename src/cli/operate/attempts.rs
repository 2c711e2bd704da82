//! `sidehook attempts`: the attempts of a subscription, and with `-f` those to come.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::api::{Attempt, Time, Word};
use crate::cli::client::{Need, Query, escaped};
use crate::cli::operate::deliveries::after;
use crate::cli::operate::fields::took;
use crate::cli::operate::follow::follow;
use crate::cli::operate::when::When;
use crate::cli::operate::{Common, print_list, with_sidecar};
use crate::cli::show::text::span;
use crate::cli::show::{Cell, Column, Table};
use crate::domain::{AttemptStatus, DeliveryState, FailureReason, Timestamp};

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook attempts billing                           the last 20, newest first
  sidehook attempts billing --status failed --since 1h
  sidehook attempts billing -f                        the last 10, then each as it ends
  sidehook attempts -f                                those of all subscriptions, as they end
  sidehook attempts billing --limit 100000 --json > attempts.jsonl";

/// Show the attempts of a subscription, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription; with --follow all when none is named
    #[arg(required_unless_present = "follow")]
    pub(crate) name: Option<String>,
    /// Go on with each attempt as it ends, oldest first; until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only those that ended so
    #[arg(long)]
    pub(crate) status: Option<AttemptStatus>,
    /// Only those since then: how long ago (90s, 1h, 3d), or a time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only those until then, likewise
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    until: Option<When>,
    /// At most so many. Default: 20, with --follow 10
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl ValueEnum for AttemptStatus {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(self.as_str().into())
    }
}

/// Shows them.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_sidecar(&args.common, Need::Read, async |client, screen| {
        let query = args.query(screen.now);
        if args.follow {
            follow(client, screen, args, query, args.limit.unwrap_or(10)).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let path = args.path().unwrap_or_default();
        let list = (path.as_str(), query, args.limit.unwrap_or(20));
        print_list(client, screen, list, args.common.json, table).await?;
        Ok(ExitCode::SUCCESS)
    })
}

impl Args {
    /// All attempts of all subscriptions.
    pub(crate) fn all() -> Self {
        Self {
            name: None,
            follow: true,
            status: None,
            since: None,
            until: None,
            limit: None,
            common: Common::default(),
        }
    }

    /// Where their list is; `None` because there is none of all subscriptions.
    pub(crate) fn path(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        Some(format!("/v1/subscriptions/{}/attempts", escaped(name)))
    }

    /// Which of them are wanted.
    fn query(&self, now: Timestamp) -> Query {
        Query::default()
            .with("status", self.status.map(AttemptStatus::as_str))
            .with("since", self.since.map(|since| since.at(now)))
            .with("until", self.until.map(|until| until.at(now)))
    }
}

const COLUMNS: [Column; 9] = [
    Column::whole("at"),
    Column::whole("status"),
    Column::number("code").ranked(2),
    Column::number("took").ranked(3),
    Column::number("attempt").ranked(4),
    Column::id("event_id"),
    Column::whole("then"),
    Column::text("type").ranked(1),
    Column::text("error"),
];

pub(super) fn table(attempts: &[Attempt], now: Timestamp) -> Table {
    let mut table = Table::new(&COLUMNS);
    for attempt in attempts {
        table.row(vec![
            Cell::moment(attempt.created_at.0, now),
            Cell::status(attempt.status.as_str()),
            attempt.response_code.map(u64::from).into(),
            took(attempt.duration_ms).into(),
            u64::from(attempt.attempt).into(),
            attempt.event_id.as_str().into(),
            then(attempt),
            attempt.event.as_str().into(),
            why_of(attempt).into(),
        ]);
    }
    table
}

/// What followed: `delivered`, `dead`, `held`, how long after it the next attempt was due and what that waits for
/// (`retry in 5m`, `retry in 1h (retry_after)`), or after which delivery (`after evt_…`).
pub(crate) fn then(attempt: &Attempt) -> Cell {
    let is_pending = attempt.delivery_state.is(DeliveryState::Pending);
    let waits = attempt.waits_for.as_deref();
    match attempt.next_attempt_at.filter(|_| is_pending) {
        _ if is_pending && waits == Some("enabling") => Cell::status("held"),
        Some(Time(next)) => {
            let pause = next.since(attempt.created_at.0);
            let took = Duration::from_millis(attempt.duration_ms);
            let waits = waits.map_or_else(String::new, |waits| format!(" ({waits})"));
            let pause = span(pause.saturating_sub(took));
            Cell::from(format!("retry in {pause}{waits}"))
        }
        None => match &attempt.blocked_by {
            Some(first) => Cell::from(after(first)),
            None => Cell::status(attempt.delivery_state.as_str()),
        },
    }
}

/// Why an attempt failed: reason and message; empty for a success.
pub(crate) fn why(reason: Option<&Word<FailureReason>>, message: Option<&str>) -> String {
    let parts = [reason.map(Word::as_str), message];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    parts.join(": ")
}

/// The same of one attempt.
pub(crate) fn why_of(attempt: &Attempt) -> String {
    why(attempt.reason.as_ref(), attempt.error_message.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::operate::samples::{self, attempt};
    use crate::cli::show::Style;
    use crate::cli::show::text::time;

    #[test]
    fn each_attempt_is_a_line() {
        let attempt = attempt(json!({"event": "invoice.paid\u{1b}"}));
        let success = samples::attempt(
            json!({"event_id": "evt_2", "event": "a", "attempt": 1, "status": "success",
            "reason": null, "response_code": 204, "error_message": null, "duration_ms": 1500,
            "created_at": "2026-11-24T09:59:00.000Z", "delivery_state": "delivered", "next_attempt_at": null}),
        );
        let now = time("2026-11-24T10:00:03.250Z").unwrap();
        assert_eq!(
            table(&[attempt, success], now).render(Style::default()),
            "\
at                    status   code  took  attempt  event_id  then         type                error
2026-11-24T10:00:00Z  failed    503  12ms        2  evt_1     retry in 5m  invoice.paid\\u{1b}  http_5xx: Service Unavailable
2026-11-24T09:59:00Z  success   204  1.5s        1  evt_2     delivered    a
"
        );
    }

    #[test]
    fn what_follows_is_what_its_delivery_waits_for() {
        let shown = |state: &str, next: Value, waits: Value, blocked_by: Value| {
            let attempt = attempt(
                json!({"created_at": "2026-11-24T10:00:00.000Z", "duration_ms": 0, "delivery_state": state,
                "next_attempt_at": next, "waits_for": waits, "blocked_by": blocked_by}),
            );
            then(&attempt).marked(Style::default())
        };
        let (null, in_an_hour) = (Value::Null, json!("2026-11-24T11:00:00.000Z"));
        let retry = shown("pending", in_an_hour.clone(), null.clone(), null.clone());
        assert_eq!(retry, "retry in 60m");
        for waits in ["retry_after", "probing", "rate_limit", "order"] {
            let line = shown("pending", in_an_hour.clone(), json!(waits), null.clone());
            assert_eq!(line, format!("retry in 60m ({waits})"));
        }
        let held = shown("pending", null.clone(), json!("enabling"), null.clone());
        assert_eq!(held, "held");
        let blocked = shown("pending", null.clone(), json!("order"), json!("evt_1.a"));
        assert_eq!(blocked, "after evt_1");
        for state in ["dead", "cancelled", "delivered"] {
            assert_eq!(
                shown(state, null.clone(), null.clone(), null.clone()),
                state
            );
        }
    }
}
