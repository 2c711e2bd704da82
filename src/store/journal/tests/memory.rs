//! A disk in memory that records what is asked of it, fails on request, and can say what a power cut may leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use super::super::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// One thing that was asked of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Create(String),
    Write(String, u64, Vec<u8>),
    Sync(String),
    Remove(String),
    SyncFolder,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    log: Vec<Asked>,
    /// Bytes that the files may have in all.
    space: Option<usize>,
    /// The number of the sync that fails, from 1.
    failing_sync: Option<usize>,
}

/// The disk; a cheap handle.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<State>>);

impl Memory {
    pub(super) fn with(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self(Arc::new(Mutex::new(State {
            files,
            ..State::default()
        })))
    }

    pub(super) fn log(&self) -> Vec<Asked> {
        self.0.lock().unwrap().log.clone()
    }

    pub(super) fn asked(&self) -> usize {
        self.0.lock().unwrap().log.len()
    }

    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().unwrap().files.clone()
    }

    pub(super) fn set_space(&self, space: Option<usize>) {
        self.0.lock().unwrap().space = space;
    }

    pub(super) fn fail_sync(&self, number: usize) {
        self.0.lock().unwrap().failing_sync = Some(number);
    }

    pub(super) fn flip(&self, name: &str, offset: usize) {
        self.0.lock().unwrap().files.get_mut(name).unwrap()[offset] ^= 0x10;
    }
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock().unwrap();
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.log.push(Asked::Create(name.to_owned()));
        state.files.insert(name.to_owned(), Vec::new());
        Ok(Arc::new(MemoryFile(self.clone(), name.to_owned())))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let exists = self.0.lock().unwrap().files.contains_key(name);
        if exists {
            Ok(Arc::new(MemoryFile(self.clone(), name.to_owned())))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.log.push(Asked::Remove(name.to_owned()));
        state.files.remove(name);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.0.lock().unwrap().log.push(Asked::SyncFolder);
        Ok(())
    }
}

struct MemoryFile(Memory, String);

impl DiskFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        let end = usize::try_from(offset).unwrap() + bytes.len();
        let grown = end.saturating_sub(state.files[&self.1].len());
        let used: usize = state.files.values().map(Vec::len).sum();
        if grown > 0 && state.space.is_some_and(|space| used + grown > space) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state
            .log
            .push(Asked::Write(self.1.clone(), offset, bytes.to_vec()));
        put(state.files.get_mut(&self.1).unwrap(), offset, bytes);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.0.lock().unwrap();
        let file = &state.files[&self.1];
        let start = usize::try_from(offset).unwrap().min(file.len());
        let length = bytes.len().min(file.len() - start);
        bytes[..length].copy_from_slice(&file[start..start + length]);
        Ok(length)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.log.push(Asked::Sync(self.1.clone()));
        let number = state
            .log
            .iter()
            .filter(|asked| matches!(asked, Asked::Sync(_)))
            .count();
        if state.failing_sync.is_some_and(|failing| number >= failing) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().unwrap().files[&self.1].len() as u64)
    }
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    if file.len() < start + bytes.len() {
        file.resize(start + bytes.len(), 0);
    }
    file[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Which syncs a test takes out, to see that something depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    Nothing,
    /// The sync of a new segment's header.
    HeaderSync,
    /// The syncs of groups.
    GroupSync,
    FolderSync,
}

/// What a power cut after the first `cut` operations may leave, beginning with `before` on the disk: unsynced writes may be
/// there sector by sector, unsynced names may be lost. `coin` decides.
pub(super) fn after_power_cut(
    before: &BTreeMap<String, Vec<u8>>,
    log: &[Asked],
    cut: usize,
    without: Without,
    coin: &mut dyn FnMut() -> bool,
) -> BTreeMap<String, Vec<u8>> {
    let mut durable = before.clone();
    let mut names: BTreeSet<String> = before.keys().cloned().collect();
    let mut pending: BTreeMap<String, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    let (mut made, mut removed) = (Vec::new(), Vec::new());
    let mut synced_once: BTreeSet<String> = before.keys().cloned().collect();
    for asked in &log[..cut] {
        match asked {
            Asked::Create(name) => made.push(name.clone()),
            Asked::Remove(name) => removed.push(name.clone()),
            Asked::Write(name, offset, bytes) => pending
                .entry(name.clone())
                .or_default()
                .push((*offset, bytes.clone())),
            Asked::Sync(name) => {
                let first = synced_once.insert(name.clone());
                let kind = if first {
                    Without::HeaderSync
                } else {
                    Without::GroupSync
                };
                if kind != without {
                    let file = durable.entry(name.clone()).or_default();
                    for (offset, bytes) in pending.remove(name).unwrap_or_default() {
                        put(file, offset, &bytes);
                    }
                }
            }
            Asked::SyncFolder if without == Without::FolderSync => {}
            Asked::SyncFolder => {
                names.extend(made.drain(..));
                names = &names - &removed.drain(..).collect();
            }
        }
    }
    for (name, writes) in pending {
        let file = durable.entry(name).or_default();
        for (offset, bytes) in writes {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                if coin() {
                    put(file, offset + (index * SECTOR) as u64, sector);
                }
            }
        }
    }
    names.extend(made.into_iter().filter(|_| coin()));
    names = &names - &removed.into_iter().filter(|_| coin()).collect();
    names
        .into_iter()
        .map(|name| (name.clone(), durable.remove(&name).unwrap_or_default()))
        .collect()
}
