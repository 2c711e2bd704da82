//! Opening the store, and closing it: in which order its parts begin and end.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use crate::domain::{Clock, EventSeq, Timestamp};
use crate::metrics::StoreMetrics;
use crate::store::accept::Intake;
use crate::store::book::{Book, BookError, Follower, Start, Subscription};
use crate::store::dedup::{Dedup, DedupKey};
use crate::store::hub::Hub;
use crate::store::journal::{Journal, Recovery};
use crate::store::lock::FolderLock;
use crate::store::names::{Known, Names};
use crate::store::pump::{Sink, Token};
use crate::store::queue::{Bounds, Counters, QueueShared};
use crate::store::reserve::Reserve;
use crate::store::{Inner, StoreError, StoreOptions, journal, reader};

/// How much lower than the rest of the process the book's thread is ranked, as `nice` counts.
const BOOK_NICENESS: i32 = 5;

impl Inner {
    /// See [`Store::open`](crate::store::Store::open).
    pub(super) fn open(
        options: StoreOptions,
        clock: Arc<dyn Clock>,
        metrics: StoreMetrics,
        bounds: Bounds,
    ) -> Result<Self, StoreError> {
        let lock = FolderLock::acquire(&options.path)?;
        let hub = Hub::new(bounds, clock, options.memory_budget);
        let sink = Sink {
            hub: Arc::clone(&hub),
            metrics: metrics.clone(),
        };
        let reserve_path = options.path.join("reserve");
        let reserve = Reserve::open(&reserve_path).map_err(|source| StoreError::Folder {
            path: reserve_path,
            source: Arc::new(source),
        })?;
        let how = journal::Options {
            relaxed: false,
            reserve: Some(Arc::new(reserve)),
        };
        let opened = Journal::open(&options.path.join("journal"), how, sink);
        let (journal, recovery) = opened.map_err(|error| StoreError::of_journal(&error))?;
        tell(&recovery);
        let journal = Arc::new(journal);

        let now = hub.clock.steady();
        let book_path = options.path.join("book.sqlite3");
        let mut book = Book::open(&book_path, new_key()?).map_err(book_failed)?;
        let start = book
            .recover(&journal, recovery.last_seq, now)
            .map_err(book_failed)?;
        let dedup = dedup(&book, &options, now).map_err(book_failed)?;
        let next_seq = EventSeq(recovery.last_seq.0 + 1);
        let key = start.head.key;
        let intake = Intake::new(next_seq, key, dedup);
        let names = names(start, &hub);

        let threads = start_threads(&hub, &journal, book).map_err(system_failed)?;
        Ok(Self {
            hub,
            journal,
            intake: Mutex::new(intake),
            names: RwLock::new(names),
            key,
            metrics,
            book_path,
            added: Notify::new(),
            unsaved_states: AtomicBool::new(false),
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Ends the threads, once the journal is closed; the book's applies what is left.
    fn end_threads(&self) {
        self.hub.reader.stop();
        self.hub.book.stop();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                warn!("a thread of the store has panicked");
            }
        }
    }

    /// Syncs and ends everything. Blocks.
    fn shut(&self) -> Result<(), StoreError> {
        let closed = self.journal.close();
        self.end_threads();
        self.hub.completions.close();
        drop(
            self.lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        match self.hub.failure.get() {
            Some(error) => Err(error),
            None => closed.map_err(|error| StoreError::of_journal(&error)),
        }
    }
}

impl Drop for Inner {
    /// A store that was not closed is closed here: its threads and its lock must not outlive it.
    fn drop(&mut self) {
        if let Err(error) = self.shut()
            && !matches!(error, StoreError::Closed)
        {
            warn!(
                %error,
                "the store could not be closed"
            );
        }
    }
}

/// See [`Store::close`](crate::store::Store::close): blocks in a thread, so that the pump can go on meanwhile.
pub(super) async fn close(inner: Arc<Inner>) -> Result<(), StoreError> {
    let (reply, closed) = oneshot::channel();
    let shut = move || {
        let result = inner.shut();
        drop(inner);
        reply.send(result).ok();
    };
    thread::Builder::new()
        .name("store-close".to_owned())
        .spawn(shut)
        .map_err(system_failed)?;
    closed.await.unwrap_or(Err(StoreError::Closed))
}

/// Logs what recovery found.
fn tell(recovery: &Recovery) {
    for damage in &recovery.damaged {
        warn!(
            %damage,
            "the journal is damaged here; what could be read was kept"
        );
    }
    if recovery.torn_bytes > 0 {
        info!(
            bytes = recovery.torn_bytes,
            "an unfinished write at the end of the journal was cut"
        );
    }
}

fn new_key() -> Result<DedupKey, StoreError> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| system_failed(io::Error::from(error)))?;
    Ok(DedupKey(key))
}

fn dedup(book: &Book, options: &StoreOptions, now: Timestamp) -> Result<Dedup, BookError> {
    let mut dedup = Dedup::new(options.dedup_window, options.dedup_max);
    let window = i64::try_from(options.dedup_window.as_millis()).unwrap_or(i64::MAX);
    let since = Timestamp::from_millis(now.as_millis().saturating_sub(window));
    for (hash, seq, accepted_at) in book.given_ids(since, options.dedup_max)? {
        dedup.insert(hash, seq, accepted_at);
    }
    Ok(dedup)
}

/// Subscriptions and their queues, as the book has them.
fn names(start: Start, hub: &Arc<Hub>) -> Names {
    let mut names = Names::default();
    for known in start.subscriptions {
        let Subscription {
            number,
            name,
            state,
            pending,
            pending_bytes,
            dead,
            oldest,
        } = known;
        names.reserve(number);
        let Some(name) = name else {
            warn!(
                subscription = number.0,
                pending, "deliveries of a subscription whose name is lost are kept, not attempted"
            );
            continue;
        };
        let counters = Counters::new(pending, pending_bytes, dead);
        names.add(Known {
            name,
            queue: QueueShared::new(number, hub, counters, oldest),
            state,
            named: true,
            saved: true,
        });
    }
    names
}

fn start_threads(
    hub: &Arc<Hub>,
    journal: &Arc<Journal<Token>>,
    book: Book,
) -> io::Result<Vec<JoinHandle<()>>> {
    let follower = Follower::new(book, Arc::clone(journal), Arc::clone(hub));
    let reading = (Arc::clone(journal), Arc::clone(hub));
    Ok(vec![
        thread::Builder::new()
            .name("store-book".to_owned())
            .spawn(move || {
                // Delivering comes before booking. Where this is refused the thread is only more of a nuisance.
                rustix::process::nice(BOOK_NICENESS).ok();
                follower.run();
            })?,
        thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(move || reader::run(&reading.0, &reading.1))?,
    ])
}

fn book_failed(error: BookError) -> StoreError {
    StoreError::Book(Arc::new(error))
}

fn system_failed(error: io::Error) -> StoreError {
    StoreError::System(Arc::new(error))
}
