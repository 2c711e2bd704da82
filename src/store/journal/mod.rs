//! The journal, the truth of the store: segment files to which groups of records are appended.
//!
//! [`Journal::append`] encodes records into the group that is forming; one thread writes what formed, syncs it when a batch
//! asks for it, and tells the sink. The next group forms meanwhile. What was reported as committed with [`Durability::Sync`]
//! survives any crash; what was not reported may survive or not, whole batches only.
//!
//! `format.rs` has the bytes, `codec.rs` those of records, `forming.rs` the group that forms, `writer.rs` the thread, `recover.rs`
//! what is done at open, `read.rs` the way back, `segment.rs` the files, `disk.rs` what is asked of a disk.

mod codec;
mod disk;
mod format;
mod forming;
mod read;
mod recover;
mod segment;
mod writer;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub(in crate::store) use self::codec::{decode_state, encode_state};
use self::disk::{Disk, Folder};
use self::format::BLOCK;
use self::forming::Shared;
use self::read::{Found, Groups, record_at};
use self::writer::Writer;
use crate::domain::EventSeq;
use crate::store::record::{Accepted, Record};

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

/// How soon a batch must be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The group is synced before the batch is reported: accepted events.
    Sync,
    /// Written within 2 ms and then reported, synced within 100 ms: outcomes, states.
    Write,
    /// Written at once and then reported, synced within 100 ms: outcomes that a lane waits for.
    WriteNow,
}

/// Why the journal cannot be opened or has failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum JournalError {
    /// The operating system refused.
    #[error("cannot {doing} segment {segment} of the journal")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which segment, 0 for the folder.
        segment: u32,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Written by a newer version of sidehook.
    #[error(
        "segment {segment} of the journal has format {version}, this version of sidehook reads {}: run the newer version",
        format::VERSION
    )]
    Newer {
        /// Which segment.
        segment: u32,
        /// Its format.
        version: u32,
    },
    /// The first segment's header cannot be read, so nothing behind it can be verified.
    #[error("the header of segment {segment} of the journal is damaged")]
    Damaged {
        /// Which segment.
        segment: u32,
    },
    /// A record is not where it should be, or its CRC does not fit.
    #[error("the record at {0:?} of the journal is damaged")]
    Record(Place),
    /// It was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    fn io(doing: &'static str, segment: u32, source: io::Error) -> Self {
        Self::Io {
            doing,
            segment,
            source: Arc::new(source),
        }
    }
}

/// Why a batch was not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AppendError {
    /// No space on the disk for what must be synced. Nothing is broken; later batches may pass.
    #[error("no space on the disk")]
    Full,
    /// Too much waits for the commit under way.
    #[error("too much waits to be written")]
    Overloaded,
    /// The batch alone is larger than a group may be.
    #[error("the batch is larger than a group of the journal may be")]
    TooLarge,
    /// The journal has failed or is closed.
    #[error(transparent)]
    Failed(JournalError),
}

/// Figures of one committed group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Whether it was synced, or only written.
    pub(crate) synced: bool,
    /// How long write and sync took.
    pub(crate) duration: Duration,
    /// How many of its batches asked for the sync.
    pub(crate) events: usize,
}

/// Told of every group, in order, on the journal's thread. Must be quick.
pub(crate) trait Committed<T>: Send + 'static {
    /// The batches in the order of their append, each with the places of its records.
    fn committed(&mut self, batches: Vec<(T, Vec<Place>)>, group: Group);
    /// There was no space for these, which asked for a sync: nothing of them is stored.
    fn refused(&mut self, batches: Vec<T>);
    /// The journal has failed; batches that were waiting are not committed. Called once at most, last.
    fn failed(&mut self, error: &JournalError, waiting: Vec<T>);
}

/// What recovery found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Damaged places that were passed over: once synced, now with a CRC that does not fit.
    pub(crate) damaged: Vec<String>,
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

impl Bounds {
    /// What a store uses: 4 MiB, then 64 MiB a segment; groups up to 24 MiB, so that a batch of 16 MiB fits.
    pub(crate) const STORE: Self = Self {
        first_segment: 4 << 20,
        segment: 64 << 20,
        fill_step: 1 << 20,
        ahead: 2 << 20,
        group: 24 << 20,
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
    /// Opens or makes the journal in `folder`, recovers its tail, starts its thread. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or its format is newer.
    pub(crate) fn open(
        folder: &Path,
        sink: impl Committed<T>,
    ) -> Result<(Self, Recovery), JournalError> {
        let disk = Folder::open(folder)
            .map_err(|error| JournalError::io("open the folder of", 0, error))?;
        Self::open_on(Arc::new(disk), Bounds::STORE, sink)
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        bounds: Bounds,
        sink: impl Committed<T>,
    ) -> Result<(Self, Recovery), JournalError> {
        let recovered = recover::recover(disk, &bounds)?;
        let (active, report) = (recovered.active, recovered.report);
        let end = Position {
            segment: active.number,
            offset: active.offset,
        };
        let shared = Arc::new(Shared::new(bounds, recovered.segments, end));
        let writer = Writer {
            shared: Arc::clone(&shared),
            sink,
            active,
            next_group: recovered.next_group,
            last_seq: report.last_seq.0,
            unsynced_since: None,
        };
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

    /// Visits every record of committed groups from `from` on, in order, whole groups only, until about `max_bytes` were read
    /// or the end is reached; answers where to go on. The default position is the beginning. What is damaged is passed
    /// over, record by record where that is possible.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub(crate) fn scan(
        &self,
        from: Position,
        max_bytes: usize,
        visit: &mut dyn FnMut(Record, Place),
    ) -> Result<Position, JournalError> {
        let (end, segments) = (self.end(), &self.shared.segments);
        let mut at = from;
        let mut left = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        while at < end && left > 0 {
            let limit = match segments.end_of(at.segment) {
                None => 0,
                Some(_) if at.segment == end.segment => end.offset,
                Some(limit) => limit.unwrap_or(0),
            };
            if at.offset >= limit {
                let Some(next) = segments
                    .after(at.segment)
                    .filter(|next| *next <= end.segment)
                else {
                    break;
                };
                at = Position {
                    segment: next,
                    offset: BLOCK,
                };
                continue;
            }
            let until = self.scan_segment(at, limit, left, visit)?;
            left = left.saturating_sub(u64::from(until.saturating_sub(at.offset)));
            at.offset = until;
        }
        Ok(at)
    }

    /// Visits groups of one segment until `limit` or until `most` bytes were read; where the next one begins.
    fn scan_segment(
        &self,
        from: Position,
        limit: u32,
        most: u64,
        visit: &mut dyn FnMut(Record, Place),
    ) -> Result<u32, JournalError> {
        let io = |error| JournalError::io("read", from.segment, error);
        let segments = &self.shared.segments;
        let file = segments.file(from.segment).map_err(io)?;
        let mut groups = Groups::new(file, segments.seed(from.segment), from.segment, limit);
        let mut offset = from.offset;
        while offset < limit && u64::from(offset - from.offset) < most {
            offset = match groups.find(offset).map_err(io)? {
                Found::Group {
                    header,
                    records_at,
                    end,
                }
                | Found::Damaged {
                    header,
                    records_at,
                    end,
                } => {
                    let lost = groups.visit(&header, records_at, visit).map_err(io)?;
                    if lost > 0 {
                        tracing::error!(
                            segment = from.segment,
                            offset,
                            records = lost,
                            "records of the journal are damaged"
                        );
                    }
                    end
                }
                Found::Nothing => self
                    .skip_damage(&mut groups, from.segment, offset, limit)
                    .map_err(io)?,
            };
        }
        Ok(offset)
    }

    /// Where groups go on behind bytes that are none.
    fn skip_damage(
        &self,
        groups: &mut Groups,
        segment: u32,
        offset: u32,
        limit: u32,
    ) -> io::Result<u32> {
        if groups.is_clean(offset)? {
            // The rest of a block behind a sync.
            return Ok(limit);
        }
        let next = groups.search(offset, |_| true)?.unwrap_or(limit);
        tracing::error!(
            segment,
            offset,
            bytes = next - offset,
            "groups of the journal are damaged"
        );
        Ok(next)
    }

    /// Reads one Accepted record back (from the page cache or the disk), verified.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub(crate) fn read(&self, place: Place) -> Result<Accepted, JournalError> {
        let segments = &self.shared.segments;
        let io = |error| JournalError::io("read", place.segment, error);
        let mut bytes = vec![0; usize::try_from(place.length).unwrap_or_default()];
        let read = segments
            .file(place.segment)
            .and_then(|file| file.read_at(&mut bytes, place.offset.into()))
            .map_err(io)?;
        let whole = bytes.get(..read).unwrap_or_default();
        match record_at(whole, segments.seed(place.segment)) {
            Some((Some(Record::Accepted(accepted)), _)) => Ok(accepted),
            _ => Err(JournalError::Record(place)),
        }
    }

    /// Bytes of all segment files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.shared.segments.size_bytes()
    }

    /// Whether batches that ask for a sync are refused for want of space.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// Writes and syncs what is left and ends the thread. Blocks.
    ///
    /// # Errors
    /// The failure of the journal, if it has failed.
    pub(crate) fn close(&self) -> Result<(), JournalError> {
        self.shared.close();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
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
