//! `sidehook schema`: the JSON Schema of the configuration, for editors and other checks.

use std::io::Write;

use crate::cli::show::gate;
use std::process::ExitCode;

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook schema > sidehook.schema.json

An editor with a YAML language server checks and completes a file that begins with
  # yaml-language-server: $schema=sidehook.schema.json";

/// Print the JSON Schema of the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

/// Prints it.
///
/// # Errors
/// Standard output takes nothing.
pub(crate) fn run(_: &Args) -> anyhow::Result<ExitCode> {
    let schema = serde_json::to_string_pretty(&crate::config::schema())?;
    writeln!(gate::stdout(), "{schema}")?;
    Ok(ExitCode::SUCCESS)
}
