//! Commands that ask the running sidecar through its admin API: one file for each.
//!
//! Invariants: with `--json` the API's own JSON is printed, a list as one object a line; without, nothing that came from
//! outside reaches a terminal but plain; no argument is a secret.

mod ask;
pub(crate) mod attempts;
pub(crate) mod cancel;
pub(crate) mod deliveries;
pub(crate) mod diff;
pub(crate) mod events;
mod fields;
mod follow;
mod progress;
pub(crate) mod reload;
pub(crate) mod replay;
pub(crate) mod retry;
pub(crate) mod rotate;
#[cfg(test)]
mod samples;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod toggle;
mod when;
#[cfg(test)]
mod width_tests;

use std::io::{self, Write};
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use crate::cli::client::{Client, Need, Query, SidecarArgs};
use crate::cli::show::gate;
use crate::cli::show::{Screen, Style, Table};
use crate::config::Environment;
use crate::domain::with_commas;
use crate::domain::{Clock, SystemClock, Timestamp};

/// The most rows of a table, which is put together in memory.
const ROWS_MAX: usize = 10_000;

/// What all of these commands know.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Common {
    /// Print the JSON of the admin API, of a list one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Show everything in full, in lines as long as they get
    #[arg(long, conflicts_with = "json")]
    pub(crate) wide: bool,
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
    let mut style = Style::of_stdout(&environment);
    if common.wide {
        style.width = None;
    }
    let mut stdout = io::stdout();
    let mut screen = Screen::new(&mut stdout, style, SystemClock::new().wall());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = common.sidecar.client(&environment, need).await?;
        work(&client, &mut screen).await
    })
}

/// Shows each attempt of all subscriptions as it ends, on standard output; ends only with an error.
///
/// # Errors
/// The sidecar refuses, or standard output takes nothing.
pub(crate) async fn follow_all(client: &Client) -> anyhow::Result<()> {
    let style = Style::of_stdout(&Environment::of_process());
    let mut stdout = io::stdout();
    let mut screen = Screen::new(&mut stdout, style, SystemClock::new().wall());
    let args = attempts::Args::all();
    follow::follow(client, &mut screen, &args, Query::default(), 0).await
}

/// Prints a list: path, query and how many at most.
///
/// # Errors
/// A call fails, or standard output takes nothing.
async fn print_list<T: DeserializeOwned>(
    client: &Client,
    screen: &mut Screen<'_>,
    (path, query, limit): (&str, Query, usize),
    json: bool,
    table: impl FnOnce(&[T], Timestamp) -> Table,
) -> anyhow::Result<()> {
    if json {
        let print = |entry| Ok(screen.json(&entry)?);
        return client.list(path, query, limit, print).await;
    }
    let entries = client.listed(path, query, limit.min(ROWS_MAX)).await?;
    if entries.is_empty() {
        return Ok(screen.line("nothing found")?);
    }
    let table = table(&entries, screen.now);
    screen.table(&table)?;
    if entries.len() == ROWS_MAX && limit > ROWS_MAX {
        let rows = with_commas(u64::try_from(ROWS_MAX).unwrap_or(u64::MAX));
        writeln!(
            gate::stderr(),
            "only the first {rows} are shown; --json prints more"
        )?;
    }
    Ok(())
}
