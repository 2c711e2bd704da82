//! `sidehook status`: how the subscriptions do.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cli::client::{Client, Need, Query, escaped};
use crate::cli::operate::attempts::why;
use crate::cli::operate::fields::{count, pairs, text};
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::text::{moment_and_age, span};
use crate::cli::show::{Cell, Screen, Table};
use crate::domain::Timestamp;

/// What stands below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook status                all subscriptions, one line each
  sidehook status billing        everything about one of them
  sidehook status --json | jq -r 'select(.status == \"disabled\").name'

failures: failed attempts since the last success. success: the share of the last 1,000 attempts.
oldest: the age of the oldest pending delivery that is not held.";

/// The most subscriptions that are shown.
const SHOWN_MAX: usize = 100_000;

/// Show how the subscriptions do, or one of them in full
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this subscription, with its whole definition and state
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Shows it.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_sidecar(&args.common, Need::Read, async |client, screen| {
        match &args.name {
            Some(name) => one(client, screen, name, args.common.json).await?,
            None => all(client, screen, args.common.json).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn one(
    client: &Client,
    screen: &mut Screen<'_>,
    name: &str,
    json: bool,
) -> anyhow::Result<()> {
    let path = format!("/v1/subscriptions/{}", escaped(name));
    let subscription = client.get(&path, &Query::default()).await?;
    if json {
        return Ok(screen.json(&subscription)?);
    }
    let table = details(&subscription, screen);
    Ok(screen.table(&table)?)
}

async fn all(client: &Client, screen: &mut Screen<'_>, json: bool) -> anyhow::Result<()> {
    let path = "/v1/subscriptions";
    if json {
        let print = |subscription| Ok(screen.json(&subscription)?);
        return client.list(path, Query::default(), SHOWN_MAX, print).await;
    }
    let subscriptions = client.listed(path, Query::default(), SHOWN_MAX).await?;
    if subscriptions.is_empty() {
        return Ok(screen.line("no subscriptions")?);
    }
    Ok(screen.table(&overview(&subscriptions))?)
}

fn overview(subscriptions: &[Value]) -> Table {
    let mut table = Table::new(&[
        "*name",
        "*status",
        ">pending",
        ">held",
        ">dead",
        ">failures",
        ">success",
        ">oldest",
        "endpoint",
    ]);
    for subscription in subscriptions {
        table.row(vec![
            text(subscription, "name").into(),
            standing(subscription),
            count(subscription, "pending").into(),
            count(subscription, "held").into(),
            Cell::alarming(count(subscription, "dead").unwrap_or(0)),
            count(subscription, "consecutive_failures").into(),
            success_rate(subscription, "last_1000").into(),
            oldest(subscription).into(),
            text(subscription, "url").map(host).into(),
        ]);
    }
    table
}

/// State first, then the definition.
fn details(subscription: &Value, screen: &Screen<'_>) -> Table {
    const STATE: [&str; 16] = [
        "name",
        "status",
        "disabled_at",
        "disabled_reason",
        "consecutive_failures",
        "success_rate",
        "pending",
        "held",
        "blocked",
        "dead",
        "oldest_pending_age_seconds",
        "last_success_at",
        "last_failure",
        "last_failure_at",
        "created_at",
        "updated_at",
    ];
    let mut table = Table::pairs();
    for name in STATE {
        match name {
            "success_rate" => {
                let rate = |of| success_rate(subscription, of).unwrap_or_else(|| "-".to_owned());
                let rates = format!(
                    "{} of the last 1,000 attempts, {} of the last 24 h",
                    rate("last_1000"),
                    rate("last_24h")
                );
                table.pair("success", rates);
            }
            "oldest_pending_age_seconds" => {
                if let Some(age) = oldest(subscription) {
                    table.pair("oldest pending", age);
                }
            }
            "last_failure" => {
                if let Some(failure) = subscription.get(name).filter(|it| it.is_object()) {
                    table.pair(name, last_failure(failure, screen.now));
                }
            }
            name => {
                if let Some(value) = subscription.get(name) {
                    let field = serde_json::json!({ name: value });
                    pairs(&field, &[], screen.now, &mut table);
                }
            }
        }
    }
    table.pair("", "");
    pairs(subscription, &STATE, screen.now, &mut table);
    table
}

/// When it was, of what, and why.
fn last_failure(failure: &Value, now: Timestamp) -> String {
    let at = text(failure, "at").map(|at| moment_and_age(at, now));
    let mut parts: Vec<String> = at.into_iter().collect();
    if let (Some(number), Some(event)) = (count(failure, "attempt"), text(failure, "event_id")) {
        parts.push(format!("attempt {number} of {event}"));
    }
    let code = count(failure, "response_code").map(|code| code.to_string());
    parts.extend(code);
    parts.push(why(failure));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// `active`, or `disabled` with the reason.
fn standing(subscription: &Value) -> Cell {
    let status = text(subscription, "status").unwrap_or("-");
    match text(subscription, "disabled_reason") {
        Some(reason) => Cell::standing(status).and(&format!(" ({reason})")),
        None => Cell::standing(status),
    }
}

/// `99.9%`: rounded down, so that 100% means all.
fn success_rate(subscription: &Value, of: &str) -> Option<String> {
    let rate = subscription.get("success_rate")?.get(of)?.as_f64()?;
    let tenths = (rate * 1000.0 + 1e-6).floor();
    Some(format!("{:.1}%", tenths / 10.0))
}

fn oldest(subscription: &Value) -> Option<String> {
    let seconds = subscription.get("oldest_pending_age_seconds")?.as_f64()?;
    let age = Duration::try_from_secs_f64(seconds).ok()?;
    Some(span(age))
}

/// Host and port of an endpoint, which is all that fits.
fn host(url: &str) -> String {
    let parsed = url.parse::<http::Uri>().ok();
    let authority = parsed.as_ref().and_then(http::Uri::authority);
    authority.map_or_else(|| url.to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::show::Style;
    use crate::cli::show::text::time;

    fn subscription() -> Value {
        json!({
            "name": "billing", "url": "https://partner.example.com:8443/hooks?key=1", "events": ["invoice.*"],
            "retry": "standard", "secret_set": true, "status": "disabled", "disabled_reason": "gone",
            "disabled_at": "2026-11-24T10:00:00.000Z", "consecutive_failures": 3,
            "success_rate": {"last_1000": 0.9999, "last_24h": null}, "pending": 12345, "held": 2, "dead": 1,
            "oldest_pending_age_seconds": 42.5, "last_success_at": null,
            "last_failure": {"at": "2026-11-24T10:00:00.000Z", "status": "failed", "reason": "http_410", "response_code": 410,
                "error_message": "Gone", "event_id": "evt_1", "attempt": 2}, "created_at": "2026-11-24T09:00:00.000Z",
        })
    }

    #[test]
    fn each_subscription_is_a_line() {
        let other = json!({"name": "a", "status": "active", "pending": 0, "held": 0, "dead": 0,
            "consecutive_failures": 0, "success_rate": {"last_1000": 1.0}, "url": null});
        assert_eq!(
            overview(&[subscription(), other]).render(Style::default()),
            "\
name     status           pending  held  dead  failures  success  oldest  endpoint
billing  disabled (gone)   12,345     2     1         3    99.9%     42s  partner.example.com:8443
a        active                 0     0     0         0   100.0%       -  -
"
        );
    }

    #[test]
    fn one_is_shown_with_state_and_definition() {
        let mut out = Vec::new();
        let now = time("2026-11-24T10:03:00.000Z").unwrap();
        let screen = Screen::new(&mut out, Style::default(), now);
        let shown = details(&subscription(), &screen).render(Style::default());
        for line in [
            "name                  billing",
            "status                disabled",
            "disabled_at           2026-11-24T10:00:00.000Z (3m ago)",
            "success               99.9% of the last 1,000 attempts, - of the last 24 h",
            "oldest pending        42s",
            "last_failure          2026-11-24T10:00:00.000Z (3m ago), attempt 2 of evt_1, 410, http_410: Gone",
            "url                   https://partner.example.com:8443/hooks?key=1",
            "secret_set            true",
        ] {
            assert!(shown.lines().any(|found| found == line), "{line}\n{shown}");
        }
        assert_eq!(shown.matches("name ").count(), 1, "{shown}");
    }

    #[test]
    fn a_rate_of_100_percent_means_all() {
        let rate = |rate: f64| {
            success_rate(&json!({"success_rate": {"last_1000": rate}}), "last_1000").unwrap()
        };
        assert_eq!(
            [1.0, 0.9999, 0.999, 0.0].map(rate),
            ["100.0%", "99.9%", "99.9%", "0.0%"]
        );
    }
}
