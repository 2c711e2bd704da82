//! The run-time state of a subscription.

use crate::domain::{DisabledReason, Status, Timestamp};

/// Run-time state of a subscription that survives a restart. Times are of the steady clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionState {
    /// Failed attempts since the last success.
    pub consecutive_failures: u32,
    /// When the first of them failed; `None` when there are none.
    pub first_failure_at: Option<Timestamp>,
    /// Deliveries that died since the last success.
    pub consecutive_dead: u32,
    /// Since when its deliveries are held (disabled or gone from the file).
    pub held_since: Option<Timestamp>,
    /// Disabled at run time, why and since when; never [`DisabledReason::Config`].
    pub disabled: Option<(DisabledReason, Timestamp)>,
    /// The file contained `active: false` when it was last read.
    pub inactive: bool,
    /// Since when it is gone from the file.
    pub removed_at: Option<Timestamp>,
    /// A digest of its last url in the file, 0 before there was one: another url enables the subscription.
    pub endpoint: u64,
    /// Spans in which it was stopped (held, paused): not counted towards `max_age`. At most 32, oldest first; merged
    /// beyond.
    pub stops: Vec<(Timestamp, Timestamp)>,
    /// A digest of its last definition in the file, 0 before there was one.
    pub definition: u64,
    /// When it was first seen in the file; `None` if an older version recorded this state, or it never was.
    pub created_at: Option<Timestamp>,
    /// When its definition last changed, or it was last enabled or disabled; never before `created_at`.
    pub updated_at: Option<Timestamp>,
}

impl SubscriptionState {
    /// The status of the subscription that follows from this state.
    #[must_use]
    pub fn status(&self) -> Status {
        let by_file = self.held_since.filter(|_| self.inactive);
        let by_file = by_file.map(|since| (DisabledReason::Config, since));
        Status {
            disabled: by_file.or(self.disabled),
            consecutive_failures: self.consecutive_failures,
        }
    }
}
