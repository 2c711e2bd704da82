//! The operations by which the rest of the store knows its journal.
//!
//! Above them nothing assumes files. A [`Position`] orders groups, a [`Place`] finds one record again, and a segment is
//! a part of the journal that goes as a whole: what it is made of, the journal alone knows.

use std::fmt;

use super::error::{AppendError, Damage, JournalError};
use super::place::{Place, Position};
use super::types::{Durability, SegmentInfo};
use crate::store::record::{Accepted, Record};

/// For those who read: what is committed, in order or by place.
pub(crate) trait ReadJournal: fmt::Debug + Send + Sync {
    /// The end of what is committed: where [`ReadJournal::scan`] ends.
    fn end(&self) -> Position;

    /// Visits every record of committed groups from `from` on, in order, whole groups only, until about `max_bytes`
    /// were read or the end is reached; answers where to go on. The default position is the beginning; from a position
    /// in a segment that was dropped it goes on with the first one there is. What is damaged is logged and passed over,
    /// record by record where that is possible.
    ///
    /// # Errors
    /// When a segment cannot be read.
    fn scan(
        &self,
        from: Position,
        max_bytes: usize,
        visit: &mut dyn FnMut(Record, Place),
    ) -> Result<Position, JournalError> {
        self.scan_telling(from, max_bytes, visit, &mut |damage| {
            tracing::error!(%damage, "the journal is damaged here; what could be read was kept");
        })
    }

    /// Does what [`ReadJournal::scan`] does, and tells of what is damaged instead of logging it.
    ///
    /// # Errors
    /// Those of [`ReadJournal::scan`].
    fn scan_telling(
        &self,
        from: Position,
        max_bytes: usize,
        visit: &mut dyn FnMut(Record, Place),
        tell: &mut dyn FnMut(Damage),
    ) -> Result<Position, JournalError>;

    /// Reads one event back (from the page cache or the disk), verified.
    ///
    /// # Errors
    /// [`JournalError::Gone`] when its segment was dropped; others when it cannot be read, or is not what was written.
    fn read(&self, place: Place) -> Result<Accepted, JournalError>;

    /// Where a segment is damaged, from its beginning to its end.
    ///
    /// # Errors
    /// When it cannot be read, or was dropped.
    fn damages(&self, segment: u32) -> Result<Vec<Damage>, JournalError>;
}

/// For those who append and remove. With each batch goes a token, which comes back when the batch is committed.
pub(crate) trait WriteJournal<T>: ReadJournal {
    /// Adds a batch to the group that is forming: in one group, all or none. The order of calls is the order of the
    /// journal. Does not wait for the disk; the sink is told. Answers whether the journal's thread sleeps: then it must
    /// be woken by
    /// [`WriteJournal::wake`], at once or when more has been added, because a group costs the same for one event as for
    /// many.
    ///
    /// # Errors
    /// When there is no room, or the journal has failed; the sink is not told then.
    fn append(
        &self,
        records: &[Record],
        durability: Durability,
        token: T,
    ) -> Result<bool, AppendError>;

    /// Wakes the journal's thread to write what was added.
    fn wake(&self);

    /// Adds a batch like [`WriteJournal::append`] and wakes the thread if it sleeps.
    ///
    /// # Errors
    /// Those of [`WriteJournal::append`].
    fn append_now(
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

    /// All segments, in order; the last one is written to.
    fn segments(&self) -> Vec<SegmentInfo>;

    /// Bytes of all segments.
    fn size_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.bytes).sum()
    }

    /// Asks the journal's thread to end the segment that is written to, if it holds anything, and to go on in a new
    /// one, so that the old one can be dropped. Does not wait for it; [`WriteJournal::segments`] shows it. The new one
    /// needs room: on a full disk drop sealed segments first. If there is none, also not in the reserve, nothing
    /// changes.
    fn seal(&self);

    /// Removes the oldest segment, durably when this returns; what is read of it already can be read to the end.
    /// Nothing happens if it is gone. Blocks.
    ///
    /// # Errors
    /// [`JournalError::NotOldest`], also for one that is written to; when the file cannot be removed, then nothing is
    /// changed; when that cannot be made durable, then the journal has failed.
    fn drop_first(&self, number: u32) -> Result<(), JournalError>;

    /// Bytes that what is appended at once may have.
    fn group_max(&self) -> u64;

    /// Whether batches of events are refused for want of space.
    fn is_full(&self) -> bool;

    /// Writes and syncs what is left and ends the thread. Blocks.
    ///
    /// # Errors
    /// The failure of the journal, if it has failed.
    fn close(&self) -> Result<(), JournalError>;
}
