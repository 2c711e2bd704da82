//! The configuration files: what is wrong with them, how they differ from what is in force, what a reload did.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is wrong or questionable in the files.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Checked {
    /// Whether a reload would take it
    pub(crate) valid: bool,
    /// Errors, at most 100
    pub(crate) errors: Vec<Finding>,
    /// Warnings, at most 100
    pub(crate) warnings: Vec<Finding>,
    /// Number of errors that are not listed
    pub(crate) more_errors: usize,
    /// Number of warnings that are not listed
    pub(crate) more_warnings: usize,
}

/// Something in a file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Finding {
    /// The file
    pub(crate) file: String,
    /// From 1
    pub(crate) line: usize,
    /// From 1, in characters
    pub(crate) column: usize,
    /// Such as `subscriptions.billing.url`; empty for the file as a whole
    pub(crate) path: String,
    /// What is wrong and what would be right
    pub(crate) message: String,
}

/// What a reload would change.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DiffView {
    /// Subscriptions that differ, by name
    pub(crate) subscriptions: Vec<SubscriptionDiff>,
    /// Keys of other sections that differ
    pub(crate) settings: Vec<SettingDiff>,
    /// Subscriptions that were gone before and have deliveries held, which `cancel_removed` would cancel too
    pub(crate) gone: Vec<GoneSubscription>,
}

/// How a subscription differs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SubscriptionDiff {
    /// Its name
    pub(crate) name: String,
    /// What becomes of it
    #[schemars(extend("enum" = ["added", "changed", "removed"]))]
    pub(crate) change: String,
    /// What differs: of a new one what is not the built-in default, of one that is removed nothing
    pub(crate) fields: Vec<FieldDiff>,
    /// Of one that is removed the pending deliveries that would be held; else null
    pub(crate) pending: Option<u64>,
}

/// A field that differs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FieldDiff {
    /// Its name; `secret` has fingerprints as its values
    pub(crate) field: String,
    /// As it is in force
    pub(crate) from: Value,
    /// As it is on the disk
    pub(crate) to: Value,
    /// What differs is secret, or the content of a file, and not shown
    pub(crate) hidden: bool,
}

/// A key of another section that differs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SettingDiff {
    /// Such as `ingest.max_body`
    pub(crate) key: String,
    /// As it is in force
    pub(crate) from: Value,
    /// As it is on the disk
    pub(crate) to: Value,
    /// What differs is secret and not shown
    pub(crate) hidden: bool,
    /// It takes effect at the next start
    pub(crate) needs_restart: bool,
}

/// A subscription that is gone from the file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct GoneSubscription {
    /// Its name
    pub(crate) name: String,
    /// Deliveries that are held
    pub(crate) held: u64,
}

/// What a reload changed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Reload {
    /// Subscriptions that are new
    pub(crate) added: usize,
    /// Those that are defined differently than before
    pub(crate) changed: usize,
    /// Those that are gone
    pub(crate) removed: usize,
    /// Keys whose change since the start takes effect at the next one
    pub(crate) at_next_start: Vec<String>,
    /// Deliveries of those that are gone which were cancelled
    pub(crate) cancelled_deliveries: u64,
    /// Those that are gone whose deliveries are not cancelled because an attempt of them is in flight
    pub(crate) in_flight: Vec<String>,
}

/// What a reload is to do.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ReloadRequest {
    /// Cancel the deliveries of subscriptions that are not in the file; default false: they are held
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cancel_removed: Option<bool>,
}
