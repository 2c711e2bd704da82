//! `sidehook reload`: has the sidecar read its configuration again, and may cancel what is left of removed subscriptions.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::client::{Client, Need};
use crate::cli::operate::ask::{can_ask, confirmed};
use crate::cli::operate::diff::{Removal, fetched, removals};
use crate::cli::operate::fields::{count, parts};
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::gate;
use crate::cli::show::text::counted;

/// What stands below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook reload
  sidehook reload --cancel-removed          asks before it cancels anything
  sidehook reload --cancel-removed --yes

A file with an error changes nothing; each error is named. Deliveries of a subscription that is gone from the file are
held for store.removed_after, and go on when the name returns; --cancel-removed cancels them now.
Exit codes: 0 in force; 1 not, or nothing was done because nobody confirmed.";

/// Have the sidecar read its configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Cancel the pending deliveries of subscriptions that the reload removes
    #[arg(long)]
    cancel_removed: bool,
    /// Do not ask
    #[arg(long, requires = "cancel_removed")]
    yes: bool,
    #[command(flatten)]
    common: Common,
}

/// Reloads.
///
/// # Errors
/// The sidecar is not found, or refuses; its files are wrong.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_sidecar(&args.common, Need::Manage, async |client, screen| {
        let mut body = json!({});
        if args.cancel_removed {
            if !args.yes && !agreed(client).await? {
                return Ok(ExitCode::FAILURE);
            }
            body = json!({"cancel_removed": true});
        }
        let reloaded = client.post("/v1/config/reload", &body).await?;
        if args.common.json {
            screen.json(&reloaded)?;
        } else {
            screen.line(&said(&reloaded))?;
        }
        if let Some(names) = in_flight(&reloaded) {
            writeln!(
                gate::stderr(),
                "error: not cancelled, because an attempt is in flight: {names}; run this again"
            )?;
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Says what would be cancelled, and whether somebody agrees; nothing to cancel needs nobody.
async fn agreed(client: &Client) -> anyhow::Result<bool> {
    let removals = removals(&fetched(client).await?);
    let pending: u64 = removals.iter().map(|removal| removal.pending).sum();
    if pending == 0 {
        return Ok(true);
    }
    writeln!(gate::stderr(), "{}", listed(&removals))?;
    if !can_ask() {
        writeln!(
            gate::stderr(),
            "error: nobody to confirm that: use --yes. Nothing was done"
        )?;
        return Ok(false);
    }
    let pending = counted(pending, "pending delivery", "pending deliveries");
    let yes = confirmed(&format!("Reload and cancel {pending}?"))?;
    if !yes {
        writeln!(gate::stderr(), "nothing was done")?;
    }
    Ok(yes)
}

fn listed(removals: &[Removal]) -> String {
    let line = |removal: &Removal| {
        let pending = counted(removal.pending, "pending delivery", "pending deliveries");
        format!("- {}, gone: {pending} would be cancelled", removal.name)
    };
    let lines: Vec<String> = removals.iter().map(line).collect();
    lines.join("\n")
}

/// How the reload went, in words.
fn said(reloaded: &Value) -> String {
    let number = |field: &str| count(reloaded, field).unwrap_or(0);
    let (added, changed, removed) = (number("added"), number("changed"), number("removed"));
    let mut said = format!("reloaded: {added} added, {changed} changed, {removed} removed");
    match number("cancelled_deliveries") {
        0 => {}
        cancelled => {
            let cancelled = counted(cancelled, "delivery", "deliveries");
            said.push_str(&format!(", {cancelled} cancelled"));
        }
    }
    let waiting = reloaded.get("at_next_start").filter(|keys| {
        let keys = keys.as_array();
        keys.is_some_and(|keys| !keys.is_empty())
    });
    if let Some(keys) = waiting {
        said.push_str(&format!("; at the next start: {}", parts(keys)));
    }
    said
}

/// Those whose deliveries could not be cancelled.
fn in_flight(reloaded: &Value) -> Option<String> {
    let names = reloaded.get("in_flight")?;
    let is_empty = names.as_array().is_none_or(Vec::is_empty);
    (!is_empty).then(|| parts(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_reload_went_is_said() {
        let counts = json!({"added": 1, "changed": 2, "removed": 0});
        assert_eq!(said(&counts), "reloaded: 1 added, 2 changed, 0 removed");
        let more = json!({"added": 0, "changed": 0, "removed": 1, "cancelled_deliveries": 7, "in_flight": ["a", "b"]});
        assert_eq!(
            said(&more),
            "reloaded: 0 added, 0 changed, 1 removed, 7 deliveries cancelled"
        );
        assert_eq!(in_flight(&more).unwrap(), "a, b");
        assert_eq!(in_flight(&counts), None);
        let later =
            json!({"added": 0, "changed": 0, "removed": 0, "at_next_start": ["listen", "store"]});
        assert_eq!(
            said(&later),
            "reloaded: 0 added, 0 changed, 0 removed; at the next start: listen, store"
        );
    }

    #[test]
    fn what_would_be_cancelled_is_listed() {
        let removal = |name: &str, pending| Removal {
            name: name.to_owned(),
            pending,
        };
        assert_eq!(
            listed(&[removal("a", 1), removal("b", 2000)]),
            "- a, gone: 1 pending delivery would be cancelled\n- b, gone: 2,000 pending deliveries would be cancelled"
        );
    }
}
