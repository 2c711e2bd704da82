//! What the store costs: a commit of one event and of a group of 64, and events accepted, taken and settled as
//! delivered, in batches as the relay sees them. Includes the syncs of the disk under the temporary folder; the index
//! follows in its own thread.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has to stop"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sidehook::domain::{
    AttemptStatus, Clock, Event, EventHead, EventId, Next, Outcome, SubscriptionNumber, SystemClock,
};
use sidehook::metrics::Metrics;
use sidehook::store::{NewDelivery, NewEvent, Retention, Store, StoreOptions};

const BATCH: u16 = 64;

/// An event of 1 KiB with these deliveries.
fn event(clock: &dyn Clock, deliveries: Vec<NewDelivery>) -> NewEvent {
    let now = clock.steady();
    let head = EventHead {
        id: EventId::new(now, [7; 10]),
        given_id: None,
        event_type: "bench.event".parse().unwrap(),
        key: None,
        source: None,
        subject: None,
        content_type: "application/json".into(),
        headers: Vec::new(),
        accepted_at: now,
    };
    NewEvent {
        event: Event {
            head,
            body: Bytes::from_static(&[b'x'; 1024]),
        },
        deliveries,
    }
}

/// Accepts, takes and settles a batch.
async fn round(store: &Store, clock: &dyn Clock, number: SubscriptionNumber) {
    let delivery = NewDelivery {
        subscription: number,
        max_pending: u64::MAX,
    };
    let events = (0..BATCH).map(|_| event(clock, vec![delivery])).collect();
    store.accept(events).await.unwrap();
    let mut leases = Vec::new();
    store.queue(number).take(BATCH.into(), &mut leases);
    assert_eq!(leases.len(), usize::from(BATCH));
    let settled: Vec<_> = leases
        .into_iter()
        .map(|lease| {
            let outcome = Outcome {
                started_at: clock.wall(),
                duration: Duration::from_millis(1),
                status: AttemptStatus::Success,
                reason: None,
                response_code: Some(200),
                error_message: None,
                response_prefix: Bytes::new(),
            };
            store.settle(lease, outcome, Next::Delivered, false)
        })
        .collect();
    for written in settled {
        written.await.unwrap();
    }
}

fn accept_take_settle(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let options = StoreOptions {
        path: folder.path().to_owned(),
        dedup_window: Duration::from_secs(3600),
        dedup_max: 1_000_000,
        memory_budget: 24 << 20,
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
    let store = Store::open(options, Arc::clone(&clock), Metrics::new().store()).unwrap();
    let pumped = store.clone();
    let pump = runtime.spawn(async move { pumped.run().await });
    let number = store.subscription(&"bench".parse().unwrap());
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(BATCH.into()));
    group.bench_function("accept_take_settle", |bencher| {
        bencher.iter(|| runtime.block_on(round(&store, &*clock, number)));
    });
    group.finish();
    for size in [1, BATCH] {
        let mut group = criterion.benchmark_group("commit");
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(format!("group_of_{size}"), |bencher| {
            bencher.iter(|| {
                let events = (0..size).map(|_| event(&*clock, Vec::new())).collect();
                runtime.block_on(store.accept(events)).unwrap();
            });
        });
        group.finish();
    }
    runtime.block_on(store.close()).unwrap();
    runtime.block_on(pump).unwrap().unwrap();
}

criterion_group!(benches, accept_take_settle);
criterion_main!(benches);
