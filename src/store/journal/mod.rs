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
mod format;
mod forming;
mod place;
mod read;
mod recover;
mod scan;
mod segment;
mod shared;
mod types;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

pub(in crate::store) use self::codec::{decode_state, encode_state};
use self::disk::{Disk, Folder};
pub(crate) use self::error::{AppendError, Damage, Damaged, JournalError};
pub(crate) use self::place::{Place, Position};
use self::shared::{Shared, Timers};
pub(crate) use self::types::{
    Bounds, Committed, Durability, Group, Options, Recovery, SegmentInfo,
};
use self::writer::Writer;
use crate::store::record::{Accepted, Record};

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
                place: Some(forming::now()),
                ..Timers::default()
            },
            reserve,
            in_place,
            check_place_at: forming::now(),
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

    /// Visits every record of committed groups from `from` on, in order, whole groups only, until about `max_bytes` were read
    /// or the end is reached; answers where to go on. The default position is the beginning; from a position in a segment
    /// that was dropped it goes on with the first one there is. What is damaged is logged and passed over, record by record
    /// where that is possible.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub(crate) fn scan(
        &self,
        from: Position,
        max_bytes: usize,
        visit: &mut dyn FnMut(Record, Place),
    ) -> Result<Position, JournalError> {
        self.scan_telling(from, max_bytes, visit, &mut |damage| {
            tracing::error!(%damage, "the journal is damaged here; what could be read was kept");
        })
    }

    /// Does what [`Journal::scan`] does, and tells of what is damaged instead of logging it.
    ///
    /// # Errors
    /// Those of [`Journal::scan`].
    pub(crate) fn scan_telling(
        &self,
        from: Position,
        max_bytes: usize,
        visit: &mut dyn FnMut(Record, Place),
        tell: &mut dyn FnMut(Damage),
    ) -> Result<Position, JournalError> {
        let range = (from, self.end());
        scan::scan(&self.shared.segments, range, max_bytes, visit, tell)
    }

    /// Reads one event back (from the page cache or the disk), verified.
    ///
    /// # Errors
    /// [`JournalError::Gone`] when its segment was dropped; others when it cannot be read, or is not what was written.
    pub(crate) fn read(&self, place: Place) -> Result<Accepted, JournalError> {
        scan::read(&self.shared.segments, place)
    }

    /// Where a segment is damaged, from its beginning to its end.
    ///
    /// # Errors
    /// When it cannot be read, or was dropped.
    pub(crate) fn damages(&self, segment: u32) -> Result<Vec<Damage>, JournalError> {
        scan::damages(&self.shared.segments, segment, self.end())
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
