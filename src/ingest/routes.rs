//! The part of the configuration that requests need, prepared once when it is loaded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::HeaderName;
use tracing::{debug, warn};

use crate::config::{Config, Subscription, WhenDisabled};
use crate::domain::{DeadReason, EventId, Label, SubscriptionName, SubscriptionNumber, Timestamp};
use crate::matching::pointer::Pointer;
use crate::matching::{Expression, Facts, Failure, FilterIndex, Found, NEVER_KEPT, Selector};
use crate::metrics::{Metrics, SubscriptionMetrics};
use crate::store::{NewDelivery, Queue, Receipt, Store};

/// How long no further line is written about a subscription whose expression fails.
const QUIET_MS: i64 = 60_000;

/// The configuration of one request: one immutable value, swapped whole by a reload.
pub(crate) struct Routes {
    config: Arc<Config>,
    index: FilterIndex,
    /// In the order of the index.
    targets: Vec<Target>,
    /// Positions of `targets`.
    by_number: HashMap<SubscriptionNumber, usize>,
    /// Headers that are kept: those that a subscription forwards, or asks for.
    kept: HashSet<HeaderName>,
    asks_expressions: bool,
    pointers: Pointers,
}

/// A subscription as ingest sees it.
struct Target {
    name: SubscriptionName,
    number: SubscriptionNumber,
    /// Bytes that may be pending.
    max_pending: u64,
    /// It is inactive with `when_disabled: skip`: events are counted and not delivered.
    skip: bool,
    /// It has `when_disabled: skip`: the same while its deliveries are held.
    skip_while_held: Option<Queue>,
    metrics: Arc<SubscriptionMetrics>,
    /// When a failed expression was last worth a line, in milliseconds of the steady clock.
    told_at_ms: AtomicI64,
}

/// Where a JSON body has its names.
#[derive(Debug, Default)]
pub(super) struct Pointers {
    pub(super) event_type: Option<Pointer>,
    pub(super) given_id: Option<Pointer>,
    pub(super) key: Option<Pointer>,
}

/// The results of an event beside deliveries.
#[derive(Debug, Default)]
pub(super) struct Addressed {
    /// No subscription matches.
    pub(super) is_unmatched: bool,
    /// Positions of targets that match and are skipped.
    skipped: Vec<usize>,
    /// Expressions that could not be evaluated.
    failures: Vec<Failure>,
}

impl Target {
    /// Whether events that match are only counted now.
    fn skips(&self) -> bool {
        self.skip || self.skip_while_held.as_ref().is_some_and(Queue::is_held)
    }

    /// Counts an expression that could not be evaluated; in each minute one of them is worth a line.
    fn tell(&self, failure: &Failure, event_id: EventId, now: Timestamp) {
        self.metrics.filter_errors.increment(1);
        let (subscription, error) = (&self.name, &failure.error);
        let now = now.as_millis();
        let told = self.told_at_ms.load(Ordering::Relaxed);
        if told.saturating_add(QUIET_MS) <= now {
            self.told_at_ms.store(now, Ordering::Relaxed);
            warn!(%subscription, %event_id, %error, "when cannot be evaluated");
        } else {
            debug!(%subscription, %event_id, %error, "when cannot be evaluated");
        }
    }
}

impl Routes {
    /// Prepares the routes of a configuration; each subscription gets its number from the store.
    #[must_use]
    pub(crate) fn new(config: Arc<Config>, store: &Store, metrics: &Metrics) -> Self {
        let mut routes = Self::numbered(config, metrics, |name| store.subscription(name));
        for target in &mut routes.targets {
            let subscription = routes.config.subscriptions.get(&target.name);
            let skips = subscription.is_some_and(|it| it.when_disabled == WhenDisabled::Skip);
            target.skip_while_held = skips.then(|| store.queue(target.number));
        }
        routes
    }

    /// As [`Routes::new`], with the numbers from elsewhere.
    pub(super) fn numbered(
        config: Arc<Config>,
        metrics: &Metrics,
        number: impl Fn(&SubscriptionName) -> SubscriptionNumber,
    ) -> Self {
        let targets: Vec<_> = config
            .subscriptions
            .values()
            .map(|subscription| Target {
                name: subscription.name.clone(),
                number: number(&subscription.name),
                max_pending: subscription.max_pending,
                skip: !subscription.active && subscription.when_disabled == WhenDisabled::Skip,
                skip_while_held: None,
                metrics: metrics.subscription(&subscription.name),
                told_at_ms: AtomicI64::new(i64::MIN),
            })
            .collect();
        let subscriptions = config.subscriptions.values();
        let pointer = |text: &Option<String>| text.as_deref().map(Pointer::new);
        Self {
            index: FilterIndex::new(
                subscriptions
                    .clone()
                    .map(|subscription| subscription.filter()),
            ),
            by_number: targets
                .iter()
                .enumerate()
                .map(|(position, target)| (target.number, position))
                .collect(),
            asks_expressions: subscriptions.clone().any(|it| it.when.is_some()),
            kept: subscriptions.flat_map(|it| kept(it)).cloned().collect(),
            pointers: Pointers {
                event_type: pointer(&config.ingest.type_pointer),
                given_id: pointer(&config.ingest.id_pointer),
                key: pointer(&config.ingest.key_pointer),
            },
            targets,
            config,
        }
    }

    /// The configuration behind the routes.
    #[must_use]
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Largest body of one event, bytes.
    pub(super) fn max_body(&self) -> u64 {
        self.config.ingest.max_body
    }

    pub(super) fn pointers(&self) -> &Pointers {
        &self.pointers
    }

    /// The types that may be posted, if not all.
    pub(super) fn event_types(&self) -> Option<&HashSet<Label>> {
        self.config.event_types.as_deref()
    }

    /// Whether finding the subscriptions of an event may take as long as expressions may.
    pub(super) fn asks_expressions(&self) -> bool {
        self.asks_expressions
    }

    /// Whether a header of the request is kept: `ce-*`, and what a subscription forwards or asks for.
    pub(super) fn keeps(&self, name: &HeaderName) -> bool {
        name.as_str().starts_with("ce-") || (!self.kept.is_empty() && self.kept.contains(name))
    }

    /// The deliveries that an event gets. Takes long where expressions do.
    pub(super) fn address(&self, facts: &Facts<'_>) -> (Addressed, Vec<NewDelivery>) {
        self.addressed(self.index.find(facts))
    }

    /// As [`Routes::address`], if that takes no time worth mentioning.
    pub(super) fn address_at_once(
        &self,
        facts: &Facts<'_>,
    ) -> Option<(Addressed, Vec<NewDelivery>)> {
        let found = self.index.find_at_once(facts)?;
        Some(self.addressed(found))
    }

    fn addressed(&self, found: Found) -> (Addressed, Vec<NewDelivery>) {
        let Found {
            positions: found,
            failures,
        } = found;
        let mut addressed = Addressed {
            is_unmatched: found.is_empty(),
            skipped: Vec::new(),
            failures,
        };
        let mut deliveries = Vec::with_capacity(found.len());
        for position in found {
            match self.targets.get(position) {
                Some(target) if !target.skips() => deliveries.push(NewDelivery {
                    subscription: target.number,
                    max_pending: target.max_pending,
                }),
                _ => addressed.skipped.push(position),
            }
        }
        (addressed, deliveries)
    }

    /// The name of a subscription that [`Routes::address`] gave.
    pub(super) fn name(&self, number: SubscriptionNumber) -> Option<&SubscriptionName> {
        let position = self.by_number.get(&number)?;
        self.targets.get(*position).map(|target| &target.name)
    }

    /// Counts the results of an accepted event at each subscription, where it was not a pending delivery, and errors
    /// on the way.
    pub(super) fn count(&self, addressed: &Addressed, receipt: &Receipt, now: Timestamp) {
        let target = |position: &usize| self.targets.get(*position);
        for target in addressed.skipped.iter().filter_map(target) {
            target.metrics.skipped.increment(1);
        }
        for failure in &addressed.failures {
            if let Some(target) = self.targets.get(failure.position) {
                target.tell(failure, receipt.id, now);
            }
        }
        let positions = receipt
            .overflowed
            .iter()
            .filter_map(|number| self.by_number.get(number));
        for target in positions.filter_map(target) {
            target.metrics.given_up(DeadReason::Overflow);
        }
    }
}

/// The headers that a subscription forwards, or asks for in `match` or `when`. The Content-Type is kept with the body.
fn kept(subscription: &Subscription) -> impl Iterator<Item = &HeaderName> {
    let matched = subscription
        .matches
        .iter()
        .filter_map(|condition| match &condition.selector {
            Selector::Header(name) => Some(name),
            Selector::Body(_) => None,
        });
    let asked = subscription.when.iter().flat_map(Expression::headers);
    let names = subscription.forward_headers.iter();
    names
        .chain(matched)
        .chain(asked)
        .filter(|name| !NEVER_KEPT.contains(name) && **name != http::header::CONTENT_TYPE)
}
