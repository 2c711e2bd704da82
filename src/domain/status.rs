//! The status of a subscription, and why it cannot be disabled or enabled.

use crate::domain::{DisabledReason, Timestamp};

/// The status of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Why it is disabled and since when, by the steady clock; `None` if it is active. While the file has
    /// `active: false`, that is the reason, regardless of others.
    pub disabled: Option<(DisabledReason, Timestamp)>,
    /// Failed attempts since the last success that were the endpoint's fault.
    pub consecutive_failures: u32,
}

impl Status {
    /// Whether its deliveries are attempted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.disabled.is_none()
    }

    /// Its word in answers.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.is_active() {
            "active"
        } else {
            "disabled"
        }
    }
}

/// Why a subscription cannot be disabled or enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// The file does not have it.
    #[error("no subscription has this name")]
    Unknown,
    /// It is `locked`.
    #[error("the subscription is locked: only the file can disable it")]
    Locked,
    /// It cannot be enabled while the file has `active: false`.
    #[error("the subscription is inactive in the file: only there it can be made active")]
    Inactive,
}
