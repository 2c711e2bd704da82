//! How a store is opened.

use std::path::PathBuf;
use std::time::Duration;

/// How a store is opened.
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
    /// Bytes of bodies that may be pending, those of one event once for each subscription; above it no event is accepted.
    pub max_pending: u64,
    /// What is kept, and for how long.
    pub retention: Retention,
    /// Events are accepted when they are written, and synced within a second: a power cut may lose those.
    pub relaxed: bool,
}

/// What is kept, and for how long.
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
    /// Given ids are remembered this long: no event with one goes by size before.
    pub dedup_window: Duration,
}
