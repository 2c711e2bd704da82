//! `sidehook cancel`: takes back a pending or dead delivery, or stops a bulk replay.

use std::process::ExitCode;

use serde_json::json;

use crate::api::{DeliveryWithAttempts, Replay};
use crate::cli::client::{Need, escaped, read};
use crate::cli::operate::{Common, deliveries, with_sidecar};
use crate::cli::show::Cell;
use crate::cli::show::text::{counted, plain};

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook cancel evt_0199….billing     this delivery is not attempted any more; if it is dead, it blocks no other
  sidehook cancel 17                    stop the bulk replay 17; what it replayed stays so

A cancelled delivery can be replayed.";

/// Cancel a pending or dead delivery, or stop a bulk replay
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The delivery (EVENT_ID.SUBSCRIPTION), or the number of a bulk replay
    id: String,
    #[command(flatten)]
    common: Common,
}

/// Cancels it.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let id = &args.id;
    with_sidecar(&args.common, Need::Manage, async |client, screen| {
        if id.starts_with("evt_") {
            let path = format!("{}/cancel", deliveries::path(id));
            let delivery = client.post(&path, &json!({})).await?;
            if args.common.json {
                screen.json(&delivery)?;
            } else {
                let DeliveryWithAttempts { delivery, .. } = read(&delivery)?;
                let state = Cell::status(delivery.state.as_str());
                let line = format!("{}: {}", plain(id), state.marked(screen.style));
                screen.line(&line)?;
            }
        } else {
            let path = format!("/v1/replays/{}", escaped(id));
            let replay = client.delete(&path).await?;
            if args.common.json {
                screen.json(&replay)?;
            } else {
                let Replay { replayed, .. } = read(&replay)?;
                let replayed = counted(replayed, "delivery", "deliveries");
                screen.line(&format!(
                    "replay {} is stopped: {replayed} replayed",
                    plain(id)
                ))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
