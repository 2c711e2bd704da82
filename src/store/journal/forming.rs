//! The group that is forming: records are encoded straight into its buffer, by whoever appends, until the journal's thread
//! takes it whole.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::journal::format::{GROUP_HEADER, RECORD_HEADER, Seed};
use crate::store::journal::segment::Segments;
use crate::store::journal::writer::{SYNC_AFTER, now};
use crate::store::journal::{
    AppendError, Bounds, Durability, JournalError, Place, Position, codec,
};
use crate::store::record::Record;

/// How long an outcome waits for company before it is written alone.
const LINGER: Duration = Duration::from_millis(2);
/// What an emptied buffer keeps of its memory: a large batch is rare, and nothing of it is needed afterwards.
const KEPT_BYTES: usize = 1 << 20;
/// How often space is looked for again while the disk is full.
const SPACE_CHECK: Duration = Duration::from_secs(1);

/// Batches that will be one group.
pub(super) struct Forming<T> {
    /// Room for the group's header, then the records.
    pub(super) bytes: Vec<u8>,
    /// Offset in the group and length of each record.
    pub(super) spans: Vec<(u32, u32)>,
    pub(super) batches: Vec<Batch<T>>,
    pub(super) records: u32,
    pub(super) last_seq: u64,
    urgent: bool,
    /// When it is written at the latest; none while it is empty or urgent.
    due: Option<Instant>,
}

/// Records that are appended together.
pub(super) struct Batch<T> {
    token: T,
    records: usize,
    pub(super) sync: bool,
}

impl<T> Default for Forming<T> {
    fn default() -> Self {
        Self {
            bytes: vec![0; GROUP_HEADER],
            spans: Vec::new(),
            batches: Vec::new(),
            records: 0,
            last_seq: 0,
            urgent: false,
            due: None,
        }
    }
}

impl<T> Forming<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn wants_sync(&self) -> bool {
        self.batches.iter().any(|batch| batch.sync)
    }

    fn push(
        &mut self,
        records: &[Record],
        durability: Durability,
        token: T,
        most: usize,
    ) -> Result<(), AppendError> {
        let before = (self.bytes.len(), self.spans.len());
        for record in records {
            self.encode(record);
        }
        let added = self.bytes.len() - before.0;
        let too_large = added > most;
        if too_large || (!self.is_empty() && self.bytes.len() > most) {
            self.bytes.truncate(before.0);
            self.spans.truncate(before.1);
            return Err(if too_large {
                AppendError::TooLarge
            } else {
                AppendError::Overloaded
            });
        }
        for record in records {
            if let Record::Accepted(accepted) = record {
                self.last_seq = self.last_seq.max(accepted.seq.0);
            }
        }
        self.records = u32::try_from(self.spans.len()).unwrap_or(u32::MAX);
        self.urgent |= durability != Durability::Write;
        if self.due.is_none() && !self.urgent {
            self.due = Some(now() + LINGER);
        }
        self.batches.push(Batch {
            token,
            records: records.len(),
            sync: durability == Durability::Sync,
        });
        Ok(())
    }

    fn encode(&mut self, record: &Record) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER]);
        codec::encode(record, &mut self.bytes);
        let length = self.bytes.len() - start;
        let content = u32::try_from(length - RECORD_HEADER).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&content.to_le_bytes());
        }
        self.spans.push((
            u32::try_from(start).unwrap_or(u32::MAX),
            content.saturating_add(8),
        ));
    }

    /// Writes the CRC of each record; the seed is known only now.
    pub(super) fn seal_records(&mut self, seed: Seed) {
        for (start, length) in &self.spans {
            let start = usize::try_from(*start).unwrap_or_default();
            let end = start.saturating_add(usize::try_from(*length).unwrap_or_default());
            let Some(record) = self.bytes.get_mut(start..end) else {
                continue;
            };
            let (header, content) = record.split_at_mut(RECORD_HEADER.min(record.len()));
            if let Some(place) = header.get_mut(4..) {
                place.copy_from_slice(&seed.crc(content).to_le_bytes());
            }
        }
    }

    /// Takes the batches, each with the places of its records, and leaves the buffers empty for reuse.
    pub(super) fn take_batches(&mut self, places: Vec<Place>) -> Vec<(T, Vec<Place>)> {
        let mut places = places.into_iter();
        let with_places =
            |batch: Batch<T>| (batch.token, places.by_ref().take(batch.records).collect());
        let batches = self.batches.drain(..).map(with_places).collect();
        self.clear();
        batches
    }

    pub(super) fn take_tokens(&mut self) -> Vec<T> {
        let tokens = self.batches.drain(..).map(|batch| batch.token).collect();
        self.clear();
        tokens
    }

    /// Takes out the batches that ask for a sync; the others stay, in order.
    pub(super) fn split_off_synced(&mut self) -> Vec<T> {
        let (mut refused, mut kept) = (Vec::new(), Self::default());
        let mut spans = std::mem::take(&mut self.spans).into_iter();
        for batch in self.batches.drain(..) {
            for (start, length) in spans.by_ref().take(batch.records) {
                let start = usize::try_from(start).unwrap_or_default();
                let record = self
                    .bytes
                    .get(start..start.saturating_add(usize::try_from(length).unwrap_or_default()));
                if let Some(record) = record.filter(|_| !batch.sync) {
                    kept.spans
                        .push((u32::try_from(kept.bytes.len()).unwrap_or(u32::MAX), length));
                    kept.bytes.extend_from_slice(record);
                }
            }
            if batch.sync {
                refused.push(batch.token)
            } else {
                kept.batches.push(batch)
            }
        }
        kept.records = u32::try_from(kept.spans.len()).unwrap_or(u32::MAX);
        kept.due = self.due.or_else(|| Some(now()));
        *self = kept;
        refused
    }

    /// Puts what formed meanwhile behind this.
    fn join(&mut self, later: &mut Self) {
        let shift = u32::try_from(self.bytes.len() - GROUP_HEADER).unwrap_or(u32::MAX);
        self.bytes
            .extend_from_slice(later.bytes.get(GROUP_HEADER..).unwrap_or_default());
        self.spans.extend(
            later
                .spans
                .iter()
                .map(|(start, length)| (start.saturating_add(shift), *length)),
        );
        self.batches.append(&mut later.batches);
        self.records = self.records.saturating_add(later.records);
        self.last_seq = self.last_seq.max(later.last_seq);
        self.urgent |= later.urgent;
        later.clear();
    }

    fn clear(&mut self) {
        self.bytes.truncate(GROUP_HEADER);
        self.bytes.shrink_to(KEPT_BYTES);
        self.spans.clear();
        self.batches.clear();
        (self.records, self.last_seq, self.urgent, self.due) = (0, 0, false, None);
    }
}

/// What the journal's thread is to do next.
pub(super) enum Task<T> {
    /// Write this group.
    Write(Forming<T>),
    /// Sync what is written; the buffers were not needed.
    Sync(Forming<T>),
    /// Look whether there is space again; the buffers were not needed.
    Look(Forming<T>),
    /// The journal is closed and everything written.
    End,
}

/// What appenders, readers and the journal's thread share.
pub(super) struct Shared<T> {
    pub(super) bounds: Bounds,
    pub(super) segments: Segments,
    state: Mutex<State<T>>,
    wake: Condvar,
    /// Segment and offset of the end of what is committed.
    end: AtomicU64,
    full: AtomicBool,
}

struct State<T> {
    forming: Forming<T>,
    sleep: Sleep,
    closing: bool,
    failed: Option<JournalError>,
    /// When space was last looked for, and whether it is to be looked for now.
    space_asked: Option<Instant>,
    look: bool,
}

/// What the journal's thread waits for: it is woken for nothing else, because a wake costs more than an append.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    /// Anything.
    Idle,
    /// Something that cannot wait for [`LINGER`] to end.
    Lingering,
}

impl<T> Shared<T> {
    pub(super) fn new(bounds: Bounds, segments: Segments, end: Position) -> Self {
        let state = State {
            forming: Forming::default(),
            sleep: Sleep::Awake,
            closing: false,
            failed: None,
            space_asked: None,
            look: false,
        };
        let shared = Self {
            bounds,
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
        if durability == Durability::Sync && self.is_full() {
            self.ask_for_space(&mut state);
            return Err(AppendError::Full);
        }
        state
            .forming
            .push(records, durability, token, self.bounds.group)?;
        let wake = match state.sleep {
            Sleep::Awake => false,
            Sleep::Idle => true,
            Sleep::Lingering => durability != Durability::Write,
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

    /// Lets the journal's thread look for space, once a [`SPACE_CHECK`].
    fn ask_for_space(&self, state: &mut State<T>) {
        if state
            .space_asked
            .is_none_or(|asked| asked.elapsed() >= SPACE_CHECK)
        {
            state.space_asked = Some(now());
            state.look = true;
            state.sleep = Sleep::Awake;
            self.wake.notify_one();
        }
    }

    /// Waits for the next thing to do. `spare` takes the place of what formed.
    pub(super) fn next_task(&self, spare: Forming<T>, unsynced_since: Option<Instant>) -> Task<T> {
        let mut state = self.state();
        loop {
            let linger = (state.forming.due).map(|due| due.saturating_duration_since(now()));
            let ready = !state.forming.is_empty()
                && (state.forming.urgent
                    || state.closing
                    || linger.is_none_or(|left| left.is_zero()));
            let unsynced = unsynced_since.map(|since| SYNC_AFTER.saturating_sub(since.elapsed()));
            if ready {
                state.sleep = Sleep::Awake;
                return Task::Write(std::mem::replace(&mut state.forming, spare));
            }
            if state.closing {
                return Task::End;
            }
            if unsynced.is_some_and(|left| left.is_zero()) {
                state.sleep = Sleep::Awake;
                return Task::Sync(spare);
            }
            if std::mem::take(&mut state.look) {
                state.sleep = Sleep::Awake;
                return Task::Look(spare);
            }
            state.sleep = if linger.is_some() {
                Sleep::Lingering
            } else {
                Sleep::Idle
            };
            let limit = [linger, unsynced].into_iter().flatten().min();
            state = match limit {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    self.wake
                        .wait_timeout(state, limit)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    /// Puts a group that did not fit before what formed meanwhile, to be tried again in a [`SPACE_CHECK`]; gives buffers for the
    /// next one.
    ///
    /// # Errors
    /// The group, when the journal is being closed: nobody would write it later.
    pub(super) fn put_back(&self, mut forming: Forming<T>) -> Result<Forming<T>, Forming<T>> {
        let mut state = self.state();
        if state.closing {
            return Err(forming);
        }
        std::mem::swap(&mut state.forming, &mut forming);
        state.forming.join(&mut forming);
        state.forming.due = (!state.forming.is_empty()).then(|| now() + SPACE_CHECK);
        state.forming.urgent = false;
        Ok(forming)
    }

    /// Marks the journal as failed; the batches that were forming, or none if it had failed before.
    pub(super) fn poison(&self, error: &JournalError) -> Option<Vec<T>> {
        let mut state = self.state();
        if state.failed.is_some() {
            return None;
        }
        state.failed = Some(error.clone());
        Some(state.forming.take_tokens())
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
