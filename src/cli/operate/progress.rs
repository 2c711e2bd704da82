//! Waits for a bulk replay: a bar on a terminal, lines otherwise. Ctrl-C ends the waiting, not the replay.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::api::Replay;
use crate::cli::client::{CallError, Client, Query, escaped, read};
use crate::cli::show::Screen;
use crate::cli::show::gate;
use crate::cli::show::text::{counted, plain};
use crate::domain::with_commas;

/// How often the sidecar is asked.
const PAUSE: Duration = Duration::from_millis(250);
/// The interval between lines of progress, where there is no bar.
const LINES_APART: Duration = Duration::from_secs(5);
/// For how long the sidecar may be away, as while it restarts.
const AWAY_MAX: Duration = Duration::from_secs(60);
const BAR: &str = "{bar:40} {human_pos} of {human_len}, {pace}, {eta} left";

/// Waits until the replay ends, and returns how.
///
/// # Errors
/// The sidecar refuses, or is away for more than a minute.
pub(crate) async fn wait(
    client: &Client,
    screen: &mut Screen<'_>,
    id: &str,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let (sent, replay) = tokio::select! {
        replay = ended(client, id) => replay?,
        pressed = tokio::signal::ctrl_c() => {
            pressed?;
            let id = plain(id);
            writeln!(
                gate::stderr(),
                "\nno longer waiting; the replay goes on. To see it: sidehook replay --list; to stop it: sidehook cancel {id}"
            )?;
            return Ok(ExitCode::FAILURE);
        }
    };
    if json {
        screen.json(&sent)?;
    } else {
        screen.line(&summary(&replay))?;
    }
    Ok(if replay.status == "done" {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn summary(replay: &Replay) -> String {
    let replayed = counted(replay.replayed, "delivery", "deliveries");
    let mut said = format!("{replayed} replayed");
    if replay.skipped > 0 {
        let skipped = with_commas(replay.skipped);
        said.push_str(&format!(", {skipped} skipped because they had changed"));
    }
    if replay.status == "stopped" {
        said.push_str("; it was stopped");
    }
    said
}

/// Shows how far it is until it ends; the last answer, as it was sent and read. Cancel safe: only asks.
async fn ended(client: &Client, id: &str) -> anyhow::Result<(Value, Replay)> {
    let path = format!("/v1/replays/{}", escaped(id));
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style.with_key("pace", pace));
    }
    let mut last_line = Instant::now();
    let mut last_seen = last_line;
    loop {
        match client.get(&path, &Query::default()).await {
            Ok(sent) => {
                last_seen = Instant::now();
                let replay: Replay = read(&sent)?;
                let done = replay.replayed + replay.skipped;
                bar.set_length(replay.matched.max(done));
                bar.set_position(done);
                if replay.status != "running" {
                    bar.finish_and_clear();
                    return Ok((sent, replay));
                }
                if bar.is_hidden() && last_line.elapsed() >= LINES_APART {
                    last_line = Instant::now();
                    writeln!(
                        gate::stderr(),
                        "{} of {}",
                        with_commas(done),
                        with_commas(replay.matched)
                    )?;
                }
            }
            // The sidecar goes on with it after a restart.
            Err(error) if is_away(&error) && last_seen.elapsed() < AWAY_MAX => {}
            Err(error) => return Err(error),
        }
        sleep(PAUSE).await;
    }
}

/// `12/s`
fn pace(state: &ProgressState, out: &mut dyn fmt::Write) {
    // A bar that cannot be drawn is none.
    write!(out, "{:.0}/s", state.per_sec()).unwrap_or_default();
}

fn is_away(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<CallError>() {
        Some(CallError::NotRunning { .. } | CallError::Wire(_) | CallError::Timeout { .. }) => true,
        Some(refused @ CallError::Refused(_)) => refused
            .status()
            .is_some_and(|status| status.is_server_error()),
        Some(CallError::TooLarge { .. } | CallError::Foreign(_) | CallError::Stranger(_))
        | None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::operate::samples::replay;

    #[test]
    fn how_it_ended_is_a_line() {
        let done = replay(json!({"status": "done", "replayed": 1234}));
        assert_eq!(summary(&done), "1,234 deliveries replayed");
        let stopped = replay(json!({"status": "stopped", "replayed": 1, "skipped": 2}));
        assert_eq!(
            summary(&stopped),
            "1 delivery replayed, 2 skipped because they had changed; it was stopped"
        );
    }
}
