//! The async runtime of long-running commands, and the signals that steer them.

use std::io::{self, IsTerminal as _};
use std::num::NonZero;
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Environment;

/// Up to so many processors one thread does everything: cheaper than handing work between threads.
const SINGLE_THREAD_CORES: usize = 2;
/// More worker threads than this gain nothing: the store commits in one thread.
const WORKERS_MAX: usize = 8;
/// How long blocking work of the runtime, such as the resolution of names, may take to notice that it is over.
const END_TIMEOUT: Duration = Duration::from_millis(200);

/// Runs `main` to its end on a new runtime that fits the machine.
///
/// # Errors
/// When the runtime cannot be made; else as `main`.
pub(crate) fn block_on<T>(main: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = new()?;
    let result = runtime.block_on(main);
    runtime.shutdown_timeout(END_TIMEOUT);
    result
}

fn new() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    if cores <= SINGLE_THREAD_CORES {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS_MAX))
        .enable_all()
        .build()
}

/// The request that a signal makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP, where it does not mean that the terminal was closed.
    Reload,
}

/// The meaning of SIGHUP for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HangUp {
    /// The parent process set it to outlive its terminal, as `nohup` does.
    Ignored,
    /// The terminal is closed: end in order.
    Stops,
    /// Daemons read their configuration again.
    Reloads,
}

impl HangUp {
    /// Its meaning for this process: it was started from a terminal if its standard input or error is one, unless by a
    /// supervisor, which may give a terminal to its processes.
    pub(crate) fn of_process(environment: &Environment) -> Self {
        let variable = |name| environment.variables.get(name).map(String::as_str);
        let own_id = std::process::id();
        // Source: systemd.exec(5). The first process of a container has no terminal that could be closed under it.
        let is_unit = variable("SYSTEMD_EXEC_PID") == Some(own_id.to_string().as_str());
        let is_supervised = own_id == 1 || is_unit || variable("NOTIFY_SOCKET").is_some();
        let on_terminal = io::stdin().is_terminal() || io::stderr().is_terminal();
        match std::fs::read_to_string("/proc/self/status") {
            Ok(status) if is_ignored(&status) => Self::Ignored,
            _ if on_terminal && !is_supervised => Self::Stops,
            _ => Self::Reloads,
        }
    }
}

/// Whether a process with this `/proc/PID/status` ignores SIGHUP: signal 1, the lowest bit of the mask.
fn is_ignored(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// The signals of this process, from when this was made on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None: it stays ignored.
    hang_up: Option<(Signal, Request)>,
}

impl Signals {
    /// Takes over the signals of the process, for good; `hang_up` is the meaning of SIGHUP.
    ///
    /// SIGXFSZ is taken too and never looked at: its default action would kill the process at a file size limit, where
    /// the store must see the error of its write instead.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub(crate) fn new(hang_up: HangUp) -> io::Result<Self> {
        let hang_up = match hang_up {
            HangUp::Ignored => None,
            HangUp::Stops => Some(Request::Stop),
            HangUp::Reloads => Some(Request::Reload),
        };
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: match hang_up {
                Some(request) => Some((signal(SignalKind::hangup())?, request)),
                None => None,
            },
        })
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            request = hung_up(&mut self.hang_up) => request,
        }
    }

    /// Waits for a signal that asks to stop.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}

/// Resolves at the next SIGHUP; never where it is ignored.
async fn hung_up(signal: &mut Option<(Signal, Request)>) -> Request {
    match signal {
        Some((signal, request)) => {
            signal.recv().await;
            *request
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_has_the_first_in_its_lowest_bit() {
        let status =
            |mask: &str| format!("Name:\tsidehook\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert!(is_ignored(&status("0000000000000001")));
        assert!(is_ignored(&status("0000000000001001")));
        assert!(!is_ignored(&status("0000000000001000")));
        assert!(!is_ignored(&status("")) && !is_ignored(""));
    }
}
