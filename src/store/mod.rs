//! The durable store. One handle: accept events, take deliveries, settle attempts.
//!
//! **The journal is the truth, the index is a view that reads the journal, queues are windows over the index.**
//!
//! - [`accept`](Store::accept) gives events their place in the order and appends them to the journal; it resolves when
//!   they are on the disk. Its thread leaves its results for one task ([`Store::run`]), which hands them on.
//! - A queue keeps in memory what may be attempted now or soon: deliveries just committed come with their event, others
//!   are found in the index and their events read back from the journal by a thread of their own.
//! - [`settle`](Store::settle) appends the outcome of an attempt; its consequence is visible when it is written.
//! - The index follows the journal in its thread. The plain case, delivered at the first attempt, uses only the journal
//!   and memory; the index follows later and nothing waits for it.
//! - Queries read the index in a thread of their own (`history/`).
//!
//! In the folder: `lock`, `journal/`, `index.sqlite3`, `reserve`. One process holds it at a time.
//!
//! Left to other modules: what to attempt and when (delivery), which subscriptions an event is for (matching).
//!
//! Invariants: no receipt before the event and its deliveries are durable; what was not durable is never leased; a
//! delivery has at most one lease; memory does not grow with what is pending.

mod accept;
mod appender;
mod batch;
mod budget;
mod changes;
mod check;
mod completions;
mod damaged;
mod dedup;
mod draft;
mod entry;
mod error;
mod failure;
mod fields;
mod folder;
mod gauges;
mod give_up;
mod handle;
mod history;
mod in_place;
mod index;
mod journal;
mod lock;
mod names;
mod open;
mod operations;
mod options;
mod pump;
mod purpose;
mod queue;
mod reader;
mod record;
mod replays;
mod reserve;
mod retention;
mod settle;
mod state;
mod subscriptions;
mod watch;

pub use appender::Health;
pub use batch::{NewDelivery, NewEvent, Receipt};
pub use check::{StoreReport, SubscriptionReport, check};
pub use error::{AcceptError, OperationError, StoreError};
pub use folder::{FolderState, examine, instance};
pub use handle::Store;
pub use history::{
    Attempt, AttemptFilter, DeliveryFilter, DeliverySummary, DeliveryView, EventFilter,
    EventSummary, EventView, Listing, PAGE_MAX, Page, QueryError, Tally,
};
pub use index::IndexState;
pub use options::{Retention, StoreOptions};
pub use queue::{Lease, Queue, QueueCounts};
pub use replays::{ReplayId, ReplayProgress, ReplayRequest, Replays, ReplaysState};
pub use state::SubscriptionState;
pub use watch::{FirstAttempt, Watch};

#[cfg(test)]
mod harness;
#[cfg(test)]
mod in_place_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wide_tests;
