//! Bulk replays.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::values::{Time, Word};
use crate::domain::DeliveryState;

/// A bulk replay.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Replay {
    /// Its id
    pub(crate) id: String,
    /// Whether it still goes on: `running`, `done`, `stopped`
    #[schemars(extend("enum" = ["running", "done", "stopped"]))]
    pub(crate) status: String,
    /// Deliveries of this subscription
    pub(crate) subscription: String,
    /// In this state
    pub(crate) state: Word<DeliveryState>,
    /// Of events accepted at this time or later
    pub(crate) since: Option<Time>,
    /// Of events accepted before this time
    pub(crate) until: Option<Time>,
    /// Of events of this type
    pub(crate) event_type: Option<String>,
    /// How fast, such as `100/s`; null: as fast as it goes
    pub(crate) rate_limit: Option<String>,
    /// Deliveries that fitted when it began
    pub(crate) matched: u64,
    /// Those that were replayed
    pub(crate) replayed: u64,
    /// Those that were not, because they had changed since
    pub(crate) skipped: u64,
    /// When it began
    pub(crate) created_at: Time,
}

/// What is to be replayed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct NewReplay {
    /// Deliveries of this subscription
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"))]
    pub(crate) subscription: String,
    /// In this state; default `dead`. Of `pending` ones those that wait for a retry: they are attempted now
    #[schemars(extend("enum" = ["dead", "pending", "cancelled", "delivered", null]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    /// Of events accepted at this time or later
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Time>,
    /// Of events accepted before this time
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Time>,
    /// Of events of this type
    #[schemars(regex(pattern = "^[!-~]{1,256}$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event_type: Option<String>,
    /// How fast, such as `100/s`, `5000/m`; default as fast as it goes
    #[schemars(regex(pattern = "^[1-9][0-9]{0,5}/[smh]$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate_limit: Option<String>,
    /// Only count; default false
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dry_run: Option<bool>,
}

/// What a bulk replay would find.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Matched {
    /// Deliveries that fit
    pub(crate) matched: u64,
}

/// A bulk replay that has begun.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Begun {
    /// Its id
    pub(crate) id: String,
    /// Deliveries that fit
    pub(crate) matched: u64,
}
