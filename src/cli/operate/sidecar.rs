//! The parts that the commands of this folder share: their arguments, finding the sidecar, printing a list.

use std::io::Write;
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use crate::cli::client::{Client, Need, Query, SidecarArgs};
use crate::cli::show::{Screen, Table, gate};
use crate::config::Environment;
use crate::domain::{Timestamp, with_commas};

/// The most rows of a table, which is put together in memory.
const ROWS_MAX: usize = 10_000;

/// Arguments that all of these commands have.
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
    let mut screen = Screen::of_stdout(&environment);
    if common.wide {
        screen.style.width = None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = common.sidecar.client(&environment, need).await?;
        work(&client, &mut screen).await
    })
}

/// Prints a list: path, query and how many at most.
///
/// # Errors
/// A call fails, or standard output takes nothing.
pub(super) async fn print_list<T: DeserializeOwned>(
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
