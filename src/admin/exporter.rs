//! The text of all metrics: rendered on a thread of its own, because with thousands of subscriptions that takes longer than
//! a delivery may wait, and shared by all callers.
//!
//! A call while a text is rendered shares the next one. At most [`ALIVE_MAX`] texts are in memory, however many clients
//! read them and however slowly: a further one replaces the one that was read from least recently, whose readers
//! are cut off.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::store::Store;

/// Questions that may wait for the thread; more are refused.
const WAITING_MAX: usize = 16;

/// Texts in memory at most.
const ALIVE_MAX: usize = 4;

/// Bytes of a text that are handed on at once.
const PIECE_BYTES: usize = 32 << 10;

/// How often histograms are emptied into their buckets when there are no scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Gives the text. Cheap to clone; the thread ends with the last clone.
#[derive(Debug, Clone)]
pub struct Exporter {
    ask: SyncSender<Question>,
    shared: Arc<Shared>,
}

/// Requests to the thread.
#[derive(Debug)]
enum Question {
    /// The text, with everything up to date.
    Text(oneshot::Sender<Bytes>),
    /// That the store's gauges are brought up to date.
    Publish(oneshot::Sender<()>),
}

/// State shared by all scrapes.
#[derive(Debug, Default)]
struct Shared {
    /// The number of renderings begun.
    begun: AtomicU64,
    /// The last text with its number; held while one is rendered.
    last: tokio::sync::Mutex<(u64, Weak<Text>)>,
    alive: Mutex<VecDeque<Weak<Text>>>,
}

/// A text that is being read.
#[derive(Debug)]
struct Text(Mutex<Reading>);

#[derive(Debug)]
struct Reading {
    /// None once another text took its place.
    bytes: Option<Bytes>,
    /// When it was last read from.
    read: Instant,
}

impl Exporter {
    /// Starts the thread, which also keeps histograms from growing while there are no scrapes.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(metrics: Metrics, store: Store) -> io::Result<Self> {
        let (ask, asked) = sync_channel(WAITING_MAX);
        thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || run(&metrics, &store, &asked))?;
        Ok(Self {
            ask,
            shared: Arc::default(),
        })
    }

    /// Returns the text of all metrics, rendered after this call and after `refresh`; None if the thread has ended.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the text to be rendered by another.
    pub(super) async fn text(&self, refresh: impl Future<Output = ()>) -> Option<TextBody> {
        let begun_before = self.shared.begun.load(Ordering::Relaxed);
        let mut last = self.shared.last.lock().await;
        let (number, text) = &*last;
        if *number > begun_before
            && let Some(text) = text.upgrade()
        {
            return Some(TextBody::new(text));
        }
        let number = self.shared.begun.fetch_add(1, Ordering::Relaxed) + 1;
        refresh.await;
        let (answer, answered) = oneshot::channel();
        self.ask.try_send(Question::Text(answer)).ok()?;
        let text = self.shared.keep(answered.await.ok()?);
        *last = (number, Arc::downgrade(&text));
        Some(TextBody::new(text))
    }

    /// Waits until the ages of the queues' oldest deliveries are up to date; returns at once if too many callers wait.
    pub(super) async fn published(&self) {
        let (answer, answered) = oneshot::channel();
        if self.ask.try_send(Question::Publish(answer)).is_ok() {
            // A thread that ends meanwhile leaves things as they are.
            answered.await.unwrap_or_default();
        }
    }
}

impl Shared {
    /// Makes a text readable, in place of another if there are too many.
    fn keep(&self, bytes: Bytes) -> Arc<Text> {
        let mut alive = self.alive.lock();
        alive.retain(|text| text.strong_count() > 0);
        if alive.len() >= ALIVE_MAX {
            let texts = alive.iter().enumerate();
            let oldest = texts.filter_map(|(at, text)| Some((at, text.upgrade()?)));
            let oldest = oldest.min_by_key(|(_, text)| text.lock().read);
            if let Some((at, text)) = oldest {
                text.lock().bytes = None;
                alive.remove(at);
            }
        }
        let text = Arc::new(Text(Mutex::new(Reading {
            bytes: Some(bytes),
            read: Instant::now(),
        })));
        alive.push_back(Arc::downgrade(&text));
        text
    }
}

impl Text {
    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock()
    }
}

/// A text as the body of an answer. Cut off when another text took its place: it ends before its announced length, which
/// ends the connection.
#[derive(Debug)]
pub(super) struct TextBody {
    text: Arc<Text>,
    length: usize,
    sent: usize,
}

impl TextBody {
    fn new(text: Arc<Text>) -> Self {
        let length = text.lock().bytes.as_ref().map_or(0, Bytes::len);
        Self {
            text,
            length,
            sent: 0,
        }
    }
}

impl Body for TextBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let until = self.length.min(self.sent + PIECE_BYTES);
        let piece = {
            let mut reading = self.text.lock();
            reading.read = Instant::now();
            let bytes = reading.bytes.as_ref();
            bytes.map(|bytes| bytes.slice(self.sent.min(until)..until))
        };
        self.sent = until;
        let piece = piece.filter(|piece| !piece.is_empty());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.length.saturating_sub(self.sent);
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
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

/// Answers all of them, with one text. Callers may have gone away.
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn text(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 3 * PIECE_BYTES])
    }

    async fn piece(body: &mut TextBody) -> Option<usize> {
        let frame = body.frame().await?.unwrap();
        frame.into_data().ok().map(|data| data.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_text_cuts_off_the_one_unread_for_longest() {
        let shared = Shared::default();
        let mut bodies = Vec::new();
        for number in 0..4 {
            bodies.push(TextBody::new(shared.keep(text(number))));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(piece(&mut bodies[0]).await, Some(PIECE_BYTES));
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut fifth = TextBody::new(shared.keep(text(5)));
        assert_eq!(piece(&mut bodies[1]).await, None, "cut off");
        assert!(bodies[1].text.lock().bytes.is_none());
        for body in [&mut fifth, &mut bodies[0]] {
            assert_eq!(piece(body).await, Some(PIECE_BYTES));
        }
        let whole = bodies.remove(2).collect().await.unwrap().to_bytes();
        assert_eq!(whole, text(2));
        // A text that was read completely makes room for the next.
        drop(TextBody::new(shared.keep(text(6))));
        assert!(
            bodies
                .iter()
                .filter(|it| it.text.lock().bytes.is_some())
                .count()
                == 2
        );
    }

    /// An exporter whose thread is this test.
    fn exporter() -> (Exporter, Receiver<Question>) {
        let (ask, asked) = sync_channel(WAITING_MAX);
        let shared = Arc::default();
        (Exporter { ask, shared }, asked)
    }

    #[tokio::test]
    async fn all_who_ask_meanwhile_share_one_text() {
        let (exporter, asked) = exporter();
        let (refreshed, count) = (AtomicU64::new(0), 200);
        let refresh = || async {
            refreshed.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        };
        let scrapes = (0..count).map(|_| exporter.text(refresh()));
        let all = futures_util::future::join_all(scrapes);
        let thread = async {
            let mut rendered = 0;
            while rendered < 2 {
                match asked.try_recv() {
                    Ok(Question::Text(answer)) => {
                        rendered += 1;
                        answer.send(text(rendered)).unwrap();
                    }
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        let asking = async {
            // The first is rendered when the others ask.
            let first = exporter.text(refresh());
            tokio::join!(first, all)
        };
        let ((first, all), ()) = tokio::join!(asking, thread);
        assert!(first.is_some() && all.len() == count && all.iter().all(Option::is_some));
        assert!(refreshed.into_inner() <= 2 && asked.try_recv().is_err());
    }
}
