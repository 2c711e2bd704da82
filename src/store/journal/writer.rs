//! The journal's one thread: takes the group that formed, writes it, syncs it if a batch needs it, notifies the sink.
//!
//! No error of a write or sync is retried: the journal is marked as failed, nothing of the group is reported as
//! committed, and the file is not written again. Lack of space while zeros are written ahead or a segment is made is no
//! such error. Then batches of events are refused, others use the room that is left, then that of the reserve. Events
//! are accepted again once zeros are ahead and the reserve is whole, which is checked once a second.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::store::in_place::InPlace;
use crate::store::journal::error::JournalError;
use crate::store::journal::format::{BLOCK, GROUP_HEADER, GroupHeader, SegmentHeader, aligned};
use crate::store::journal::forming::{Forming, now};
use crate::store::journal::place::{Place, Position};
use crate::store::journal::segment::{Active, file_name};
use crate::store::journal::shared::{SPACE_CHECK, Shared, Task, Timers, is_due};
use crate::store::journal::types::{Committed, Group};
use crate::store::reserve::{Room, is_no_space};

/// How often the thread checks whether the store's files are still in their place, while groups are written, …
const PLACE_CHECK: Duration = Duration::from_millis(100);
/// … and while there are none.
const IDLE_PLACE_CHECK: Duration = Duration::from_millis(800);

/// The state that the journal's thread owns.
pub(super) struct Writer<T, S> {
    pub(super) shared: Arc<Shared<T>>,
    pub(super) sink: S,
    pub(super) active: Active,
    pub(super) next_group: u64,
    pub(super) last_seq: u64,
    pub(super) timers: Timers,
    /// Room for outcomes when there is no other.
    pub(super) reserve: Option<Arc<dyn Room>>,
    /// Further files that have to stay in their place.
    pub(super) in_place: Option<Arc<InPlace>>,
    /// From when on the next group checks that the files are in their place.
    pub(super) check_place_at: Instant,
}

/// The reason why a group was not written.
enum Fault {
    NoSpace,
    Broken(JournalError),
}

impl<T: Send + 'static, S: Committed<T>> Writer<T, S> {
    /// Runs until the journal is closed or broken.
    pub(super) fn run(mut self) {
        let mut spare = Forming::default();
        loop {
            let done = match self.shared.next_task(spare, self.timers) {
                Task::Write(forming) => self.write(forming),
                Task::Sync(unused) => self.sync().map(|()| unused),
                Task::Look(unused) => Ok(unused),
                Task::CheckPlace(unused) => self
                    .check_place()
                    .map(|()| unused)
                    .map_err(|error| JournalError::io("write", self.active.number, error)),
                Task::Seal(unused) => self.seal().map(|()| unused),
                Task::Fail(error) => return self.fail(error, Vec::new()),
                Task::End => {
                    let end = if self.timers.sync.is_some() {
                        self.sync()
                    } else {
                        Ok(())
                    };
                    if let Err(error) = end {
                        self.fail(error, Vec::new());
                    }
                    return;
                }
            };
            match done.and_then(|emptied| self.look_ahead().map(|()| emptied)) {
                Ok(emptied) => spare = emptied,
                Err(error) => return self.fail(error, Vec::new()),
            }
        }
    }

    /// Writes and reports a group. Returns its buffers for reuse.
    fn write(&mut self, mut forming: Forming<T>) -> Result<Forming<T>, JournalError> {
        match self.make_room(&mut forming) {
            Ok(true) => self.write_placed(forming),
            Ok(false) if forming.is_empty() => Ok(forming),
            Ok(false) => self.put_back(forming),
            Err(error) => {
                self.fail(error.clone(), forming.take_tokens());
                Err(error)
            }
        }
    }

    /// Makes room for a group. If there is none, its events are refused, and the rest gets room from the reserve.
    /// Returns whether there is room for the rest; `false` if nothing is left, or no room.
    fn make_room(&mut self, forming: &mut Forming<T>) -> Result<bool, JournalError> {
        match self.place(forming) {
            Ok(()) => return Ok(true),
            Err(Fault::Broken(error)) => return Err(error),
            Err(Fault::NoSpace) => self.note_full(),
        }
        let refused = forming.split_off_events();
        if !refused.is_empty() {
            self.sink.refused(refused);
        }
        if forming.is_empty() {
            return Ok(false);
        }
        match self.place(forming) {
            Ok(()) => Ok(true),
            Err(Fault::Broken(error)) => Err(error),
            Err(Fault::NoSpace) if self.take_reserve(self.missing(forming)) => {
                match self.place(forming) {
                    Ok(()) => Ok(true),
                    Err(Fault::Broken(error)) => Err(error),
                    Err(Fault::NoSpace) => Ok(false),
                }
            }
            Err(Fault::NoSpace) => Ok(false),
        }
    }

    /// Writes and reports a group that has room.
    fn write_placed(&mut self, mut forming: Forming<T>) -> Result<Forming<T>, JournalError> {
        let started = now();
        match self.write_group(&mut forming) {
            Ok(synced) => {
                let group = Group {
                    synced,
                    duration: started.elapsed(),
                    events: forming.events(),
                };
                let places = self.places(&forming);
                self.advance(&forming, synced);
                self.shared.set_end(Position {
                    segment: self.active.number,
                    offset: self.active.offset,
                });
                self.sink.committed(forming.take_batches(places), group);
                Ok(forming)
            }
            Err(error) => {
                let error = JournalError::io("write", self.active.number, error);
                self.fail(error.clone(), forming.take_tokens());
                Err(error)
            }
        }
    }

    /// Puts a group that does not fit back to the front, where it waits for space.
    fn put_back(&mut self, forming: Forming<T>) -> Result<Forming<T>, JournalError> {
        self.shared.put_back(forming).map_err(|mut forming| {
            let error = JournalError::io(
                "write",
                self.active.number,
                io::ErrorKind::StorageFull.into(),
            );
            self.fail(error.clone(), forming.take_tokens());
            error
        })
    }

    /// Makes sure that a group has room in the active segment, or makes a new one. A group with events must leave zeros
    /// after it that are already on the disk: outcomes need room when there is none for events.
    fn place(&mut self, forming: &Forming<T>) -> Result<(), Fault> {
        let kept = if forming.events() > 0 {
            self.shared.bounds.ahead / 2
        } else {
            0
        };
        let length = forming.bytes.len();
        if self.end_of(length).saturating_add(kept) > self.active.capacity {
            self.rotate()?;
        }
        let wanted = self.end_of(length).saturating_add(kept);
        let filled = self.active.fill(wanted, self.shared.bounds.fill_step);
        filled.map_err(|error| self.fault("write", error))
    }

    /// Returns the bytes that a group without events needs beyond what the active segment has, plus one fill step.
    fn missing(&self, forming: &Forming<T>) -> u64 {
        let (bounds, length) = (self.shared.bounds, forming.bytes.len());
        let end = self.end_of(length);
        let bytes = if end > self.active.capacity {
            let group = u32::try_from(length).unwrap_or(u32::MAX);
            bounds.ahead.max(group.saturating_add(BLOCK))
        } else {
            end.saturating_sub(self.active.filled)
        };
        // Files are filled in steps, and a file system needs a little for itself.
        u64::from(bytes.saturating_add(bounds.fill_step))
    }

    fn take_reserve(&self, bytes: u64) -> bool {
        self.reserve
            .as_ref()
            .is_some_and(|reserve| reserve.give(bytes))
    }

    /// Ends the active segment, unless it is empty, and goes on in a new one. If neither the disk nor the reserve has
    /// space for that, nothing changes.
    fn seal(&mut self) -> Result<(), JournalError> {
        if self.active.offset == BLOCK {
            return Ok(());
        }
        let mut sealed = self.rotate();
        if matches!(sealed, Err(Fault::NoSpace)) {
            self.note_full();
            if self.take_reserve(self.shared.bounds.ahead.into()) {
                sealed = self.rotate();
            }
        }
        match sealed {
            Ok(()) | Err(Fault::NoSpace) => Ok(()),
            Err(Fault::Broken(error)) => Err(error),
        }
    }

    fn rotate(&mut self) -> Result<(), Fault> {
        if self.timers.sync.is_some() {
            self.sync().map_err(Fault::Broken)?;
        }
        let number = self.active.number;
        // A sealed segment is not checked again: if it was removed, only its readers would notice.
        self.check_place()
            .map_err(|error| self.fault("write", error))?;
        let header = SegmentHeader {
            uuid: self.shared.segments.uuid,
            number: number.saturating_add(1),
            previous: number,
            previous_end: self.active.synced_upto,
            last_seq: self.last_seq,
            first_group: self.next_group,
        };
        let shared = Arc::clone(&self.shared);
        let _folder = shared.segments.change_folder();
        // A thread that changed the folder before may have found that its names are not durable.
        if let Some(error) = shared.failure() {
            return Err(Fault::Broken(error));
        }
        let next = Active::create(&*shared.segments.disk, &header, &shared.bounds);
        let next = next.map_err(|error| self.fault("create", error))?;
        let end = Position {
            segment: next.number,
            offset: next.offset,
        };
        shared
            .segments
            .rotated(number, self.active.synced_upto, next.number);
        shared.set_end(end);
        self.active = next;
        Ok(())
    }

    fn check_place(&mut self) -> io::Result<()> {
        self.check_place_at = now() + PLACE_CHECK;
        self.timers.place = Some(now() + IDLE_PLACE_CHECK);
        if let Some(in_place) = &self.in_place {
            in_place.check()?;
        }
        let name = file_name(self.active.number);
        let disk = &self.shared.segments.disk;
        disk.check_in_place(&name, &*self.active.file)
    }

    /// Writes a group, and syncs it if a batch needs it or the sync timer has run out. Returns whether it synced.
    fn write_group(&mut self, forming: &mut Forming<T>) -> io::Result<bool> {
        forming.seal_records(self.active.seed);
        let records = forming.bytes.get(GROUP_HEADER..).unwrap_or_default();
        let header = GroupHeader {
            length: u32::try_from(records.len()).unwrap_or(u32::MAX),
            records: forming.records,
            synced_upto: self.active.synced_upto,
            sequence: self.next_group,
            records_crc: self.active.seed.crc(records),
        };
        let header = header.encode(self.active.seed);
        if let Some(place) = forming.bytes.get_mut(..GROUP_HEADER) {
            place.copy_from_slice(&header);
        }
        self.active
            .file
            .write_at(&forming.bytes, self.active.offset.into())?;
        let sync = forming.wants_sync(self.shared.relaxed) || is_due(self.timers.sync);
        if sync {
            self.active.file.sync()?;
        }
        if self.check_place_at <= now() {
            // Before the group is reported: bytes in a file that was removed are not stored.
            self.check_place()?;
        }
        Ok(sync)
    }

    fn places(&self, forming: &Forming<T>) -> Vec<Place> {
        let place = |span: &(u32, u32)| Place {
            segment: self.active.number,
            offset: self.active.offset.saturating_add(span.0),
            length: span.1,
        };
        forming.spans.iter().map(place).collect()
    }

    /// Moves the place of the next group behind the one that was written.
    fn advance(&mut self, forming: &Forming<T>, synced: bool) {
        self.next_group = self.next_group.saturating_add(1);
        self.last_seq = self.last_seq.max(forming.last_seq);
        let end = self.end_of(forming.bytes.len());
        if synced {
            self.note_synced(end);
        } else {
            self.active.offset = aligned(end, 8);
            let sync_after = self.shared.sync_after();
            self.timers.sync.get_or_insert_with(|| now() + sync_after);
        }
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.active
            .file
            .sync()
            .map_err(|error| JournalError::io("sync", self.active.number, error))?;
        self.note_synced(self.active.offset);
        self.shared.set_end(Position {
            segment: self.active.number,
            offset: self.active.offset,
        });
        Ok(())
    }

    /// Records that all bytes up to `end` are synced. The next group begins on a new block: no synced one is rewritten.
    fn note_synced(&mut self, end: u32) {
        self.active.synced_upto = end;
        self.active.offset = aligned(end, BLOCK);
        self.timers.sync = None;
    }

    /// Keeps zeros ahead and the reserve whole, and accepts events only while both succeed. On a full disk this is
    /// tried when the timer is due, not after each group: the room that is left must serve outcomes.
    pub(super) fn look_ahead(&mut self) -> Result<(), JournalError> {
        if self.shared.is_full() && !is_due(self.timers.look) {
            return Ok(());
        }
        match self.fill_ahead() {
            Ok(()) if self.is_reserve_whole() => {
                self.shared.set_full(false);
                self.timers.look = None;
            }
            Ok(()) | Err(Fault::NoSpace) => {
                self.timers.look = None;
                self.note_full();
            }
            Err(Fault::Broken(error)) => return Err(error),
        }
        Ok(())
    }

    fn is_reserve_whole(&self) -> bool {
        let whole = |reserve: &Arc<dyn Room>| reserve.is_whole() || reserve.make_whole();
        self.reserve.as_ref().is_none_or(whole)
    }

    /// Refuses events from now on, and starts the timer that checks for space.
    pub(super) fn note_full(&mut self) {
        self.shared.set_full(true);
        self.timers.look.get_or_insert_with(|| now() + SPACE_CHECK);
    }

    /// Keeps zeros written ahead, so that a commit writes into blocks that the file already has, and so that outcomes have
    /// room on a full disk. Goes on in a new segment before that room runs out.
    fn fill_ahead(&mut self) -> Result<(), Fault> {
        let bounds = self.shared.bounds;
        let left = self.active.capacity.saturating_sub(self.active.offset);
        let wanted = self
            .active
            .offset
            .saturating_add(bounds.ahead)
            .min(self.active.capacity);
        if left < bounds.ahead / 2 {
            self.rotate()
        } else if self.active.filled < wanted {
            self.active
                .fill(wanted, bounds.fill_step)
                .map_err(|error| self.fault("write", error))
        } else {
            Ok(())
        }
    }

    fn end_of(&self, length: usize) -> u32 {
        self.active
            .offset
            .saturating_add(u32::try_from(length).unwrap_or(u32::MAX))
    }

    fn fault(&self, doing: &'static str, error: io::Error) -> Fault {
        if is_no_space(&error) {
            Fault::NoSpace
        } else {
            Fault::Broken(JournalError::io(doing, self.active.number, error))
        }
    }

    /// Marks the journal as failed: no batch is accepted any more, and the sink gets the tokens of those that wait.
    fn fail(&mut self, error: JournalError, waiting: Vec<T>) {
        let later = self.shared.poison(&error);
        if let Some(later) = later {
            self.sink
                .failed(&error, waiting.into_iter().chain(later).collect());
        }
    }
}
