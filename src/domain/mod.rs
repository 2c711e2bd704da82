//! The words of sidehook as types: what an event, a subscription name, a delivery and an attempt are,
//! which transitions are legal, and the arithmetic of retries.
//!
//! No I/O and no async here: everything is a value or a pure function, so every other room may import it.
//! The one exception is [`SystemClock`], the only place that reads the wall clock.

mod attempt;
mod conceal;
mod event;
mod flow;
mod ids;
mod list;
mod number;
mod pattern;
mod policy;
mod retry;
mod secret;
mod similar;
mod status;
mod text;
mod time;

pub use attempt::{AttemptStatus, DeadReason, FailureReason, Next, Outcome};
pub use conceal::{CONCEALED, conceal, looks_secret};
pub use event::{BODY_BYTES_MAX, Event, EventHead, KeptHeader};
pub use flow::{Condition, Flow};
pub use ids::{
    DeliveryId, EventId, EventIdRange, EventSeq, Label, LabelError, NameError, SubscriptionName,
    SubscriptionNumber,
};
pub(crate) use list::{list_elements, split_unquoted};
pub(crate) use number::with_commas;
pub use pattern::{Pattern, PatternError, Patterns, segments};
pub use policy::{AutoDisable, DeliveryState, DisabledReason, Order, RateLimit, WhenStuck};
pub use retry::{Retry, RetryDecision, RetryForm};
pub use secret::Secret;
pub(crate) use similar::similar;
pub use status::{Status, StatusError};
pub use text::{is_format, is_localhost};
pub use time::{Clock, SystemClock, Timestamp};
