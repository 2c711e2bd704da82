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

/// The most that a page may have.
pub const PAGE_MAX: usize = 200;

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
    /// The index cannot be read just now.
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
