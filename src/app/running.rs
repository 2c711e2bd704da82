//! A running relay: its parts, and the loop that watches over them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, interval};
use tokio_util::sync::CancellationToken;

use crate::admin::{Command, ConfigSource, Readiness};
use crate::app::announcing::Announcing;
use crate::app::error::AppError;
use crate::app::handle::{Handle, ReloadRequest};
use crate::app::listeners::{Addresses, Listeners};
use crate::app::loading::{Ended, Loading};
use crate::app::preflight::Judge;
use crate::app::runtime_folder::RuntimeFolder;
use crate::config::{Config, Environment, Watcher};
use crate::delivery::Lanes;
use crate::domain::Clock;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::store::{Store, StoreError};
use crate::systemd::{ActivatedSockets, Notifier};

/// Commands of the API that may wait for a load; more wait where they come from.
const WAITING_MAX: usize = 16;

/// The inputs of a relay beside its configuration.
pub struct Options {
    /// The configuration file, to be read again by a reload.
    pub config_path: PathBuf,
    /// It was a pipe, which cannot be read again.
    pub is_from_pipe: bool,
    /// Where secrets may come from beside files.
    pub environment: Environment,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whether a change of the files reloads.
    pub watch: bool,
    /// The sockets that systemd handed over, if it started the process.
    pub sockets: Option<ActivatedSockets>,
    /// Where the progress of start and stop is reported.
    pub notifier: Notifier,
    /// Where commands look for the relay, if anywhere.
    pub runtime_folder: Option<RuntimeFolder>,
}

/// A relay that accepts and delivers. Its tasks run from the start on, but are not watched before
/// [`Running::wait`]. Dropped, everything ends at once, as by a kill.
pub struct Running {
    pub(super) options: Options,
    /// Listeners and the store go by this until the process ends.
    pub(super) started_with: Arc<Config>,
    /// Everything else follows this.
    pub(super) config: Arc<Config>,
    pub(super) store: Store,
    /// Hands on what the store commits.
    pub(super) store_task: JoinSet<Result<(), StoreError>>,
    pub(super) metrics: Metrics,
    pub(super) ingest: Ingest,
    pub(super) lanes: Lanes,
    pub(super) events: Listeners,
    pub(super) admin: Listeners,
    pub(super) stop_admin: CancellationToken,
    pub(super) addresses: Addresses,
    pub(super) readiness: Readiness,
    /// The configuration that the API shows.
    pub(super) in_force: watch::Sender<Arc<Config>>,
    /// The source that the API compares with the files.
    pub(super) source: ConfigSource,
    /// Checks whether a configuration can be put in force.
    pub(super) judge: Judge,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) announcer: Announcing,
    /// Commands that wait for the load under way.
    pub(super) waiting: VecDeque<Command>,
    pub(super) handle: Handle,
    pub(super) reload_requests: mpsc::Receiver<ReloadRequest>,
    pub(super) loading: Loading,
    pub(super) watcher: Option<Watcher>,
    pub(super) shutdown: Shutdown,
}

impl Running {
    /// Where it listens; port 0 is resolved.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// How to ask it for a reload or a stop.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Watches over the relay until it is stopped, then stops it in order.
    ///
    /// # Errors
    /// [`AppError`] when it had to end by itself: the process must end too, and not with success.
    ///
    /// # Cancel safety
    /// Dropping the future ends the relay at once.
    pub async fn wait(mut self) -> Result<(), AppError> {
        let result = match self.watch_over().await {
            Ok(()) => self.stop().await,
            Err(error) => Err(error),
        };
        self.readiness.set(false);
        result
    }

    fn finish(&mut self, ended: Ended) {
        match ended {
            Ended::Reload(prepared, answer) => self.finish_reload(prepared, answer),
            Ended::Edit(written, request, answer) => self.finish_edit(written, &request, answer),
        }
        while self.loading.is_idle()
            && let Some(command) = self.waiting.pop_front()
        {
            self.handle_command(command);
        }
    }

    /// Only lanes that turn are a sign of life.
    fn feed_watchdog(&mut self) {
        if self.lanes.beat() {
            self.options.notifier.alive();
        } else {
            tracing::error!("a lane makes no progress: the watchdog is not fed");
        }
    }

    /// Ends with success when a stop is asked for.
    async fn watch_over(&mut self) -> Result<(), AppError> {
        let mut watchdog = self.options.notifier.watchdog().map(interval);
        loop {
            tokio::select! {
                // In this order: a stop that was asked for ends listeners too, a failed store ends lanes.
                biased;
                () = self.shutdown.stop_accepting.cancelled() => return Ok(()),
                failure = self.store.failed() => return Err(failure.into()),
                Some(ended) = self.store_task.join_next() => return Err(store_ended(ended)),
                error = self.events.ended() => return Err(error),
                error = self.admin.ended() => return Err(error),
                error = self.announcer.ended() => return Err(error),
                ended = self.lanes.joined() => return ended.map_err(AppError::from),
                Some(request) = self.reload_requests.recv(), if self.loading.is_idle() => {
                    self.begin_reload(request);
                }
                () = changed(&mut self.watcher), if self.loading.is_idle() => {
                    self.begin_reload(None);
                }
                ended = self.loading.ended() => self.finish(ended),
                () = tick(&mut watchdog) => self.feed_watchdog(),
                Some(command) = self.commands.recv(), if self.waiting.len() < WAITING_MAX => {
                    self.handle_command(command);
                }
            }
        }
    }
}

/// The error for a store whose task ended although the store was not closed.
fn store_ended(ended: Result<Result<(), StoreError>, JoinError>) -> AppError {
    match ended {
        Ok(Err(failure)) => failure.into(),
        Ok(Ok(())) => AppError::StoreEnded,
        Err(error) => AppError::Panicked(error),
    }
}

/// Resolves at the next tick; never without an interval.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Resolves when a watched file changed; never without a watcher.
async fn changed(watcher: &mut Option<Watcher>) {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => std::future::pending().await,
    }
}
