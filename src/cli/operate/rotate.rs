//! `sidehook rotate-secret`: a new signing secret, while the old one signs along for a while.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::api::{Rotation, Subscription};
use crate::cli::client::{Need, escaped, read};
use crate::cli::input::{read_bounded, read_file};
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::gate;

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook rotate-secret billing                        a new one is made, and printed this once
  sidehook rotate-secret billing --grace 72h > secret
  sidehook secret | sidehook rotate-secret billing --secret-file -

The new secret goes to standard output, and only if it was made here: it is kept by the sidecar and never shown again.
A secret that comes from the environment or a credential cannot be rotated here: the refusal says how people do it.";

/// Give a subscription a new signing secret; the old one signs along for a while
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    name: String,
    /// How long the old secret signs along, such as 24h; 0s: not at all
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    grace: String,
    /// The new secret is in this file, or with - on standard input. Default: one is made
    #[arg(long, value_name = "FILE|-")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

fn duration(text: &str) -> Result<String, String> {
    match crate::config::parse_duration(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Rotates it.
///
/// # Errors
/// The sidecar is not found, or refuses; the new secret cannot be read.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let secret = args.secret_file.as_deref().map(given).transpose()?;
    let body = Rotation {
        grace: Some(args.grace.clone()),
        secret: secret.map(|secret| secret.to_string()),
    };
    with_sidecar(&args.common, Need::Manage, async |client, screen| {
        let path = format!("/v1/subscriptions/{}/rotate-secret", escaped(&args.name));
        let sent = client.post(&path, &body).await?;
        if args.common.json {
            screen.json(&sent)?;
            return Ok(ExitCode::SUCCESS);
        }
        let subscription: Subscription = read(&sent)?;
        if let Some(secret) = &subscription.secret {
            screen.line(secret)?;
        }
        let mut stderr = gate::stderr();
        let fingerprint = subscription.definition.get("secret_fingerprint");
        match fingerprint.and_then(Value::as_str) {
            Some(fingerprint) => write!(
                stderr,
                "rotated, the new one has the fingerprint {fingerprint}"
            )?,
            None => write!(stderr, "rotated")?,
        }
        let grace = &args.grace;
        writeln!(
            stderr,
            "; the old one signs along for {grace}, where the scheme can"
        )?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads a secret; a newline at its end is not part of it.
fn given(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let bytes = if path == Path::new("-") {
        read_bounded(&mut io::stdin().lock()).context("standard input")?
    } else {
        read_file(path)?
    };
    let mut text = Zeroizing::new(
        String::from_utf8(bytes)
            .ok()
            .context("the new secret is not text")?,
    );
    if text.ends_with('\n') {
        text.pop();
    }
    ensure!(!text.is_empty(), "the new secret is empty");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_at_the_end_of_the_file_is_no_part_of_the_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "whsec_a\n").unwrap();
        assert_eq!(*given(file.path()).unwrap(), "whsec_a");
        std::fs::write(file.path(), "\n").unwrap();
        assert!(given(file.path()).is_err());
        std::fs::write(file.path(), b"\xff").unwrap();
        assert!(given(file.path()).is_err());
    }
}
