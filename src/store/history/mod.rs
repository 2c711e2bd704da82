//! Queries: what became of events, deliveries and attempts, as the index and the journal have it.
//!
//! A query waits until the index has everything committed and then runs on a thread of its own with a connection of its
//! own, so that it holds up neither deliveries nor operations. Lists show the newest first. Their cursors say where in
//! the order of acceptance (of attempts: of recording) a page ended, so they stay valid while events arrive and
//! deliveries change.
//!
//! Everything is bounded: queries under way, the rows that one call looks at, bytes that it reads from the journal, and
//! its time. A call that looked at as many rows as it may answers what it found, possibly nothing, with a cursor that
//! goes on from there; the list is at its end only when there is no cursor.
//!
//! Whether a pending delivery is held is a matter of its subscription's state, and whether an attempt of it is in
//! flight is known to its queue: neither is answered here.

mod ask;
mod attempts;
mod behind;
mod cursor;
mod deliveries;
mod delivery;
mod event;
mod events;
mod tallies;
mod thread;
mod types;

pub(super) use ask::History;
pub use tallies::Tally;
pub(super) use thread::Thread;
pub use types::{
    Attempt, AttemptFilter, DeliveryFilter, DeliverySummary, DeliveryView, EventFilter,
    EventSummary, EventView, Listing, PAGE_MAX, Page, QueryError,
};

#[cfg(test)]
mod paging_tests;
#[cfg(test)]
mod span_tests;
#[cfg(test)]
mod tally_tests;
#[cfg(test)]
mod tests;
