//! The book's thread: follows the journal, and answers what queues ask.
//!
//! It sleeps while nothing is committed. After a commit it waits 100 ms for more, or until 4,000 records or a command
//! wait. A command is answered after everything the journal has was applied, and again and again until it succeeds.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::Connection;
use tokio::sync::oneshot;
use tracing::error;

use super::{Book, BookError, query};
use crate::domain::EventSeq;
use crate::store::StoreError;
use crate::store::changes::Changes;
use crate::store::hub::Hub;
use crate::store::journal::{Journal, Position};
use crate::store::queue::{DueKey, FollowersWanted, QueueShared};

/// How long commits gather before they are applied …
const GATHER: Duration = Duration::from_millis(100);
/// … unless so many records wait.
const RECORDS_WAITING_MAX: usize = 4_000;
/// What the book takes of the reserve at a time when the disk is full, bytes.
const BOOK_ROOM: u64 = 4 << 20;
/// The pause after an error …
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// … and how many in a row fail the store: a minute's worth.
const ERRORS_MAX: u32 = 60;

/// What is asked of the book. Bounded by those who ask: a queue has one question of each kind open, and an acceptance
/// under way asks for one place at a time.
#[derive(Debug)]
pub(in crate::store) enum Command {
    /// Deliveries that were never attempted and follow `after`.
    Refill {
        /// Who asks.
        queue: Arc<QueueShared>,
        /// The last one it has.
        after: EventSeq,
        /// How many it can take.
        limit: usize,
    },
    /// Deliveries that wait for another attempt and are due after `after`.
    DueRefill {
        /// Who asks.
        queue: Arc<QueueShared>,
        /// The last one it has.
        after: DueKey,
        /// How many it can take.
        limit: usize,
    },
    /// What follows in a line of deliveries that were never attempted.
    Followers {
        /// Who asks.
        queue: Arc<QueueShared>,
        /// In which line, from where to where.
        wanted: FollowersWanted,
        /// How many it can take.
        limit: usize,
    },
    /// Dead deliveries that block.
    Blockers {
        /// Who asks.
        queue: Arc<QueueShared>,
        /// How many it can take.
        limit: usize,
    },
    /// Something else that is asked, once everything committed is applied.
    Ask(Question),
    /// A verb was committed: its changes are told to the queues once they are in the book.
    Changed(Box<Changes>),
    /// When the oldest pending delivery of each of these was accepted.
    Oldest(Vec<Arc<QueueShared>>),
}

/// Asks the book; again if it fails. Replies by itself.
type Asking = dyn FnMut(&Connection) -> rusqlite::Result<()> + Send;

/// A question to the book.
pub(in crate::store) struct Question(Box<Asking>);

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Question")
    }
}

/// Where commits are announced and commands wait.
#[derive(Debug, Default)]
pub(in crate::store) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    records_waiting: AtomicUsize,
    /// Bytes of records committed and applied since the store was opened.
    committed_bytes: AtomicU64,
    applied_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    commands: VecDeque<Command>,
    stopped: bool,
}

impl Inbox {
    /// Announces records that the journal has written.
    pub(in crate::store) fn committed(&self, records: usize, bytes: u64) {
        self.committed_bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = self.records_waiting.fetch_add(records, Ordering::Relaxed);
        let after = before + records;
        if before == 0 || (before < RECORDS_WAITING_MAX && after >= RECORDS_WAITING_MAX) {
            drop(self.lock());
            self.changed.notify_one();
        }
    }

    /// Asks something. After [`Inbox::stop`] it is dropped.
    pub(in crate::store) fn command(&self, command: Command) {
        let mut state = self.lock();
        let refused = state.stopped
            || (matches!(command, Command::Oldest(_))
                && state
                    .commands
                    .iter()
                    .any(|other| matches!(other, Command::Oldest(_))));
        if !refused {
            state.commands.push_back(command);
            self.changed.notify_one();
        }
    }

    /// Asks the book, once everything committed is applied. The receiver fails when the store is closed before.
    pub(in crate::store) fn ask<T: Send + 'static>(
        &self,
        mut ask: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        let mut reply = Some(reply);
        self.command(Command::Ask(Question(Box::new(move |connection| {
            let found = ask(connection)?;
            if let Some(reply) = reply.take() {
                // Who asked may have gone.
                reply.send(found).ok();
            }
            Ok(())
        }))));
        answer
    }

    /// Ends the thread once everything committed is applied.
    pub(in crate::store) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    /// How far the book is behind the journal, in bytes of records.
    pub(in crate::store) fn lag_bytes(&self) -> u64 {
        let applied = self.applied_bytes.load(Ordering::Relaxed);
        let committed = self.committed_bytes.load(Ordering::Relaxed);
        committed.saturating_sub(applied)
    }

    /// Waits until there is something to do; answers whether to stop after it.
    fn wait(&self, commands: &mut VecDeque<Command>) -> bool {
        let waiting = || self.records_waiting.load(Ordering::Relaxed);
        let idle = |state: &mut State| !state.stopped && state.commands.is_empty();
        let nothing = |state: &mut State| idle(state) && waiting() == 0;
        let few = |state: &mut State| idle(state) && waiting() < RECORDS_WAITING_MAX;
        let mut state = self.lock();
        self.changed.wait_while(&mut state, nothing);
        self.changed.wait_while_for(&mut state, few, GATHER);
        self.records_waiting.store(0, Ordering::Relaxed);
        commands.append(&mut mem::take(&mut state.commands));
        state.stopped
    }

    /// Waits before something is tried again; answers whether to stop instead.
    fn pause(&self) -> bool {
        let mut state = self.lock();
        let goes_on = |state: &mut State| !state.stopped;
        self.changed
            .wait_while_for(&mut state, goes_on, ERROR_PAUSE);
        state.stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The thread's own things.
pub(in crate::store) struct Follower<T> {
    book: Book,
    journal: Arc<Journal<T>>,
    hub: Arc<Hub>,
    commands: VecDeque<Command>,
    /// What stands before it was applied before: it does not count when the book is written anew.
    counted_upto: Position,
    errors: u32,
}

impl<T: Send + 'static> Follower<T> {
    /// Takes a book that memory began with: what the journal has by now is known.
    pub(in crate::store) fn new(book: Book, journal: Arc<Journal<T>>, hub: Arc<Hub>) -> Self {
        Self {
            counted_upto: journal.end(),
            book,
            journal,
            hub,
            commands: VecDeque::new(),
            errors: 0,
        }
    }

    /// The thread: until [`Inbox::stop`].
    pub(in crate::store) fn run(mut self) {
        let mut stopped = false;
        loop {
            // What could not be done is not waited for again: nobody announces it a second time.
            while let Err(error) = self.turn() {
                let has_room = self.bear(error);
                if !has_room && self.hub.book.pause() {
                    return;
                }
            }
            self.errors = 0;
            if stopped {
                return;
            }
            stopped = self.hub.book.wait(&mut self.commands);
        }
    }

    fn turn(&mut self) -> Result<(), BookError> {
        loop {
            self.apply()?;
            let Some(command) = self.commands.pop_front() else {
                return Ok(());
            };
            if let Err((command, error)) = self.serve(command) {
                self.commands.push_front(command);
                return Err(error);
            }
        }
    }

    fn apply(&mut self) -> Result<(), BookError> {
        let Self {
            book,
            journal,
            hub,
            counted_upto,
            ..
        } = self;
        book.catch_up(journal, &mut |position, length| {
            if position >= *counted_upto {
                let bytes = u64::from(length);
                hub.book.applied_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        })?;
        self.counted_upto = self.counted_upto.max(self.book.cursor);
        Ok(())
    }

    fn serve(&self, command: Command) -> Result<(), (Command, BookError)> {
        let connection = &self.book.connection;
        let mut command = match command {
            Command::Changed(changes) => {
                changes.tell();
                return Ok(());
            }
            command => command,
        };
        let result = match &mut command {
            Command::Refill {
                queue,
                after,
                limit,
            } => query::refill(connection, queue.number, *after, self.affordable(*limit))
                .map(|answer| queue.refilled(answer)),
            Command::DueRefill {
                queue,
                after,
                limit,
            } => query::due_refill(connection, queue.number, *after, self.affordable(*limit))
                .map(|answer| queue.due_refilled(answer)),
            Command::Followers {
                queue,
                wanted,
                limit,
            } => query::followers(connection, queue.number, *wanted, *limit)
                .map(|answer| queue.followers(answer)),
            Command::Blockers { queue, limit } => query::blockers(connection, queue.number, *limit)
                .map(|dead| queue.blockers(&dead, dead.len() < *limit)),
            Command::Oldest(queues) => queues.iter().try_for_each(|queue| {
                let oldest = query::oldest(connection, queue.number)?;
                queue.set_book_oldest(oldest);
                Ok(())
            }),
            Command::Ask(Question(ask)) => ask(connection),
            Command::Changed(_) => Ok(()),
        };
        result.map_err(|error| (command, error.into()))
    }

    /// How many of those that a queue asked for it gets: thousands of queues may have asked when there was memory for each.
    fn affordable(&self, limit: usize) -> usize {
        if self.hub.budget.exhausted() {
            limit.min(self.hub.bounds.granted)
        } else {
            limit
        }
    }

    /// Bears an error: damage is mended by writing the book anew, and the store fails only when nothing helps. Answers
    /// whether room was given on a full disk, so that trying again at once may help: the reserve has an end.
    fn bear(&mut self, error: BookError) -> bool {
        error!(
            %error,
            "the book does not work; deliveries go on without it"
        );
        if error.is_damage() {
            // It is replaced now, by us.
            self.hub.in_place.release(&self.book.path);
            match self.book.begin_anew() {
                Ok(()) => {
                    // One that is gone again by now is made anew by the next error.
                    self.hub.in_place.expect(&self.book.path).ok();
                    self.hub.reread();
                }
                Err(error) => error!(
                    %error,
                    "the book cannot be written anew"
                ),
            }
        }
        if error.is_full() {
            // Deliveries that are only in the book go on by what is kept for that.
            let has_room = self.hub.reserve.give(BOOK_ROOM);
            self.book.shrink_log();
            return has_room;
        }
        self.errors += 1;
        if self.errors >= ERRORS_MAX {
            self.hub.fail(StoreError::Book(Arc::new(error)));
        }
        false
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
