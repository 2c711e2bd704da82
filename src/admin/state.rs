//! The state that the handlers of all calls share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::admin::control::Control;
use crate::admin::exporter::Exporter;
use crate::admin::refusal::Refusal;
use crate::admin::source::ConfigSource;
use crate::admin::token::Tokens;
use crate::api::Instance;
use crate::config::WatchHealth;
use crate::domain::{Clock, Flow, SubscriptionName, Timestamp, similar};
use crate::feed::Feed;
use crate::store::Store;

/// The detail of a 404 for a name that no subscription has.
pub(super) const NO_SUBSCRIPTION: &str = "no subscription has this name";

/// The most streams at the same time.
const STREAMS_MAX: usize = 16;

/// Whether events are accepted: off at first, on once the listeners accept, off again when stopping. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets whether events are accepted from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Places for clients of the stream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

impl Streams {
    /// Takes a place; `None` if all are taken.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
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
    pub(super) fn knows(&self, name: &SubscriptionName) -> bool {
        self.store.known(name).is_some()
    }

    /// The refusal of a call for a subscription that there is not.
    pub(super) fn no_subscription(&self, name: &SubscriptionName) -> Refusal {
        Refusal::not_found(self.unknown_name(name))
    }

    /// Returns the message for an unknown subscription name, with the most similar known name.
    pub(super) fn unknown_name(&self, name: &SubscriptionName) -> String {
        let config = self.control.config();
        let known = config.subscriptions.keys().map(SubscriptionName::as_str);
        let hint = similar(name.as_str(), known)
            .map_or_else(String::new, |meant| format!(", did you mean {meant}?"));
        format!("{NO_SUBSCRIPTION}{hint}")
    }

    /// Returns how the lane of a subscription treats deliveries that are due; Open if the name is unknown.
    pub(super) fn flow(&self, name: &SubscriptionName) -> Flow {
        let number = self.store.known(name);
        number.map_or(Flow::Open, |number| self.store.queue(number).flow())
    }
}
