//! Questions and answers of queries.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::{
    AttemptStatus, DeadReason, DeliveryId, DeliveryState, Event, EventId, FailureReason, Label,
    SubscriptionName, Timestamp,
};
use crate::store::StoreError;
use crate::store::index::rows::Span;

/// The most items that a page may have.
pub const PAGE_MAX: usize = 200;

/// The request for a page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The most items to return: 1 to [`PAGE_MAX`].
    pub limit: usize,
    /// Where the previous page ended; `None` for the first page.
    pub cursor: Option<String>,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// The items. There may be fewer than the limit, or none, although more follow on the next page.
    pub items: Vec<T>,
    /// Where the next page begins, URL-safe; `None` if this is the last page.
    pub next: Option<String>,
}

/// A filter of events: all fields that are set must match.
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

/// A filter of deliveries: all fields that are set must match.
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

/// A filter of attempts: all fields that are set must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptFilter {
    /// Ended with this status.
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
    /// Number of its deliveries.
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
    /// Its state.
    pub state: DeliveryState,
    /// Why it is dead.
    pub dead_reason: Option<DeadReason>,
    /// When its event was accepted.
    pub accepted_at: Timestamp,
    /// When it is to be attempted again; `None` if it is not pending, or waits for its first attempt.
    pub due_at: Option<Timestamp>,
    /// When it died or was cancelled.
    pub ended_at: Option<Timestamp>,
    /// Number of attempts; `None` for a delivered one in a list.
    pub attempts: Option<u32>,
    /// The delivery that it waits for by the order of its subscription.
    pub behind: Option<Predecessor>,
}

/// A delivery of the same subscription that another waits for by their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predecessor {
    /// The id of its event.
    pub event: EventId,
    /// Whether it is dead; then it blocks later deliveries until it is replayed or cancelled.
    pub is_dead: bool,
}

/// A delivery with its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryView {
    /// Its summary, as in a list; if it was delivered, `ended_at` is when the successful attempt ended.
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
    /// The reason why it failed.
    pub reason: Option<FailureReason>,
    /// The status code of the response, if one came.
    pub response_code: Option<u16>,
    /// A description of the error, for people.
    pub error_message: Option<Box<str>>,
    /// Its duration, to the millisecond.
    pub duration: Duration,
    /// When it began, by the wall clock.
    pub started_at: Timestamp,
    /// The beginning of the response body.
    pub response_prefix: Bytes,
    /// When its delivery was due again after it; `None` if the delivery ended with it.
    pub next_attempt_at: Option<Timestamp>,
}

impl Attempt {
    /// Returns the state of its delivery right after it.
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
    /// Its delivery, in its current state.
    pub delivery: DeliverySummary,
    /// The attempt.
    pub attempt: Attempt,
}

/// The reason why a query was not answered.
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
    /// The query took longer than 5 s.
    #[error("the query took too long: expected one that is answered within 5s")]
    TooSlow,
    /// The event is kept, but cannot be read back.
    #[error("the event cannot be read back")]
    Unreadable,
    /// The index cannot be read at the moment.
    #[error("the index cannot be read")]
    Index(#[source] Arc<dyn Error + Send + Sync>),
    /// The store has failed or is closed.
    #[error(transparent)]
    Failed(StoreError),
}

/// Checks the limit of a page.
pub(super) fn limit(page: &Page) -> Result<usize, QueryError> {
    if (1..=PAGE_MAX).contains(&page.limit) {
        Ok(page.limit)
    } else {
        Err(QueryError::Limit(page.limit))
    }
}

pub(super) fn span(since: Option<Timestamp>, until: Option<Timestamp>) -> Span {
    Span { since, until }
}
