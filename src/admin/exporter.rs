//! A thread that renders metrics: with thousands of subscriptions that takes longer than a delivery may wait.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::store::Store;

/// Scrapes that may wait for the thread; more are refused.
const WAITING_MAX: usize = 16;

/// How often histograms are emptied into their buckets when nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Asks the thread for the text. Cheap to clone; the thread ends with the last clone.
#[derive(Debug, Clone)]
pub struct Exporter(SyncSender<oneshot::Sender<Bytes>>);

impl Exporter {
    /// Starts the thread, which also keeps histograms from growing while nobody scrapes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(metrics: Metrics, store: Store) -> io::Result<Self> {
        let (ask, asked) = sync_channel(WAITING_MAX);
        thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || run(&metrics, &store, &asked))?;
        Ok(Self(ask))
    }

    /// The text of all metrics as they are now; none when too many ask at once.
    pub(super) async fn text(&self) -> Option<Bytes> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(answer).ok()?;
        answered.await.ok()
    }
}

fn run(metrics: &Metrics, store: &Store, asked: &Receiver<oneshot::Sender<Bytes>>) {
    loop {
        match asked.recv_timeout(UPKEEP_INTERVAL) {
            Ok(first) => {
                store.publish();
                let text = Bytes::from(metrics.render());
                for answer in std::iter::once(first).chain(asked.try_iter()) {
                    // Who asked may have gone away.
                    drop(answer.send(text.clone()));
                }
            }
            Err(RecvTimeoutError::Timeout) => metrics.upkeep(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
