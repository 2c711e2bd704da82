//! Every metric in one place (SPEC section 10): names, labels, handles, and the text that Prometheus scrapes.
//!
//! Handles are made when a configuration is loaded and kept; recording an event is a call on a handle, never a lookup.
//! Nothing is installed globally, so that each relay in a process, and each test, has its own metrics.
//!
//! Each subscription has its own numbers beside the recorder of the process; [`render`](Metrics::render) merges them
//! by family. So a subscription that leaves the configuration takes its series with it: memory is bounded by
//! what is configured, however often names change. A removed one that a lane still holds goes on counting unseen, and
//! is shown again if its name returns meanwhile. A subscription costs less than 1 KiB,
//! and as much again where it has its own histograms.
//!
//! Invariant: label values come from the configuration or a closed set, never from traffic.

mod cells;
mod exposition;
mod families;
mod histograms;
mod process;
mod reasons;
mod recorder;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::runtime::Handle;

use crate::domain::{SubscriptionName, Timestamp};
pub use crate::metrics::cells::Count;
use crate::metrics::exposition::{Exposition, Shown, seconds};
pub use crate::metrics::histograms::Histograms;
use crate::metrics::histograms::{Place, SharedHistograms};
use crate::metrics::reasons::{Names, Reasons};
use crate::metrics::recorder::Recorder;
pub use crate::metrics::subscription::SubscriptionMetrics;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The full commit of this build, or `unknown`; found by `build.rs`.
const REVISION: &str = env!("SIDEHOOK_REVISION");

/// All metrics of a relay; a cheap handle.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    process: Recorder,
    ingest: IngestMetrics,
    store: StoreMetrics,
    config: ConfigMetrics,
    histograms: Arc<SharedHistograms>,
    /// Of all subscriptions together, those that are gone among them: it only grows.
    reasons: Arc<Reasons>,
    subscriptions: RwLock<Subscriptions>,
    /// The tokio runtime; `None` in a program without one.
    runtime: Option<Handle>,
}

#[derive(Default)]
struct Subscriptions {
    /// Those that are configured, and those whose handle is still held.
    known: BTreeMap<SubscriptionName, Arc<SubscriptionMetrics>>,
    configured: BTreeSet<SubscriptionName>,
}

/// The events listener's metrics.
#[derive(Debug, Clone)]
pub struct IngestMetrics {
    /// `events_received_total`: stored, answered 202.
    pub accepted: Counter,
    /// `events_received_total`: known already, answered with the first one's id.
    pub duplicate: Counter,
    /// `events_received_total`: answered 4xx.
    pub rejected: Counter,
    /// `events_received_total`: answered 503.
    pub overloaded: Counter,
    /// `events_unmatched_total`: accepted, but no subscription matches.
    pub unmatched: Counter,
    /// `ingest_duration_seconds`: from the request's head to its answer.
    pub duration: Histogram,
}

/// The store's metrics.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    /// `store_commit_seconds`: writing and syncing one group.
    pub commit_seconds: Histogram,
    /// `store_commit_events`: events in one group.
    pub commit_events: Histogram,
    /// `store_size_bytes`: everything the store has on disk.
    pub size_bytes: Gauge,
    /// `store_pending_bytes`: bodies that wait for delivery.
    pub pending_bytes: Gauge,
    /// `store_healthy`: 1 while events can be stored, else 0.
    pub healthy: Gauge,
}

struct ConfigMetrics {
    succeeded: Counter,
    failed: Counter,
    last_successful: Gauge,
    last_success: Gauge,
}

impl Metrics {
    /// Makes the recorder of the process, with every series that depends on no subscription at 0. The store counts as
    /// healthy until it reports otherwise.
    #[must_use]
    pub fn new() -> Self {
        let process = Recorder::new();
        let labels = [("version", VERSION), ("revision", REVISION)];
        process.gauge(families::BUILD_INFO, &labels).set(1.0);
        let inner = Inner {
            ingest: IngestMetrics::new(&process),
            store: StoreMetrics::new(&process),
            config: ConfigMetrics::new(&process),
            histograms: Arc::new(SharedHistograms::new()),
            reasons: Arc::new(Reasons::new()),
            subscriptions: RwLock::default(),
            runtime: Handle::try_current().ok(),
            process,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Counters of the events listener.
    #[must_use]
    pub fn ingest(&self) -> IngestMetrics {
        self.inner.ingest.clone()
    }

    /// Handles for the store.
    #[must_use]
    pub fn store(&self) -> StoreMetrics {
        self.inner.store.clone()
    }

    /// Handles of one subscription, the same for the same name: to be made once and kept. They stay valid over
    /// reloads, and are rendered while the name is configured.
    #[must_use]
    pub fn subscription(&self, name: &SubscriptionName) -> Arc<SubscriptionMetrics> {
        if let Some(metrics) = self.inner.read().known.get(name) {
            return Arc::clone(metrics);
        }
        let new = || self.inner.subscription(name);
        Arc::clone(self.inner.write().make(name, new))
    }

    /// Sets which subscriptions are configured, and with which histograms: only these are rendered, those for alerts
    /// at 0 from now on.
    pub fn set_configured(&self, names: &[SubscriptionName], histograms: Histograms) {
        let mut subscriptions = self.inner.write();
        subscriptions.configured = names.iter().cloned().collect();
        let Subscriptions { known, configured } = &mut *subscriptions;
        known.retain(|name, metrics| configured.contains(name) || Arc::strong_count(metrics) > 1);
        self.inner.histograms.use_as(histograms, configured.len());
        for name in names {
            subscriptions.make(name, || self.inner.subscription(name));
        }
    }

    /// The configuration of the start is in force: not a reload, but the last success.
    pub fn config_loaded(&self, at: Timestamp) {
        let config = &self.inner.config;
        config.last_successful.set(1.0);
        config.last_success.set(seconds(at));
    }

    /// A reload ended.
    pub fn config_reloaded(&self, success: bool, at: Timestamp) {
        let config = &self.inner.config;
        if success {
            config.succeeded.increment(1);
            self.config_loaded(at);
        } else {
            config.failed.increment(1);
            config.last_successful.set(0.0);
        }
    }

    /// Prometheus text format 0.0.4. Blocks, for some microseconds per configured subscription: with many of them to be
    /// called off the threads that deliver.
    #[must_use]
    pub fn render(&self) -> String {
        let mut exposition = Exposition::default();
        exposition.add(&self.inner.process.render());
        if self.inner.histograms.place() == Place::Shared {
            self.inner.histograms.render(&mut exposition);
        }
        let names = Names {
            failures: families::ALL_ATTEMPT_FAILURES,
            dead_letters: families::ALL_DEAD_LETTERS,
        };
        let reasons = &self.inner.reasons;
        reasons.render(&mut exposition, names, "", Shown::Always);
        for metrics in self.configured() {
            metrics.render(&mut exposition);
        }
        process::render(&mut exposition, self.inner.runtime.as_ref());
        exposition.finish()
    }

    fn configured(&self) -> Vec<Arc<SubscriptionMetrics>> {
        let subscriptions = self.inner.read();
        let names = subscriptions.configured.iter();
        names
            .filter_map(|name| subscriptions.known.get(name).cloned())
            .collect()
    }

    /// Folds what histograms recorded into their buckets. To be called every second or so: until then each recording
    /// takes 16 bytes.
    pub fn upkeep(&self) {
        self.inner.process.upkeep();
    }
}

impl Inner {
    fn subscription(&self, name: &SubscriptionName) -> Arc<SubscriptionMetrics> {
        let metrics = SubscriptionMetrics::new(name, &self.histograms, &self.reasons);
        Arc::new(metrics)
    }

    fn read(&self) -> RwLockReadGuard<'_, Subscriptions> {
        self.subscriptions.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Subscriptions> {
        self.subscriptions.write()
    }
}

impl Subscriptions {
    /// The handles of a name, made unless they are known.
    fn make(
        &mut self,
        name: &SubscriptionName,
        new: impl FnOnce() -> Arc<SubscriptionMetrics>,
    ) -> &Arc<SubscriptionMetrics> {
        self.known.entry(name.clone()).or_insert_with(new)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl IngestMetrics {
    fn new(recorder: &Recorder) -> Self {
        let received =
            |outcome| recorder.counter(families::EVENTS_RECEIVED, &[("outcome", outcome)]);
        Self {
            accepted: received("accepted"),
            duplicate: received("duplicate"),
            rejected: received("rejected"),
            overloaded: received("overloaded"),
            unmatched: recorder.counter(families::EVENTS_UNMATCHED, &[]),
            duration: recorder.histogram(families::INGEST_DURATION, &[]),
        }
    }
}

impl StoreMetrics {
    fn new(recorder: &Recorder) -> Self {
        let metrics = Self {
            commit_seconds: recorder.histogram(families::STORE_COMMIT, &[]),
            commit_events: recorder.histogram(families::STORE_COMMIT_EVENTS, &[]),
            size_bytes: recorder.gauge(families::STORE_SIZE, &[]),
            pending_bytes: recorder.gauge(families::STORE_PENDING, &[]),
            healthy: recorder.gauge(families::STORE_HEALTHY, &[]),
        };
        metrics.healthy.set(1.0);
        metrics
    }
}

impl ConfigMetrics {
    fn new(recorder: &Recorder) -> Self {
        let reloads = |outcome| recorder.counter(families::CONFIG_RELOADS, &[("outcome", outcome)]);
        Self {
            succeeded: reloads("success"),
            failed: reloads("failure"),
            last_successful: recorder.gauge(families::CONFIG_LAST_SUCCESSFUL, &[]),
            last_success: recorder.gauge(families::CONFIG_LAST_SUCCESS, &[]),
        }
    }
}
