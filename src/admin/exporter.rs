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
pub struct Exporter(SyncSender<Question>);

/// What the thread is asked for.
#[derive(Debug)]
enum Question {
    /// The text, with everything up to date.
    Text(oneshot::Sender<Bytes>),
    /// That what the store knows is up to date.
    Publish(oneshot::Sender<()>),
}

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
        self.0.try_send(Question::Text(answer)).ok()?;
        answered.await.ok()
    }

    /// Waits until what queues know of their oldest deliveries is up to date; not when too many ask at once.
    pub(super) async fn published(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.try_send(Question::Publish(answer)).is_ok() {
            // A thread that ends meanwhile leaves things as they are.
            answered.await.unwrap_or_default();
        }
    }
}

fn run(metrics: &Metrics, store: &Store, asked: &Receiver<Question>) {
    loop {
        match asked.recv_timeout(UPKEEP_INTERVAL) {
            Ok(first) => {
                let questions: Vec<_> = std::iter::once(first).chain(asked.try_iter()).collect();
                store.publish();
                answer(metrics, questions);
            }
            Err(RecvTimeoutError::Timeout) => metrics.upkeep(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Answers all of them, with one text. Who asked may have gone away.
fn answer(metrics: &Metrics, questions: Vec<Question>) {
    let mut text = None;
    for question in questions {
        match question {
            Question::Publish(answer) => answer.send(()).unwrap_or_default(),
            Question::Text(answer) => {
                let text = text.get_or_insert_with(|| Bytes::from(metrics.render()));
                drop(answer.send(text.clone()));
            }
        }
    }
    if text.is_none() {
        metrics.upkeep();
    }
}
