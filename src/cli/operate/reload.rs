//! `sidehook reload`: has the sidecar read its configuration again, and may cancel what is left of removed subscriptions.

use std::io::Write;
use std::process::ExitCode;

use crate::api::{Reload, ReloadRequest};
use crate::cli::client::{Client, Need, read};
use crate::cli::operate::ask::{can_ask, confirmed};
use crate::cli::operate::diff::{Removal, fetched, removals};
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::gate;
use crate::cli::show::text::{counted, plain};

/// The text below the help.
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
        if args.cancel_removed && !args.yes && !agreed(client).await? {
            return Ok(ExitCode::FAILURE);
        }
        let request = ReloadRequest {
            cancel_removed: args.cancel_removed.then_some(true),
        };
        let sent = client.post("/v1/config/reload", &request).await?;
        let reloaded: Reload = read(&sent)?;
        if args.common.json {
            screen.json(&sent)?;
        } else {
            screen.line(&said(&reloaded))?;
        }
        if !reloaded.in_flight.is_empty() {
            let names = plain(&reloaded.in_flight.join(", "));
            writeln!(
                gate::stderr(),
                "error: not cancelled, because an attempt is in flight: {names}; run this again"
            )?;
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows what would be cancelled, and returns whether the user agrees; asks only if there is anything to cancel.
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
fn said(reloaded: &Reload) -> String {
    let (added, changed, removed) = (reloaded.added, reloaded.changed, reloaded.removed);
    let mut said = format!("reloaded: {added} added, {changed} changed, {removed} removed");
    if reloaded.cancelled_deliveries > 0 {
        let cancelled = counted(reloaded.cancelled_deliveries, "delivery", "deliveries");
        said.push_str(&format!(", {cancelled} cancelled"));
    }
    if !reloaded.at_next_start.is_empty() {
        let keys = plain(&reloaded.at_next_start.join(", "));
        said.push_str(&format!("; at the next start: {keys}"));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_reload_went_is_said() {
        let mut reloaded = Reload {
            added: 1,
            changed: 2,
            removed: 0,
            at_next_start: Vec::new(),
            cancelled_deliveries: 0,
            in_flight: Vec::new(),
        };
        assert_eq!(said(&reloaded), "reloaded: 1 added, 2 changed, 0 removed");
        reloaded.cancelled_deliveries = 7;
        reloaded.at_next_start = ["listen", "store"].map(str::to_owned).to_vec();
        assert_eq!(
            said(&reloaded),
            "reloaded: 1 added, 2 changed, 0 removed, 7 deliveries cancelled; at the next start: listen, store"
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
