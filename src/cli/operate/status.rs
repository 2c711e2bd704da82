//! `sidehook status`: how the subscriptions do.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cli::client::{Client, Need, Query, escaped};
use crate::cli::operate::attempts::why;
use crate::cli::operate::fields::{count, pairs, parts, text};
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::text::{bytes, moment_and_age, plain, span, time};
use crate::cli::show::{Cell, Column, Screen, Table};
use crate::domain::{Timestamp, with_commas};

/// What stands below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook status                the sidecar, and its subscriptions, one line each
  sidehook status --failing      only those that do not do well
  sidehook status --watch        again every 2 seconds
  sidehook status billing        everything about one of them
  sidehook status --json | jq -r 'select(.status == \"disabled\").name'

failures: failed attempts since the last success. success: the share of the last 1,000 attempts.
oldest: the age of the oldest pending delivery that is not held.";

/// How long what is shown stands with `--watch`.
const WATCH_PAUSE: Duration = Duration::from_secs(2);
/// How long an answer may take: who asks how the sidecar does wants to know when it hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most subscriptions that are shown.
const SHOWN_MAX: usize = 100_000;

/// Show how the subscriptions do, or one of them in full
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this subscription, with its whole definition and state
    name: Option<String>,
    /// Only subscriptions that are not active, fail, or have dead letters
    #[arg(long, conflicts_with = "name")]
    failing: bool,
    /// Show it again every 2 seconds, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    #[command(flatten)]
    common: Common,
}

/// Shows it.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_sidecar(&args.common, Need::Read, async |client, screen| {
        let client = &client.clone().patient(PATIENCE);
        loop {
            if args.watch {
                screen.begin_again()?;
            }
            match &args.name {
                Some(name) => one(client, screen, name, args.common.json).await?,
                None => all(client, screen, args).await?,
            }
            if !args.watch {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
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

async fn all(client: &Client, screen: &mut Screen<'_>, args: &Args) -> anyhow::Result<()> {
    let path = "/v1/subscriptions";
    if args.common.json {
        let print = |subscription| match args.failing && does_well(&subscription) {
            true => Ok(()),
            false => Ok(screen.json(&subscription)?),
        };
        return client.list(path, Query::default(), SHOWN_MAX, print).await;
    }
    let relay = client.get("/v1/status", &Query::default()).await?;
    let mut subscriptions = client.listed(path, Query::default(), SHOWN_MAX).await?;
    let is_empty = subscriptions.is_empty();
    if args.failing {
        subscriptions.retain(|subscription| !does_well(subscription));
    }
    for line in summary(&relay, screen) {
        screen.line(&line)?;
    }
    screen.line("")?;
    match (subscriptions.as_slice(), is_empty) {
        ([], true) => Ok(screen.line("no subscriptions")?),
        ([], false) => Ok(screen.line("all subscriptions do well")?),
        (subscriptions, _) => Ok(screen.table(&overview(subscriptions, screen.now))?),
    }
}

/// The relay as a whole.
fn summary(relay: &Value, screen: &Screen<'_>) -> Vec<String> {
    let of = |part: &str| relay.get(part).cloned().unwrap_or_default();
    let (store, config, states) = (of("store"), of("config"), of("subscriptions"));
    let number = |name| with_commas(count(relay, name).unwrap_or(0));
    let up = Duration::from_secs(count(relay, "uptime_seconds").unwrap_or(0));
    let version = text(relay, "version").unwrap_or("-");
    let relay_line = format!("sidehook {}, up {}", plain(version), span(up));
    let deliveries = format!(
        "deliveries: {} pending, {} held, {} dead, {} in flight",
        number("pending"),
        number("held"),
        number("dead"),
        number("in_flight"),
    );
    let size = |name| count(&store, name).map_or_else(|| "-".to_owned(), bytes);
    let health = text(&store, "health").unwrap_or("-");
    let health = match health {
        "healthy" => String::new(),
        ill => format!("{}, ", Cell::bad(ill).marked(screen.style)),
    };
    let store_line = format!(
        "store: {health}{} in {}, {} free",
        size("size_bytes"),
        plain(text(&store, "path").unwrap_or("-")),
        size("free_bytes"),
    );
    let file = plain(text(&config, "file").unwrap_or("-"));
    let on_disk = match text(&config, "on_disk") {
        Some("differs") => Cell::bad("differs from what is in force").and(": sidehook diff"),
        Some("invalid") => {
            let error = text(&config, "error").unwrap_or_default();
            Cell::bad("is wrong, what was loaded last is in force").and(&format!(": {error}"))
        }
        Some("pipe") => Cell::from("was read once, from a pipe"),
        _ => Cell::from("is in force"),
    };
    let waiting = config.get("at_next_start").filter(|keys| {
        let keys = keys.as_array();
        keys.is_some_and(|keys| !keys.is_empty())
    });
    let restart = waiting.map_or_else(String::new, |keys| {
        let needed = format!("a restart is needed for {}", parts(keys));
        format!("; {}", Cell::bad(&needed).marked(screen.style))
    });
    let config_line = format!(
        "configuration: {file} {}{restart}",
        on_disk.marked(screen.style)
    );
    let ill = ["probing", "paused", "blocked", "disabled"].into_iter();
    let ill = ill.filter_map(|state| {
        let number = count(&states, state).filter(|number| *number > 0)?;
        Some(format!(", {} {state}", with_commas(number)))
    });
    let active = with_commas(count(&states, "active").unwrap_or(0));
    let states_line = format!("subscriptions: {active} active{}", ill.collect::<String>());
    vec![relay_line, store_line, config_line, states_line, deliveries]
}

/// Whether nothing about a subscription needs anybody.
fn does_well(subscription: &Value) -> bool {
    let none = |field| count(subscription, field).unwrap_or(0) == 0;
    text(subscription, "state") == Some("active") && none("consecutive_failures") && none("dead")
}

const COLUMNS: [Column; 9] = [
    Column::whole("name"),
    Column::whole("state"),
    Column::number("pending"),
    Column::number("held").ranked(4),
    Column::number("dead"),
    Column::number("failures").ranked(2),
    Column::number("success").ranked(1),
    Column::number("oldest").ranked(3),
    Column::text("endpoint").ranked(5),
];

pub(super) fn overview(subscriptions: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&COLUMNS);
    for subscription in subscriptions {
        table.row(vec![
            text(subscription, "name").into(),
            standing(subscription, now),
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
    const STATE: [&str; 21] = [
        "name",
        "status",
        "state",
        "probing_since",
        "paused_until",
        "rate_limited_until",
        "next_attempt_at",
        "disabled_at",
        "disabled_reason",
        "consecutive_failures",
        "success_rate",
        "pending",
        "held",
        "blocked",
        "blocked_by",
        "dead",
        "oldest_pending_age_seconds",
        "last_success_at",
        "last_failure",
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

/// The state, with what follows from it: `probing (next in 4m)`, `paused (for 30s)`, `disabled (gone)`.
fn standing(subscription: &Value, now: Timestamp) -> Cell {
    let state = text(subscription, "state").or_else(|| text(subscription, "status"));
    let state = state.unwrap_or("-");
    let left = |field| {
        let at = text(subscription, field).and_then(time)?;
        Some(span(at.since(now)))
    };
    let rest = match state {
        "disabled" => text(subscription, "disabled_reason").map(str::to_owned),
        "probing" => left("next_attempt_at").map(|left| format!("next in {left}")),
        "paused" => left("paused_until").map(|left| format!("for {left}")),
        "blocked" => count(subscription, "blocked").map(|number| format!("{number} waiting")),
        _ => left("rate_limited_until").map(|left| format!("rate limit, next in {left}")),
    };
    Cell::standing(state).and(&rest.map_or_else(String::new, |rest| format!(" ({rest})")))
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

    fn subscription() -> Value {
        json!({
            "name": "billing", "url": "https://partner.example.com:8443/hooks?key=1", "events": ["invoice.*"],
            "retry": "standard", "secret_set": true, "status": "disabled", "state": "disabled", "disabled_reason": "gone",
            "disabled_at": "2026-11-24T10:00:00.000Z", "consecutive_failures": 3,
            "success_rate": {"last_1000": 0.9999, "last_24h": null}, "pending": 12345, "held": 2, "dead": 1,
            "oldest_pending_age_seconds": 42.5, "last_success_at": null,
            "last_failure": {"at": "2026-11-24T10:00:00.000Z", "status": "failed", "reason": "http_410", "response_code": 410,
                "error_message": "Gone", "event_id": "evt_1", "attempt": 2}, "created_at": "2026-11-24T09:00:00.000Z",
        })
    }

    #[test]
    fn each_subscription_is_a_line() {
        let at = "2026-11-24T10:04:00.000Z";
        let active = json!({"name": "a", "state": "active", "pending": 0, "held": 0, "dead": 0,
            "consecutive_failures": 0, "success_rate": {"last_1000": 1.0}, "url": null});
        let probing = json!({"name": "b", "state": "probing", "pending": 7, "next_attempt_at": at});
        let paused = json!({"name": "c", "state": "paused", "pending": 7, "paused_until": at});
        let blocked = json!({"name": "d", "state": "blocked", "pending": 7, "blocked": 6});
        let now = time("2026-11-24T10:03:00.000Z").unwrap();
        let all = [subscription(), active.clone(), probing, paused, blocked];
        assert_eq!(
            overview(&all, now).render(Style::default()),
            "\
name     state                  pending  held  dead  failures  success  oldest  endpoint
billing  disabled (gone)         12,345     2     1         3    99.9%     42s  partner.example.com:8443
a        active                       0     0     0         0   100.0%       -  -
b        probing (next in 60s)        7     -     0         -        -       -  -
c        paused (for 60s)             7     -     0         -        -       -  -
d        blocked (6 waiting)          7     -     0         -        -       -  -
"
        );
        let well: Vec<bool> = all.iter().map(does_well).collect();
        assert_eq!(well, [false, true, false, false, false]);
    }

    #[test]
    fn the_sidecar_is_shown_in_a_few_lines() {
        let relay = json!({"version": "0.1.0", "uptime_seconds": 7300, "pending": 1234, "held": 0, "dead": 2, "in_flight": 1,
            "subscriptions": {"active": 3, "probing": 1, "paused": 0, "disabled": 0, "blocked": 0},
            "store": {"health": "healthy", "path": "/var/lib/sidehook", "size_bytes": 1_300_000_000_u64,
                "pending_bytes": 0, "free_bytes": 5_000},
            "config": {"file": "/etc/sidehook/config.yaml", "on_disk": "differs", "error": null}});
        let mut out = Vec::new();
        let screen = Screen::new(&mut out, Style::default(), Timestamp::default());
        assert_eq!(
            summary(&relay, &screen),
            [
                "sidehook 0.1.0, up 2h",
                "store: 1.2 GiB in /var/lib/sidehook, 4.8 KiB free",
                "configuration: /etc/sidehook/config.yaml differs from what is in force: sidehook diff",
                "subscriptions: 3 active, 1 probing",
                "deliveries: 1,234 pending, 0 held, 2 dead, 1 in flight",
            ]
        );
        let changed = json!({"config": {"file": "/c.yaml", "on_disk": "in_force", "at_next_start": ["listen", "log"]}});
        assert_eq!(
            summary(&changed, &screen)[2],
            "configuration: /c.yaml is in force; a restart is needed for listen, log"
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
