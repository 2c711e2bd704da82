//! The thread of queries: one connection to the index that only reads, one query at a time.
//!
//! A query has a time limit, which SQLite checks while it works. An index that was set aside and rebuilt is noticed by
//! its file. Any other failure is tried once more with a new connection.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::warn;

use super::types::QueryError;
use crate::domain::{Clock, Event};
use crate::store::journal::{Place, ReadJournal};

/// Rows that one call reads, at most.
const ROWS_MAX: u64 = 50_000;
/// Queries under way at a time, those that wait included.
const UNDER_WAY_MAX: usize = 64;
/// The longest time that a query may take.
const TIME_MAX: Duration = Duration::from_secs(5);
/// After this many steps SQLite checks whether to go on.
const STEPS: std::ffi::c_int = 2_000;

/// The reason why a read failed.
#[derive(Debug)]
pub(super) enum ReadError {
    /// SQLite failed, or was interrupted.
    Index(rusqlite::Error),
    /// The event is not at the place that the index has, or cannot be read there.
    Unreadable,
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error)
    }
}

impl ReadError {
    fn is_interruption(&self) -> bool {
        matches!(self, Self::Index(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted))
    }
}

/// The data that a query reads.
pub(super) struct Reading<'a> {
    /// The index, at one point in time.
    pub(super) index: &'a Connection,
    thread: &'a Thread,
}

impl Reading<'_> {
    /// Reads an event, with its body.
    pub(super) fn event(&self, place: Place) -> Result<Arc<Event>, ReadError> {
        let read = self.thread.journal.read(place);
        let accepted = read.map_err(|_| ReadError::Unreadable)?;
        Ok(accepted.event)
    }

    /// Returns the number of rows that a call reads, at most.
    pub(super) fn rows_max(&self) -> u64 {
        self.thread.inbox.rows_max.load(Ordering::Relaxed)
    }

    /// Whether half of the time is used up: then the page should end here.
    pub(super) fn is_late(&self) -> bool {
        self.thread.inbox.is_over(&*self.thread.clock, TIME_MAX / 2)
    }
}

/// A query that waits for the thread.
struct Waiting {
    work: Box<dyn Work>,
    _slot: OwnedSemaphorePermit,
}

/// A query, as the thread runs it.
trait Work: Send {
    /// Runs the query and sends the answer; may be called again if it fails.
    fn run(&mut self, reading: &Reading<'_>) -> Result<(), ReadError>;
    fn fail(&mut self, error: QueryError);
    /// Whether the caller still waits for it.
    fn is_wanted(&self) -> bool;
}

struct Query<T, A> {
    ask: A,
    reply: Option<oneshot::Sender<Result<T, QueryError>>>,
}

impl<T: Send, A> Work for Query<T, A>
where
    A: FnMut(&Reading<'_>) -> Result<T, ReadError> + Send,
{
    fn run(&mut self, reading: &Reading<'_>) -> Result<(), ReadError> {
        let found = (self.ask)(reading)?;
        if let Some(reply) = self.reply.take() {
            // The caller may have dropped the receiver.
            reply.send(Ok(found)).ok();
        }
        Ok(())
    }

    fn fail(&mut self, error: QueryError) {
        if let Some(reply) = self.reply.take() {
            reply.send(Err(error)).ok();
        }
    }

    fn is_wanted(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }
}

/// Where queries wait.
pub(in crate::store) struct Inbox {
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    changed: Condvar,
    /// When the query under way began, in steady milliseconds; `i64::MIN`: the store closes, so every query is over.
    began_at: AtomicI64,
    /// [`ROWS_MAX`], except in tests.
    pub(super) rows_max: AtomicU64,
}

#[derive(Default)]
struct State {
    queries: VecDeque<Waiting>,
    stopped: bool,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            state: Mutex::default(),
            changed: Condvar::new(),
            began_at: AtomicI64::new(0),
            rows_max: AtomicU64::new(ROWS_MAX),
        }
    }
}

impl Inbox {
    /// Reserves a slot for a query; `None` if too many are under way.
    pub(super) fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Adds a query. After [`Inbox::stop`] it is dropped, and the receiver fails.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        slot: OwnedSemaphorePermit,
        ask: impl FnMut(&Reading<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, QueryError>> {
        let (reply, answer) = oneshot::channel();
        let reply = Some(reply);
        let waiting = Waiting {
            work: Box::new(Query { ask, reply }),
            _slot: slot,
        };
        let mut state = self.state.lock();
        if !state.stopped {
            state.queries.push_back(waiting);
            self.changed.notify_one();
        }
        answer
    }

    /// Ends the thread, and the query under way.
    pub(in crate::store) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.queries.clear();
        self.began_at.store(i64::MIN, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Waits for a query; `None` if the thread is to end.
    fn next(&self, clock: &dyn Clock) -> Option<Waiting> {
        let mut state = self.state.lock();
        let is_idle = |state: &mut State| state.queries.is_empty() && !state.stopped;
        self.changed.wait_while(&mut state, is_idle);
        if state.stopped {
            return None;
        }
        let now = clock.steady().as_millis();
        self.began_at.store(now, Ordering::Relaxed);
        state.queries.pop_front()
    }

    /// Whether the query under way has lasted longer than `time`.
    fn is_over(&self, clock: &dyn Clock, time: Duration) -> bool {
        let began_at = self.began_at.load(Ordering::Relaxed);
        let lasted = clock.steady().as_millis().saturating_sub(began_at);
        lasted > i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The state that the thread owns, except its connection.
pub(in crate::store) struct Thread {
    journal: Arc<dyn ReadJournal>,
    inbox: Arc<Inbox>,
    clock: Arc<dyn Clock>,
    /// Path of the index.
    path: PathBuf,
}

impl Thread {
    pub(in crate::store) fn new(
        journal: Arc<dyn ReadJournal>,
        inbox: Arc<Inbox>,
        clock: Arc<dyn Clock>,
        path: &Path,
    ) -> Self {
        Self {
            journal,
            inbox,
            clock,
            path: path.to_owned(),
        }
    }

    /// Runs the thread until [`Inbox::stop`].
    pub(in crate::store) fn run(&self) {
        let mut index = None;
        while let Some(Waiting { mut work, _slot }) = self.inbox.next(&*self.clock) {
            if !work.is_wanted() {
                continue;
            }
            let mut result = self.serve(&mut *work, &mut index);
            if result.as_ref().is_err_and(|error| !error.is_interruption()) {
                index = None;
                result = self.serve(&mut *work, &mut index);
            }
            match result {
                // The caller learns of the closing by the dropped sender.
                Err(error) if error.is_interruption() && self.inbox.is_stopped() => return,
                Err(error) => work.fail(query_error(error)),
                Ok(()) => {}
            }
        }
    }

    fn serve(&self, work: &mut dyn Work, index: &mut Option<OpenIndex>) -> Result<(), ReadError> {
        if index.as_ref().is_some_and(|index| !index.is_at(&self.path)) {
            *index = None;
        }
        let open = match index {
            Some(open) => open,
            None => {
                let (inbox, clock) = (Arc::clone(&self.inbox), Arc::clone(&self.clock));
                let is_over = move || inbox.is_over(&*clock, TIME_MAX);
                index.insert(OpenIndex::open(&self.path, is_over)?)
            }
        };
        // One consistent view of the index; it ends when it is dropped.
        let view = open.connection.transaction()?;
        work.run(&Reading {
            index: &view,
            thread: self,
        })
    }
}

fn query_error(error: ReadError) -> QueryError {
    if error.is_interruption() {
        return QueryError::TooSlow;
    }
    match error {
        ReadError::Unreadable => QueryError::Unreadable,
        ReadError::Index(error) => {
            warn!(
                %error,
                "the index cannot be read for a query"
            );
            QueryError::Index(Arc::new(error))
        }
    }
}

/// A connection to the index, and the identity of its file.
struct OpenIndex {
    connection: Connection,
    file: (u64, u64),
}

impl OpenIndex {
    /// Opens the index. Statements are interrupted once `is_over` returns `true`.
    fn open(
        path: &Path,
        is_over: impl FnMut() -> bool + Send + 'static,
    ) -> Result<Self, rusqlite::Error> {
        // If the file is replaced before it is opened, the next query notices.
        let file = file(path).unwrap_or_default();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.execute_batch("PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;")?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.progress_handler(STEPS, Some(is_over))?;
        Ok(Self { connection, file })
    }

    fn is_at(&self, path: &Path) -> bool {
        file(path) == Some(self.file)
    }
}

fn file(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
