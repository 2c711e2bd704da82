//! `sidehook events`: the events that the application posted, and the results.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::api::{Content, Event, EventWithDeliveries};
use crate::cli::client::{Client, Need, Query, escaped, read};
use crate::cli::operate::deliveries;
use crate::cli::operate::fields::pairs;
use crate::cli::operate::when::When;
use crate::cli::operate::{Common, print_list, with_sidecar};
use crate::cli::show::text::plain;
use crate::cli::show::{Cell, Column, Screen, Table};
use crate::domain::Timestamp;

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook events                                     the last 20, newest first
  sidehook events --type invoice.paid --since 1h
  sidehook events --given-id inv-7                    which event was that?
  sidehook events evt_0199…                           one, with its deliveries
  sidehook events evt_0199… --body > body.json        its body, byte for byte";

/// Show the events that were posted, or one of them with its deliveries
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this event, with its deliveries
    #[arg(conflicts_with_all = ["event_type", "given_id", "since", "until", "limit"])]
    id: Option<String>,
    /// Print its body and nothing else; needs a token with the scope manage
    // Checked here, too: what an option requires does not count when it conflicts with what is there.
    #[arg(
        long,
        requires = "id",
        conflicts_with_all = ["json", "event_type", "given_id", "since", "until", "limit"],
    )]
    body: bool,
    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only those with this given id
    #[arg(long, value_name = "ID")]
    given_id: Option<String>,
    /// Only those accepted since then: how long ago (90s, 1h, 3d), or a time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only those accepted until then, likewise
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// At most so many. Default: 20
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// Shows them.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let need = if args.body { Need::Manage } else { Need::Read };
    with_sidecar(&args.common, need, async |client, screen| {
        match &args.id {
            Some(id) => one(client, screen, id, args).await?,
            None => {
                let query = Query::default()
                    .with("type", args.event_type.as_ref())
                    .with("given_id", args.given_id.as_ref())
                    .with("since", args.since.map(|since| since.at(screen.now)))
                    .with("until", args.until.map(|until| until.at(screen.now)));
                let limit = args.limit.unwrap_or(20);
                let json = args.common.json;
                print_list(client, screen, ("/v1/events", query, limit), json, table).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn one(
    client: &Client,
    screen: &mut Screen<'_>,
    id: &str,
    args: &Args,
) -> anyhow::Result<()> {
    let path = format!("/v1/events/{}", escaped(id));
    let event = client.get(&path, &Query::default()).await?;
    if args.common.json {
        return Ok(screen.json(&event)?);
    }
    let EventWithDeliveries {
        deliveries: found,
        content,
        ..
    } = read(&event)?;
    if args.body {
        let terminal = io::stdout().is_terminal();
        return Ok(screen.bytes(&shown_body(content, terminal)?)?);
    }
    let mut table = Table::pairs();
    let apart = ["deliveries", "headers", "body", "body_base64"];
    pairs(&event, &apart, screen.now, &mut table);
    for header in content.iter().flat_map(|content| &content.headers) {
        table.pair("header", format!("{}: {}", header.name, header.value));
    }
    screen.table(&table)?;
    screen.line("")?;
    match found.is_empty() {
        false => Ok(screen.table(&deliveries::table(&found, screen.now))?),
        true => Ok(screen.line("no deliveries")?),
    }
}

/// The bytes of the body; on a terminal what can be shown there.
fn shown_body(content: Option<Content>, terminal: bool) -> anyhow::Result<Vec<u8>> {
    let content = content.context("the token does not show bodies: it needs the scope manage")?;
    let body = match content.body {
        Some(body) => body.into_bytes(),
        None => BASE64_STANDARD
            .decode(content.body_base64.unwrap_or_default())
            .context("the body in the answer is not base64")?,
    };
    if !terminal {
        return Ok(body);
    }
    let shown = str::from_utf8(&body);
    ensure!(
        shown.is_ok(),
        "the body is not text: redirect it into a file"
    );
    let lines: Vec<String> = shown.unwrap_or_default().lines().map(plain).collect();
    Ok(format!("{}\n", lines.join("\n")).into_bytes())
}

const COLUMNS: [Column; 7] = [
    Column::whole("accepted"),
    Column::id("id"),
    Column::text("type"),
    Column::number("deliveries").ranked(2),
    Column::number("bytes").ranked(3),
    Column::text("given id").ranked(1),
    Column::text("key").ranked(4),
];

pub(super) fn table(events: &[Event], now: Timestamp) -> Table {
    let mut table = Table::new(&COLUMNS);
    for event in events {
        table.row(vec![
            Cell::moment(event.created_at.0, now),
            event.id.as_str().into(),
            event.r#type.as_str().into(),
            u64::try_from(event.delivery_count).ok().into(),
            event.body_bytes.into(),
            event.given_id.as_deref().into(),
            event.key.as_deref().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::operate::samples;
    use crate::cli::show::Style;
    use crate::cli::show::text::time;

    #[test]
    fn each_event_is_a_line() {
        let event = samples::event(json!({"given_id": "inv-7"}));
        let now = time("2026-11-24T10:00:03.250Z").unwrap();
        assert_eq!(
            table(&[event], now).render(Style::default()),
            "\
accepted              id     type  deliveries  bytes  given id  key
2026-11-24T10:00:00Z  evt_1  a              2  1,234  inv-7     -
"
        );
    }

    #[test]
    fn a_body_is_printed_as_it_came_and_plain_on_a_terminal() {
        let content = |body: Option<&str>, base64: Option<&str>| {
            Some(Content {
                headers: Vec::new(),
                body: body.map(str::to_owned),
                body_base64: base64.map(str::to_owned),
            })
        };
        let body = || content(Some("{\n\"a\": \"\u{1b}\"}"), None);
        assert_eq!(shown_body(body(), false).unwrap(), b"{\n\"a\": \"\x1b\"}");
        assert_eq!(
            shown_body(body(), true).unwrap(),
            b"{\n\"a\": \"\\u{1b}\"}\n"
        );
        let bytes = || content(None, Some("/w=="));
        assert_eq!(shown_body(bytes(), false).unwrap(), b"\xff");
        let error = shown_body(bytes(), true).unwrap_err().to_string();
        assert!(error.contains("redirect it"), "{error}");
        let error = shown_body(None, false).unwrap_err();
        assert!(error.to_string().ends_with("the scope manage"), "{error}");
    }
}
