//! `sidehook enable` and `sidehook disable`: run-time state, which the file does not have.

use std::process::ExitCode;

use serde_json::json;

use crate::api::Subscription;
use crate::cli::client::{Need, escaped, read};
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::Cell;
use crate::cli::show::text::{counted, plain};

/// The text below the help of `enable`.
pub(crate) const ENABLE: &str = "\
Example:
  sidehook enable billing

What was held is delivered, and failures are counted anew. A subscription with `active: false` in the file is enabled
there.";

/// The text below the help of `disable`.
pub(crate) const DISABLE: &str = "\
Example:
  sidehook disable billing

Its deliveries are held, or with `when_disabled: skip` not made, until it is enabled again. This is kept across restarts
and reloads; the file does not change.";

/// Which subscription.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The subscription
    name: String,
    #[command(flatten)]
    common: Common,
}

/// Enables or disables it.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args, enable: bool) -> anyhow::Result<ExitCode> {
    let status = if enable { "active" } else { "disabled" };
    with_sidecar(&args.common, Need::Manage, async |client, screen| {
        let path = format!("/v1/subscriptions/{}", escaped(&args.name));
        let sent = client.patch(&path, &json!({"status": status})).await?;
        if args.common.json {
            screen.json(&sent)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Subscription { state, .. } = read(&sent)?;
        let status = Cell::status(&state.status).marked(screen.style);
        let (number, waiting) = match enable {
            true => (state.pending, "pending"),
            false => (state.held, "held"),
        };
        let number = counted(number, "delivery", "deliveries");
        screen.line(&format!(
            "{}: {status}, {number} {waiting}",
            plain(&args.name)
        ))?;
        Ok(ExitCode::SUCCESS)
    })
}
