//! `sidehook diff`: what a reload would change, subscription by subscription and field by field.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::client::{Client, Need, Query};
use crate::cli::operate::fields::{count, parts, text};
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::text::{counted, plain};
use crate::cli::show::{Cell, Screen, Table};

/// What stands below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook diff                       what would a reload change?
  sidehook diff --exit-code || sidehook reload
  sidehook diff --json | jq '.subscriptions[] | select(.change == \"removed\")'

Both sides are those of the sidecar: what is in force, and its files as they are now. Secrets are shown by their
fingerprints.
Exit codes: 0 done; with --exit-code 1 if anything differs.";

/// Show what a reload would change
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// End with 1 if anything differs
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    common: Common,
}

/// Shows it.
///
/// # Errors
/// The sidecar is not found, or refuses; its files are wrong.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_sidecar(&args.common, Need::Read, async |client, screen| {
        let diff = fetched(client).await?;
        if args.common.json {
            screen.json(&diff)?;
        } else {
            show(&diff, screen)?;
        }
        let differs = args.exit_code && !is_empty(&diff);
        Ok(if differs {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    })
}

/// Asks for it.
///
/// # Errors
/// No answer, or a refusal.
pub(crate) async fn fetched(client: &Client) -> anyhow::Result<Value> {
    client.get("/v1/config/diff", &Query::default()).await
}

/// A subscription that is gone from the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    /// Its name, plain.
    pub(crate) name: String,
    /// How many deliveries wait.
    pub(crate) pending: u64,
}

impl Removal {
    fn new(subscription: &Value, pending: &str) -> Self {
        Self {
            name: plain(text(subscription, "name").unwrap_or("-")),
            pending: count(subscription, pending).unwrap_or(0),
        }
    }
}

/// Those that a reload would remove, and those that were gone before.
pub(crate) fn removals(diff: &Value) -> Vec<Removal> {
    let removed = entries(diff, "subscriptions").filter(|it| text(it, "change") == Some("removed"));
    let removed = removed.map(|subscription| Removal::new(subscription, "pending"));
    let gone = entries(diff, "gone").map(|subscription| Removal::new(subscription, "held"));
    removed.chain(gone).collect()
}

fn entries<'v>(diff: &'v Value, list: &str) -> impl Iterator<Item = &'v Value> {
    let entries = diff.get(list).and_then(Value::as_array);
    entries.into_iter().flatten()
}

fn is_empty(diff: &Value) -> bool {
    let mut all = entries(diff, "subscriptions").chain(entries(diff, "settings"));
    all.next().is_none()
}

fn show(diff: &Value, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    if is_empty(diff) {
        screen.line("nothing differs")?;
    }
    for subscription in entries(diff, "subscriptions") {
        let name = text(subscription, "name").unwrap_or("-");
        let heading = match text(subscription, "change") {
            Some("added") => Cell::good(&format!("+ {name}")).and(", new"),
            Some("removed") => {
                let pending = count(subscription, "pending").unwrap_or(0);
                let pending = counted(pending, "pending delivery", "pending deliveries");
                Cell::bad(&format!("- {name}")).and(&format!(", gone: {pending} would be held"))
            }
            _ => Cell::from(format!("~ {name}").as_str()),
        };
        screen.line(&heading.marked(screen.style))?;
        let is_new = text(subscription, "change") == Some("added");
        let mut table = Table::pairs();
        for field in entries(subscription, "fields") {
            let name = format!("    {}", text(field, "field").unwrap_or("-"));
            table.pair(&name, change(field, is_new));
        }
        if !table.is_empty() {
            screen.table(&table)?;
        }
    }
    let mut settings = Table::pairs();
    for setting in entries(diff, "settings") {
        let restart = match setting.get("needs_restart").and_then(Value::as_bool) {
            Some(true) => " (at the next start)",
            _ => "",
        };
        let name = format!("    {}", text(setting, "key").unwrap_or("-"));
        settings.pair(&name, format!("{}{restart}", change(setting, false)));
    }
    if !settings.is_empty() {
        screen.line("~ other settings")?;
        screen.table(&settings)?;
    }
    for gone in entries(diff, "gone") {
        let Removal { name, pending } = Removal::new(gone, "held");
        let held = counted(pending, "delivery", "deliveries");
        screen.line(&format!("  {name}, gone before: {held} held"))?;
    }
    Ok(())
}

/// `15s → 30s`, of something new only what it is.
fn change(field: &Value, is_new: bool) -> String {
    let side = |side: &str| match field.get(side) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(value) => parts(value),
    };
    if field.get("hidden").and_then(Value::as_bool) == Some(true) {
        return "changed, not shown".to_owned();
    }
    if is_new {
        return side("to");
    }
    format!("{} → {}", side("from"), side("to"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::show::Style;
    use crate::domain::Timestamp;

    fn diff() -> Value {
        json!({
            "subscriptions": [
                {"name": "a", "change": "added", "fields": [{"field": "url", "from": null, "to": "https://a/", "hidden": false}]},
                {"name": "b", "change": "changed", "fields": [
                    {"field": "timeout", "from": "15s", "to": "30s", "hidden": false},
                    {"field": "events", "from": ["a.*", "b"], "to": ["a.*"], "hidden": false},
                    {"field": "auth", "from": null, "to": null, "hidden": true},
                ]},
                {"name": "c", "change": "removed", "fields": [], "pending": 12},
            ],
            "settings": [{"key": "listen.admin", "from": "a", "to": "b", "hidden": false, "needs_restart": true}],
            "gone": [{"name": "d", "held": 1}],
        })
    }

    fn shown(diff: &Value) -> String {
        let mut out = Vec::new();
        let now = Timestamp::from_millis(0);
        show(diff, &mut Screen::new(&mut out, Style::default(), now)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_difference_is_a_line() {
        assert_eq!(
            shown(&diff()),
            "\
+ a, new
    url  https://a/
~ b
    timeout  15s → 30s
    events   a.*, b → a.*
    auth     changed, not shown
- c, gone: 12 pending deliveries would be held
~ other settings
    listen.admin  a → b (at the next start)
  d, gone before: 1 delivery held
"
        );
        assert_eq!(
            shown(&json!({"subscriptions": [], "settings": []})),
            "nothing differs\n"
        );
    }

    #[test]
    fn what_is_gone_says_what_waits() {
        let gone = |name: &str, pending| Removal {
            name: name.to_owned(),
            pending,
        };
        assert_eq!(removals(&diff()), [gone("c", 12), gone("d", 1)]);
        assert!(!is_empty(&diff()));
    }
}
