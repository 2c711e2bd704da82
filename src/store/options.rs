//! Options for opening a store.

use std::path::PathBuf;
use std::time::Duration;

/// Options for opening a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder; made when absent (0700).
    pub path: PathBuf,
    /// How long a given id is remembered.
    pub dedup_window: Duration,
    /// How many given ids are remembered at most; 17 bytes of memory each.
    pub dedup_max: usize,
    /// Bytes of memory for bodies and windows, all queues together.
    pub memory_budget: usize,
    /// Bytes of bodies that may be pending, counted once per subscription of an event; above it events are refused.
    pub max_pending: u64,
    /// The rules for how long data is kept.
    pub retention: Retention,
    /// Events are accepted once written, and synced only within a second: a power cut may lose the latest.
    pub relaxed: bool,
}

/// The rules for how long data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Delivered and cancelled deliveries, after their end.
    pub delivered: Duration,
    /// Dead letters, after their death.
    pub dead: Duration,
    /// Bytes of the journal beyond the events that are pending.
    pub max_size: u64,
    /// Deliveries of a subscription that is gone from the file are cancelled after this.
    pub removed_after: Duration,
    /// Given ids are remembered this long: no event with one is removed for size before.
    pub dedup_window: Duration,
}
