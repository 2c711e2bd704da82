//! The admin API, probes and metrics: the service of the admin and metrics listeners.
//!
//! `operations/` is the one table of all operations: `router` finds the operation of a call in it, `openapi` describes it.
//! In the order of a call: `access` keeps web pages of other sites and strangers out, `router` finds the operation, its
//! scope is checked, then `query` and `body` read what came with it, and the handler answers. There is a file for each
//! resource: `subscriptions/`, `attempts`, `events`, `deliveries`, `replays`, `configuration`, `stream`, `probes`; `views`
//! converts the store's values into the types of `api`. Work for the owner of the relay goes to it through [`Control`].
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
mod stream;
mod subscriptions;
mod token;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::admin::refusal::Refusal;
use crate::admin::subscriptions::NO_SUBSCRIPTION;
use crate::api::Instance;
use crate::config::WatchHealth;
use crate::domain::{Clock, Flow, SubscriptionName, Timestamp, similar};
use crate::feed::Feed;
use crate::store::Store;

pub use control::{Command, Control, EditDone, EditRefusal, EditRequest, TestAttempt};
pub use exporter::Exporter;
pub use service::Surface;
pub use source::ConfigSource;
pub use stream::Streams;
pub use token::{TokenError, Tokens};

/// Whether events are accepted: off at first, on once the listeners accept, off again when stopping. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets whether events are accepted from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The shared state of the service. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    /// Renders `/metrics`.
    pub exporter: Exporter,
    /// Where events, deliveries and states are.
    pub store: Store,
    /// Whether events are accepted.
    pub readiness: Readiness,
    /// The channel to the owner of the relay.
    pub control: Control,
    /// Live events.
    pub feed: Feed,
    /// Whether changes of the configuration are noticed at once.
    pub watching: WatchHealth,
    /// The tokens of the API.
    pub tokens: Tokens,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// When the process started, by the steady clock.
    pub started_at: Timestamp,
    /// Where the configuration is read from again.
    pub source: ConfigSource,
    /// Configuration file, store and addresses of this process.
    pub(crate) instance: Arc<Instance>,
    /// Places for clients of the stream.
    pub streams: Streams,
    /// Ends streams.
    pub stop: CancellationToken,
}

impl Admin {
    /// Whether the file has a subscription of this name, or the store still has something of it.
    fn knows(&self, name: &SubscriptionName) -> bool {
        self.store.known(name).is_some()
    }

    /// The refusal of a call for a subscription that there is not.
    fn no_subscription(&self, name: &SubscriptionName) -> Refusal {
        Refusal::not_found(self.unknown_name(name))
    }

    /// Returns the message for an unknown subscription name, with the most similar known name.
    fn unknown_name(&self, name: &SubscriptionName) -> String {
        let config = self.control.config();
        let known = config.subscriptions.keys().map(SubscriptionName::as_str);
        let hint = similar(name.as_str(), known)
            .map_or_else(String::new, |meant| format!(", did you mean {meant}?"));
        format!("{NO_SUBSCRIPTION}{hint}")
    }

    /// Returns how the lane of a subscription treats deliveries that are due; Open if the name is unknown.
    fn flow(&self, name: &SubscriptionName) -> Flow {
        let number = self.store.known(name);
        number.map_or(Flow::Open, |number| self.store.queue(number).flow())
    }
}
