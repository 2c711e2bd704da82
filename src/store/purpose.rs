//! What events are accepted for: what is told to operators is not refused for want of room.

use crate::store::journal::Durability;

/// What a batch is accepted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be delivered.
    Posted,
    /// The same, and somebody waits for the first attempts.
    Watched,
    /// To tell operators, also that there is no room for events.
    Notice,
}

impl Purpose {
    /// How their batch is written.
    pub(super) const fn durability(self) -> Durability {
        match self {
            Self::Posted | Self::Watched => Durability::Sync,
            Self::Notice => Durability::SyncOutcome,
        }
    }
}
