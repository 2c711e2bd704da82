//! The limits of what queues keep in memory.

use std::sync::Arc;

use crate::store::budget::Budget;

/// How much of a queue is kept in memory. Small in tests, so that everything spills.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Bounds {
    /// Deliveries never attempted.
    pub(in crate::store) window: usize,
    /// Deliveries requested from the index at a time.
    pub(in crate::store) refill: usize,
    /// Commits that are remembered while a refill is under way.
    pub(in crate::store) tail: usize,
    /// Deliveries that wait for their next attempt.
    pub(in crate::store) dues: usize,
    /// Keys that may be stuck; beyond that the queue waits.
    pub(in crate::store) lines: usize,
    /// Deliveries that each queue may keep when the memory budget is used up.
    pub(in crate::store) granted: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            window: 16_384,
            refill: 4_096,
            tail: 4_096,
            dues: 10_000,
            lines: 10_000,
            granted: 16,
        }
    }
}

/// The limits of every queue.
#[derive(Debug)]
pub(in crate::store) struct Limits {
    /// Of each queue by itself.
    pub(in crate::store) bounds: Bounds,
    /// Of all queues together.
    pub(in crate::store) budget: Arc<Budget>,
}
