//! State that appenders, readers and the journal's thread share: the group that forms, and the thread's next task.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::store::journal::forming::{Forming, now};
use crate::store::journal::segment::Segments;
use crate::store::journal::{AppendError, Bounds, Durability, JournalError, Position};
use crate::store::record::Record;

/// How often the thread checks for space while the disk is full.
pub(super) const SPACE_CHECK: Duration = Duration::from_secs(1);
/// The longest time that written bytes stay unsynced …
const SYNC_AFTER: Duration = Duration::from_millis(100);
/// … and in a relaxed journal, where accepted events are reported before they are synced.
const RELAXED_SYNC_AFTER: Duration = Duration::from_secs(1);

/// The next task of the journal's thread.
pub(super) enum Task<T> {
    /// Write this group.
    Write(Forming<T>),
    /// Sync the written bytes; the buffers were not needed.
    Sync(Forming<T>),
    /// Check whether there is space again; the buffers were not needed.
    Look(Forming<T>),
    /// Check whether the store's files are in their place; the buffers were not needed.
    CheckPlace(Forming<T>),
    /// End the active segment and go on in another one; the buffers were not needed.
    Seal(Forming<T>),
    /// Another thread has marked the journal as failed.
    Fail(JournalError),
    /// The journal is closed and everything written.
    End,
}

/// Tasks that the journal's thread has at some time even if nothing is appended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Timers {
    /// When written bytes are to be synced.
    pub(super) sync: Option<Instant>,
    /// When to check for space.
    pub(super) look: Option<Instant>,
    /// When to check whether the store's files are in their place.
    pub(super) place: Option<Instant>,
}

impl Timers {
    /// Returns the time until the next of them; `None` if the thread can sleep until it is woken.
    pub(super) fn left(self) -> Option<Duration> {
        let next = [self.sync, self.look, self.place]
            .into_iter()
            .flatten()
            .min();
        next.map(|at| at.saturating_duration_since(now()))
    }
}

/// Whether a timer has run out.
pub(super) fn is_due(timer: Option<Instant>) -> bool {
    timer.is_some_and(|at| at <= now())
}

/// State that appenders, readers and the journal's thread share.
pub(super) struct Shared<T> {
    pub(super) bounds: Bounds,
    /// Accepted events are reported when they are written, before they are synced.
    pub(super) relaxed: bool,
    pub(super) segments: Segments,
    state: Mutex<State<T>>,
    wake: Condvar,
    /// The committed end: the segment in the upper 32 bits, the offset in the lower.
    end: AtomicU64,
    full: AtomicBool,
}

struct State<T> {
    forming: Forming<T>,
    sleep: Sleep,
    closing: bool,
    failed: Option<JournalError>,
    /// The sink was notified of the failure.
    told: bool,
    /// The active segment is to be ended.
    seal: bool,
}

/// The appends that wake the journal's thread. No other append does, because a wake costs more than an append.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    /// Any batch wakes it.
    Idle,
    /// Only an urgent batch wakes it: the batches that are forming may still wait.
    Lingering,
}

impl<T> Shared<T> {
    pub(super) fn new(bounds: Bounds, relaxed: bool, segments: Segments, end: Position) -> Self {
        let state = State {
            forming: Forming::default(),
            sleep: Sleep::Awake,
            closing: false,
            failed: None,
            told: false,
            seal: false,
        };
        let shared = Self {
            bounds,
            relaxed,
            segments,
            state: Mutex::new(state),
            wake: Condvar::new(),
            end: AtomicU64::new(0),
            full: AtomicBool::new(false),
        };
        shared.set_end(end);
        shared
    }

    pub(super) fn append(
        &self,
        records: &[Record],
        durability: Durability,
        token: T,
    ) -> Result<bool, AppendError> {
        let mut state = self.state();
        if let Some(error) = &state.failed {
            return Err(AppendError::Failed(error.clone()));
        }
        if state.closing {
            return Err(AppendError::Failed(JournalError::Closed));
        }
        if durability.is_refused_when_full() && self.is_full() {
            return Err(AppendError::Full);
        }
        state
            .forming
            .push(records, durability, token, self.bounds.group)?;
        let wake = match state.sleep {
            Sleep::Awake => false,
            Sleep::Idle => true,
            Sleep::Lingering => durability.is_urgent(),
        };
        if wake {
            state.sleep = Sleep::Awake;
        }
        Ok(wake)
    }

    /// Wakes the journal's thread.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Asks the journal's thread to end the active segment.
    pub(super) fn seal(&self) {
        let mut state = self.state();
        state.seal = true;
        state.sleep = Sleep::Awake;
        self.wake.notify_one();
    }

    /// Waits for the next task. `spare` replaces the group that formed.
    pub(super) fn next_task(&self, spare: Forming<T>, timers: Timers) -> Task<T> {
        let mut state = self.state();
        loop {
            state.sleep = Sleep::Awake;
            if let Some(error) = &state.failed {
                return Task::Fail(error.clone());
            }
            if std::mem::take(&mut state.seal) {
                return Task::Seal(spare);
            }
            if state.forming.is_ready(state.closing) {
                return Task::Write(std::mem::replace(&mut state.forming, spare));
            }
            if state.closing {
                return Task::End;
            }
            if is_due(timers.sync) {
                return Task::Sync(spare);
            }
            if is_due(timers.look) {
                return Task::Look(spare);
            }
            if is_due(timers.place) {
                return Task::CheckPlace(spare);
            }
            let linger = state.forming.lingers();
            state.sleep = if linger.is_some() {
                Sleep::Lingering
            } else {
                Sleep::Idle
            };
            let limit = [linger, timers.left()].into_iter().flatten().min();
            match limit {
                None => self.wake.wait(&mut state),
                Some(limit) => drop(self.wake.wait_for(&mut state, limit)),
            }
        }
    }

    /// Puts a group that did not fit before the batches that formed meanwhile, to be tried again after [`SPACE_CHECK`].
    /// Returns empty buffers.
    ///
    /// # Errors
    /// The group, if the journal is being closed: it would not be written later.
    pub(super) fn put_back(&self, mut forming: Forming<T>) -> Result<Forming<T>, Forming<T>> {
        let mut state = self.state();
        if state.closing {
            return Err(forming);
        }
        std::mem::swap(&mut state.forming, &mut forming);
        state.forming.join(&mut forming);
        state.forming.defer(SPACE_CHECK);
        Ok(forming)
    }

    /// Marks the journal as failed. Returns the tokens that were forming, or `None` if the sink was notified before.
    pub(super) fn poison(&self, error: &JournalError) -> Option<Vec<T>> {
        let mut state = self.state();
        if std::mem::replace(&mut state.told, true) {
            return None;
        }
        state.failed.get_or_insert_with(|| error.clone());
        Some(state.forming.take_tokens())
    }

    /// Marks the journal as failed from outside its thread, which then notifies the sink and ends.
    pub(super) fn break_off(&self, error: &JournalError) {
        let mut state = self.state();
        state.failed.get_or_insert_with(|| error.clone());
        state.sleep = Sleep::Awake;
        self.wake.notify_one();
    }

    /// Returns the reason why the journal accepts no changes any more; `None` if it does.
    pub(super) fn ended(&self) -> Option<JournalError> {
        let state = self.state();
        let closed = || state.closing.then_some(JournalError::Closed);
        state.failed.clone().or_else(closed)
    }

    /// Returns how long written bytes may stay unsynced.
    pub(super) const fn sync_after(&self) -> Duration {
        if self.relaxed {
            RELAXED_SYNC_AFTER
        } else {
            SYNC_AFTER
        }
    }

    pub(super) fn failure(&self) -> Option<JournalError> {
        self.state().failed.clone()
    }

    pub(super) fn close(&self) {
        self.state().closing = true;
        self.wake.notify_one();
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    pub(super) fn end(&self) -> Position {
        let end = self.end.load(Ordering::Acquire);
        let part = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Position {
            segment: part(end >> 32),
            offset: part(end),
        }
    }

    pub(super) fn set_end(&self, end: Position) {
        self.end.store(
            (u64::from(end.segment) << 32) | u64::from(end.offset),
            Ordering::Release,
        );
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock()
    }
}
