//! The journal, the truth of the store: segment files to which groups of records are appended.
//!
//! [`Journal::append`] encodes records into the group that is forming; one thread writes what formed, syncs it when a batch
//! asks for it, and tells the sink. The next group forms meanwhile. What was reported as committed with [`Durability::Sync`]
//! survives any crash; what was not reported may survive or not, whole batches only.
//!
//! Segments are dropped from the oldest on, one after the other, each durably before the next: after a power cut at most the
//! one dropped last is there again, and there never is a hole.
//!
//! `format.rs` has the bytes, `codec.rs` those of records, `forming.rs` the group that forms, `shared.rs` what the thread and
//! the others share, `writer.rs` the thread, `recover.rs` what is done at open, `scan.rs` and `read.rs` the way back,
//! `segment.rs` the files, `disk.rs` what is asked of a disk.

mod codec;
mod disk;
mod error;
mod fields;
mod format;
mod forming;
mod read;
mod recover;
mod scan;
mod segment;
mod shared;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

pub(in crate::store) use self::codec::{decode_state, encode_state};
use self::disk::{Disk, Folder};
pub(crate) use self::error::{AppendError, Damage, Damaged, JournalError};
use self::shared::{Shared, Timers};
use self::writer::Writer;
use crate::domain::{BODY_BYTES_MAX, EventSeq};
use crate::store::in_place::InPlace;
use crate::store::record::Record;
use crate::store::reserve::Room;

/// Where a record stands: enough to read it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The segment's number, from 1, never reused.
    pub(crate) segment: u32,
    /// Of the record in the segment's file.
    pub(crate) offset: u32,
    /// Of the record, header included.
    pub(crate) length: u32,
}

/// Where a group begins, or where the next one will: a cursor. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    /// The segment's number; 0 is before everything.
    pub(crate) segment: u32,
    /// In the file.
    pub(crate) offset: u32,
}

/// What a batch is, and so how soon it must be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Accepted events: the group is written at once and synced before the batch is reported; in a relaxed journal it is
    /// reported when it is written, and synced within 1 s. Refused when the disk is full.
    Sync,
    /// Outcomes that something durable hangs on: written at once and synced before they are reported, also in a relaxed
    /// journal. Not refused when the disk is full.
    SyncOutcome,
    /// Written within 2 ms and then reported, synced within 100 ms, in a relaxed journal 1 s: outcomes, states.
    Write,
    /// Written at once and then reported, synced like [`Durability::Write`]: outcomes that a lane waits for.
    WriteNow,
}

impl Durability {
    const fn waits_for_sync(self, relaxed: bool) -> bool {
        match self {
            Self::Sync => !relaxed,
            Self::SyncOutcome => true,
            Self::Write | Self::WriteNow => false,
        }
    }

    const fn is_refused_when_full(self) -> bool {
        match self {
            Self::Sync => true,
            Self::SyncOutcome | Self::Write | Self::WriteNow => false,
        }
    }

    const fn is_urgent(self) -> bool {
        match self {
            Self::Sync | Self::SyncOutcome | Self::WriteNow => true,
            Self::Write => false,
        }
    }
}

/// How a journal is opened.
#[derive(Default)]
pub(crate) struct Options {
    /// Accepted events are reported when they are written: a power cut may lose those of the last second.
    pub(crate) relaxed: bool,
    /// What outcomes have when the disk is full.
    pub(crate) reserve: Option<Arc<dyn Room>>,
    /// What has to stay in its place.
    pub(crate) in_place: Option<Arc<InPlace>>,
}

/// A segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    /// Its number.
    pub(crate) number: u32,
    /// Length of its file; 0 if that cannot be found out.
    pub(crate) bytes: u64,
    /// It is not written to any more.
    pub(crate) sealed: bool,
}

/// Figures of one committed group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Whether it was synced, or only written.
    pub(crate) synced: bool,
    /// How long write and sync took.
    pub(crate) duration: Duration,
    /// How many of its batches are of events.
    pub(crate) events: usize,
}

/// Told of every group, in order, on the journal's thread. Must be quick.
pub(crate) trait Committed<T>: Send + 'static {
    /// The batches in the order of their append, each with the places of its records.
    fn committed(&mut self, batches: Vec<(T, Vec<Place>)>, group: Group);
    /// There was no space for these, which are of events: nothing of them is stored.
    fn refused(&mut self, batches: Vec<T>);
    /// The journal has failed; batches that were waiting are not committed. Called once at most, last.
    fn failed(&mut self, error: &JournalError, waiting: Vec<T>);
}

/// What recovery found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Damaged places that were passed over: once synced, now with a CRC that does not fit. Of sealed segments only their
    /// headers are looked at.
    pub(crate) damaged: Vec<Damage>,
    /// Bytes behind the last good group of a torn segment.
    pub(crate) torn_bytes: u64,
    /// The highest event sequence in the journal.
    pub(crate) last_seq: EventSeq,
}

/// Sizes, in bytes; tests take small ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of the first segment.
    pub(crate) first_segment: u32,
    /// Of the others.
    pub(crate) segment: u32,
    /// Zeros are written ahead in steps of this.
    pub(crate) fill_step: u32,
    /// Zeros reach at least this far beyond what is written.
    pub(crate) ahead: u32,
    /// A group that forms holds no more than this.
    pub(crate) group: usize,
}

const _: () = assert!(Bounds::STORE.group > BODY_BYTES_MAX + 1_000 * (16 << 10));

impl Bounds {
    /// What a store uses: 4 MiB, then 64 MiB a segment; groups up to 36 MiB, so that a batch of the largest size fits,
    /// with heads of 16 KiB for each of its 1,000 events.
    pub(crate) const STORE: Self = Self {
        first_segment: 4 << 20,
        segment: 64 << 20,
        fill_step: 1 << 20,
        ahead: 2 << 20,
        group: 36 << 20,
    };

    /// Bytes that a segment of this number may have.
    const fn capacity(&self, number: u32) -> u32 {
        if number == 1 {
            self.first_segment
        } else {
            self.segment
        }
    }
}

/// The journal: the writing is done by one thread of its own, which ends by [`Journal::close`] or with the journal.
pub(crate) struct Journal<T> {
    shared: Arc<Shared<T>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<T: Send + 'static> Journal<T> {
    /// Opens one with the sizes that stores have.
    #[cfg(test)]
    pub(crate) fn open(
        folder: &Path,
        options: Options,
        sink: impl Committed<T>,
    ) -> Result<(Self, Recovery), JournalError> {
        Self::open_sized(folder, Bounds::STORE, options, sink)
    }

    /// Opens or makes the journal in `folder`, recovers its tail, starts its thread. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or its format is newer.
    pub(crate) fn open_sized(
        folder: &Path,
        bounds: Bounds,
        options: Options,
        sink: impl Committed<T>,
    ) -> Result<(Self, Recovery), JournalError> {
        let disk = Folder::open(folder)
            .map_err(|error| JournalError::io("open the folder of", 0, error))?;
        Self::open_with(Arc::new(disk), bounds, options, sink)
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        bounds: Bounds,
        options: Options,
        sink: impl Committed<T>,
    ) -> Result<(Self, Recovery), JournalError> {
        let Options {
            relaxed,
            reserve,
            in_place,
        } = options;
        let recovered = recover::recover(disk, &bounds, reserve.as_deref())?;
        let (active, report) = (recovered.active, recovered.report);
        let end = Position {
            segment: active.number,
            offset: active.offset,
        };
        let shared = Arc::new(Shared::new(bounds, relaxed, recovered.segments, end));
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            sink,
            active,
            next_group: recovered.next_group,
            last_seq: report.last_seq.0,
            timers: Timers {
                place: Some(writer::now()),
                ..Timers::default()
            },
            reserve,
            in_place,
            check_place_at: writer::now(),
        };
        writer.look_ahead()?;
        let spawned = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run());
        let thread = spawned.map_err(|error| JournalError::io("start the thread of", 0, error))?;
        Ok((
            Self {
                shared,
                thread: Mutex::new(Some(thread)),
            },
            report,
        ))
    }

    /// Adds a batch to the group that is forming: in one group, all or none. The order of calls is the order of the journal.
    /// Does not wait for the disk; the sink is told. Answers whether the journal's thread sleeps: then it must be woken by
    /// [`Journal::wake`], at once or when more has been added, because a group costs the same for one event as for many.
    ///
    /// # Errors
    /// When there is no room, or the journal has failed; the sink is not told then.
    pub(crate) fn append(
        &self,
        records: &[Record],
        durability: Durability,
        token: T,
    ) -> Result<bool, AppendError> {
        self.shared.append(records, durability, token)
    }

    /// Wakes the journal's thread to write what was added.
    pub(crate) fn wake(&self) {
        self.shared.wake();
    }

    /// Adds a batch like [`Journal::append`] and wakes the thread if it sleeps.
    ///
    /// # Errors
    /// Those of [`Journal::append`].
    pub(crate) fn append_now(
        &self,
        records: &[Record],
        durability: Durability,
        token: T,
    ) -> Result<(), AppendError> {
        if self.append(records, durability, token)? {
            self.wake();
        }
        Ok(())
    }

    /// The end of what is committed: where [`Journal::scan`] ends.
    pub(crate) fn end(&self) -> Position {
        self.shared.end()
    }

    /// Bytes that what is appended at once may have.
    pub(crate) fn group_max(&self) -> u64 {
        u64::try_from(self.shared.bounds.group).unwrap_or(u64::MAX)
    }

    /// Bytes of all segment files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.shared.segments.size_bytes()
    }

    /// All segments, in order; the last one is written to.
    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.segments.list()
    }

    /// Asks the journal's thread to end the segment that is written to, if it holds anything, and to go on in a new one, so
    /// that the old one can be dropped. Does not wait for it; [`Journal::segments`] shows it. The new one needs room: on a
    /// full disk drop sealed segments first. If there is none, also not in the reserve, nothing changes.
    pub(crate) fn seal(&self) {
        self.shared.seal();
    }

    /// Removes the oldest segment, durably when this returns; what is read of it already can be read to the end. Nothing
    /// happens if it is gone. Blocks.
    ///
    /// # Errors
    /// [`JournalError::NotOldest`], also for one that is written to; when the file cannot be removed, then nothing is
    /// changed; when that cannot be made durable, then the journal has failed.
    pub(crate) fn drop_first(&self, number: u32) -> Result<(), JournalError> {
        let segments = &self.shared.segments;
        let _folder = segments.change_folder();
        if let Some(error) = self.shared.ended() {
            return Err(error);
        }
        let Some(end) = segments.forget_first(number)? else {
            return Ok(());
        };
        segments.remove(number, end)?;
        segments.disk.sync_folder().map_err(|error| {
            let error = JournalError::io("make durable the removal of", number, error);
            self.shared.break_off(&error);
            error
        })
    }

    /// Whether batches of events are refused for want of space.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// Writes and syncs what is left and ends the thread. Blocks.
    ///
    /// # Errors
    /// The failure of the journal, if it has failed.
    pub(crate) fn close(&self) -> Result<(), JournalError> {
        self.shared.close();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            return Err(JournalError::Closed);
        }
        match self.shared.failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl<T> Drop for Journal<T> {
    fn drop(&mut self) {
        // The thread ends by itself: nobody is left who waits for it.
        self.shared.close();
    }
}

impl<T> std::fmt::Debug for Journal<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("end", &self.shared.end())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
