//! The task that notifies operators, and its end: after the last attempt, which may need a notification, and before the
//! store is closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::alerts::Alerts;
use crate::app::AppError;
use crate::config::Config;
use crate::delivery::Reports;
use crate::domain::Clock;
use crate::feed::Feed;
use crate::notify::Announcer;
use crate::store::Store;

/// The time limit for storing the remaining notifications.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// The task. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Announcing {
    alerts: Alerts,
    task: JoinSet<()>,
    stop: CancellationToken,
}

impl Announcing {
    /// Starts it; `config` is what is in force.
    pub(super) fn start(
        store: &Store,
        clock: &Arc<dyn Clock>,
        config: watch::Receiver<Arc<Config>>,
    ) -> Self {
        let alerts = Alerts::new(Arc::clone(clock));
        let told = alerts.clone();
        let announcer = Announcer::new(store.clone(), told, Arc::clone(clock), config);
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(announcer.run(stop.clone()));
        Self { alerts, task, stop }
    }

    /// Where lanes report; `feed` is for live streams.
    pub(super) fn reports(&self, feed: &Feed) -> Reports {
        Reports {
            feed: feed.clone(),
            alerts: self.alerts.clone(),
        }
    }

    /// The channel for alerts to operators.
    pub(super) fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// Waits until it has ended, which it does not before it is stopped.
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

    /// Lets it store the remaining notifications.
    pub(super) async fn finish(&mut self) {
        self.stop.cancel();
        if timeout(FINISH_LIMIT, self.task.join_next()).await.is_err() {
            tracing::error!("what operators were to be told was not stored in time");
        }
        self.task.shutdown().await;
    }
}
