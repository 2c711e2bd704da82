//! The phases of stopping: each part waits for the phase that concerns it.
//!
//! Order: `stop_accepting` → requests under way are answered → `stop_leasing` → attempts in flight finish → the store
//! closes. `stop_now` cuts it short. How signals are received, and how long each phase may take, is decided by the
//! composition root.

use tokio_util::sync::CancellationToken;

/// The phases of a shutdown, as tokens that are passed to those they concern. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled first: listeners accept nothing more, requests under way are answered.
    pub stop_accepting: CancellationToken,
    /// Cancelled when ingest has ended: lanes take nothing more, attempts in flight finish.
    pub stop_leasing: CancellationToken,
    /// Cancelled at a second signal or the end of the grace period: everything ends at once.
    pub stop_now: CancellationToken,
}
