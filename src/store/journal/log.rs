//! The operations that the journal offers to the rest of the store.
//!
//! Callers assume no files. A [`Position`] orders groups, a [`Place`] finds one record again, and a segment is a part
//! of the journal that is dropped as a whole. How a segment is stored is internal to the journal.

use std::fmt;

use super::error::{AppendError, Damage, JournalError};
use super::place::{Place, Position};
use super::types::{Durability, SegmentInfo};
use crate::store::record::{Accepted, Record};

/// Reading committed records, in order or by place.
pub(crate) trait ReadJournal: fmt::Debug + Send + Sync {
    /// Returns the end of the committed groups: where [`ReadJournal::scan`] ends.
    fn end(&self) -> Position;

    /// Visits every record of committed groups from `from` on, in order, whole groups only. Stops after about
    /// `max_bytes` or at the end, and returns where to go on. The default position is the beginning. From a position in
    /// a segment that was dropped it goes on with the next segment. Damage is logged and skipped, record by record
    /// where that is possible.
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

    /// Does what [`ReadJournal::scan`] does, but passes damage to `tell` instead of logging it.
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

    /// Reads one event back (from the page cache or the disk) and verifies its CRC.
    ///
    /// # Errors
    /// [`JournalError::Gone`] if its segment was dropped; others if it cannot be read, is damaged, or is no event.
    fn read(&self, place: Place) -> Result<Accepted, JournalError>;

    /// Returns the damage of a segment's groups, from its beginning to its end.
    ///
    /// # Errors
    /// When it cannot be read, or was dropped.
    fn damages(&self, segment: u32) -> Result<Vec<Damage>, JournalError>;
}

/// Appending and removing. Each batch has a token, which the sink receives when the batch is committed.
pub(crate) trait WriteJournal<T>: ReadJournal {
    /// Adds a batch to the group that is forming: in one group, all or none. The order of calls is the order of the
    /// journal. Does not wait for the disk; the sink is notified.
    /// Returns whether the journal's thread sleeps. Then the caller must call [`WriteJournal::wake`], at once or after
    /// further batches: a group costs the same for one event as for many.
    ///
    /// # Errors
    /// When there is no room, or the journal has failed; the sink is not notified then.
    fn append(
        &self,
        records: &[Record],
        durability: Durability,
        token: T,
    ) -> Result<bool, AppendError>;

    /// Wakes the journal's thread to write the added batches.
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

    /// Returns all segments, in order; the last one is written to.
    fn segments(&self) -> Vec<SegmentInfo>;

    /// Returns the bytes of all segments.
    fn size_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.bytes).sum()
    }

    /// Asks the journal's thread to end the segment that is written to, unless it is empty, and to go on in a new one,
    /// so that the old one can be dropped. Does not wait for it; [`WriteJournal::segments`] shows the result. The new
    /// segment needs room: on a full disk drop sealed segments first. If neither the disk nor the reserve has room,
    /// nothing changes.
    fn seal(&self);

    /// Removes the oldest segment, durably when this returns. A read of it that has begun can still finish.
    /// Does nothing if the segment is gone. Blocks.
    ///
    /// # Errors
    /// [`JournalError::NotOldest`], also for the segment that is written to. If the file cannot be removed, nothing
    /// changes. If the removal cannot be made durable, the journal has failed.
    fn drop_first(&self, number: u32) -> Result<(), JournalError>;

    /// Returns the largest size of one batch, encoded, bytes.
    fn group_max(&self) -> u64;

    /// Whether batches of events are refused because the disk has no space.
    fn is_full(&self) -> bool;

    /// Writes and syncs the remaining batches and ends the thread. Blocks.
    ///
    /// # Errors
    /// The failure of the journal, if it has failed.
    fn close(&self) -> Result<(), JournalError>;
}
