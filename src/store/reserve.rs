//! Room on the disk that is reserved for a full disk: the file `reserve` in the store folder.
//!
//! When the disk is full no events are accepted, but deliveries go on, and their outcomes must be recorded in the
//! journal and in the index. Both then release a part of this file and use its room. Events are accepted again only
//! once it is whole. It holds no data: it may be absent or short, and no fault of it fails the store.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::private;

/// Size of the whole reserve, bytes.
const SIZE: u64 = 16 << 20;
/// It is made whole only if the disk has this much more free, bytes: room just given is for the journal and the index.
const MARGIN: u64 = 4 << 20;
/// It grows and shrinks in steps of this, bytes.
const STEP: u64 = 1 << 20;

/// Keeps room on the disk: the [`Reserve`], and stand-ins in tests.
pub(crate) trait Room: Send + Sync + 'static {
    /// Releases room, in whole steps, at least one; returns whether there was any. Everything for `u64::MAX`.
    fn give(&self, bytes: u64) -> bool;
    /// Takes back what was given if the disk has room for all of it and some more; returns whether it is whole now.
    fn make_whole(&self) -> bool;
    /// Whether nothing is missing. Cheap.
    fn is_whole(&self) -> bool;
}

/// The file.
#[derive(Debug)]
pub(crate) struct Reserve {
    state: Mutex<State>,
    whole: AtomicBool,
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    /// `None` while there was no room even for an empty file.
    file: Option<File>,
    length: u64,
}

impl Reserve {
    /// Opens the file at `path`; makes it, empty (0600), when it is absent and the disk has room for one.
    ///
    /// # Errors
    /// The error of the system, unless it is lack of space.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut state = State {
            path: path.to_owned(),
            file: None,
            length: 0,
        };
        match state.open() {
            Err(error) if !is_no_space(&error) => return Err(error),
            _ => {}
        }
        Ok(Self {
            whole: AtomicBool::new(state.length >= SIZE),
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Room for Reserve {
    fn give(&self, bytes: u64) -> bool {
        let mut state = self.state();
        let given = state.shrink(bytes);
        if given {
            self.whole.store(false, Ordering::Relaxed);
        }
        given
    }

    fn make_whole(&self) -> bool {
        let mut state = self.state();
        let whole = match state.grow() {
            Ok(()) => true,
            Err(error) if is_no_space(&error) => false,
            Err(error) => {
                // It is only a precaution: the store goes on without it.
                tracing::warn!(
                    %error,
                    "the reserve for a full disk cannot be made: outcomes may find no room then"
                );
                true
            }
        };
        self.whole.store(whole, Ordering::Relaxed);
        whole
    }

    fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Relaxed)
    }
}

impl State {
    fn open(&mut self) -> io::Result<&File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = private::open(&self.path, &mut options)?;
        let metadata = file.metadata()?;
        // A copied file may have holes instead of blocks: it has the length but keeps no room.
        let solid = metadata.blocks().saturating_mul(512) >= metadata.len();
        self.length = if solid { metadata.len().min(SIZE) } else { 0 };
        file.set_len(self.length)?;
        Ok(self.file.insert(file))
    }

    fn grow(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        if self.length == SIZE {
            return Ok(());
        }
        let whole = allocate(file, self.length, SIZE + MARGIN - self.length);
        let length = if whole.is_ok() { SIZE } else { self.length };
        file.set_len(length)?;
        self.length = length;
        whole
    }

    fn shrink(&mut self, bytes: u64) -> bool {
        let Some(file) = self.file.as_ref().filter(|_| self.length > 0) else {
            return false;
        };
        let bytes = bytes.max(1).div_ceil(STEP).saturating_mul(STEP);
        let length = self.length.saturating_sub(bytes);
        // Some file systems reuse blocks only once it is durable that they are free.
        match file.set_len(length).and_then(|()| file.sync_all()) {
            Ok(()) => {
                tracing::info!(
                    left = length,
                    "the disk is full: room was taken from the reserve"
                );
                self.length = length;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the reserve for a full disk cannot be used");
                false
            }
        }
    }
}

/// Allocates `length` bytes at `offset` on the disk, without writing them where the file system supports that. When
/// it fails, part of them may be allocated.
fn allocate(file: &File, offset: u64, length: u64) -> io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), offset, length) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                let zeros = vec![0; usize::try_from(STEP).unwrap_or_default()];
                for written in (0..length).step_by(usize::try_from(STEP).unwrap_or(1)) {
                    let rest = usize::try_from(length - written).unwrap_or(usize::MAX);
                    let part = zeros.get(..rest).unwrap_or(&zeros);
                    file.write_all_at(part, offset + written)?;
                }
                return file.sync_data();
            }
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Whether an error means lack of room, which is temporary, rather than a broken disk.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn blocks_and_length(path: &Path) -> (u64, u64) {
        let metadata = path.metadata().unwrap();
        (metadata.blocks() * 512, metadata.len())
    }

    #[test]
    fn it_has_blocks_of_its_own_and_gives_them_back_in_steps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reserve");
        let reserve = Reserve::open(&path).unwrap();
        assert!(!reserve.is_whole() && !reserve.give(1), "it is empty");
        assert!(reserve.make_whole() && reserve.is_whole());
        let (blocks, length) = blocks_and_length(&path);
        assert!(blocks >= SIZE && length == SIZE, "{blocks} {length}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        assert!(reserve.give(1));
        assert!(reserve.give(STEP + 1));
        assert!(!reserve.is_whole());
        assert_eq!(blocks_and_length(&path).1, SIZE - 3 * STEP);
        assert!(reserve.give(u64::MAX));
        assert_eq!(blocks_and_length(&path), (0, 0));
        assert!(!reserve.give(1), "nothing is left");
        assert!(reserve.make_whole());
        drop(reserve);
        assert!(Reserve::open(&path).unwrap().is_whole(), "it stays whole");
    }

    #[test]
    fn a_short_file_or_one_with_holes_is_made_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reserve");
        let file = File::create(&path).unwrap();
        for length in [5000, SIZE, 3 * SIZE] {
            file.set_len(0).unwrap();
            file.set_len(length).unwrap();
            let reserve = Reserve::open(&path).unwrap();
            assert!(!reserve.is_whole(), "{length}");
            assert!(reserve.make_whole(), "{length}");
            let (blocks, length) = blocks_and_length(&path);
            assert!(blocks >= SIZE && length == SIZE, "{blocks} {length}");
        }
    }

    #[test]
    fn a_disk_that_refuses_it_for_another_reason_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/reserve");
        assert!(Reserve::open(&path).is_err());
        let reserve = Reserve {
            state: Mutex::new(State {
                path,
                file: None,
                length: 0,
            }),
            whole: AtomicBool::new(false),
        };
        assert!(reserve.make_whole());
        assert!(!reserve.give(1));
    }
}
