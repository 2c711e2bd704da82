//! `sidehook deliveries`: which event goes where, how far that is, and one of them with its attempts.

use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::api::{AttemptWithResponse, Delivery, DeliveryWithAttempts, Time};
use crate::cli::client::{Client, Need, Query, escaped, read};
use crate::cli::operate::fields::{pairs, took};
use crate::cli::operate::outcome::{after, why_of};
use crate::cli::operate::when::When;
use crate::cli::operate::{Common, print_list, with_sidecar};
use crate::cli::show::text::{cut, moment_and_age, span};
use crate::cli::show::{Cell, Column, Screen, Table};
use crate::domain::{DeliveryState, Timestamp};

/// The text below the help.
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
    state: Option<DeliveryState>,
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

impl ValueEnum for DeliveryState {
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
        match &args.id {
            Some(id) => one(client, screen, id, args.common.json).await?,
            None => {
                let query = Query::default()
                    .with("subscription", args.subscription.as_ref())
                    .with("state", args.state.map(DeliveryState::as_str))
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
    let DeliveryWithAttempts { attempts, .. } = read(&delivery)?;
    let mut table = Table::pairs();
    pairs(&delivery, &["attempts"], screen.now, &mut table);
    screen.table(&table)?;
    for attempt in &attempts {
        screen.line("")?;
        screen.table(&attempt_table(attempt, screen.now))?;
    }
    Ok(())
}

fn attempt_table(found: &AttemptWithResponse, now: Timestamp) -> Table {
    let attempt = &found.attempt;
    let mut table = Table::pairs();
    let mut rest = String::new();
    if let Some(code) = attempt.response_code {
        rest.push_str(&format!(" {code}"));
    }
    let why = why_of(attempt);
    if !why.is_empty() {
        rest.push_str(&format!(", {why}"));
    }
    let status = Cell::status(attempt.status.as_str()).and(&rest);
    table.pair(&format!("attempt {}", attempt.attempt), status);
    let at = moment_and_age(attempt.created_at.0, now);
    table.pair("  at", format!("{at}, took {}", took(attempt.duration_ms)));
    let response = found.response_body.as_deref();
    match (
        response.filter(|body| !body.is_empty()),
        &found.response_body_base64,
    ) {
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
pub(crate) fn table(deliveries: &[Delivery], now: Timestamp) -> Table {
    let mut table = Table::new(&COLUMNS);
    for delivery in deliveries {
        table.row(vec![
            Cell::moment(delivery.created_at.0, now),
            delivery.id.as_str().into(),
            state_cell(delivery),
            delivery.attempt_count.map(u64::from).into(),
            next(delivery, now).into(),
            delivery.event.as_str().into(),
        ]);
    }
    table
}

/// `dead (exhausted)`, `pending (held)`, `pending (blocked)`
pub(crate) fn state_cell(delivery: &Delivery) -> Cell {
    let state = Cell::status(delivery.state.as_str());
    match &delivery.dead_reason {
        Some(reason) => state.and(&format!(" ({})", reason.as_str())),
        None if delivery.held => state.and(" (held)"),
        None if delivery.blocked_by.is_some() => state.and(" (blocked)"),
        None => state,
    }
}

/// When it is attempted next, and what it waits for: `in 5m`, `in 40s (probing)`, `after evt_…`.
fn next(delivery: &Delivery, now: Timestamp) -> Option<String> {
    if let Some(first) = &delivery.blocked_by {
        return Some(after(first));
    }
    let due = delivery.next_attempt_at.map(|Time(due)| match due > now {
        true => format!("in {}", span(due.since(now))),
        false => "now".to_owned(),
    });
    let waits = delivery.waits_for.as_deref();
    match (due, waits.filter(|waits| *waits != "enabling")) {
        (Some(due), Some(waits)) => Some(format!("{due} ({waits})")),
        (due, waits) => due.or_else(|| waits.map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::operate::samples;
    use crate::cli::show::Style;
    use crate::cli::show::text::time;

    #[test]
    fn each_delivery_is_a_line() {
        let dead = json!({"state": "dead", "dead_reason": "exhausted", "attempt_count": 9});
        let held = json!({"id": "evt_2.a", "held": true, "waits_for": "enabling"});
        let probed = json!({"id": "evt_3.a", "next_attempt_at": "2026-11-24T10:05:03.250Z", "waits_for": "probing"});
        let blocked = json!({"id": "evt_4.a", "attempt_count": 0, "waits_for": "order", "blocked_by": "evt_1.a"});
        let all = [dead, held, probed, blocked].map(samples::delivery);
        let now = time("2026-11-24T10:00:03.250Z").unwrap();
        assert_eq!(
            table(&all, now).render(Style::default()),
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
        let attempt = AttemptWithResponse {
            attempt: samples::attempt(json!({"attempt": 1})),
            response_body: Some("no\u{1b}[2J".to_owned()),
            response_body_base64: None,
        };
        let now = time("2026-11-24T10:00:03.250Z").unwrap();
        assert_eq!(
            attempt_table(&attempt, now).render(Style::default()),
            "\
attempt 1   failed 503, http_5xx: Service Unavailable
  at        2026-11-24T10:00:00.250Z (3s ago), took 12ms
  response  no\\u{1b}[2J
"
        );
    }
}
