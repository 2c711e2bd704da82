//! Segments: the list of them, where each ends, and the one that is written to.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::store::journal::disk::{Disk, DiskFile};
use crate::store::journal::format::{BLOCK, Seed, SegmentHeader};
use crate::store::journal::{Bounds, JournalError, SegmentInfo};

/// Returns the name of a segment's file.
pub(super) fn file_name(number: u32) -> String {
    format!("{number:08}.seg")
}

/// Returns the number in a segment's file name; `None` if it is not such a name.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let digits = name
        .strip_suffix(".seg")
        .filter(|digits| digits.len() == 8)?;
    digits.parse().ok().filter(|number| *number > 0)
}

/// All segments, shared by the writer and the readers.
pub(super) struct Segments {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) uuid: [u8; 16],
    known: Mutex<Known>,
    /// Held while a file is made or removed, until that is durable.
    folder: Mutex<()>,
}

struct Known {
    /// Number → where its groups end; `None` for the segment that is written to.
    ends: BTreeMap<u32, Option<u32>>,
    /// Files open for reading, the most recently used last.
    open: Vec<(u32, Arc<dyn DiskFile>)>,
    /// Length of the file of each sealed segment, as far as it was needed before.
    lengths: BTreeMap<u32, u64>,
}

impl Segments {
    /// Files kept open for reading at most.
    const OPEN_MAX: usize = 16;

    pub(super) fn new(
        disk: Arc<dyn Disk>,
        uuid: [u8; 16],
        ends: BTreeMap<u32, Option<u32>>,
    ) -> Self {
        Self {
            disk,
            uuid,
            known: Mutex::new(Known {
                ends,
                open: Vec::new(),
                lengths: BTreeMap::new(),
            }),
            folder: Mutex::new(()),
        }
    }

    /// Returns the seed of a segment's CRCs.
    pub(super) fn seed(&self, number: u32) -> Seed {
        Seed::new(&self.uuid, number)
    }

    /// Records that segment `number` ends at `end` and that `next` is written to.
    pub(super) fn rotated(&self, number: u32, end: u32, next: u32) {
        let mut known = self.known();
        known.ends.insert(number, Some(end));
        known.ends.insert(next, None);
    }

    /// Returns where a segment's groups end. The outer `None`: no such segment. The inner `None`: it is written to.
    pub(super) fn end_of(&self, number: u32) -> Option<Option<u32>> {
        self.known().ends.get(&number).copied()
    }

    /// Returns the first segment after `number`.
    pub(super) fn after(&self, number: u32) -> Option<u32> {
        self.known()
            .ends
            .range(number.saturating_add(1)..)
            .next()
            .map(|(number, _)| *number)
    }

    /// Returns a segment's file, for reading.
    ///
    /// # Errors
    /// [`JournalError::Gone`], or an error of the system.
    pub(super) fn file(&self, number: u32) -> Result<Arc<dyn DiskFile>, JournalError> {
        let mut known = self.known();
        if !known.ends.contains_key(&number) {
            return Err(JournalError::Gone { segment: number });
        }
        let found = known.open.iter().position(|(open, _)| *open == number);
        let entry = match found {
            Some(position) => known.open.remove(position),
            None => {
                let opened = self.disk.open(&file_name(number));
                let file = opened.map_err(|error| JournalError::io("open", number, error))?;
                (number, file)
            }
        };
        let file = Arc::clone(&entry.1);
        if known.open.len() >= Self::OPEN_MAX {
            known.open.remove(0);
        }
        known.open.push(entry);
        Ok(file)
    }

    /// Returns all segments, in order.
    pub(super) fn list(&self) -> Vec<SegmentInfo> {
        let ends = self.known().ends.clone();
        let info = |(number, end): (u32, Option<u32>)| SegmentInfo {
            number,
            bytes: self.length(number, end.is_some()),
            sealed: end.is_some(),
        };
        ends.into_iter().map(info).collect()
    }

    fn length(&self, number: u32, sealed: bool) -> u64 {
        if let Some(length) = self.known().lengths.get(&number) {
            return *length;
        }
        let length = self.file(number).ok().and_then(|file| file.length().ok());
        if let Some(length) = length.filter(|_| sealed) {
            self.known().lengths.insert(number, length);
        }
        length.unwrap_or_default()
    }

    /// Locks the folder: to be held while a file is made or removed, until that is durable.
    pub(super) fn change_folder(&self) -> MutexGuard<'_, ()> {
        self.folder.lock()
    }

    /// Forgets the oldest segment: no new read of it begins. Returns where its groups end; `None` if it is gone.
    ///
    /// # Errors
    /// [`JournalError::NotOldest`].
    pub(super) fn forget_first(&self, number: u32) -> Result<Option<u32>, JournalError> {
        let mut known = self.known();
        match known.ends.first_key_value() {
            Some((first, _)) if *first > number => Ok(None),
            Some((first, Some(end))) if *first == number => {
                let end = *end;
                known.ends.remove(&number);
                known.open.retain(|(open, _)| *open != number);
                Ok(Some(end))
            }
            _ => Err(JournalError::NotOldest { segment: number }),
        }
    }

    /// Removes the file of a forgotten segment. If that fails, the segment, which ends at `end`, is listed again.
    ///
    /// # Errors
    /// An error of the system, unless the file does not exist.
    pub(super) fn remove(&self, number: u32, end: u32) -> Result<(), JournalError> {
        match self.disk.remove(&file_name(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.known().ends.insert(number, Some(end));
                Err(JournalError::io("remove", number, error))
            }
            _ => {
                self.known().lengths.remove(&number);
                Ok(())
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

/// The segment that is written to: the place of the next group, and how far zeros are written ahead.
pub(super) struct Active {
    pub(super) number: u32,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) seed: Seed,
    /// Where the next group begins.
    pub(super) offset: u32,
    /// Everything below is synced.
    pub(super) synced_upto: u32,
    /// Zeros are written up to here.
    pub(super) filled: u32,
    /// Groups end before this.
    pub(super) capacity: u32,
}

impl Active {
    /// Makes the segment that `header` describes: file, header and first zeros synced, then its name.
    pub(super) fn create(
        disk: &dyn Disk,
        header: &SegmentHeader,
        bounds: &Bounds,
    ) -> io::Result<Self> {
        let name = file_name(header.number);
        let created = disk.create(&name).and_then(|file| {
            let active = Self::begin(file, header, bounds)?;
            disk.sync_folder()?;
            Ok(active)
        });
        if let Err(error) = &created
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            // Its header contains where the previous segment ends: it must not reappear after more is written to that
            // one. So any error of the removal is fatal, also one for want of space.
            match disk.remove(&name).and_then(|()| disk.sync_folder()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io::Error::other(error));
                }
                _ => {}
            }
        }
        created
    }

    fn begin(file: Arc<dyn DiskFile>, header: &SegmentHeader, bounds: &Bounds) -> io::Result<Self> {
        let capacity = bounds.capacity(header.number);
        let seed = Seed::new(&header.uuid, header.number);
        let mut active = Self {
            number: header.number,
            file,
            seed,
            offset: BLOCK,
            synced_upto: BLOCK,
            filled: 0,
            capacity,
        };
        active.fill(bounds.ahead, bounds.fill_step)?;
        active.file.write_at(&header.encode(), 0)?;
        active.file.sync()?;
        Ok(active)
    }

    /// Writes zeros ahead until they reach `upto` (at most the capacity), in steps of `step` bytes.
    pub(super) fn fill(&mut self, upto: u32, step: u32) -> io::Result<()> {
        if self.filled >= upto.min(self.capacity) {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(step).unwrap_or_default()];
        while self.filled < upto.min(self.capacity) {
            let length = step.min(self.capacity - self.filled);
            let bytes = zeros
                .get(..usize::try_from(length).unwrap_or_default())
                .unwrap_or_default();
            self.file.write_at(bytes, self.filled.into())?;
            self.filled += length;
        }
        Ok(())
    }
}
