//! The answers and inputs of the admin API: their types, each once. `admin` serialises answers of them, commands read
//! answers into them, and the schemas of the OpenAPI document are made of them, the comments of their fields included.
//!
//! Readers ignore unknown fields. A field that is added to an answer is an `Option`, so that a command understands
//! an older relay.

mod attempt;
mod configuration;
mod delivery;
mod event;
mod replay;
mod status;
mod subscription;
mod values;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use attempt::{Attempt, AttemptWithResponse, StreamedAttempt, TestAttempt};
pub(crate) use configuration::{
    Checked, DiffView, FieldDiff, Finding, GoneSubscription, Reload, ReloadRequest, SettingDiff,
    SubscriptionDiff,
};
pub(crate) use delivery::{Delivery, DeliveryWithAttempts, StreamedDelivery};
pub(crate) use event::{Content, Event, EventWithDeliveries, KeptHeader};
pub(crate) use replay::{Begun, Matched, NewReplay, Replay};
pub(crate) use status::{ConfigStatus, Instance, Status, StoreStatus, SubscriptionStates};
pub(crate) use subscription::{
    LastFailure, Retried, Rotation, StreamedSubscription, Subscription, SubscriptionState,
    SuccessRate,
};
pub(crate) use values::{Time, WAITS, Word};

/// A page of a list, newest first unless said otherwise.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct List<T> {
    /// What is on it: there may be fewer than the limit, or none, although more follows
    pub(crate) data: Vec<T>,
    /// For `cursor` of the next page, URL-safe; null: there is none
    pub(crate) next_cursor: Option<String>,
}
