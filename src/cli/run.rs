//! `sidehook run`: the relay, until a signal ends it.

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::app::{self, Handle, Options, Running, RuntimeFolder};
use crate::cli::config_arg::ConfigArg;
use crate::cli::logging;
use crate::cli::runtime::{HangUp, Request, Signals, block_on};
use crate::config::{self, Environment, Loaded};
use crate::domain::SystemClock;
use crate::systemd::{ActivatedSockets, Notifier};

/// The time limit for writing the last log lines: their reader may be gone.
pub(crate) const LOG_END_LIMIT: Duration = Duration::from_secs(1);

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook run --config config.yaml
  sidehook reload                 read the configuration again
  kill -TERM $(pidof sidehook)    stop; attempts in flight are finished first

SIGHUP reads the configuration again too, unless this was started from a terminal: there it stops, as when the terminal is
closed. Under nohup it is ignored.";

/// Run the relay: accept events, deliver them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

/// Runs the relay: exit code 0 after a stop that was asked for, 1 when it could not start or had to end.
///
/// # Errors
/// When the configuration is wrong; what happens later is in the log.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // A core dump would have secrets in it, as would memory that another process of this user reads.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("the process cannot be kept from being dumped")?;
    let environment = Environment::of_process();
    let path = args.config.lasting_path(&environment);
    let loaded = config::load_given(&path, &environment);
    let loaded = loaded.map_err(|error| args.config.explained(error, &environment))?;
    let is_from_pipe = loaded.is_from_pipe;
    let clock = Arc::new(SystemClock::new());
    let logs = logging::init(&loaded.config.log, clock.clone()).context("no thread for the log")?;
    if is_from_pipe {
        tracing::info!(
            "the configuration came through a pipe: it is not watched, and not read again"
        );
    }
    let options = Options {
        config_path: path,
        runtime_folder: RuntimeFolder::of(&environment),
        environment,
        clock,
        is_from_pipe,
        watch: !is_from_pipe,
        sockets: Some(ActivatedSockets::from_environment()),
        notifier: Notifier::new(|name| std::env::var_os(name))
            .context("the socket in $NOTIFY_SOCKET cannot be reached")?,
    };
    let code = match block_on(relay(loaded, options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "sidehook ends");
            ExitCode::FAILURE
        }
    };
    logs.finish(LOG_END_LIMIT);
    Ok(code)
}

async fn relay(loaded: Loaded, options: Options) -> anyhow::Result<()> {
    let signals = Signals::new(HangUp::of_process(&options.environment))?;
    let running = app::start(loaded, options).await?;
    steer(running, signals).await
}

/// Lets signals steer the relay until it has ended.
async fn steer(running: Running, mut signals: Signals) -> anyhow::Result<()> {
    let handle = running.handle();
    let mut ended = pin!(running.wait());
    loop {
        tokio::select! {
            ended = &mut ended => return Ok(ended?),
            request = signals.next() => handle_request(&handle, request),
        }
    }
}

fn handle_request(handle: &Handle, request: Request) {
    match request {
        Request::Reload => handle.request_reload(),
        Request::Stop if handle.is_stopping() => {
            tracing::warn!("second signal: stopping at once");
            handle.stop_now();
        }
        Request::Stop => handle.stop(),
    }
}
