//! What a request needs of the configuration, prepared once when it is loaded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::HeaderName;

use crate::config::{Config, WhenDisabled};
use crate::domain::{DeadReason, SubscriptionName, SubscriptionNumber};
use crate::matching::Index;
use crate::matching::pointer::Pointer;
use crate::metrics::{Metrics, SubscriptionMetrics};
use crate::store::{NewDelivery, Queue, Store};

/// Headers that are never kept, whatever a subscription names.
const NEVER_KEPT: [HeaderName; 3] = [
    http::header::AUTHORIZATION,
    http::header::PROXY_AUTHORIZATION,
    http::header::COOKIE,
];

/// What one request sees: one immutable value, swapped whole by a reload.
pub struct Routes {
    config: Arc<Config>,
    index: Index,
    /// In the order of the index.
    targets: Vec<Target>,
    /// Positions of `targets`.
    by_number: HashMap<SubscriptionNumber, usize>,
    forwarded: HashSet<HeaderName>,
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
}

/// Where a JSON body says its names.
#[derive(Debug, Default)]
pub(super) struct Pointers {
    pub(super) event_type: Option<Pointer>,
    pub(super) given_id: Option<Pointer>,
    pub(super) key: Option<Pointer>,
}

/// What an event's type led to beside deliveries.
#[derive(Debug, Default)]
pub(super) struct Addressed {
    /// No subscription's patterns match.
    pub(super) is_unmatched: bool,
    /// Positions of targets that match and are skipped.
    skipped: Vec<usize>,
}

impl Target {
    /// Whether events that match are only counted now.
    fn skips(&self) -> bool {
        self.skip || self.skip_while_held.as_ref().is_some_and(Queue::is_held)
    }
}

impl Routes {
    /// Prepares the routes of a configuration; each subscription gets its number from the store.
    #[must_use]
    pub fn new(config: Arc<Config>, store: &Store, metrics: &Metrics) -> Self {
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
            })
            .collect();
        let subscriptions = config.subscriptions.values();
        let pointer = |text: &Option<String>| text.as_deref().map(Pointer::new);
        Self {
            index: Index::new(
                subscriptions
                    .clone()
                    .map(|subscription| &subscription.events),
            ),
            by_number: targets
                .iter()
                .enumerate()
                .map(|(position, target)| (target.number, position))
                .collect(),
            forwarded: subscriptions
                .flat_map(|subscription| &subscription.forward_headers)
                .filter(|name| !NEVER_KEPT.contains(name))
                .cloned()
                .collect(),
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
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Largest body of one event, bytes.
    pub(super) fn max_body(&self) -> u64 {
        self.config.ingest.max_body
    }

    pub(super) fn pointers(&self) -> &Pointers {
        &self.pointers
    }

    /// Whether a header of the request is kept: `ce-*`, and what a subscription forwards.
    pub(super) fn keeps(&self, name: &HeaderName) -> bool {
        name.as_str().starts_with("ce-")
            || (!self.forwarded.is_empty() && self.forwarded.contains(name))
    }

    /// The deliveries that an event of this type gets.
    pub(super) fn address(&self, event_type: &str) -> (Addressed, Vec<NewDelivery>) {
        let mut found = Vec::new();
        self.index.matching(event_type, &mut found);
        let mut addressed = Addressed {
            is_unmatched: found.is_empty(),
            ..Addressed::default()
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

    /// Counts what became of an accepted event at each subscription, where it was not a pending delivery.
    pub(super) fn count(&self, addressed: &Addressed, overflowed: &[SubscriptionNumber]) {
        let target = |position: &usize| self.targets.get(*position);
        for target in addressed.skipped.iter().filter_map(target) {
            target.metrics.skipped.increment(1);
        }
        let positions = overflowed
            .iter()
            .filter_map(|number| self.by_number.get(number));
        for target in positions.filter_map(target) {
            target.metrics.dead.increment(1);
            target
                .metrics
                .dead_letters(DeadReason::Overflow)
                .increment(1);
        }
    }
}
