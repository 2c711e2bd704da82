//! Opening and closing the store: the order in which its parts begin and end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::domain::{Clock, EventSeq, Timestamp};
use crate::metrics::StoreMetrics;
use crate::store::accept::{Accepting, Intake};
use crate::store::appender::Appender;
use crate::store::budget::Budget;
use crate::store::completions::{Completions, Sink, Token};
use crate::store::dedup::{Dedup, DedupKey};
use crate::store::error::StoreError;
use crate::store::gauges::Gauges;
use crate::store::give_up::Unreadable;
use crate::store::history::{self, History};
use crate::store::in_place::InPlace;
use crate::store::index::{
    self, Follower, Index, IndexError, Remembered, Start, Subscription, Surroundings,
};
use crate::store::journal::{self, Journal, ReadJournal, Recovery, WriteJournal};
use crate::store::lock::{self, FolderLock};
use crate::store::names::{Known, Names};
use crate::store::operations::Operations;
use crate::store::options::StoreOptions;
use crate::store::pump::Pump;
use crate::store::queue::{Bounds, Counters, Dispatcher, Limits, QueueShared};
use crate::store::replays::{self, Jobs, Replays};
use crate::store::reserve::{Reserve, Room};
use crate::store::retention::{Cleaner, Memory};
use crate::store::settle::Outcomes;
use crate::store::subscriptions::Subscriptions;
use crate::store::{folder, reader};

/// By how much `nice` lowers the priority of the threads of the index and of queries.
const INDEX_NICENESS: i32 = 5;

/// The parts of a store; each holds the others that it needs.
pub(super) struct Parts {
    pub(super) appender: Arc<Appender>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) accepting: Arc<Accepting>,
    pub(super) pump: Pump,
    pub(super) outcomes: Arc<Outcomes>,
    pub(super) operations: Arc<Operations>,
    pub(super) replays: Arc<Replays>,
    pub(super) cleaner: Cleaner,
    pub(super) history: History,
    pub(super) gauges: Gauges,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// `None` once the store is closed.
    lock: Mutex<Option<FolderLock>>,
    /// See [`Store::instance`](crate::store::Store::instance).
    pub(super) instance: String,
}

/// See [`Store::open`](crate::store::Store::open).
pub(super) fn open(
    options: StoreOptions,
    clock: Arc<dyn Clock>,
    metrics: StoreMetrics,
    (bounds, sizes): (Bounds, journal::Bounds),
) -> Result<Parts, StoreError> {
    let lock = FolderLock::acquire(&options.path)?;
    let reserve = reserve(&options.path.join("reserve"))?;
    let in_place = Arc::<InPlace>::default();
    let dispatcher = dispatcher(bounds, options.memory_budget, clock);
    let completions = Arc::<Completions>::default();
    let sink = Sink {
        completions: Arc::clone(&completions),
        index: Arc::clone(&dispatcher.index),
        failure: Arc::clone(&dispatcher.failure),
        metrics: metrics.clone(),
    };
    let how = journal::Options {
        relaxed: options.relaxed,
        reserve: Some(Arc::clone(&reserve)),
        in_place: Some(Arc::clone(&in_place)),
    };
    let opened = Journal::open_sized(&options.path.join("journal"), sizes, how, sink);
    let (journal, recovery) = opened.map_err(|error| StoreError::of_journal(&error))?;
    tell(&recovery);
    let journal: Arc<dyn WriteJournal<Token>> = Arc::new(journal);

    let now = dispatcher.clock.steady();
    let index_path = options.path.join("index.sqlite3");
    index::adopt_former(&index_path).map_err(|error| StoreError::Folder {
        path: index_path.clone(),
        source: Arc::new(error),
    })?;
    let key = new_key()?;
    let read = || {
        let mut index = Index::open(&index_path, key)?;
        let remembered = remembered(&options, now);
        let start = index.recover(&*journal, recovery.last_seq, now, remembered)?;
        Ok((index, start))
    };
    let (index, start) = match read() {
        // On a full disk the index needs the room of the reserve.
        Err(error) if !IndexError::is_damage(&error) && reserve.give(u64::MAX) => read(),
        result => result,
    }
    .map_err(index_failed)?;
    expect_in_place(&in_place, &options.path)?;
    let opening = Opening {
        instance: folder::instance(&options.path).unwrap_or_default(),
        options,
        lock,
        dispatcher,
        completions,
        metrics,
        reserve,
        in_place,
        journal,
        index_path,
    };
    opening.build(index, start, EventSeq(recovery.last_seq.0 + 1))
}

/// Everything that a store is built from.
struct Opening {
    options: StoreOptions,
    lock: FolderLock,
    dispatcher: Arc<Dispatcher>,
    completions: Arc<Completions>,
    metrics: StoreMetrics,
    reserve: Arc<dyn Room>,
    in_place: Arc<InPlace>,
    journal: Arc<dyn WriteJournal<Token>>,
    index_path: PathBuf,
    instance: String,
}

impl Opening {
    fn build(
        self,
        index: Index,
        mut start: Start,
        next_seq: EventSeq,
    ) -> Result<Parts, StoreError> {
        let key = start.key;
        let intake = Intake::new(next_seq, key, dedup(&start, &self.options));
        let jobs = Jobs::new(std::mem::take(&mut start.jobs));
        let around = &self.dispatcher;
        let pending_bytes = Arc::default();
        let names = names(start, around, &pending_bytes);
        let appender = Appender::new(Arc::clone(&self.journal), Arc::clone(&around.failure));
        let by = (Arc::clone(around), Arc::clone(&appender));
        let subscriptions = Subscriptions::new(names, by, pending_bytes);
        let history = History {
            inbox: Arc::default(),
            index: Arc::clone(&around.index),
            subscriptions: Arc::clone(&subscriptions),
            clock: Arc::clone(&around.clock),
            key,
        };
        let follower = self.follower(index, &subscriptions);
        let threads = self.start_threads(follower, &history);
        let threads = threads.map_err(system_failed)?;
        let operations = Arc::new(Operations {
            subscriptions: Arc::clone(&subscriptions),
            index: Arc::clone(&around.index),
            clock: Arc::clone(&around.clock),
            turns: Arc::default(),
        });
        let accepting = Arc::new(Accepting {
            intake: Mutex::new(intake),
            subscriptions: Arc::clone(&subscriptions),
            index: Arc::clone(&around.index),
            reader: Arc::clone(&around.reader),
            watchers: Arc::clone(&around.watchers),
            clock: Arc::clone(&around.clock),
            key,
            max_pending: self.options.max_pending,
            refused: AtomicU64::new(0),
            space_wanted: Arc::default(),
            coming: AtomicUsize::new(0),
        });
        let pump = Pump {
            completions: Arc::clone(&self.completions),
            accepting: Arc::clone(&accepting),
            budget: Arc::clone(&around.limits.budget),
        };
        let outcomes = Arc::new(Outcomes {
            appender: Arc::clone(&appender),
            watchers: Arc::clone(&around.watchers),
            clock: Arc::clone(&around.clock),
        });
        let replays = Replays::new(Arc::clone(&operations), jobs);
        Ok(Parts {
            cleaner: self.cleaner(&operations, &replays, &accepting),
            gauges: self.gauges(&subscriptions),
            appender,
            subscriptions,
            accepting,
            pump,
            outcomes,
            operations,
            replays,
            history,
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(self.lock)),
            instance: self.instance,
        })
    }

    fn cleaner(
        &self,
        operations: &Arc<Operations>,
        replays: &Arc<Replays>,
        accepting: &Accepting,
    ) -> Cleaner {
        Cleaner {
            retention: self.options.retention,
            operations: Arc::clone(operations),
            replays: Arc::clone(replays),
            unreadable: Unreadable {
                operations: Arc::clone(operations),
                reader: Arc::clone(&self.dispatcher.reader),
                damaged: Arc::clone(&self.dispatcher.damaged),
            },
            space_wanted: Arc::clone(&accepting.space_wanted),
            opened_at: operations.clock.steady(),
            memory: Memory::default(),
        }
    }

    fn gauges(&self, subscriptions: &Arc<Subscriptions>) -> Gauges {
        Gauges {
            subscriptions: Arc::clone(subscriptions),
            index: Arc::clone(&self.dispatcher.index),
            index_path: self.index_path.clone(),
            metrics: self.metrics.clone(),
            asking_oldest: Arc::default(),
        }
    }

    fn reading(&self) -> Arc<dyn ReadJournal> {
        Arc::<dyn WriteJournal<Token>>::clone(&self.journal)
    }

    fn follower(&self, index: Index, subscriptions: &Arc<Subscriptions>) -> Follower {
        let subscriptions = Arc::clone(subscriptions);
        let around = Surroundings {
            inbox: Arc::clone(&self.dispatcher.index),
            reserve: Arc::clone(&self.reserve),
            in_place: Arc::clone(&self.in_place),
            failure: Arc::clone(&self.dispatcher.failure),
            written_anew: Box::new(move || subscriptions.reread()),
        };
        Follower::new(index, self.reading(), around)
    }

    fn start_threads(
        &self,
        follower: Follower,
        history: &History,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let reading = (self.reading(), Arc::clone(&self.dispatcher.reader));
        let asking = history::Thread::new(
            self.reading(),
            Arc::clone(&history.inbox),
            Arc::clone(&history.clock),
            &self.index_path,
        );
        Ok(vec![
            thread::Builder::new()
                .name("store-index".to_owned())
                .spawn(move || {
                    // Delivering comes before the index. If this is refused, the thread only disturbs more.
                    rustix::process::nice(INDEX_NICENESS).ok();
                    follower.run();
                })?,
            thread::Builder::new()
                .name("store-reader".to_owned())
                .spawn(move || reader::run(&*reading.0, &reading.1))?,
            thread::Builder::new()
                .name("store-history".to_owned())
                .spawn(move || {
                    rustix::process::nice(INDEX_NICENESS).ok();
                    asking.run();
                })?,
        ])
    }
}

impl Parts {
    /// Everything that [`Store::run`](crate::store::Store::run) does except removing old data.
    pub(super) async fn hand_on(&self) -> Result<(), StoreError> {
        tokio::select! {
            ended = self.pump.run() => ended,
            never = self.appender.wake_journal() => match never {},
            never = replays::run(&self.replays) => match never {},
        }
    }

    /// Ends the threads, once the journal is closed; the index's thread applies what is left.
    fn end_threads(&self) {
        self.accepting.reader.stop();
        self.history.inbox.stop();
        self.operations.index.stop();
        let mut threads = self.threads.lock();
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                warn!("a thread of the store has panicked");
            }
        }
    }

    /// Syncs and ends everything. Blocks.
    fn shut(&self) -> Result<(), StoreError> {
        let closed = self.appender.journal.close();
        self.end_threads();
        self.pump.completions.close();
        drop(self.lock.lock().take());
        match self.appender.failure.get() {
            Some(error) => Err(error),
            None => closed.map_err(|error| StoreError::of_journal(&error)),
        }
    }
}

impl Drop for Parts {
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
pub(super) async fn close(parts: Arc<Parts>) -> Result<(), StoreError> {
    let (reply, closed) = oneshot::channel();
    let shut = move || {
        let result = parts.shut();
        drop(parts);
        reply.send(result).ok();
    };
    thread::Builder::new()
        .name("store-close".to_owned())
        .spawn(shut)
        .map_err(system_failed)?;
    closed.await.unwrap_or(Err(StoreError::Closed))
}

/// Logs the findings of the recovery.
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

/// Makes it a failure of the store if one of its files is removed or replaced from now on.
fn expect_in_place(in_place: &InPlace, folder: &Path) -> Result<(), StoreError> {
    // The reserve is absent where there was no room for it.
    let reserve = folder.join("reserve");
    let files = [
        folder.to_owned(),
        folder.join(lock::FILE),
        folder.join("journal"),
        folder.join("index.sqlite3"),
    ];
    let reserve = Some(reserve).filter(|path| path.exists());
    for path in files.into_iter().chain(reserve) {
        let expected = in_place.expect(&path);
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

/// Makes the subscriptions and their queues from the index.
fn names(start: Start, dispatcher: &Arc<Dispatcher>, pending_bytes: &Arc<AtomicU64>) -> Names {
    let mut names = Names::default();
    for known in start.subscriptions {
        let Subscription {
            number,
            name,
            state,
            pending,
            pending_bytes: bytes,
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
        let counters = Counters::new(pending, bytes, dead, pending_bytes);
        let queue = QueueShared::new(number, dispatcher, counters, oldest);
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

/// Makes the parts that queues send requests to; no thread serves them yet.
fn dispatcher(bounds: Bounds, memory_budget: usize, clock: Arc<dyn Clock>) -> Arc<Dispatcher> {
    let budget = Arc::new(Budget::new(memory_budget));
    Arc::new(Dispatcher {
        limits: Arc::new(Limits { bounds, budget }),
        clock,
        failure: Arc::default(),
        index: Arc::default(),
        reader: Arc::default(),
        watchers: Arc::default(),
        damaged: Arc::default(),
    })
}

fn index_failed(error: IndexError) -> StoreError {
    StoreError::Index(Arc::new(error))
}

fn system_failed(error: io::Error) -> StoreError {
    StoreError::System(Arc::new(error))
}
