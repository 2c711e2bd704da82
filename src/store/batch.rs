//! A batch of events to accept, and the result for each.

use crate::domain::{Event, EventId, SubscriptionNumber};

/// An event to accept, with the subscriptions it is for.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The event; its id and `accepted_at` are already set.
    pub event: Event,
    /// The deliveries to make.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery to make.
#[derive(Debug, Clone, Copy)]
pub struct NewDelivery {
    /// For which subscription.
    pub subscription: SubscriptionNumber,
    /// Bytes that this subscription may have pending; beyond that the delivery is dead at once, reason `overflow`.
    pub max_pending: u64,
}

/// The result of posting an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its id; for a duplicate that of the first event.
    pub id: EventId,
    /// How many deliveries it has.
    pub deliveries: usize,
    /// It was accepted before.
    pub duplicate: bool,
    /// Subscriptions whose delivery is dead because `max_pending` was reached; empty for a duplicate.
    pub overflowed: Vec<SubscriptionNumber>,
}
