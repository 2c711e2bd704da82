//! Events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::delivery::Delivery;
use crate::api::values::Time;

/// What the application posted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Event {
    /// `evt_` and a UUID
    pub(crate) id: String,
    /// The type that patterns match
    pub(crate) r#type: String,
    /// The id that the application gave it
    pub(crate) given_id: Option<String>,
    /// What orders its deliveries
    pub(crate) key: Option<String>,
    /// When it was accepted
    pub(crate) created_at: Time,
    /// Bytes of its body
    pub(crate) body_bytes: u64,
    /// How many deliveries it has
    pub(crate) delivery_count: usize,
}

/// An event with its deliveries.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EventWithDeliveries {
    #[serde(flatten)]
    pub(crate) event: Event,
    /// Where it comes from (`source` of CloudEvents)
    pub(crate) source: Option<String>,
    /// What it is about (`subject` of CloudEvents)
    pub(crate) subject: Option<String>,
    /// The Content-Type of the body
    pub(crate) content_type: String,
    /// Its deliveries
    pub(crate) deliveries: Vec<Delivery>,
    #[serde(flatten)]
    pub(crate) content: Option<Content>,
}

/// What only the scope `manage` shows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Content {
    /// Headers that were kept; only with the scope `manage`
    pub(crate) headers: Vec<KeptHeader>,
    /// The body as text, null if it is no UTF-8; only with the scope `manage`
    pub(crate) body: Option<String>,
    /// The body in base64, if it is no UTF-8; only with the scope `manage`
    pub(crate) body_base64: Option<String>,
}

/// A header that was kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KeptHeader {
    /// In lower case
    pub(crate) name: String,
    /// What is no UTF-8 in it is replaced
    pub(crate) value: String,
}
