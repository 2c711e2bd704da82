//! `sidehook deliveries`: which event goes where, how far that is, and one of them with its attempts.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value;

use crate::cli::client::{Client, Need, Query, escaped};
use crate::cli::operate::attempts::why;
use crate::cli::operate::fields::{count, pairs, text, took};
use crate::cli::operate::when::When;
use crate::cli::operate::{Common, print_list, with_sidecar};
use crate::cli::show::text::{cut, moment_and_age, span, time};
use crate::cli::show::{Cell, Column, Screen, Table};
use crate::domain::Timestamp;

/// What stands below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook deliveries --state dead                    the last 20 dead letters, newest first
  sidehook deliveries --subscription billing --state pending
  sidehook deliveries evt_0199….billing               one, with its attempts and the responses";

/// The most characters of a response that are shown.
const RESPONSE_CHARS_MAX: usize = 1000;

/// Show the deliveries, or one of them with its attempts
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this delivery (EVENT_ID.SUBSCRIPTION), with its attempts and the beginning of each response
    #[arg(conflicts_with_all = ["subscription", "state", "since", "until", "limit"])]
    id: Option<String>,
    /// Only those for this subscription
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    /// Only those in this state
    #[arg(long)]
    state: Option<State>,
    /// Only those of events accepted since then: how long ago (90s, 1h, 3d), or a time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only those of events accepted until then, likewise
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// At most so many. Default: 20
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Pending,
    Delivered,
    Dead,
    Cancelled,
}

impl State {
    /// The word of the contract.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Shows them.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_sidecar(&args.common, Need::Read, async |client, screen| {
        match &args.id {
            Some(id) => one(client, screen, id, args.common.json).await?,
            None => {
                let query = Query::default()
                    .with("subscription", args.subscription.as_ref())
                    .with("state", args.state.map(State::word))
                    .with("since", args.since.map(|since| since.at(screen.now)))
                    .with("until", args.until.map(|until| until.at(screen.now)));
                let limit = args.limit.unwrap_or(20);
                let json = args.common.json;
                print_list(
                    client,
                    screen,
                    ("/v1/deliveries", query, limit),
                    json,
                    table,
                )
                .await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The path of one.
pub(crate) fn path(id: &str) -> String {
    format!("/v1/deliveries/{}", escaped(id))
}

async fn one(client: &Client, screen: &mut Screen<'_>, id: &str, json: bool) -> anyhow::Result<()> {
    let delivery = client.get(&path(id), &Query::default()).await?;
    if json {
        return Ok(screen.json(&delivery)?);
    }
    let mut table = Table::pairs();
    pairs(&delivery, &["attempts"], screen.now, &mut table);
    screen.table(&table)?;
    let attempts = delivery.get("attempts").and_then(Value::as_array);
    for attempt in attempts.into_iter().flatten() {
        screen.line("")?;
        screen.table(&attempt_table(attempt, screen.now))?;
    }
    Ok(())
}

fn attempt_table(attempt: &Value, now: Timestamp) -> Table {
    let number = count(attempt, "attempt").unwrap_or(0);
    let mut table = Table::pairs();
    let status = Cell::standing(text(attempt, "status").unwrap_or("-"));
    let mut rest = String::new();
    if let Some(code) = count(attempt, "response_code") {
        rest.push_str(&format!(" {code}"));
    }
    let why = why(attempt);
    if !why.is_empty() {
        rest.push_str(&format!(", {why}"));
    }
    table.pair(&format!("attempt {number}"), status.and(&rest));
    if let Some(at) = text(attempt, "created_at") {
        let took = took(attempt, "duration_ms").map(|took| format!(", took {took}"));
        let at = moment_and_age(at, now);
        table.pair("  at", format!("{at}{}", took.unwrap_or_default()));
    }
    let response = text(attempt, "response_body").filter(|body| !body.is_empty());
    match (response, text(attempt, "response_body_base64")) {
        (Some(body), _) => table.pair("  response", cut(body, RESPONSE_CHARS_MAX)),
        (None, Some(encoded)) => {
            table.pair(
                "  response",
                format!("base64 {}", cut(encoded, RESPONSE_CHARS_MAX)),
            );
        }
        (None, None) => {}
    }
    table
}

const COLUMNS: [Column; 6] = [
    Column::whole("accepted"),
    Column::id("id"),
    Column::whole("state"),
    Column::number("attempts").ranked(3),
    Column::text("next attempt").ranked(1),
    Column::text("type").ranked(2),
];

/// A table of deliveries.
pub(crate) fn table(deliveries: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&COLUMNS);
    for delivery in deliveries {
        table.row(vec![
            Cell::moment(text(delivery, "created_at").unwrap_or("-"), now),
            text(delivery, "id").into(),
            standing(delivery),
            count(delivery, "attempt_count").into(),
            next(delivery, now).into(),
            text(delivery, "event").into(),
        ]);
    }
    table
}

/// `dead (exhausted)`, `pending (held)`, `pending (blocked)`
pub(crate) fn standing(delivery: &Value) -> Cell {
    let state = Cell::standing(text(delivery, "state").unwrap_or("-"));
    let held = delivery.get("held").and_then(Value::as_bool) == Some(true);
    match text(delivery, "dead_reason") {
        Some(reason) => state.and(&format!(" ({reason})")),
        None if held => state.and(" (held)"),
        None if text(delivery, "blocked_by").is_some() => state.and(" (blocked)"),
        None => state,
    }
}

/// When it is attempted next, and what it waits for: `in 5m`, `in 40s (probing)`, `after evt_…`.
fn next(delivery: &Value, now: Timestamp) -> Option<String> {
    if let Some(first) = text(delivery, "blocked_by") {
        return Some(after(first));
    }
    let due = text(delivery, "next_attempt_at").and_then(time);
    let due = due.map(|due| match due > now {
        true => format!("in {}", span(due.since(now))),
        false => "now".to_owned(),
    });
    let waits = text(delivery, "waits_for").filter(|waits| *waits != "enabling");
    match (due, waits) {
        (Some(due), Some(waits)) => Some(format!("{due} ({waits})")),
        (due, waits) => due.or_else(|| waits.map(str::to_owned)),
    }
}

/// `after evt_…`: what waits for the dead delivery of this event.
pub(crate) fn after(blocked_by: &str) -> String {
    let event = blocked_by
        .split_once('.')
        .map_or(blocked_by, |(event, _)| event);
    format!("after {event}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::show::Style;

    #[test]
    fn each_delivery_is_a_line() {
        let at = "2026-11-24T10:00:00.250Z";
        let dead = json!({"id": "evt_1.a", "event": "t", "state": "dead", "held": false, "dead_reason": "exhausted",
            "attempt_count": 9, "next_attempt_at": null, "created_at": at});
        let held = json!({"id": "evt_2.a", "event": "t", "state": "pending", "held": true, "dead_reason": null,
            "attempt_count": 1, "next_attempt_at": null, "waits_for": "enabling", "created_at": at});
        let probed = json!({"id": "evt_3.a", "event": "t", "state": "pending", "held": false, "dead_reason": null,
            "attempt_count": 1, "next_attempt_at": "2026-11-24T10:05:03.250Z", "waits_for": "probing", "created_at": at});
        let blocked = json!({"id": "evt_4.a", "event": "t", "state": "pending", "held": false, "dead_reason": null,
            "attempt_count": 0, "next_attempt_at": null, "waits_for": "order", "blocked_by": "evt_1.a", "created_at": at});
        let now = time("2026-11-24T10:00:03.250Z").unwrap();
        assert_eq!(
            table(&[dead, held, probed, blocked], now).render(Style::default()),
            "\
accepted              id       state              attempts  next attempt     type
2026-11-24T10:00:00Z  evt_1.a  dead (exhausted)          9  -                t
2026-11-24T10:00:00Z  evt_2.a  pending (held)            1  -                t
2026-11-24T10:00:00Z  evt_3.a  pending                   1  in 5m (probing)  t
2026-11-24T10:00:00Z  evt_4.a  pending (blocked)         0  after evt_1      t
"
        );
    }

    #[test]
    fn an_attempt_shows_the_beginning_of_its_response() {
        let attempt = json!({"attempt": 1, "status": "failed", "reason": "http_5xx", "response_code": 500,
            "error_message": "Internal Server Error", "duration_ms": 12, "created_at": "2026-11-24T10:00:00.250Z",
            "response_body": "no\u{1b}[2J", "response_body_base64": null});
        let now = time("2026-11-24T10:00:03.250Z").unwrap();
        assert_eq!(
            attempt_table(&attempt, now).render(Style::default()),
            "\
attempt 1   failed 500, http_5xx: Internal Server Error
  at        2026-11-24T10:00:00.250Z (3s ago), took 12ms
  response  no\\u{1b}[2J
"
        );
    }
}
