//! The policies of a subscription for its deliveries: order, limits, disabling.

use std::time::Duration;

use super::attempt::labels;

/// The field `order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Deliveries do not wait for each other.
    #[default]
    None,
    /// In order per key of the event; events without key do not wait.
    Key,
    /// In order, one at a time.
    Strict,
}

/// The field `when_stuck`: with an order, what a dead delivery does to those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenStuck {
    /// They wait until it is replayed or cancelled.
    #[default]
    Block,
    /// They go on.
    Skip,
}

/// The field `auto_disable`: when a subscription is disabled as `failing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoDisable {
    /// Never by itself.
    Never,
    /// When that many attempts in a row failed, the first of them at least so long ago.
    Failures {
        /// Failed attempts in a row, at least 1.
        failures: u32,
        /// How long ago the first of them was, at least.
        lasting: Duration,
    },
    /// When that many deliveries in a row died since the last success, at least 1.
    Dead(u32),
}

/// The field `rate_limit`: the number of attempts in each period, with bursts of one second's worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Attempts in one period, at least 1.
    pub attempts: u32,
    /// The period: a second, a minute or an hour.
    pub per: Duration,
}

labels! {
    /// Why a subscription is disabled.
    DisabledReason {
        /// `active: false` in the file.
        Config = 0 "config",
        /// An operator disabled it.
        Manual = 1 "manual",
        /// The endpoint answered 410 Gone.
        Gone = 2 "gone",
        /// The endpoint asked for it with `webhook-delivery: disable`.
        Endpoint = 3 "endpoint",
        /// It failed for too long: `auto_disable`.
        Failing = 4 "failing",
    }
}

labels! {
    /// Where a delivery stands.
    DeliveryState {
        /// To be attempted, or held.
        Pending = 0 "pending",
        /// It arrived.
        Delivered = 1 "delivered",
        /// Given up; can be replayed.
        Dead = 2 "dead",
        /// An operator cancelled it; can be replayed.
        Cancelled = 3 "cancelled",
    }
}
