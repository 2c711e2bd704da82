//! The phases of a shutdown, in the order that loses and repeats nothing: stop accepting and answer what is under way,
//! stop leasing and let attempts in flight finish, close the store, and only then stop reporting progress.

use std::time::Duration;

use tokio::time::timeout;

use crate::app::{AppError, Running, signpost};
use crate::config::Config;

/// The time for attempts beyond the longest `timeout` of a subscription: their outcome must be recorded too.
const GRACE_MARGIN: Duration = Duration::from_secs(2);
/// However long a `timeout` is, attempts in flight get no more than this.
const GRACE_MAX: Duration = Duration::from_secs(25);
/// Ending at once may take this long: tasks must notice.
const ABORT_GRACE: Duration = Duration::from_millis(500);

impl Running {
    /// Stops in order. A failure of the store ends it at once.
    pub(super) async fn stop(&mut self) -> Result<(), AppError> {
        let store = self.store.clone();
        tokio::select! {
            failure = store.failed() => Err(failure.into()),
            result = self.stop_in_order() => result,
        }
    }

    async fn stop_in_order(&mut self) -> Result<(), AppError> {
        tracing::info!("stopping: no new events, answering requests under way");
        self.options.notifier.stopping();
        self.readiness.set(false);
        self.commands.close();
        let stop_now = self.shutdown.stop_now.clone();
        tokio::select! {
            () = self.events.join() => {}
            () = stop_now.cancelled() => self.events.abort().await,
        }
        self.shutdown.stop_leasing.cancel();
        self.finish_attempts().await?;
        self.announcer.finish().await;
        // While the store is locked: afterwards the note there may be that of a successor.
        if let Err(error) = signpost::remove(&self.started_with.store.path) {
            tracing::debug!(%error, "the note with the address of the admin API is left");
        }
        self.store.close().await?;
        self.stop_admin.cancel();
        if timeout(ABORT_GRACE, self.admin.join()).await.is_err() {
            self.admin.abort().await;
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Lets attempts in flight finish; at the end of the grace period or at a second signal they are given up.
    async fn finish_attempts(&mut self) -> Result<(), AppError> {
        let grace = grace_period(&self.config);
        tracing::info!(
            grace_seconds = grace.as_secs(),
            "finishing attempts in flight"
        );
        let stop_now = self.shutdown.stop_now.clone();
        let in_time = async {
            tokio::time::sleep(grace).await;
            tracing::warn!("attempts still in flight are given up and will be made again");
        };
        tokio::select! {
            ended = self.lanes.joined() => return Ok(ended?),
            () = stop_now.cancelled() => {}
            () = in_time => stop_now.cancel(),
        }
        match timeout(ABORT_GRACE, self.lanes.joined()).await {
            Ok(ended) => Ok(ended?),
            Err(_) => Ok(()),
        }
    }
}

/// How long attempts in flight may take: the longest `timeout` plus 2 s, at most 25 s.
fn grace_period(config: &Config) -> Duration {
    let active = config.subscriptions.values().filter(|it| it.active);
    let longest = active.map(|it| it.timeout).max().unwrap_or_default();
    longest.saturating_add(GRACE_MARGIN).min(GRACE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};

    fn grace_of(subscriptions: &str) -> Duration {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, format!("subscriptions: {subscriptions}")).unwrap();
        grace_period(&load(&path, &Environment::default()).unwrap().config)
    }

    #[test]
    fn grace_is_the_longest_timeout_and_two_seconds_at_most_25() {
        let url = "url: https://a.example, events: ['*']";
        let two = format!("{{a: {{{url}, timeout: 3s}}, b: {{{url}, timeout: 7s}}}}");
        assert_eq!(grace_of(&two), Duration::from_secs(9));
        let long = format!("{{a: {{{url}, timeout: 60s}}}}");
        assert_eq!(grace_of(&long), Duration::from_secs(25));
        assert_eq!(grace_of("{off: {active: false}}"), Duration::from_secs(2));
    }
}
