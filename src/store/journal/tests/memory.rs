//! A disk in memory that records its operations, fails on request, and can compute the states after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::super::disk::{Disk, DiskFile};
use crate::store::reserve::Room;

/// The files of a folder; cheap to clone.
pub(super) type Files = BTreeMap<String, Arc<Vec<u8>>>;

/// One operation on the disk.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Create(String),
    Write(String, u64, Vec<u8>),
    Sync(String),
    Remove(String),
    SyncFolder,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Create(name) => write!(f, "create {name}"),
            Self::Write(name, offset, bytes) => write!(f, "write {name} {offset}+{}", bytes.len()),
            Self::Sync(name) => write!(f, "sync {name}"),
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::SyncFolder => write!(f, "sync the folder"),
        }
    }
}

/// The operation that is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The sync of this number, from 1, and all later ones.
    Sync(usize),
    /// The write of this number, from 1, with this error, once this many of its bytes are written.
    Write(usize, io::ErrorKind, usize),
    /// The sync of this number, because there is no space.
    SyncWithoutSpace(usize),
    /// Syncs of the folder.
    SyncFolder,
    /// Removals.
    Remove,
}

#[derive(Default)]
struct State {
    files: Files,
    /// Removed, and perhaps still open.
    gone: Files,
    log: Vec<Asked>,
    /// Bytes that the files and the reserve may have in all.
    space: Option<usize>,
    reserve: usize,
    fault: Option<Fault>,
    syncs: usize,
    writes: usize,
}

impl State {
    fn free(&self) -> usize {
        let used: usize = self.files.values().map(|file| file.len()).sum();
        let space = self.space.unwrap_or(usize::MAX);
        space.saturating_sub(used + self.reserve)
    }
}

/// The disk; a cheap handle.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<State>>);

impl Memory {
    pub(super) fn with(files: Files) -> Self {
        Self(Arc::new(Mutex::new(State {
            files,
            ..State::default()
        })))
    }

    pub(super) fn log(&self) -> Vec<Asked> {
        self.state().log.clone()
    }

    pub(super) fn asked(&self) -> usize {
        self.state().log.len()
    }

    pub(super) fn syncs(&self) -> usize {
        self.state().syncs
    }

    pub(super) fn files(&self) -> Files {
        self.state().files.clone()
    }

    pub(super) fn used(&self) -> usize {
        self.files().values().map(|file| file.len()).sum()
    }

    pub(super) fn set_space(&self, space: Option<usize>) {
        self.state().space = space;
    }

    /// Leaves no room beyond what is used now.
    pub(super) fn fill_up(&self) {
        let mut state = self.state();
        state.space = None;
        state.space = Some(usize::MAX - state.free());
    }

    pub(super) fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    pub(super) fn flip(&self, name: &str, offset: usize, mask: u8) {
        flip(&mut self.state().files, name, offset, mask);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

/// Flips bits of one byte.
pub(super) fn flip(files: &mut Files, name: &str, offset: usize, mask: u8) {
    Arc::make_mut(files.get_mut(name).unwrap())[offset] ^= mask;
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.log.push(Asked::Create(name.to_owned()));
        state.files.insert(name.to_owned(), Arc::default());
        Ok(Arc::new(MemoryFile(self.clone(), name.to_owned())))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let exists = self.state().files.contains_key(name);
        if exists {
            Ok(Arc::new(MemoryFile(self.clone(), name.to_owned())))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.fault == Some(Fault::Remove) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let Some(file) = state.files.remove(name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        state.gone.insert(name.to_owned(), file);
        state.log.push(Asked::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.state();
        state.log.push(Asked::SyncFolder);
        if state.fault == Some(Fault::SyncFolder) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }
}

struct MemoryFile(Memory, String);

impl DiskFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.state();
        state.writes += 1;
        let (bytes, result) = match state.fault {
            Some(Fault::Write(number, error, kept)) if state.writes == number => {
                (&bytes[..kept.min(bytes.len())], Err(error.into()))
            }
            _ => (bytes, Ok(())),
        };
        let end = usize::try_from(offset).unwrap() + bytes.len();
        let grown = end.saturating_sub(state.files[&self.1].len());
        if grown > state.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state
            .log
            .push(Asked::Write(self.1.clone(), offset, bytes.to_vec()));
        let file = state.files.get_mut(&self.1).unwrap();
        put(Arc::make_mut(file), offset, bytes);
        result
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.state();
        let file = state
            .files
            .get(&self.1)
            .unwrap_or_else(|| &state.gone[&self.1]);
        let start = usize::try_from(offset).unwrap().min(file.len());
        let length = bytes.len().min(file.len() - start);
        bytes[..length].copy_from_slice(&file[start..start + length]);
        Ok(length)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.log.push(Asked::Sync(self.1.clone()));
        state.syncs += 1;
        match state.fault {
            Some(Fault::Sync(failing)) if state.syncs >= failing => {
                Err(io::Error::from_raw_os_error(5))
            }
            Some(Fault::SyncWithoutSpace(failing)) if state.syncs == failing => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.0.state();
        let file = state.files.get(&self.1).or_else(|| state.gone.get(&self.1));
        Ok(file.unwrap().len() as u64)
    }
}

/// A reserve of this many bytes on the disk, in steps of 1 KiB.
pub(super) struct MemoryReserve(pub(super) Memory, pub(super) usize);

impl Room for MemoryReserve {
    fn give(&self, bytes: u64) -> bool {
        let mut state = self.0.state();
        let before = state.reserve;
        let bytes = usize::try_from(bytes).unwrap().clamp(1, before.max(1));
        state.reserve = before.saturating_sub(bytes.next_multiple_of(1024));
        before > 0
    }

    fn make_whole(&self) -> bool {
        let mut state = self.0.state();
        let missing = self.1 - state.reserve;
        let grown = missing.min(state.free() / 1024 * 1024);
        state.reserve += grown;
        grown == missing
    }

    fn is_whole(&self) -> bool {
        self.0.state().reserve == self.1
    }
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    if file.len() < start + bytes.len() {
        file.resize(start + bytes.len(), 0);
    }
    file[start..start + bytes.len()].copy_from_slice(bytes);
}

/// The syncs that a test leaves out, to show that something depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    Nothing,
    /// The sync of a new segment's header.
    HeaderSync,
    /// The syncs of groups.
    GroupSync,
    /// The syncs of the folder behind a new segment.
    FolderSync,
    /// The syncs of the folder behind a removal.
    DropSync,
}

/// Returns the files after a power cut behind the first `cut` operations, beginning with `before` on the disk. Of
/// unsynced writes any sectors may be there (which covers reordering, too), unsynced names may be lost, unsynced
/// removals undone. `coin` decides.
pub(super) fn after_power_cut(
    before: &Files,
    log: &[Asked],
    cut: usize,
    (without, sector): (Without, usize),
    coin: &mut dyn FnMut() -> bool,
) -> Files {
    let mut durable = before.clone();
    let mut names: BTreeSet<&str> = before.keys().map(String::as_str).collect();
    let mut pending: BTreeMap<&str, Vec<(u64, &[u8])>> = BTreeMap::new();
    // Names in the order of their changes: made, or removed.
    let mut changes: Vec<(bool, &str)> = Vec::new();
    let mut synced_once: BTreeSet<&str> = names.clone();
    for asked in &log[..cut] {
        match asked {
            Asked::Create(name) => {
                durable.remove(name);
                pending.remove(name.as_str());
                synced_once.remove(name.as_str());
                changes.push((true, name));
            }
            Asked::Remove(name) => changes.push((false, name)),
            Asked::Write(name, offset, bytes) => {
                pending.entry(name).or_default().push((*offset, bytes));
            }
            Asked::Sync(name) => {
                let kind = if synced_once.insert(name) {
                    Without::HeaderSync
                } else {
                    Without::GroupSync
                };
                if kind != without {
                    let file = Arc::make_mut(durable.entry(name.clone()).or_default());
                    for (offset, bytes) in pending.remove(name.as_str()).unwrap_or_default() {
                        put(file, offset, bytes);
                    }
                }
            }
            Asked::SyncFolder => {
                let makes = changes.iter().any(|(made, _)| *made);
                let kind = if makes {
                    Without::FolderSync
                } else {
                    Without::DropSync
                };
                if kind != without {
                    apply(&mut names, &changes);
                    changes.clear();
                }
            }
        }
    }
    for (name, writes) in pending {
        let file = Arc::make_mut(durable.entry(name.to_owned()).or_default());
        for (offset, bytes) in writes {
            for (at, sector) in sectors(offset, bytes, sector) {
                if coin() {
                    put(file, at, sector);
                }
            }
        }
    }
    changes.retain(|_| coin());
    apply(&mut names, &changes);
    names
        .into_iter()
        .map(|name| (name.to_owned(), durable.remove(name).unwrap_or_default()))
        .collect()
}

fn apply<'a>(names: &mut BTreeSet<&'a str>, changes: &[(bool, &'a str)]) {
    for (made, name) in changes {
        if *made {
            names.insert(name);
        } else {
            names.remove(name);
        }
    }
}

/// The parts of a write that lie in different sectors of the file.
fn sectors(offset: u64, bytes: &[u8], sector: usize) -> impl Iterator<Item = (u64, &[u8])> {
    let first = sector - usize::try_from(offset).unwrap() % sector;
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    let behind = offset + head.len() as u64;
    std::iter::once((offset, head)).chain(
        rest.chunks(sector)
            .enumerate()
            .map(move |(index, part)| (behind + (index * sector) as u64, part)),
    )
}
