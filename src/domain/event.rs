//! An event: the data that the application posted and that is kept.

use bytes::Bytes;

use crate::domain::{EventId, Label, Timestamp};

/// The largest body of an event that may be configured, and of a batch, bytes: 16 MiB. The journal has room for
/// that much with the heads of a whole batch, and intake for four at a time.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// A header of the application's request that is kept with the event: name in lower case, value as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHeader {
    /// Lower case, a valid header name (RFC 9110, section 5.1).
    pub name: Box<str>,
    /// The bytes as received.
    pub value: Bytes,
}

/// Everything about an event but its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHead {
    /// The id that sidehook gave it.
    pub id: EventId,
    /// The id that the application gave it, if any. The same given id and source is the same event.
    pub given_id: Option<Label>,
    /// The type that patterns match on.
    pub event_type: Label,
    /// The key that orders deliveries, if any.
    pub key: Option<Label>,
    /// The origin (`source` of CloudEvents), if given.
    pub source: Option<Box<str>>,
    /// The subject (`subject` of CloudEvents), if given.
    pub subject: Option<Box<str>>,
    /// The Content-Type of the body as received; `application/octet-stream` if there was none.
    pub content_type: Box<str>,
    /// Headers of the request that a subscription forwards.
    pub headers: Vec<KeptHeader>,
    /// When it was accepted, by [`Clock::steady`](crate::domain::Clock::steady).
    pub accepted_at: Timestamp,
}

/// An event: head and body. The body is the bytes as received, shared and never copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Everything but the body.
    pub head: EventHead,
    /// The body, byte for byte.
    pub body: Bytes,
}
