//! The relay as a whole, and which process it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::values::Time;

/// The relay as a whole.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Status {
    /// The version of sidehook
    pub(crate) version: String,
    /// When the process started
    pub(crate) started_at: Time,
    /// For how long it has run
    pub(crate) uptime_seconds: u64,
    /// How many subscriptions are in which state
    pub(crate) subscriptions: SubscriptionStates,
    /// Deliveries of the subscriptions in the file that are to be attempted, without those held
    pub(crate) pending: u64,
    /// Those that wait because their subscription is disabled
    pub(crate) held: u64,
    /// Dead letters
    pub(crate) dead: u64,
    /// Attempts under way
    pub(crate) in_flight: u64,
    /// The store
    pub(crate) store: StoreStatus,
    /// The configuration file
    pub(crate) config: ConfigStatus,
}

/// Subscriptions by their state.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SubscriptionStates {
    pub(crate) active: usize,
    pub(crate) probing: usize,
    pub(crate) paused: usize,
    pub(crate) disabled: usize,
    pub(crate) blocked: usize,
}

/// The store on its disk.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StoreStatus {
    /// `full`: events are refused until there is room; `failed`: the process is about to end
    #[schemars(extend("enum" = ["healthy", "full", "failed"]))]
    pub(crate) health: String,
    /// Its folder
    pub(crate) path: String,
    /// Size of its files, bytes
    pub(crate) size_bytes: u64,
    /// Size of the bodies of pending events, bytes
    pub(crate) pending_bytes: u64,
    /// Free space on its disk, bytes; null if unknown
    pub(crate) free_bytes: Option<u64>,
}

/// The configuration file, compared with what is in force.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ConfigStatus {
    /// The file
    pub(crate) file: String,
    /// Whether it is what is in force, differs from it, is not valid, or was a pipe, which cannot be read again
    #[schemars(extend("enum" = ["in_force", "differs", "invalid", "pipe"]))]
    pub(crate) on_disk: String,
    /// The first error of a file that is not valid
    pub(crate) error: Option<String>,
    /// Keys of what is in force whose change since the start takes effect at the next one
    pub(crate) at_next_start: Vec<String>,
}

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Instance {
    /// The version of sidehook
    pub(crate) version: String,
    /// Its process id
    pub(crate) process_id: u32,
    /// The configuration file, absolute
    pub(crate) config: String,
    /// The folder of the store, absolute
    pub(crate) store: String,
    /// Where events are posted: `host:port`, `unix:/path`, or `systemd:NAME` for a socket without a path
    pub(crate) events: Vec<String>,
    /// Where this API is: `host:port` or `unix:/path`
    pub(crate) admin: String,
    /// Where only probes and metrics are, or null
    pub(crate) metrics: Option<String>,
}
