//! Queries about events, deliveries and attempts, answered from the index and the journal.
//!
//! A query waits until the index has everything committed. Then it runs on the thread of queries, which has a
//! connection of its own, so that it holds up neither deliveries nor operations. Lists show the newest first. A cursor
//! is the place where a page ended, in the order of acceptance (of attempts: of recording), so it stays valid while
//! events arrive and deliveries change.
//!
//! Everything is bounded: queries under way, the rows that one call reads, the bytes that it reads from the journal,
//! and its time. A call that reaches its limit of rows returns the items found so far, possibly none, with a cursor
//! that goes on from there. The list is at its end only if there is no cursor.
//!
//! Two facts are not in the answers: whether a pending delivery is held, which depends on its subscription's state, and
//! whether an attempt is in flight, which only its queue has.

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
