//! The work of the index's thread: commits are announced here, and questions wait here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, mem};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::{Connection, Result};
use tokio::sync::oneshot;

/// How long commits gather before they are applied …
const GATHER: Duration = Duration::from_millis(100);
/// … unless this many records wait.
const RECORDS_WAITING_MAX: usize = 4_000;

/// Queries the index and sends the reply itself; called again if it fails.
type Asking = dyn FnMut(&Connection) -> Result<()> + Send;

/// A question to the index.
pub(super) struct Question(pub(super) Box<Asking>);

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}

/// Where commits are announced and questions wait. Its length is bounded by the callers: a queue has one open question
/// of each kind, and an acceptance under way asks for one place at a time.
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
    questions: VecDeque<Question>,
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

    /// Counts a record as applied.
    pub(super) fn applied(&self, bytes: u64) {
        self.applied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Runs `ask` in the index's thread once everything committed is applied; repeats it while it fails. After
    /// [`Inbox::stop`] it is dropped.
    pub(in crate::store) fn submit(
        &self,
        ask: impl FnMut(&Connection) -> Result<()> + Send + 'static,
    ) {
        let mut state = self.lock();
        if !state.stopped {
            state.questions.push_back(Question(Box::new(ask)));
            self.changed.notify_one();
        }
    }

    /// Queries the index once everything committed is applied. The receiver fails if the store is closed first.
    pub(in crate::store) fn ask<T: Send + 'static>(
        &self,
        mut ask: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        let mut reply = Some(reply);
        self.submit(move |connection| {
            let found = ask(connection)?;
            if let Some(reply) = reply.take() {
                // The caller may have dropped the receiver.
                reply.send(found).ok();
            }
            Ok(())
        });
        answer
    }

    /// Ends the thread once everything committed is applied.
    pub(in crate::store) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    /// Returns how far the index is behind the journal, in bytes of records.
    pub(in crate::store) fn lag_bytes(&self) -> u64 {
        let applied = self.applied_bytes.load(Ordering::Relaxed);
        let committed = self.committed_bytes.load(Ordering::Relaxed);
        committed.saturating_sub(applied)
    }

    /// Waits until there is work. Returns whether to stop after it.
    pub(super) fn wait(&self, questions: &mut VecDeque<Question>) -> bool {
        let waiting = || self.records_waiting.load(Ordering::Relaxed);
        let idle = |state: &mut State| !state.stopped && state.questions.is_empty();
        let nothing = |state: &mut State| idle(state) && waiting() == 0;
        let few = |state: &mut State| idle(state) && waiting() < RECORDS_WAITING_MAX;
        let mut state = self.lock();
        self.changed.wait_while(&mut state, nothing);
        self.changed.wait_while_for(&mut state, few, GATHER);
        self.records_waiting.store(0, Ordering::Relaxed);
        questions.append(&mut mem::take(&mut state.questions));
        state.stopped
    }

    /// Waits before a retry. Returns whether to stop instead.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let mut state = self.lock();
        let goes_on = |state: &mut State| !state.stopped;
        self.changed.wait_while_for(&mut state, goes_on, pause);
        state.stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
