//! The journal, the truth of the store: segment files to which groups of records are appended.
//!
//! [`append`](WriteJournal::append) encodes records into the group that is forming. One thread writes that group, syncs
//! it if a batch needs it, and notifies the sink. The next group forms meanwhile. Batches that
//! [`Durability::Sync`] syncs before it reports them survive any crash; unsynced ones may be lost, whole batches only.
//!
//! Segments are dropped from the oldest on, one after the other, each durably before the next. So a power cut brings
//! back at most the segment dropped last, and never leaves a gap.
//!
//! `format.rs` has the bytes, `codec.rs` those of records, `forming.rs` the group that forms, `shared.rs` the state
//! that all threads share, `writer.rs` the thread, `recover.rs` the recovery at open, `scan.rs` and `read.rs` reading,
//! `segment.rs` the files, `disk.rs` the operations on a disk.

mod codec;
mod disk;
mod error;
mod format;
mod forming;
mod log;
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
pub(crate) use self::log::{ReadJournal, WriteJournal};
pub(crate) use self::place::{Place, Position};
use self::shared::{Shared, Timers};
pub(crate) use self::types::{
    Bounds, Committed, Durability, Group, Options, Recovery, SegmentInfo,
};
use self::writer::Writer;
use crate::store::record::{Accepted, Record};

/// The journal. Its own thread does all writing, and ends on [`Journal::close`] or when the journal is dropped.
pub(crate) struct Journal<T> {
    shared: Arc<Shared<T>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<T: Send + 'static> Journal<T> {
    /// Opens a journal with the sizes of a store.
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
}

impl<T: Send + 'static> ReadJournal for Journal<T> {
    fn end(&self) -> Position {
        self.shared.end()
    }

    fn scan_telling(
        &self,
        from: Position,
        max_bytes: usize,
        visit: &mut dyn FnMut(Record, Place),
        tell: &mut dyn FnMut(Damage),
    ) -> Result<Position, JournalError> {
        let range = (from, self.end());
        scan::scan(&self.shared.segments, range, max_bytes, visit, tell)
    }

    fn read(&self, place: Place) -> Result<Accepted, JournalError> {
        scan::read(&self.shared.segments, place)
    }

    fn damages(&self, segment: u32) -> Result<Vec<Damage>, JournalError> {
        scan::damages(&self.shared.segments, segment, self.end())
    }
}

impl<T: Send + 'static> WriteJournal<T> for Journal<T> {
    fn append(
        &self,
        records: &[Record],
        durability: Durability,
        token: T,
    ) -> Result<bool, AppendError> {
        self.shared.append(records, durability, token)
    }

    fn wake(&self) {
        self.shared.wake();
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.segments.list()
    }

    fn seal(&self) {
        self.shared.seal();
    }

    fn drop_first(&self, number: u32) -> Result<(), JournalError> {
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

    fn group_max(&self) -> u64 {
        u64::try_from(self.shared.bounds.group).unwrap_or(u64::MAX)
    }

    fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    fn close(&self) -> Result<(), JournalError> {
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
        // The thread ends by itself: no caller waits for it any more.
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
