//! The admin API, probes and metrics: the service of the admin and metrics listeners.
//!
//! `operations/` is the one table of all operations: `router` finds the operation of a call in it, `openapi` describes it.
//! In the order of a call: `access` keeps web pages of other sites and strangers out, `router` finds the operation, its
//! scope is checked, then `query` and `body` read what came with it, and the handler answers. There is a file for each
//! resource: `subscriptions/`, `attempts`, `events`, `deliveries`, `replays`, `configuration`, `stream`, `probes`; `views`
//! converts the store's values into the types of `api`; `state` is what all handlers share. Work for the owner of the relay
//! goes to it through [`Control`].
//!
//! `/healthz`, `/readyz` and `/metrics` need no token and no known `Host`: they reveal no secret and change nothing.
//! Listening and connection limits are the concern of `http_server`.
//!
//! Invariants: a refusal is a problem document; no answer but the one that made it shows a secret; every call ends within
//! the patience of its operation, but for the stream.

mod access;
mod answer;
mod attempts;
mod body;
mod configuration;
mod control;
mod deliveries;
mod events;
mod exporter;
mod ids;
mod instance;
mod openapi;
mod operation;
mod operations;
mod overview;
mod probes;
mod query;
mod refusal;
mod replays;
mod router;
mod service;
mod source;
mod state;
mod stream;
mod subscriptions;
mod token;
mod views;

pub use control::{Command, Control, EditDone, EditRefusal, EditRequest, TestAttempt};
pub use exporter::Exporter;
pub use service::Surface;
pub use source::ConfigSource;
pub use state::{Admin, Readiness, Streams};
pub use token::{TokenError, Tokens};
