//! The task that tells operators, and its end: after the last attempt, because that may have to be told too, and before the
//! store is closed.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::app::AppError;
use crate::notify::Announcer;

/// Storing what is left to tell may take this long.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// The task. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Announcing {
    task: JoinSet<()>,
    stop: CancellationToken,
}

impl Announcing {
    /// Starts it.
    pub(super) fn start(announcer: Announcer) -> Self {
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(announcer.run(stop.clone()));
        Self { task, stop }
    }

    /// Waits until it has ended, which it does not before it is told to.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn ended(&mut self) -> AppError {
        match self.task.join_next().await {
            Some(Err(error)) => AppError::Panicked(error),
            Some(Ok(())) => AppError::AnnouncerEnded,
            None => std::future::pending().await,
        }
    }

    /// Lets it store what is left to tell.
    pub(super) async fn finish(&mut self) {
        self.stop.cancel();
        if timeout(FINISH_LIMIT, self.task.join_next()).await.is_err() {
            tracing::error!("what operators were to be told was not stored in time");
        }
        self.task.shutdown().await;
    }
}
