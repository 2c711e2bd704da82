//! `sidehook diff`: what a reload would change, subscription by subscription and field by field.

use std::process::ExitCode;

use serde_json::Value;

use crate::api::DiffView;
use crate::cli::client::{Client, Need, Query, read};
use crate::cli::operate::fields::parts;
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::text::{counted, plain};
use crate::cli::show::{Cell, Screen, Table};

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook diff                       what would a reload change?
  sidehook diff --exit-code || sidehook reload
  sidehook diff --json | jq '.subscriptions[] | select(.change == \"removed\")'

Both sides are those of the sidecar: what is in force, and its files as they are now. Secrets are shown by their
fingerprints.
Exit codes: 0 done; with --exit-code 1 if anything differs.";

/// Where it is.
const PATH: &str = "/v1/config/diff";

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
        let sent = client.get(PATH, &Query::default()).await?;
        let diff = read(&sent)?;
        if args.common.json {
            screen.json(&sent)?;
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
pub(crate) async fn fetched(client: &Client) -> anyhow::Result<DiffView> {
    Ok(read(&client.get(PATH, &Query::default()).await?)?)
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
    fn new(name: &str, pending: u64) -> Self {
        Self {
            name: plain(name),
            pending,
        }
    }
}

/// Those that a reload would remove, and those that were gone before.
pub(crate) fn removals(diff: &DiffView) -> Vec<Removal> {
    let removed = diff
        .subscriptions
        .iter()
        .filter(|it| it.change == "removed");
    let removed = removed.map(|it| Removal::new(&it.name, it.pending.unwrap_or(0)));
    let gone = diff.gone.iter().map(|it| Removal::new(&it.name, it.held));
    removed.chain(gone).collect()
}

fn is_empty(diff: &DiffView) -> bool {
    diff.subscriptions.is_empty() && diff.settings.is_empty()
}

fn show(diff: &DiffView, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    if is_empty(diff) {
        screen.line("nothing differs")?;
    }
    for subscription in &diff.subscriptions {
        let name = &subscription.name;
        let heading = match subscription.change.as_str() {
            "added" => Cell::good(&format!("+ {name}")).and(", new"),
            "removed" => {
                let pending = subscription.pending.unwrap_or(0);
                let pending = counted(pending, "pending delivery", "pending deliveries");
                Cell::bad(&format!("- {name}")).and(&format!(", gone: {pending} would be held"))
            }
            _ => Cell::from(format!("~ {name}").as_str()),
        };
        screen.line(&heading.marked(screen.style))?;
        let is_new = subscription.change == "added";
        let mut table = Table::pairs();
        for field in &subscription.fields {
            let shown = change([&field.from, &field.to], field.hidden, is_new);
            table.pair(&format!("    {}", field.field), shown);
        }
        if !table.is_empty() {
            screen.table(&table)?;
        }
    }
    let mut settings = Table::pairs();
    for setting in &diff.settings {
        let restart = match setting.needs_restart {
            true => " (at the next start)",
            false => "",
        };
        let shown = change([&setting.from, &setting.to], setting.hidden, false);
        settings.pair(&format!("    {}", setting.key), format!("{shown}{restart}"));
    }
    if !settings.is_empty() {
        screen.line("~ other settings")?;
        screen.table(&settings)?;
    }
    for gone in &diff.gone {
        let held = counted(gone.held, "delivery", "deliveries");
        screen.line(&format!(
            "  {}, gone before: {held} held",
            plain(&gone.name)
        ))?;
    }
    Ok(())
}

/// `15s → 30s`, of something new only what it is.
fn change(sides: [&Value; 2], hidden: bool, is_new: bool) -> String {
    let [from, to] = sides.map(|value| match value {
        Value::Null => "none".to_owned(),
        value => parts(value),
    });
    match (hidden, is_new) {
        (true, _) => "changed, not shown".to_owned(),
        (false, true) => to,
        (false, false) => format!("{from} → {to}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::show::Style;
    use crate::domain::Timestamp;

    fn diff() -> DiffView {
        let answer = json!({
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
        });
        read(&answer).unwrap()
    }

    fn shown(diff: &DiffView) -> String {
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
        let nothing = read(&json!({"subscriptions": [], "settings": [], "gone": []})).unwrap();
        assert_eq!(shown(&nothing), "nothing differs\n");
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
