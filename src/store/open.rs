//! Opening the store, and closing it: in which order its parts begin and end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::thread::{self, JoinHandle};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use crate::domain::{Clock, EventSeq, Timestamp};
use crate::metrics::StoreMetrics;
use crate::store::accept::Intake;
use crate::store::book::{Book, BookError, Follower, Remembered, Start, Subscription};
use crate::store::dedup::{Dedup, DedupKey};
use crate::store::hub::Hub;
use crate::store::journal::{Journal, Recovery};
use crate::store::lock::{self, FolderLock};
use crate::store::names::{Known, Names};
use crate::store::pump::{Sink, Token};
use crate::store::queue::{Bounds, Counters, QueueShared};
use crate::store::replays::Replays;
use crate::store::reserve::{Reserve, Room};
use crate::store::{Inner, StoreError, StoreOptions, folder, history, journal, reader};

/// How much lower than the rest of the process the threads of the book and of queries are ranked, as `nice` counts.
const BOOK_NICENESS: i32 = 5;

impl Inner {
    /// See [`Store::open`](crate::store::Store::open).
    pub(super) fn open(
        options: StoreOptions,
        clock: Arc<dyn Clock>,
        metrics: StoreMetrics,
        (bounds, sizes): (Bounds, journal::Bounds),
    ) -> Result<Self, StoreError> {
        let lock = FolderLock::acquire(&options.path)?;
        let reserve = reserve(&options.path.join("reserve"))?;
        let hub = Hub::new(bounds, clock, options.memory_budget, Arc::clone(&reserve));
        let sink = Sink {
            hub: Arc::clone(&hub),
            metrics: metrics.clone(),
        };
        let how = journal::Options {
            relaxed: options.relaxed,
            reserve: Some(reserve),
            in_place: Some(Arc::clone(&hub.in_place)),
        };
        let opened = Journal::open_sized(&options.path.join("journal"), sizes, how, sink);
        let (journal, recovery) = opened.map_err(|error| StoreError::of_journal(&error))?;
        tell(&recovery);
        let journal = Arc::new(journal);

        let now = hub.clock.steady();
        let book_path = options.path.join("book.sqlite3");
        let key = new_key()?;
        let read = || {
            let mut book = Book::open(&book_path, key)?;
            let remembered = remembered(&options, now);
            let start = book.recover(&journal, recovery.last_seq, now, remembered)?;
            Ok((book, start))
        };
        let (book, mut start) = match read() {
            // On a full disk the book needs of what is kept for that.
            Err(error) if !BookError::is_damage(&error) && hub.reserve.give(u64::MAX) => read(),
            result => result,
        }
        .map_err(book_failed)?;
        expect_in_place(&hub, &options.path)?;
        let instance = folder::instance(&options.path).unwrap_or_default();
        let dedup = dedup(&start, &options);
        let next_seq = EventSeq(recovery.last_seq.0 + 1);
        let key = start.key;
        let intake = Intake::new(next_seq, key, dedup);
        let replays = Replays::new(std::mem::take(&mut start.jobs));
        let names = names(start, &hub);

        let threads = start_threads(&hub, &journal, book, &book_path).map_err(system_failed)?;
        Ok(Self {
            hub,
            journal,
            intake: Mutex::new(intake),
            verbs: Arc::default(),
            names: RwLock::new(names),
            replays,
            key,
            retention: options.retention,
            max_pending: options.max_pending,
            refused: AtomicU64::new(0),
            opened_at: now,
            standing_from: AtomicU32::new(0),
            counted: Mutex::default(),
            rotation_upto: AtomicU32::new(0),
            metrics,
            book_path,
            added: Notify::new(),
            unsaved_states: AtomicBool::new(false),
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(lock)),
            instance,
        })
    }

    /// Ends the threads, once the journal is closed; the book's applies what is left.
    fn end_threads(&self) {
        self.hub.reader.stop();
        self.hub.history.stop();
        self.hub.book.stop();
        let mut threads = self.threads.lock();
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
        drop(self.lock.lock().take());
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

/// From now on a file of the store that is removed or replaced is a failure of the store.
fn expect_in_place(hub: &Hub, folder: &Path) -> Result<(), StoreError> {
    // The reserve is absent where there was no room for it.
    let reserve = folder.join("reserve");
    let files = [
        folder.to_owned(),
        folder.join(lock::FILE),
        folder.join("journal"),
        folder.join("book.sqlite3"),
    ];
    let reserve = Some(reserve).filter(|path| path.exists());
    for path in files.into_iter().chain(reserve) {
        let expected = hub.in_place.expect(&path);
        expected.map_err(|source| StoreError::Folder {
            path,
            source: Arc::new(source),
        })?;
    }
    Ok(())
}

fn reserve(path: &Path) -> Result<Arc<dyn Room>, StoreError> {
    match Reserve::open(path) {
        Ok(reserve) => Ok(Arc::new(reserve)),
        Err(source) => Err(StoreError::Folder {
            path: path.to_owned(),
            source: Arc::new(source),
        }),
    }
}

fn new_key() -> Result<DedupKey, StoreError> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| system_failed(io::Error::from(error)))?;
    Ok(DedupKey(key))
}

fn remembered(options: &StoreOptions, now: Timestamp) -> Remembered {
    let window = i64::try_from(options.dedup_window.as_millis()).unwrap_or(i64::MAX);
    Remembered {
        since: Timestamp::from_millis(now.as_millis().saturating_sub(window)),
        max: options.dedup_max,
    }
}

fn dedup(start: &Start, options: &StoreOptions) -> Dedup {
    let mut dedup = Dedup::new(options.dedup_window, options.dedup_max);
    for (hash, seq, accepted_at) in &start.given_ids {
        dedup.insert(*hash, *seq, *accepted_at);
    }
    dedup
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
        let counters = Counters::new(pending, pending_bytes, dead, &hub.pending_bytes);
        let queue = QueueShared::new(number, hub, counters, oldest);
        queue.set_held(state.held_since.is_some());
        names.add(Known {
            name,
            queue,
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
    book_path: &Path,
) -> io::Result<Vec<JoinHandle<()>>> {
    let follower = Follower::new(book, Arc::clone(journal), Arc::clone(hub));
    let reading = (Arc::clone(journal), Arc::clone(hub));
    let asking = (Arc::clone(journal), Arc::clone(hub), book_path.to_owned());
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
        thread::Builder::new()
            .name("store-history".to_owned())
            .spawn(move || {
                rustix::process::nice(BOOK_NICENESS).ok();
                history::run(&asking.0, &asking.1, &asking.2);
            })?,
    ])
}

fn book_failed(error: BookError) -> StoreError {
    StoreError::Book(Arc::new(error))
}

fn system_failed(error: io::Error) -> StoreError {
    StoreError::System(Arc::new(error))
}
