//! `sidehook retry`: everything of a subscription that waits for its next attempt is attempted now.

use std::process::ExitCode;

use serde_json::json;

use crate::api::Retried;
use crate::cli::client::{Need, escaped, read};
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::text::{counted, plain};

/// The text below the help.
const EXAMPLES: &str = "\
Example:
  sidehook retry billing

For an endpoint that works again: a pause that it asked for ends, and so does probing, until attempts fail again.
Schedules go on. Dead letters are a matter of sidehook replay, also one for which others wait by their order: it is named.";

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
        let sent = client.post(&path, &json!({})).await?;
        if args.common.json {
            screen.json(&sent)?;
            return Ok(ExitCode::SUCCESS);
        }
        let retried: Retried = read(&sent)?;
        let waited = counted(retried.begun.matched, "delivery", "deliveries");
        screen.line(&format!(
            "{}: {waited} that waited for a retry, attempted now",
            plain(&args.name)
        ))?;
        if let Some(stuck) = stuck(&retried) {
            screen.line(&stuck)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// That deliveries wait behind a dead one, which a retry does not change, and what does.
fn stuck(retried: &Retried) -> Option<String> {
    let first = plain(retried.blocked_by.as_deref()?);
    let blocked = retried.blocked;
    let (blocked, wait) = (
        counted(blocked, "delivery", "deliveries"),
        if blocked == 1 { "waits" } else { "wait" },
    );
    Some(format!(
        "{blocked} {wait} by order for the dead letter {first}\n\
         sidehook replay {first}   attempts it again, and then what waits\n\
         sidehook cancel {first}   gives it up, and attempts what waits"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_that_blocks_is_named_with_what_to_do() {
        let stuck = |blocked, first: Option<&str>| {
            let answer = json!({"id": "1", "matched": 0, "blocked": blocked, "blocked_by": first});
            stuck(&read(&answer).unwrap())
        };
        assert_eq!(
            stuck(3, Some("evt_1.a")).unwrap(),
            "\
3 deliveries wait by order for the dead letter evt_1.a
sidehook replay evt_1.a   attempts it again, and then what waits
sidehook cancel evt_1.a   gives it up, and attempts what waits"
        );
        let one = stuck(1, Some("evt_1.a")).unwrap();
        assert!(one.starts_with("1 delivery waits by order"));
        assert_eq!(stuck(0, None), None);
    }
}
