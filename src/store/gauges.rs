//! How the store is: its health and its gauges.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::book::Command;
use crate::store::{Health, Inner};

/// What the store takes of its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskUse {
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Bytes of bodies that wait for delivery.
    pub pending_bytes: u64,
    /// Bytes that are free on its disk; None: unknown.
    pub free_bytes: Option<u64>,
}

impl Inner {
    /// See [`Store::health`](crate::store::Store::health).
    pub(super) fn health(&self) -> Health {
        if self.hub.failure.is_set() {
            Health::Failed
        } else if self.journal.is_full() {
            Health::Full
        } else {
            Health::Healthy
        }
    }

    /// See [`Store::disk_use`](crate::store::Store::disk_use).
    pub(super) fn disk_use(&self) -> DiskUse {
        let folder = self.book_path.parent().unwrap_or(Path::new("/"));
        let free_bytes = rustix::fs::statvfs(folder).ok();
        DiskUse {
            folder: folder.to_owned(),
            size_bytes: self.journal.size_bytes() + book_bytes(&self.book_path),
            pending_bytes: self.hub.pending_bytes(),
            free_bytes: free_bytes.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        }
    }

    /// See [`Store::publish`](crate::store::Store::publish).
    pub(super) fn publish(&self) {
        let names = self.names.read();
        let queues: Vec<_> = names.iter().map(|known| &known.queue).collect();
        let partial: Vec<_> = queues
            .into_iter()
            .filter(|queue| queue.is_partial())
            .cloned()
            .collect();
        drop(names);
        if !partial.is_empty() {
            self.hub.book.command(Command::Oldest(partial));
        }
        let disk = self.disk_use();
        self.metrics.size_bytes.set(gauge(disk.size_bytes));
        self.metrics.pending_bytes.set(gauge(disk.pending_bytes));
        let healthy = match self.health() {
            Health::Healthy => 1.0,
            Health::Full | Health::Failed => 0.0,
        };
        self.metrics.healthy.set(healthy);
    }
}

/// Bytes of the book's files.
fn book_bytes(path: &Path) -> u64 {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    [path.to_owned(), PathBuf::from(wal)]
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// A number as gauges take it; exact up to 2^53.
fn gauge(number: u64) -> f64 {
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}
