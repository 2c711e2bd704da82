//! A batch of events to accept, and what becomes of each.

use crate::domain::{Event, EventId, SubscriptionNumber};

/// An event to accept, with the subscriptions it is for.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The event; its id and accepted_at are already set.
    pub event: Event,
    /// The deliveries to make.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery to make.
#[derive(Debug, Clone, Copy)]
pub struct NewDelivery {
    /// For which subscription.
    pub subscription: SubscriptionNumber,
    /// Bytes that may be pending of this subscription; beyond it the delivery is dead at once, reason `overflow`.
    pub max_pending: u64,
}

/// What became of an event that was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its id, of the first one for a duplicate.
    pub id: EventId,
    /// How many deliveries it has.
    pub deliveries: usize,
    /// It was accepted before.
    pub duplicate: bool,
    /// Deliveries that are dead because `max_pending` was reached; none for a duplicate.
    pub overflowed: Vec<SubscriptionNumber>,
}
