//! The async runtime of long-running commands, and the signals that steer them.

use std::io;
use std::num::NonZero;
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals of this process, from when this was made on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes over the signals of the process, for good.
    ///
    /// SIGXFSZ is taken too and never looked at: its default action would kill the process at a file size limit, where
    /// the store must see the error of its write instead.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub(crate) fn new() -> io::Result<Self> {
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
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
            _ = self.hang_up.recv() => Request::Reload,
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
