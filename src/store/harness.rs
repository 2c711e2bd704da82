//! Helpers of the store's tests: a store with its pump, a clock that is set by hand, events.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Gauge, Histogram};
use tokio::task::JoinHandle;

use super::queue::Bounds;
use super::*;
use crate::domain::{
    AttemptStatus, Clock, Event, EventHead, EventId, FailureReason, Next, Outcome,
    SubscriptionNumber, Timestamp,
};
use crate::metrics::StoreMetrics;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const PLENTY: u64 = u64::MAX;

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(super) struct HandClock(AtomicI64);

impl HandClock {
    pub(super) fn at(time: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(time.as_millis())))
    }

    pub(super) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn wall(&self) -> Timestamp {
        self.steady()
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Bounds so small that everything spills, and is refilled and evicted.
pub(super) const TINY: Bounds = Bounds {
    window: 4,
    refill: 3,
    tail: 2,
    dues: 2,
    lines: 4,
    granted: 1,
};

/// Segments that a few events fill.
pub(super) const SMALL_SEGMENTS: journal::Bounds = journal::Bounds {
    first_segment: 64 << 10,
    segment: 64 << 10,
    fill_step: 8 << 10,
    ahead: 8 << 10,
    group: 16 << 10,
};

/// No reserve, which reports itself as whole.
pub(super) struct NoRoom;

impl reserve::Room for NoRoom {
    fn give(&self, _bytes: u64) -> bool {
        false
    }

    fn make_whole(&self) -> bool {
        true
    }

    fn is_whole(&self) -> bool {
        true
    }
}

/// Keeps everything for days.
pub(super) const RETENTION: Retention = Retention {
    delivered: Duration::from_secs(3 * 86_400),
    dead: Duration::from_secs(30 * 86_400),
    max_size: 1 << 32,
    removed_after: Duration::from_secs(7 * 86_400),
    dedup_window: Duration::from_secs(3600),
};

pub(super) struct Running {
    pub(super) store: Store,
    pump: JoinHandle<Result<(), StoreError>>,
}

pub(super) struct Setup {
    pub(super) bounds: Bounds,
    pub(super) memory_budget: usize,
    pub(super) dedup_max: usize,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) max_pending: u64,
    pub(super) retention: Retention,
    pub(super) segments: journal::Bounds,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            memory_budget: 8 << 20,
            dedup_max: 1000,
            clock: HandClock::at(NOW),
            max_pending: PLENTY,
            retention: RETENTION,
            segments: journal::Bounds::STORE,
        }
    }
}

impl Setup {
    pub(super) fn try_open(&self, path: &Path) -> Result<Store, StoreError> {
        let options = StoreOptions {
            path: path.to_owned(),
            dedup_window: Duration::from_secs(3600),
            dedup_max: self.dedup_max,
            memory_budget: self.memory_budget,
            max_pending: self.max_pending,
            retention: self.retention,
            relaxed: false,
        };
        let clock = Arc::clone(&self.clock);
        let sizes = (self.bounds, self.segments);
        let parts = open::open(options, clock, no_metrics(), sizes)?;
        Ok(Store(Arc::new(parts)))
    }

    /// Opens the store and runs it. Old data is removed only when a test asks for it, so that nothing else runs then.
    pub(super) fn open(&self, path: &Path) -> Running {
        let store = self.try_open(path).unwrap();
        let pumped = store.clone();
        Running {
            store,
            pump: tokio::spawn(async move { pumped.0.hand_on().await }),
        }
    }
}

impl Running {
    /// Closes the store and waits until its pump has ended.
    pub(super) async fn close(self) {
        self.store.close().await.unwrap();
        self.pump.await.unwrap().unwrap();
    }

    pub(super) async fn accept(&self, events: Vec<NewEvent>) -> Vec<Receipt> {
        self.store.accept(events).await.unwrap()
    }

    pub(super) fn named(&self, name: &str) -> SubscriptionNumber {
        self.store.subscription(&name.parse().unwrap())
    }

    /// Takes up to `credit` deliveries, once there is at least one.
    pub(super) async fn take(&self, number: SubscriptionNumber, credit: usize) -> Vec<Lease> {
        let queue = self.store.queue(number);
        let mut leases = Vec::new();
        while leases.is_empty() {
            let ready = tokio::time::timeout(Duration::from_secs(20), queue.ready());
            ready.await.expect("a delivery becomes ready");
            queue.take(credit, &mut leases);
        }
        leases
    }

    pub(super) async fn take_one(&self, number: SubscriptionNumber) -> Lease {
        self.take(number, 1).await.pop().unwrap()
    }

    pub(super) async fn settle(&self, lease: Lease, next: Next) {
        let outcome = outcome(matches!(next, Next::Delivered));
        let written = self.store.settle(lease, outcome, next, true);
        written.await.unwrap();
    }

    /// Takes and delivers everything until nothing is pending; returns the bodies in the order taken.
    pub(super) async fn drain(&self, number: SubscriptionNumber) -> Vec<Bytes> {
        let mut bodies = Vec::new();
        while self.store.queue(number).counts().pending > 0 {
            for lease in self.take(number, 3).await {
                bodies.push(lease.event().body.clone());
                self.settle(lease, Next::Delivered).await;
            }
        }
        bodies
    }
}

pub(super) fn no_metrics() -> StoreMetrics {
    StoreMetrics {
        commit_seconds: Histogram::noop(),
        commit_events: Histogram::noop(),
        size_bytes: Gauge::noop(),
        pending_bytes: Gauge::noop(),
        healthy: Gauge::noop(),
    }
}

/// An event with this body, for these subscriptions.
pub(super) fn event(body: &str, numbers: &[SubscriptionNumber]) -> NewEvent {
    static COUNT: AtomicI64 = AtomicI64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut random = [0; 10];
    // The first bytes lose bits to the version and variant of the UUID.
    random[2..].copy_from_slice(&count);
    let head = EventHead {
        id: EventId::new(NOW, random),
        given_id: None,
        event_type: "test".parse().unwrap(),
        key: None,
        source: None,
        subject: None,
        content_type: "text/plain".into(),
        headers: Vec::new(),
        accepted_at: NOW,
    };
    NewEvent {
        event: Event {
            head,
            body: Bytes::copy_from_slice(body.as_bytes()),
        },
        deliveries: numbers
            .iter()
            .map(|number| NewDelivery {
                subscription: *number,
                max_pending: PLENTY,
            })
            .collect(),
    }
}

/// The same with a given id.
pub(super) fn given(id: &str, body: &str, numbers: &[SubscriptionNumber]) -> NewEvent {
    let mut new = event(body, numbers);
    new.event.head.given_id = Some(id.parse().unwrap());
    new
}

pub(super) fn outcome(success: bool) -> Outcome {
    Outcome {
        started_at: NOW,
        duration: Duration::from_millis(3),
        status: if success {
            AttemptStatus::Success
        } else {
            AttemptStatus::Failed
        },
        reason: (!success).then_some(FailureReason::Http5xx),
        response_code: Some(if success { 200 } else { 500 }),
        error_message: None,
        response_prefix: Bytes::from_static(b"response"),
    }
}

pub(super) fn due_in(now: Timestamp, pause: Duration) -> Next {
    Next::Due {
        at: now.plus(pause),
        pause,
    }
}
