//! Commands that ask the running sidecar through its admin API: one file for each.
//!
//! Invariants: with `--json` the API's own JSON is printed, a list as one object a line; without, nothing that came from
//! outside reaches a terminal but plain; no argument is a secret.

pub(crate) mod attempts;
mod fields;
mod follow;
pub(crate) mod status;
mod when;

use std::io;
use std::process::ExitCode;

use crate::cli::client::{Client, Need, SidecarArgs};
use crate::cli::show::{Screen, Style};
use crate::config::Environment;
use crate::domain::{Clock, SystemClock};

/// What all of these commands know.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Common {
    /// Print the JSON of the admin API, of a list one object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) sidecar: SidecarArgs,
}

/// Finds the sidecar and does something with it; results go to standard output.
///
/// # Errors
/// The sidecar is not found; else as `work`.
pub(crate) fn with_sidecar(
    common: &Common,
    need: Need,
    work: impl AsyncFnOnce(&Client, &mut Screen<'_>) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process();
    let client = Client::find(&common.sidecar, &environment, need)?;
    let style = Style::of_stdout(&environment);
    let mut stdout = io::stdout();
    let mut screen = Screen::new(&mut stdout, style, SystemClock::new().wall());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work(&client, &mut screen))
}
