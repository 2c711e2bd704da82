//! Queries: what became of events, deliveries and attempts, as the book and the journal have it.
//!
//! A query waits until the book has everything committed and then runs on a thread of its own with a connection of its
//! own, so that it holds up neither deliveries nor verbs. Lists show the newest first. Their cursors say where in the
//! order of acceptance (of attempts: of recording) a page ended, so they stay valid while events arrive and deliveries change.
//!
//! Everything is bounded: queries under way, the rows that one call looks at, bytes that it reads from the journal, and
//! its time. A call that looked at as many rows as it may answers what it found, possibly nothing, with a cursor that goes on
//! from there; the list is at its end only when there is no cursor.
//!
//! Whether a pending delivery is held is a matter of its subscription's state, and whether an attempt of it is in flight is
//! known to its queue: neither is answered here.

mod attempts;
mod behind;
mod cursor;
mod deliveries;
mod delivery;
mod event;
mod events;
mod tallies;
mod thread;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use tallies::{LastFailure, SuccessRate, Tally};
pub(super) use thread::{Inbox, run};
use thread::{ReadError, Reading};

use crate::domain::{
    AttemptStatus, DeadReason, DeliveryId, DeliveryState, Event, EventId, EventIdRange,
    FailureReason, Label, SubscriptionName, Timestamp,
};
use crate::store::book::find;
use crate::store::book::rows::Span;
use crate::store::{Inner, Store, StoreError};

/// The most that a page may have.
pub const PAGE_MAX: usize = 200;

/// Rows that one call looks at, at most.
const ROWS_MAX: u64 = 50_000;
/// Attempts that are shown of one delivery, the last ones.
const ATTEMPTS_MAX: usize = 200;

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many at most: 1 to [`PAGE_MAX`].
    pub limit: usize,
    /// Where the page before ended; none: the first page.
    pub cursor: Option<String>,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// What is on it. There may be fewer than the limit, or none, although more follows.
    pub items: Vec<T>,
    /// Where the next page begins, URL-safe; none when there is none.
    pub next: Option<String>,
}

/// Which events are listed: all fields that are set must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// This type, exactly.
    pub event_type: Option<Label>,
    /// This given id, of any source.
    pub given_id: Option<Label>,
    /// Accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Accepted before this time.
    pub until: Option<Timestamp>,
}

/// Which deliveries are listed: all fields that are set must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// Of this subscription.
    pub subscription: Option<SubscriptionName>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of events accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Of events accepted before this time.
    pub until: Option<Timestamp>,
}

/// Which attempts are listed: all fields that are set must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptFilter {
    /// Ended so.
    pub status: Option<AttemptStatus>,
    /// Begun at this time or later.
    pub since: Option<Timestamp>,
    /// Begun before this time.
    pub until: Option<Timestamp>,
}

/// An event in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSummary {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub event_type: Label,
    /// The id that the application gave it.
    pub given_id: Option<Label>,
    /// The key that orders its deliveries.
    pub key: Option<Label>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Bytes of its body.
    pub body_bytes: u32,
    /// How many deliveries it has.
    pub deliveries: usize,
}

/// An event with its deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// Head, kept headers and body, as accepted.
    pub event: Arc<Event>,
    /// Its deliveries, in the order in which their subscriptions became known.
    pub deliveries: Vec<DeliverySummary>,
}

/// A delivery in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySummary {
    /// Its id.
    pub id: DeliveryId,
    /// The type of its event.
    pub event_type: Label,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why it is dead.
    pub dead_reason: Option<DeadReason>,
    /// When its event was accepted.
    pub accepted_at: Timestamp,
    /// When it is to be attempted again; none if it is not pending, or waits for its first attempt.
    pub due_at: Option<Timestamp>,
    /// When it died or was cancelled.
    pub ended_at: Option<Timestamp>,
    /// Attempts made; none for one that was delivered when it stands in a list.
    pub attempts: Option<u32>,
    /// What it waits for by the order of its subscription.
    pub behind: Option<Predecessor>,
}

/// A delivery of the same subscription that another waits for by their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predecessor {
    /// Of which event.
    pub event: EventId,
    /// It is dead, and blocks what follows until it is replayed or cancelled.
    pub is_dead: bool,
}

/// A delivery with its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryView {
    /// What a list shows of it; of one that was delivered, `ended_at` is when that attempt ended.
    pub summary: DeliverySummary,
    /// Its last 200 attempts, newest first.
    pub attempts: Vec<Attempt>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// How it ended.
    pub status: AttemptStatus,
    /// Why it failed.
    pub reason: Option<FailureReason>,
    /// The status code of the response, if one came.
    pub response_code: Option<u16>,
    /// What went wrong, for people.
    pub error_message: Option<Box<str>>,
    /// How long it took, to the millisecond.
    pub duration: Duration,
    /// When it began, by the wall clock.
    pub started_at: Timestamp,
    /// The beginning of the response body.
    pub response_prefix: Bytes,
    /// When its delivery was due again after it; None if the delivery ended with it.
    pub next_attempt_at: Option<Timestamp>,
}

impl Attempt {
    /// The state that its delivery was in after it.
    #[must_use]
    pub fn delivery_state(&self) -> DeliveryState {
        match (self.status, self.next_attempt_at) {
            (AttemptStatus::Success, _) => DeliveryState::Delivered,
            (AttemptStatus::Failed | AttemptStatus::Timeout, Some(_)) => DeliveryState::Pending,
            (AttemptStatus::Failed | AttemptStatus::Timeout, None) => DeliveryState::Dead,
        }
    }
}

/// An attempt in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptView {
    /// Its delivery, as it stands.
    pub delivery: DeliverySummary,
    /// The attempt.
    pub attempt: Attempt,
}

/// Why a query was not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The limit of a page is out of its range.
    #[error("expected a limit from 1 to {PAGE_MAX}, found {0}")]
    Limit(usize),
    /// The cursor is not one that a page of this list ended with.
    #[error("not a cursor of this list: expected the next_cursor of a page before")]
    Cursor,
    /// Too many queries are under way.
    #[error("too many queries are under way")]
    Overloaded,
    /// It took longer than 5 s.
    #[error("the query took too long: expected one that is answered within 5s")]
    TooSlow,
    /// The event is kept, but cannot be read back.
    #[error("the event cannot be read back")]
    Unreadable,
    /// The book cannot be read just now.
    #[error("the book cannot be read")]
    Book(#[source] Arc<dyn Error + Send + Sync>),
    /// The store has failed or is closed.
    #[error(transparent)]
    Failed(StoreError),
}

impl Store {
    /// An event with its deliveries; none if it is not kept.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn event(&self, id: &EventId) -> Result<Option<EventView>, QueryError> {
        let (id, orders) = (*id, self.0.orders(None));
        self.0
            .query(move |reading| event::view(reading, &orders, id))
            .await
    }

    /// Ids of events within a range, so many at most, in order.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ids_within(
        &self,
        range: EventIdRange,
        most: usize,
    ) -> Result<Vec<EventId>, QueryError> {
        let ask = move |reading: &Reading<'_>| Ok(find::ids_within(reading.book, range, most)?);
        let found = self.0.query(ask).await?;
        Ok(found.into_iter().collect())
    }

    /// Events, newest first. A call looks at 50,000 rows at most, with a given id at those of segments that still grow only.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn events(
        &self,
        filter: EventFilter,
        page: Page,
    ) -> Result<Listing<EventSummary>, QueryError> {
        let list = events::List::new(filter, &page, &self.0.key)?;
        self.0.query(move |reading| list.read(reading)).await
    }

    /// A delivery with its attempts; none if it is not kept.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn delivery(&self, id: &DeliveryId) -> Result<Option<DeliveryView>, QueryError> {
        let orders = self.0.orders(Some(&id.subscription));
        let id = id.clone();
        let ask = move |reading: &Reading<'_>| delivery::view(reading, &orders, &id);
        self.0.query(ask).await
    }

    /// Deliveries, newest event first. A call looks at 50,000 rows at most: of deliveries that are pending, dead or
    /// cancelled these are rows of that state and subscription, otherwise they are events.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: Page,
    ) -> Result<Listing<DeliverySummary>, QueryError> {
        let orders = self.0.orders(filter.subscription.as_ref());
        let list = deliveries::List::new(filter, &page)?;
        self.0
            .query(move |reading| list.read(reading, &orders))
            .await
    }

    /// Attempts of a subscription, the one recorded last first. A call looks at 50,000 rows at most.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn attempts(
        &self,
        subscription: &SubscriptionName,
        filter: AttemptFilter,
        page: Page,
    ) -> Result<Listing<AttemptView>, QueryError> {
        let orders = self.0.orders(Some(subscription));
        let list = attempts::List::new(subscription.clone(), filter, &page)?;
        self.0
            .query(move |reading| list.read(reading, &orders))
            .await
    }
}

impl Inner {
    /// Asks in the thread of queries, once the book has everything that is committed.
    async fn query<T: Send + 'static>(
        &self,
        ask: impl FnMut(&Reading<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let slot = self.hub.history.slot().ok_or(QueryError::Overloaded)?;
        let failed = || QueryError::Failed(self.hub.failure.reason());
        let known = self.hub.book.ask(|_| Ok(()));
        known.await.map_err(|_| failed())?;
        let answer = self.hub.history.ask(slot, ask);
        answer.await.unwrap_or_else(|_| Err(failed()))
    }
}

/// Checks the limit of a page.
fn limit(page: &Page) -> Result<usize, QueryError> {
    if (1..=PAGE_MAX).contains(&page.limit) {
        Ok(page.limit)
    } else {
        Err(QueryError::Limit(page.limit))
    }
}

fn span(since: Option<Timestamp>, until: Option<Timestamp>) -> Span {
    Span { since, until }
}

#[cfg(test)]
mod paging_tests;
#[cfg(test)]
mod span_tests;
#[cfg(test)]
mod tally_tests;
#[cfg(test)]
mod tests;
