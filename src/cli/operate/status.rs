//! `sidehook status`: how the subscriptions do.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{LastFailure, Status, Subscription, SubscriptionState, Time, Word};
use crate::cli::client::{Client, Need, Query, escaped, read};
use crate::cli::operate::fields::pairs;
use crate::cli::operate::outcome::why;
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::text::{bytes, moment_and_age, plain, span};
use crate::cli::show::{Cell, Column, Screen, Table};
use crate::domain::{Condition, Timestamp, with_commas};

/// The text below the help.
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
/// How long an answer may take: a status command must also report when the sidecar hangs.
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
    let table = details(&subscription, &read(&subscription)?, screen);
    Ok(screen.table(&table)?)
}

async fn all(client: &Client, screen: &mut Screen<'_>, args: &Args) -> anyhow::Result<()> {
    let path = "/v1/subscriptions";
    if args.common.json {
        let print = |sent| match args.failing && does_well(&read::<Subscription>(&sent)?.state) {
            true => Ok(()),
            false => Ok(screen.json(&sent)?),
        };
        return client.list(path, Query::default(), SHOWN_MAX, print).await;
    }
    let relay = client.get("/v1/status", &Query::default()).await?;
    let mut subscriptions: Vec<Subscription> =
        client.listed(path, Query::default(), SHOWN_MAX).await?;
    let is_empty = subscriptions.is_empty();
    if args.failing {
        subscriptions.retain(|subscription| !does_well(&subscription.state));
    }
    for line in summary(&read(&relay)?, screen) {
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
fn summary(relay: &Status, screen: &Screen<'_>) -> Vec<String> {
    let (store, config, states) = (&relay.store, &relay.config, &relay.subscriptions);
    let up = span(Duration::from_secs(relay.uptime_seconds));
    let relay_line = format!("sidehook {}, up {up}", plain(&relay.version));
    let counts = [relay.pending, relay.held, relay.dead, relay.in_flight];
    let [pending, held, dead, in_flight] = counts.map(with_commas);
    let deliveries =
        format!("deliveries: {pending} pending, {held} held, {dead} dead, {in_flight} in flight");
    let health = match store.health.as_str() {
        "healthy" => String::new(),
        ill => format!("{}, ", Cell::bad(ill).marked(screen.style)),
    };
    let store_line = format!(
        "store: {health}{} in {}, {} free",
        bytes(store.size_bytes),
        plain(&store.path),
        store.free_bytes.map_or_else(|| "-".to_owned(), bytes),
    );
    let on_disk = match config.on_disk.as_str() {
        "differs" => Cell::bad("differs from what is in force").and(": sidehook diff"),
        "invalid" => {
            let error = config.error.as_deref().unwrap_or_default();
            Cell::bad("is wrong, what was loaded last is in force").and(&format!(": {error}"))
        }
        "pipe" => Cell::from("was read once, from a pipe"),
        _ => Cell::from("is in force"),
    };
    let restart = match config.at_next_start.as_slice() {
        [] => String::new(),
        keys => {
            let needed = format!("a restart is needed for {}", keys.join(", "));
            format!("; {}", Cell::bad(&needed).marked(screen.style))
        }
    };
    let config_line = format!(
        "configuration: {} {}{restart}",
        plain(&config.file),
        on_disk.marked(screen.style)
    );
    let number = |count: usize| with_commas(u64::try_from(count).unwrap_or(u64::MAX));
    let mut states_line = format!("subscriptions: {} active", number(states.active));
    for (count, state) in [
        (states.probing, "probing"),
        (states.paused, "paused"),
        (states.blocked, "blocked"),
        (states.disabled, "disabled"),
    ] {
        if count > 0 {
            states_line.push_str(&format!(", {} {state}", number(count)));
        }
    }
    vec![relay_line, store_line, config_line, states_line, deliveries]
}

/// Whether nothing about a subscription needs anybody.
fn does_well(state: &SubscriptionState) -> bool {
    state.state.is(Condition::Active) && state.consecutive_failures == 0 && state.dead == 0
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

pub(super) fn overview(subscriptions: &[Subscription], now: Timestamp) -> Table {
    let mut table = Table::new(&COLUMNS);
    for subscription in subscriptions {
        let state = &subscription.state;
        let url = subscription.definition.get("url").and_then(Value::as_str);
        table.row(vec![
            subscription.name.as_str().into(),
            state_cell(state, now),
            state.pending.into(),
            state.held.into(),
            Cell::alarming(state.dead),
            u64::from(state.consecutive_failures).into(),
            state.success_rate.last_1000.map(percent).into(),
            oldest(state).into(),
            url.map(host).into(),
        ]);
    }
    table
}

/// State first, then the definition, as it was sent.
fn details(sent: &Value, subscription: &Subscription, screen: &Screen<'_>) -> Table {
    let state = &subscription.state;
    let fields = json!(state);
    let mut table = Table::pairs();
    let mut names = vec!["name"];
    table.pair("name", subscription.name.as_str());
    for (name, value) in fields.as_object().into_iter().flatten() {
        names.push(name);
        match name.as_str() {
            "success_rate" => {
                let rates = [state.success_rate.last_1000, state.success_rate.last_24h];
                let [last_1000, last_24h] =
                    rates.map(|rate| rate.map_or_else(|| "-".to_owned(), percent));
                let rates =
                    format!("{last_1000} of the last 1,000 attempts, {last_24h} of the last 24 h");
                table.pair("success", rates);
            }
            "oldest_pending_age_seconds" => {
                if let Some(age) = oldest(state) {
                    table.pair("oldest pending", age);
                }
            }
            "last_failure" => {
                if let Some(failure) = &state.last_failure {
                    table.pair(name, last_failure(failure, screen.now));
                }
            }
            name => pairs(&json!({ name: value }), &[], screen.now, &mut table),
        }
    }
    table.pair("", "");
    pairs(sent, &names, screen.now, &mut table);
    table
}

/// When it was, of what, and why.
fn last_failure(failure: &LastFailure, now: Timestamp) -> String {
    let mut parts = vec![moment_and_age(failure.at.0, now)];
    if let Some(event) = &failure.event_id {
        parts.push(format!("attempt {} of {event}", failure.attempt));
    }
    parts.extend(failure.response_code.map(|code| code.to_string()));
    parts.push(why(
        failure.reason.as_ref(),
        failure.error_message.as_deref(),
    ));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// The state, with what follows from it: `probing (next in 4m)`, `paused (for 30s)`, `disabled (gone)`.
fn state_cell(state: &SubscriptionState, now: Timestamp) -> Cell {
    let left = |at: Option<Time>| at.map(|Time(at)| span(at.since(now)));
    let rest = match &state.state {
        Word::Known(Condition::Disabled) => {
            let reason = state.disabled_reason.as_ref();
            reason.map(|reason| reason.as_str().to_owned())
        }
        Word::Known(Condition::Probing) => {
            left(state.next_attempt_at).map(|left| format!("next in {left}"))
        }
        Word::Known(Condition::Paused) => {
            left(state.paused_until).map(|left| format!("for {left}"))
        }
        Word::Known(Condition::Blocked) => Some(format!("{} waiting", state.blocked)),
        Word::Known(Condition::Active) | Word::Other(_) => {
            left(state.rate_limited_until).map(|left| format!("rate limit, next in {left}"))
        }
    };
    let rest = rest.map_or_else(String::new, |rest| format!(" ({rest})"));
    Cell::status(state.state.as_str()).and(&rest)
}

/// `99.9%`: rounded down, so that 100% means all.
fn percent(rate: f64) -> String {
    let tenths = (rate * 1000.0 + 1e-6).floor();
    format!("{:.1}%", tenths / 10.0)
}

fn oldest(state: &SubscriptionState) -> Option<String> {
    let age = Duration::try_from_secs_f64(state.oldest_pending_age_seconds?).ok()?;
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
    use super::*;
    use crate::cli::operate::samples;
    use crate::cli::show::Style;
    use crate::cli::show::text::time;

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
        let active = json!({"name": "a", "success_rate": {"last_1000": 1.0, "last_24h": null}});
        let probing = json!({"name": "b", "state": "probing", "pending": 7, "next_attempt_at": at});
        let paused = json!({"name": "c", "state": "paused", "pending": 7, "paused_until": at});
        let blocked = json!({"name": "d", "state": "blocked", "pending": 7, "blocked": 6});
        let now = time("2026-11-24T10:03:00.000Z").unwrap();
        let all = [subscription(), active, probing, paused, blocked].map(samples::subscription);
        assert_eq!(
            overview(&all, now).render(Style::default()),
            "\
name     state                  pending  held  dead  failures  success  oldest  endpoint
billing  disabled (gone)         12,345     2     1         3    99.9%     42s  partner.example.com:8443
a        active                       0     0     0         0   100.0%       -  -
b        probing (next in 60s)        7     0     0         0        -       -  -
c        paused (for 60s)             7     0     0         0        -       -  -
d        blocked (6 waiting)          7     0     0         0        -       -  -
"
        );
        let well: Vec<bool> = all.iter().map(|it| does_well(&it.state)).collect();
        assert_eq!(well, [false, true, false, false, false]);
    }

    #[test]
    fn the_sidecar_is_shown_in_a_few_lines() {
        let mut relay: Status = read(&json!({
            "version": "0.1.0", "started_at": "2026-11-24T10:00:00.000Z", "uptime_seconds": 7300,
            "pending": 1234, "held": 0, "dead": 2, "in_flight": 1,
            "subscriptions": {"active": 3, "probing": 1, "paused": 0, "disabled": 0, "blocked": 0},
            "store": {"health": "healthy", "path": "/var/lib/sidehook", "size_bytes": 1_300_000_000_u64,
                "pending_bytes": 0, "free_bytes": 5_000},
            "config": {"file": "/etc/sidehook/config.yaml", "on_disk": "differs", "error": null, "at_next_start": []}
        }))
        .unwrap();
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
        relay.config.on_disk = "in_force".to_owned();
        relay.config.at_next_start = ["listen", "log"].map(str::to_owned).to_vec();
        assert_eq!(
            summary(&relay, &screen)[2],
            "configuration: /etc/sidehook/config.yaml is in force; a restart is needed for listen, log"
        );
    }

    #[test]
    fn one_is_shown_with_state_and_definition() {
        let mut out = Vec::new();
        let now = time("2026-11-24T10:03:00.000Z").unwrap();
        let screen = Screen::new(&mut out, Style::default(), now);
        let sent = samples::whole_subscription(subscription());
        let shown = details(&sent, &read(&sent).unwrap(), &screen).render(Style::default());
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
        assert_eq!(
            [1.0, 0.9999, 0.999, 0.0].map(percent),
            ["100.0%", "99.9%", "99.9%", "0.0%"]
        );
    }
}
