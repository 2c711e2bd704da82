//! `sidehook attempts`: the attempts of a subscription, and with `-f` those to come.

use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::api::Attempt;
use crate::cli::client::{Need, Query};
use crate::cli::operate::fields::took;
use crate::cli::operate::follow::{Followed, follow, path};
use crate::cli::operate::outcome::{then, why_of};
use crate::cli::operate::when::When;
use crate::cli::operate::{Common, print_list, with_sidecar};
use crate::cli::show::{Cell, Column, Table};
use crate::domain::{AttemptStatus, Timestamp};

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
    name: Option<String>,
    /// Go on with each attempt as it ends, oldest first; until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only those that ended so
    #[arg(long)]
    status: Option<AttemptStatus>,
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
    common: Common,
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
            let followed = Followed {
                subscription: args.name.as_deref(),
                status: args.status,
                query,
                limit: args.limit.unwrap_or(10),
                json: args.common.json,
            };
            follow(client, screen, &followed).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let path = path(args.name.as_deref().unwrap_or_default());
        let list = (path.as_str(), query, args.limit.unwrap_or(20));
        print_list(client, screen, list, args.common.json, table).await?;
        Ok(ExitCode::SUCCESS)
    })
}

impl Args {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
}
