//! Live events of deliveries and subscriptions, for streams and the page.
//!
//! Publishing never waits, and no event is built without a listener. A listener that is too slow skips events and gets
//! their number: nothing here is durable, the store is.

use std::time::Duration;

use tokio::sync::broadcast;

use crate::domain::{
    AttemptStatus, DeliveryId, DeliveryState, FailureReason, Flow, Label, Status, SubscriptionName,
    Timestamp,
};

/// Events that a listener may be behind before it skips some.
const BEHIND_MAX: usize = 1024;

/// One live event.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedEvent {
    /// An attempt ended, and its outcome is recorded.
    Attempt(AttemptEnded),
    /// A delivery is in another state, for another reason than an attempt: replayed, cancelled.
    Delivery {
        /// Which.
        id: DeliveryId,
        /// The state it is in now.
        state: DeliveryState,
    },
    /// A subscription was enabled or disabled.
    Subscription {
        /// Which.
        name: SubscriptionName,
        /// Its state now.
        status: Status,
    },
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEnded {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// The type of its event.
    pub event_type: Label,
    /// Its number, from 1.
    pub number: u32,
    /// How it ended.
    pub status: AttemptStatus,
    /// Why it failed.
    pub reason: Option<FailureReason>,
    /// The status code of the response, if one came.
    pub response_code: Option<u16>,
    /// The error, for people.
    pub error_message: Option<Box<str>>,
    /// How long it took.
    pub duration: Duration,
    /// When it began, by the wall clock.
    pub started_at: Timestamp,
    /// The state that the delivery is in now.
    pub state: DeliveryState,
    /// When it is due again, by the steady clock; None if it has ended.
    pub next_attempt_at: Option<Timestamp>,
    /// How its subscription's lane treats due deliveries, after it.
    pub flow: Flow,
}

/// Both ends of the feed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed(broadcast::Sender<FeedEvent>);

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND_MAX))
    }
}

impl Feed {
    /// Publishes an event to all current listeners; `event` is not called if there are none.
    pub fn publish(&self, event: impl FnOnce() -> FeedEvent) {
        if self.has_listeners() {
            // The last listener may have gone away just now.
            drop(self.0.send(event()));
        }
    }

    /// Whether anybody listens now: for events that must be built before they have happened.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Returns a receiver of all events from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<FeedEvent> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed_event() -> FeedEvent {
        FeedEvent::Delivery {
            id: DeliveryId {
                event: crate::domain::EventId::new(Timestamp::from_millis(1), [0; 10]),
                subscription: "a".parse().unwrap(),
            },
            state: DeliveryState::Cancelled,
        }
    }

    #[test]
    fn nothing_is_put_together_when_nobody_listens() {
        let feed = Feed::default();
        feed.publish(|| panic!("asked although nobody listens"));
        let mut listener = feed.listen();
        feed.publish(feed_event);
        assert_eq!(listener.try_recv(), Ok(feed_event()));
    }

    #[test]
    fn a_slow_listener_learns_what_it_missed() {
        let feed = Feed::default();
        let mut listener = feed.listen();
        for _ in 0..=BEHIND_MAX {
            feed.publish(feed_event);
        }
        let missed = broadcast::error::TryRecvError::Lagged(1);
        assert_eq!(listener.try_recv(), Err(missed));
    }
}
