//! `sidehook retry`: everything of a subscription that waits for its next attempt is attempted now.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use crate::cli::client::{Need, escaped};
use crate::cli::operate::fields::{count, text};
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::text::{counted, plain};

/// What stands below the help.
const EXAMPLES: &str = "\
Example:
  sidehook retry billing

For an endpoint that works again: a pause that it asked for ends, and so does probing, until attempts fail again.
Schedules go on. Dead letters are a matter of sidehook replay.";

/// Attempt now what waits for a retry
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    name: String,
    #[command(flatten)]
    common: Common,
}

/// Begins it.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_sidecar(&args.common, Need::Manage, async |client, screen| {
        let path = format!("/v1/subscriptions/{}/retry", escaped(&args.name));
        let begun = client.post(&path, &json!({})).await?;
        if args.common.json {
            screen.json(&begun)?;
            return Ok(ExitCode::SUCCESS);
        }
        text(&begun, "id").context("the answer has no id")?;
        let waited = counted(
            count(&begun, "matched").unwrap_or(0),
            "delivery",
            "deliveries",
        );
        screen.line(&format!(
            "{}: {waited} that waited for a retry, attempted now",
            plain(&args.name)
        ))?;
        Ok(ExitCode::SUCCESS)
    })
}
