//! One bound in bytes for what the store keeps in memory: bodies, each counted once, and the entries of queues.
//!
//! The budget only counts; the queues decide what to do when it runs low. Above half of it, bodies are left on the
//! disk; when all is used, queues spill. Each queue is always granted one delivery, so the bound can be passed by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::Event;

/// The approximate memory that an event takes beside its body, bytes.
const HEAD_BYTES: usize = 512;

/// The bytes in use and their bound. Counting is relaxed: a brief excess is harmless.
#[derive(Debug)]
pub(in crate::store) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(in crate::store) fn new(limit: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            limit,
        }
    }

    pub(in crate::store) fn charge(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(in crate::store) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(in crate::store) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether more than half is used, so that bodies should not be kept in memory ahead of their turn.
    pub(in crate::store) fn above_half(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit / 2
    }

    /// Whether nothing more should be kept.
    pub(in crate::store) fn exhausted(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
    }

    /// Bytes of bodies that one queue may keep ahead of their turn.
    pub(in crate::store) fn share(&self) -> usize {
        self.limit / 8
    }
}

/// Bytes taken from the budget until dropped.
#[derive(Debug)]
pub(in crate::store) struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Permit {
    /// Takes the bytes that an event with a body of this size needs; never refused.
    pub(in crate::store) fn of_body(budget: &Arc<Budget>, body_bytes: usize) -> Self {
        let bytes = body_bytes.saturating_add(HEAD_BYTES);
        budget.charge(bytes);
        Self {
            budget: Arc::clone(budget),
            bytes,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// An event in memory with its share of the budget; shared by the queues that have a delivery of it.
#[derive(Debug)]
pub(in crate::store) struct StoredEvent {
    pub(in crate::store) event: Arc<Event>,
    _permit: Permit,
}

/// A shared `StoredEvent`.
pub(in crate::store) type Body = Arc<StoredEvent>;

impl StoredEvent {
    /// Makes an event that counts until its last reference is dropped.
    pub(in crate::store) fn new(event: Arc<Event>, permit: Permit) -> Arc<Self> {
        Arc::new(Self {
            event,
            _permit: permit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_gives_back_what_it_took() {
        let budget = Arc::new(Budget::new(4 * HEAD_BYTES));
        let first = Permit::of_body(&budget, HEAD_BYTES);
        assert!(!budget.above_half());
        let second = Permit::of_body(&budget, HEAD_BYTES);
        assert!(budget.above_half() && budget.exhausted());
        drop(first);
        assert!(!budget.above_half());
        drop(second);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
