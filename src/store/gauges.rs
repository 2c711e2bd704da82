//! The gauges of the store, and its use of the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::metrics::StoreMetrics;
use crate::store::appender::Health;
use crate::store::index::{Inbox as IndexInbox, query};
use crate::store::subscriptions::Subscriptions;

/// The store's use of its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskUse {
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Bytes of bodies that wait for delivery.
    pub pending_bytes: u64,
    /// Bytes that are free on its disk; `None` if unknown.
    pub free_bytes: Option<u64>,
}

/// Measures the store and sets its gauges.
pub(super) struct Gauges {
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) index: Arc<IndexInbox>,
    pub(super) index_path: PathBuf,
    pub(super) metrics: StoreMetrics,
    /// The index is being asked for the oldest deliveries.
    pub(super) asking_oldest: Arc<AtomicBool>,
}

impl Gauges {
    /// See [`Store::disk_use`](crate::store::Store::disk_use).
    pub(super) fn disk_use(&self) -> DiskUse {
        let folder = self.index_path.parent().unwrap_or(Path::new("/"));
        let free_bytes = rustix::fs::statvfs(folder).ok();
        DiskUse {
            folder: folder.to_owned(),
            size_bytes: self.subscriptions.appender.journal.size_bytes()
                + index_bytes(&self.index_path),
            pending_bytes: self.subscriptions.pending_bytes(),
            free_bytes: free_bytes.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        }
    }

    /// See [`Store::publish`](crate::store::Store::publish).
    pub(super) fn publish(&self) {
        let names = self.subscriptions.read();
        let queues: Vec<_> = names.iter().map(|known| &known.queue).collect();
        let partial: Vec<_> = queues
            .into_iter()
            .filter(|queue| queue.is_partial())
            .cloned()
            .collect();
        drop(names);
        if !partial.is_empty() && !self.asking_oldest.swap(true, Ordering::Relaxed) {
            let asking = Arc::clone(&self.asking_oldest);
            self.index.submit(move |index| {
                for queue in &partial {
                    queue.set_index_oldest(query::oldest(index, queue.number)?);
                }
                asking.store(false, Ordering::Relaxed);
                Ok(())
            });
        }
        let disk = self.disk_use();
        self.metrics.size_bytes.set(gauge(disk.size_bytes));
        self.metrics.pending_bytes.set(gauge(disk.pending_bytes));
        let healthy = match self.subscriptions.appender.health() {
            Health::Healthy => 1.0,
            Health::Full | Health::Failed => 0.0,
        };
        self.metrics.healthy.set(healthy);
    }
}

/// Bytes of the index's files.
fn index_bytes(path: &Path) -> u64 {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    [path.to_owned(), PathBuf::from(wal)]
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// Converts a number for a gauge; exact up to 2^53.
fn gauge(number: u64) -> f64 {
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}
