//! A relay without listeners: a store in a folder of its own, and lanes that deliver from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sidehook::alerts::Alerts;
use sidehook::config::{Config, Endpoint, Subscription};
use sidehook::delivery::{LaneError, Lanes, Reports, SettingsError};
use sidehook::domain::{
    Clock, DeliveryId, Event, EventHead, EventId, Patterns, Retry, SubscriptionName, SystemClock,
};
use sidehook::egress::{AddressPolicy, Egress};
use sidehook::feed::Feed;
use sidehook::metrics::{Histograms, Metrics};
use sidehook::shutdown::Shutdown;
use sidehook::store::{
    NewDelivery, NewEvent, OperationError, QueueCounts, Retention, Store, StoreError, StoreOptions,
    SubscriptionState,
};
use tokio_util::task::AbortOnDropHandle;

use super::receiver::{Receiver, Reply};

/// How long a test waits for what it expects.
const DEADLINE: Duration = Duration::from_secs(20);

/// Store, lanes and metrics, with the subscriptions of the last [`Relay::apply`].
pub(crate) struct Relay {
    pub(crate) lanes: Lanes,
    pub(crate) shutdown: Shutdown,
    pub(crate) store: Store,
    pub(crate) feed: Feed,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    folder: tempfile::TempDir,
    store_task: AbortOnDropHandle<Result<(), StoreError>>,
}

impl Relay {
    /// Starts with an empty store.
    pub(crate) fn start(subscriptions: &[Subscription]) -> Self {
        Self::open(tempfile::tempdir().unwrap(), subscriptions)
    }

    fn open(folder: tempfile::TempDir, subscriptions: &[Subscription]) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = Metrics::new();
        let options = StoreOptions {
            path: folder.path().to_owned(),
            dedup_window: Duration::from_secs(60),
            dedup_max: 1000,
            memory_budget: 1 << 24,
            max_pending: u64::MAX,
            retention: Retention {
                delivered: Duration::from_secs(3 * 86_400),
                dead: Duration::from_secs(30 * 86_400),
                max_size: 1 << 32,
                removed_after: Duration::from_secs(7 * 86_400),
                dedup_window: Duration::from_secs(60),
            },
            relaxed: false,
        };
        let store = Store::open(options, Arc::clone(&clock), metrics.store()).unwrap();
        let running = store.clone();
        let store_task = tokio::spawn(async move { running.run().await });
        let shutdown = Shutdown::default();
        let config = configuration(subscriptions);
        show(&metrics, &config);
        let feed = Feed::default();
        let lanes = Lanes::start(
            &config,
            store.clone(),
            Egress::new(),
            metrics.clone(),
            Reports {
                feed: feed.clone(),
                alerts: Alerts::new(Arc::clone(&clock)),
            },
            Arc::clone(&clock),
            shutdown.clone(),
        );
        Self {
            lanes: lanes.unwrap(),
            shutdown,
            store,
            feed,
            metrics,
            clock,
            folder,
            store_task: AbortOnDropHandle::new(store_task),
        }
    }

    /// Reloads with these subscriptions.
    pub(crate) fn apply(&mut self, subscriptions: &[Subscription]) {
        self.try_apply(subscriptions).unwrap();
        show(&self.metrics, &configuration(subscriptions));
    }

    /// The same, if they can be used.
    pub(crate) fn try_apply(
        &mut self,
        subscriptions: &[Subscription],
    ) -> Result<(), SettingsError> {
        self.lanes.apply(&configuration(subscriptions))
    }

    /// Accepts an event for these subscriptions.
    pub(crate) async fn post(&self, names: &[&str], body: &'static str) {
        self.post_batch(names, &[body]).await;
    }

    /// Accepts events at once, each for these subscriptions.
    pub(crate) async fn post_batch(&self, names: &[&str], bodies: &[&'static str]) {
        let deliveries = names.iter().map(|name| NewDelivery {
            subscription: self.store.subscription(&parsed(name)),
            max_pending: 1 << 30,
        });
        let deliveries: Vec<_> = deliveries.collect();
        let events = bodies.iter().map(|body| NewEvent {
            event: event(self.clock.as_ref(), body),
            deliveries: deliveries.clone(),
        });
        self.store.accept(events.collect()).await.unwrap();
    }

    /// Accepts an event with this key; answers its id.
    pub(crate) async fn post_keyed(
        &self,
        names: &[&str],
        key: &str,
        body: &'static str,
    ) -> EventId {
        let deliveries = names.iter().map(|name| NewDelivery {
            subscription: self.store.subscription(&parsed(name)),
            max_pending: 1 << 30,
        });
        let mut event = event(self.clock.as_ref(), body);
        event.head.key = Some(key.parse().unwrap());
        let new = NewEvent {
            event,
            deliveries: deliveries.collect(),
        };
        let receipts = self.store.accept(vec![new]).await.unwrap();
        receipts.first().unwrap().id
    }

    /// Replays a delivery.
    pub(crate) async fn replay(&self, event: EventId, name: &str) -> Result<(), OperationError> {
        let subscription = parsed(name);
        let id = DeliveryId {
            event,
            subscription,
        };
        within(self.store.replay(&id)).await
    }

    /// Cancels a delivery.
    pub(crate) async fn cancel(&self, event: EventId, name: &str) -> Result<(), OperationError> {
        let subscription = parsed(name);
        let id = DeliveryId {
            event,
            subscription,
        };
        within(self.store.cancel(&id)).await
    }

    /// The figures of a subscription's queue.
    pub(crate) fn counts(&self, name: &str) -> QueueCounts {
        let number = self.store.subscription(&parsed(name));
        self.store.queue(number).counts()
    }

    /// The recorded state of a subscription.
    pub(crate) fn state(&self, name: &str) -> SubscriptionState {
        self.store.state(self.store.subscription(&parsed(name)))
    }

    /// Waits until a metric with this name and these labels has this value.
    pub(crate) async fn shows(&self, series: &str, value: u32) {
        let line = format!("{series} {value}");
        until(&line, || {
            self.lanes.publish();
            let text = self.metrics.render();
            // What never happened may be without a series.
            let has_none = value == 0 && !text.contains(&format!("{series} "));
            has_none || text.lines().any(|shown| shown == line)
        })
        .await;
    }

    /// Takes nothing more, and waits for the attempts in flight.
    pub(crate) async fn finish(&mut self) -> Result<(), LaneError> {
        self.shutdown.stop_leasing.cancel();
        within(self.lanes.joined()).await
    }

    /// Stops in good order and starts again on the same store.
    pub(crate) async fn restart(mut self, subscriptions: &[Subscription]) -> Self {
        self.finish().await.unwrap();
        self.store.close().await.unwrap();
        let Self {
            lanes,
            store,
            folder,
            store_task,
            ..
        } = self;
        within(store_task).await.unwrap().unwrap();
        // The folder stays locked while anybody has a handle.
        drop((lanes, store));
        Self::open(folder, subscriptions)
    }
}

/// Waits until the condition holds; a test that waits too long fails.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let polled = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, polled).await;
    assert!(in_time.is_ok(), "waited in vain until {what}");
}

/// Waits for a future; a test that waits too long fails.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

/// A receiver that answers 200.
pub(crate) async fn accepting() -> Receiver {
    Receiver::start(|_| Reply::status(200)).await
}

/// An active subscription with four slots and ten attempts 10 ms apart.
pub(crate) fn subscription(name: &str, receiver: &Receiver) -> Subscription {
    Subscription {
        url: Some(Endpoint {
            url: receiver.url("/hook").parse().unwrap(),
            is_secret: false,
        }),
        events: Patterns::parse(["*"]).unwrap(),
        timeout: Duration::from_secs(10),
        retry: Retry::schedule(vec![Duration::from_millis(10); 9]),
        concurrency: 4,
        http2: false,
        ..Subscription::named(parsed(name))
    }
}

/// The same, inactive.
pub(crate) fn inactive(subscription: Subscription) -> Subscription {
    Subscription {
        active: false,
        ..subscription
    }
}

fn show(metrics: &Metrics, config: &Config) {
    let names: Vec<_> = config.subscriptions.keys().cloned().collect();
    metrics.set_configured(&names, Histograms::Auto);
}

fn configuration(subscriptions: &[Subscription]) -> Config {
    let named = subscriptions
        .iter()
        .map(|subscription| (subscription.name.clone(), Arc::new(subscription.clone())));
    Config {
        network: AddressPolicy {
            own_ports: Vec::new(),
            allow_private: vec!["127.0.0.0/8".parse().unwrap()],
            allow_metadata: false,
            ports: vec![443],
        },
        subscriptions: named.collect::<BTreeMap<_, _>>(),
        ..Config::default()
    }
}

fn event(clock: &dyn Clock, body: &'static str) -> Event {
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    Event {
        head: EventHead {
            id: EventId::new(clock.wall(), random),
            given_id: None,
            event_type: "order.paid".parse().unwrap(),
            key: None,
            source: None,
            subject: None,
            content_type: "application/json".into(),
            headers: Vec::new(),
            accepted_at: clock.steady(),
        },
        body: Bytes::from_static(body.as_bytes()),
    }
}

fn parsed(name: &str) -> SubscriptionName {
    name.parse().unwrap()
}
