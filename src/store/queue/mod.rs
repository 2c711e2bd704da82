//! The pending deliveries of each subscription: those that may be attempted now, are due later, or are leased.
//!
//! A queue is a window over the index: it keeps a bounded number of entries and bodies in memory, and reads the rest
//! when their turn comes. [`state`] has the rules, [`window`] and [`due`] its two parts, [`dispatcher`] the index and
//! reader that it asks; [`shared`] joins them with a lock, counters and wake-ups.
//!
//! Invariants: a delivery has at most one lease; a pending one is ready, due at a time, in flight, or in the index
//! where a refill finds it; no queue waits for another queue.

mod counters;
mod dispatcher;
mod due;
mod handle;
mod lease;
mod limits;
mod line;
mod operations;
mod order;
mod outlook;
mod shared;
mod slot;
mod state;
mod window;

pub(super) use counters::Counters;
pub(super) use dispatcher::Dispatcher;
pub use handle::{Queue, QueueCounts};
pub use lease::Lease;
pub(super) use limits::{Bounds, Limits};
pub(super) use shared::QueueShared;
pub(super) use state::QueueState;
