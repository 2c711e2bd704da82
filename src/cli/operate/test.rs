//! `sidehook test`: sends a signed `sidehook.test` event to an endpoint and shows the attempt.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::api::TestAttempt;
use crate::cli::client::{Need, escaped, read};
use crate::cli::operate::fields::took;
use crate::cli::operate::outcome::why;
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::Cell;
use crate::cli::show::text::{cut, plain};
use crate::domain::AttemptStatus;

/// The text below the help.
const EXAMPLES: &str = "\
Example:
  sidehook test billing

The event is signed and sent as any other of the subscription, with the type sidehook.test, and not recorded.
Exit codes: 0 the endpoint took it; 1 it did not, or the sidecar cannot be asked.";

/// The attempt has as long as the subscription's `timeout`, and this is how long we wait at most.
const PATIENCE: Duration = Duration::from_secs(3700);
/// The most characters of the response that are shown.
const RESPONSE_CHARS_MAX: usize = 1000;

/// Send a signed test event to the endpoint of a subscription and show how it went
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    name: String,
    #[command(flatten)]
    common: Common,
}

/// Sends it.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_sidecar(&args.common, Need::Manage, async |client, screen| {
        let path = format!("/v1/subscriptions/{}/test", escaped(&args.name));
        let client = client.clone().patient(PATIENCE);
        let sent = client.post(&path, &json!({})).await?;
        let attempt: TestAttempt = read(&sent)?;
        let code = if attempt.status.is(AttemptStatus::Success) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
        if args.common.json {
            screen.json(&sent)?;
            return Ok(code);
        }
        let status = Cell::status(attempt.status.as_str()).marked(screen.style);
        let mut line = format!("{}: {status}", plain(&args.name));
        if let Some(code) = attempt.response_code {
            line.push_str(&format!(" {code}"));
        }
        let why = why(attempt.reason.as_ref(), attempt.error_message.as_deref());
        if !why.is_empty() {
            line.push_str(&format!(", {}", plain(&why)));
        }
        line.push_str(&format!(", took {}", took(attempt.duration_ms)));
        screen.line(&line)?;
        if let Some(body) = attempt.response_body.filter(|body| !body.is_empty()) {
            screen.line(&format!("  {}", cut(&body, RESPONSE_CHARS_MAX)))?;
        }
        Ok(code)
    })
}
