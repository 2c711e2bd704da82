//! `sidehook attempts`: the attempts of a subscription, and with `-f` those to come.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value;

use crate::cli::client::{Need, Query, escaped};
use crate::cli::operate::fields::{count, text, took};
use crate::cli::operate::follow::follow;
use crate::cli::operate::when::When;
use crate::cli::operate::{Common, print_list, with_sidecar};
use crate::cli::show::text::{age, moment};
use crate::cli::show::{Cell, Table};
use crate::domain::Timestamp;

/// What stands below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook attempts billing                           the last 20, newest first
  sidehook attempts billing --status failed --since 1h
  sidehook attempts billing -f                        the last 10, then each as it ends
  sidehook attempts billing --limit 100000 --json > attempts.jsonl";

/// Show the attempts of a subscription, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    pub(crate) name: String,
    /// Go on with each attempt as it ends, oldest first; until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only those that ended so
    #[arg(long)]
    pub(crate) status: Option<Status>,
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

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Status {
    Success,
    Failed,
    Timeout,
}

impl Status {
    /// The word of the contract.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

/// Shows them.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_sidecar(&args.common, Need::Read, async |client, screen| {
        let path = args.path();
        let query = args.query(screen.now);
        if args.follow {
            follow(client, screen, args, query, args.limit.unwrap_or(10)).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let list = (path.as_str(), query, args.limit.unwrap_or(20));
        print_list(client, screen, list, args.common.json, table).await?;
        Ok(ExitCode::SUCCESS)
    })
}

impl Args {
    /// Where their list is.
    pub(crate) fn path(&self) -> String {
        format!("/v1/subscriptions/{}/attempts", escaped(&self.name))
    }

    /// Which of them are wanted.
    fn query(&self, now: Timestamp) -> Query {
        Query::default()
            .with("status", self.status.map(Status::word))
            .with("since", self.since.map(|since| since.at(now)))
            .with("until", self.until.map(|until| until.at(now)))
    }
}

fn table(attempts: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "*at",
        ">ago",
        "*status",
        ">code",
        ">took",
        ">attempt",
        "*event_id",
        "type",
        "error",
    ]);
    for attempt in attempts {
        let at = text(attempt, "created_at").unwrap_or("-");
        table.row(vec![
            moment(at).into(),
            age(at, now).into(),
            Cell::standing(text(attempt, "status").unwrap_or("-")),
            count(attempt, "response_code").into(),
            took(attempt, "duration_ms").into(),
            count(attempt, "attempt").into(),
            text(attempt, "event_id").into(),
            text(attempt, "event").into(),
            why(attempt).into(),
        ]);
    }
    table
}

/// Why an attempt failed: reason and message; empty for a success.
pub(crate) fn why(attempt: &Value) -> String {
    let parts = [text(attempt, "reason"), text(attempt, "error_message")];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::show::Style;
    use crate::cli::show::text::time;

    #[test]
    fn each_attempt_is_a_line() {
        let attempt = json!({"id": "x", "event_id": "evt_1", "event": "invoice.paid\u{1b}", "attempt": 2,
            "status": "failed", "reason": "http_5xx", "response_code": 503, "error_message": "Service Unavailable",
            "duration_ms": 12, "created_at": "2026-11-24T10:00:00.250Z"});
        let success = json!({"event_id": "evt_2", "event": "a", "attempt": 1, "status": "success", "reason": null,
            "response_code": 204, "error_message": null, "duration_ms": 1500, "created_at": "2026-11-24T09:59:00.000Z"});
        let now = time("2026-11-24T10:00:03.250Z").unwrap();
        assert_eq!(
            table(&[attempt, success], now).render(Style::default()),
            "\
at                        ago  status   code  took  attempt  event_id  type                error
2026-11-24T10:00:00Z   3s ago  failed    503  12ms        2  evt_1     invoice.paid\\u{1b}  http_5xx: Service Unavailable
2026-11-24T09:59:00Z  63s ago  success   204  1.5s        1  evt_2     a
"
        );
    }
}
