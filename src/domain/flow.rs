//! Whether deliveries of a subscription are attempted now, and what they wait for otherwise.

use super::attempt::labels;
use crate::domain::Timestamp;

/// How a subscription's lane treats deliveries that are due. Times are those of the steady clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// It attempts them.
    #[default]
    Open,
    /// It attempts one at a time, because the endpoint fails.
    Probing {
        /// Since when.
        since: Timestamp,
        /// No attempt begins earlier.
        next_at: Timestamp,
    },
    /// It attempts nothing, because the endpoint asked for a pause (`Retry-After`).
    Paused {
        /// When the pause ends.
        until: Timestamp,
    },
    /// It attempts nothing, because `rate_limit` is used up.
    RateLimited {
        /// When the next attempt may begin.
        until: Timestamp,
    },
    /// It attempts nothing: the subscription is disabled or gone from the file.
    Held,
}

impl Flow {
    /// The earliest time of the next attempt; `None` if at once, or if passing time does not open the lane.
    #[must_use]
    pub const fn opens_at(self) -> Option<Timestamp> {
        match self {
            Self::Open | Self::Held => None,
            Self::Probing { next_at, .. } => Some(next_at),
            Self::Paused { until } | Self::RateLimited { until } => Some(until),
        }
    }
}

labels! {
    /// The state of a subscription, in one word.
    Condition {
        /// Deliveries are attempted when they are due.
        Active = 0 "active",
        /// The endpoint fails: one delivery at a time is attempted, with growing pauses.
        Probing = 1 "probing",
        /// The endpoint asked for a pause.
        Paused = 2 "paused",
        /// Deliveries are held: disabled, or gone from the file.
        Disabled = 3 "disabled",
        /// Deliveries wait, by their order, for a dead one to be replayed or cancelled.
        Blocked = 4 "blocked",
    }
}

impl Condition {
    /// The state by what the lane does, and whether deliveries wait behind a dead one.
    #[must_use]
    pub const fn of(flow: Flow, is_blocked: bool) -> Self {
        match flow {
            Flow::Held => Self::Disabled,
            Flow::Paused { .. } => Self::Paused,
            Flow::Probing { .. } => Self::Probing,
            Flow::Open | Flow::RateLimited { .. } if is_blocked => Self::Blocked,
            Flow::Open | Flow::RateLimited { .. } => Self::Active,
        }
    }
}
