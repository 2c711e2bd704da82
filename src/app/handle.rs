//! How others ask a running relay for a reload or a stop.

use tokio::sync::{mpsc, oneshot};

use crate::config::{ConfigError, Reloaded};
use crate::shutdown::Shutdown;

/// Reloads that may wait for their turn.
const RELOADS_WAITING_MAX: usize = 16;

/// Where to send the result of a reload, if anywhere.
pub(super) type ReloadRequest = Option<oneshot::Sender<Result<Reloaded, ConfigError>>>;

/// Asks a running relay for things. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    reloads: mpsc::Sender<ReloadRequest>,
    shutdown: Shutdown,
}

impl Handle {
    /// A handle, and the end where its requests arrive.
    pub(super) fn new(shutdown: Shutdown) -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (reloads, requests) = mpsc::channel(RELOADS_WAITING_MAX);
        (Self { reloads, shutdown }, requests)
    }

    /// Reads the configuration again and waits until it is in force; `None` when the relay is stopping.
    ///
    /// # Errors
    /// [`ConfigError`]: the running configuration stays in place.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo the request.
    pub async fn reload(&self) -> Option<Result<Reloaded, ConfigError>> {
        let (answer, answered) = oneshot::channel();
        self.reloads.send(Some(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Asks for a reload and does not wait.
    pub fn request_reload(&self) {
        // When the queue is full, one of those that wait will read what this one would.
        drop(self.reloads.try_send(None));
    }

    /// Asks for an orderly stop.
    pub fn stop(&self) {
        self.shutdown.stop_accepting.cancel();
    }

    /// Asks for a stop at once; attempts in flight are given up and will be made again.
    pub fn stop_now(&self) {
        self.shutdown.stop_accepting.cancel();
        self.shutdown.stop_now.cancel();
    }

    /// Whether a stop was asked for.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shutdown.stop_accepting.is_cancelled()
    }
}
