//! Tests of queries: their answers about events, deliveries and attempts, and their limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::tempdir;

use super::*;
use crate::domain::{
    AttemptStatus, Clock, DeadReason, DeliveryId, DeliveryState, EventId, FailureReason,
    KeptHeader, Next, SubscriptionName, SubscriptionNumber, Timestamp,
};
use crate::store::harness::*;
use crate::store::{NewEvent, StoreError};

pub(super) fn page(limit: usize) -> Page {
    Page {
        limit,
        cursor: None,
    }
}

fn ids<T>(listing: &Listing<T>, id: impl Fn(&T) -> EventId) -> Vec<EventId> {
    listing.items.iter().map(id).collect()
}

async fn dead_after_two(running: &Running, number: SubscriptionNumber, clock: &HandClock) {
    let pause = Duration::from_secs(5);
    let lease = running.take_one(number).await;
    running.settle(lease, due_in(clock.steady(), pause)).await;
    clock.advance(pause);
    let lease = running.take_one(number).await;
    running
        .settle(lease, Next::Dead(DeadReason::Exhausted))
        .await;
}

#[tokio::test]
async fn an_event_is_shown_whole_with_where_its_deliveries_stand() {
    let folder = tempdir().unwrap();
    let clock = HandClock::at(NOW);
    let setup = Setup {
        clock: clock.clone(),
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let numbers = ["a", "b", "c", "d"].map(|name| running.named(name));
    let mut new = given("mine", "body", &numbers);
    new.event.head.headers = vec![KeptHeader {
        name: "x-trace".into(),
        value: Bytes::from_static(b"1"),
    }];
    let id = new.event.head.id;
    let original = new.event.clone();
    running.accept(vec![new]).await;
    let [a, b, _, d] = numbers;
    let lease = running.take_one(a).await;
    running.settle(lease, Next::Delivered).await;
    dead_after_two(&running, b, &clock).await;
    let cancelled = DeliveryId {
        event: id,
        subscription: "d".parse().unwrap(),
    };
    running.store.cancel(&cancelled).await.unwrap();

    let view = running.store.history().event(&id).await.unwrap().unwrap();
    assert_eq!(*view.event, original);
    let shown: Vec<_> = view
        .deliveries
        .iter()
        .map(|found| {
            let name = found.id.subscription.as_str();
            (name, found.state, found.dead_reason, found.attempts)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("a", DeliveryState::Delivered, None, Some(1)),
            (
                "b",
                DeliveryState::Dead,
                Some(DeadReason::Exhausted),
                Some(2)
            ),
            ("c", DeliveryState::Pending, None, Some(0)),
            ("d", DeliveryState::Cancelled, None, Some(0)),
        ]
    );
    let unknown = event("", &[d]).event.head.id;
    assert_eq!(running.store.history().event(&unknown).await.unwrap(), None);
    running.close().await;
}

#[tokio::test]
async fn a_delivery_is_shown_with_its_attempts() {
    let folder = tempdir().unwrap();
    let clock = HandClock::at(NOW);
    let setup = Setup {
        clock: clock.clone(),
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let history = running.store.history();
    let a = running.named("a");
    let id = running.accept(vec![event("1", &[a])]).await[0].id;
    dead_after_two(&running, a, &clock).await;
    let delivery = DeliveryId {
        event: id,
        subscription: "a".parse().unwrap(),
    };
    let view = history.delivery(&delivery).await.unwrap().unwrap();
    assert_eq!(view.summary.state, DeliveryState::Dead);
    assert_eq!(view.summary.ended_at, Some(clock.steady()));
    let numbers: Vec<_> = view.attempts.iter().map(|shown| shown.number).collect();
    assert_eq!(numbers, [2, 1]);
    let expected = Attempt {
        number: 1,
        status: AttemptStatus::Failed,
        reason: Some(FailureReason::Http5xx),
        response_code: Some(500),
        error_message: None,
        duration: Duration::from_millis(3),
        started_at: NOW,
        response_prefix: Bytes::from_static(b"response"),
        next_attempt_at: view.attempts[1].next_attempt_at,
    };
    assert_eq!(view.attempts[1], expected);
    assert_eq!(expected.delivery_state(), DeliveryState::Pending);
    assert_eq!(view.attempts[0].next_attempt_at, None);
    assert_eq!(view.attempts[0].delivery_state(), DeliveryState::Dead);

    // After the replay it waits for an attempt that is due, and then it is delivered.
    running.store.replay(&delivery).await.unwrap();
    let view = history.delivery(&delivery).await.unwrap().unwrap();
    assert_eq!(view.summary.state, DeliveryState::Pending);
    assert_eq!(view.summary.due_at, Some(clock.steady()));
    let lease = running.take_one(a).await;
    running.settle(lease, Next::Delivered).await;
    let view = history.delivery(&delivery).await.unwrap().unwrap();
    assert_eq!(view.summary.state, DeliveryState::Delivered);
    assert_eq!(
        view.summary.ended_at,
        Some(NOW.plus(Duration::from_millis(3)))
    );
    assert_eq!((view.summary.attempts, view.attempts.len()), (Some(3), 3));

    for (event, name) in [(id, "b"), (event("", &[]).event.head.id, "a")] {
        let other = DeliveryId {
            event,
            subscription: name.parse().unwrap(),
        };
        assert_eq!(history.delivery(&other).await.unwrap(), None);
    }
    running.close().await;
}

#[tokio::test]
async fn events_are_found_by_type_given_id_and_time() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let at = |millis| Timestamp::from_millis(millis);
    let new = |id: &str, source: Option<&str>, kind: &str, time| -> NewEvent {
        let mut new = given(id, "body", &[a]);
        new.event.head.source = source.map(Into::into);
        new.event.head.event_type = kind.parse().unwrap();
        new.event.head.accepted_at = at(time);
        new
    };
    let batch = vec![
        new("x", None, "one", 10),
        new("x", Some("here"), "two", 20),
        new("y", None, "two", 30),
    ];
    let all: Vec<_> = running
        .accept(batch)
        .await
        .iter()
        .map(|receipt| receipt.id)
        .collect();
    let found = async |filter: EventFilter| {
        let listing = running
            .store
            .history()
            .events(filter, page(10))
            .await
            .unwrap();
        assert_eq!(listing.next, None);
        ids(&listing, |event| event.id)
    };
    let none = EventFilter::default;
    assert_eq!(found(none()).await, [all[2], all[1], all[0]]);
    let event_type = Some("two".parse().unwrap());
    let filter = EventFilter {
        event_type,
        ..none()
    };
    assert_eq!(found(filter).await, [all[2], all[1]]);
    let given_id = Some("x".parse().unwrap());
    let filter = EventFilter { given_id, ..none() };
    assert_eq!(found(filter).await, [all[1], all[0]]);
    let filter = EventFilter {
        since: Some(at(20)),
        until: Some(at(30)),
        ..none()
    };
    assert_eq!(found(filter).await, [all[1]]);
    let listing = running
        .store
        .history()
        .events(none(), page(1))
        .await
        .unwrap();
    let expected = EventSummary {
        id: all[2],
        event_type: "two".parse().unwrap(),
        given_id: Some("y".parse().unwrap()),
        key: None,
        accepted_at: at(30),
        body_bytes: 4,
        deliveries: 1,
    };
    assert_eq!(listing.items, [expected]);
    running.close().await;
}

#[tokio::test]
async fn events_and_attempts_of_segments_that_are_full_are_found_by_their_indexes() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let name: SubscriptionName = "a".parse().unwrap();
    // The first segment holds 4 MiB.
    let body = "x".repeat(900 << 10);
    let mut all = Vec::new();
    for id in 0..6 {
        let new = given(&format!("id-{id}"), &body, &[a]);
        all.push(running.accept(vec![new]).await[0].id);
        let lease = running.take_one(a).await;
        running.settle(lease, Next::Delivered).await;
    }
    for (position, id) in all.iter().enumerate() {
        let filter = EventFilter {
            given_id: Some(format!("id-{position}").parse().unwrap()),
            ..EventFilter::default()
        };
        let listing = running
            .store
            .history()
            .events(filter, page(1))
            .await
            .unwrap();
        assert_eq!(ids(&listing, |event| event.id), [*id]);
    }
    let filter = AttemptFilter::default();
    let listing = running
        .store
        .history()
        .attempts(&name, filter, page(100))
        .await;
    let listing = listing.unwrap();
    all.reverse();
    assert_eq!(ids(&listing, |attempt| attempt.delivery.id.event), all);
    assert!(running.store.0.appender.journal.end().segment > 1);
    running.close().await;
}

#[tokio::test]
async fn attempts_are_found_by_status_and_time() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let (a, b) = (running.named("a"), running.named("b"));
    let name: SubscriptionName = "a".parse().unwrap();
    let first = running.accept(vec![event("1", &[a])]).await[0].id;
    let second = running.accept(vec![event("2", &[a, b])]).await[0].id;
    for (number, next) in [
        (a, Next::Dead(DeadReason::GaveUp)),
        (a, Next::Delivered),
        (b, Next::Delivered),
    ] {
        let lease = running.take_one(number).await;
        running.settle(lease, next).await;
    }
    let found = async |filter: AttemptFilter| {
        let listing = running
            .store
            .history()
            .attempts(&name, filter, page(10))
            .await;
        ids(&listing.unwrap(), |attempt| attempt.delivery.id.event)
    };
    let none = AttemptFilter::default;
    assert_eq!(found(none()).await, [second, first]);
    let status = Some(AttemptStatus::Failed);
    let filter = AttemptFilter { status, ..none() };
    assert_eq!(found(filter).await, [first]);
    let until = Some(NOW);
    let filter = AttemptFilter { until, ..none() };
    assert!(found(filter).await.is_empty());
    let unknown = "nobody".parse().unwrap();
    let listing = running
        .store
        .history()
        .attempts(&unknown, none(), page(10))
        .await;
    assert_eq!(listing.unwrap().items, []);
    running.close().await;
}

#[tokio::test]
async fn limits_and_cursors_that_make_no_sense_are_refused() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    for limit in [0, PAGE_MAX + 1] {
        let listed = running
            .store
            .history()
            .events(EventFilter::default(), page(limit));
        assert!(matches!(listed.await, Err(QueryError::Limit(found)) if found == limit));
    }
    let bad = Page {
        limit: 1,
        cursor: Some("d1-1".to_owned()),
    };
    let name = "a".parse().unwrap();
    let store = &running.store;
    let listed = store
        .history()
        .events(EventFilter::default(), bad.clone())
        .await;
    assert!(matches!(listed, Err(QueryError::Cursor)));
    let listed = store
        .history()
        .attempts(&name, AttemptFilter::default(), bad.clone());
    assert!(matches!(listed.await, Err(QueryError::Cursor)));
    let listed = store
        .history()
        .deliveries(DeliveryFilter::default(), bad)
        .await;
    assert_eq!(listed.unwrap().items, []);
    running.close().await;
}

#[tokio::test]
async fn too_many_queries_at_once_are_refused_and_a_closed_store_answers_none() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let history = &running.store.0.history.inbox;
    let slots: Vec<_> = std::iter::from_fn(|| history.slot()).collect();
    assert_eq!(slots.len(), 64);
    let list = || {
        running
            .store
            .history()
            .events(EventFilter::default(), page(1))
    };
    assert!(matches!(list().await, Err(QueryError::Overloaded)));
    drop(slots);
    assert_eq!(list().await.unwrap().items, []);
    let store = running.store.clone();
    running.close().await;
    let listed = store
        .history()
        .events(EventFilter::default(), page(1))
        .await;
    assert!(matches!(
        listed,
        Err(QueryError::Failed(StoreError::Closed))
    ));
}

/// A clock that advances by a second on every read, once that is switched on.
#[derive(Debug, Default)]
struct FastClock(std::sync::atomic::AtomicI64, AtomicBool);

impl Clock for FastClock {
    fn wall(&self) -> Timestamp {
        NOW
    }

    fn steady(&self) -> Timestamp {
        let step = i64::from(self.1.load(Ordering::SeqCst)) * 1000;
        NOW.plus(Duration::from_millis(
            self.0.fetch_add(step, Ordering::SeqCst).unsigned_abs(),
        ))
    }
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_ended_and_the_next_one_is_answered() {
    let folder = tempdir().unwrap();
    let clock = Arc::new(FastClock::default());
    let setup = Setup {
        clock: clock.clone(),
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    for _ in 0..4 {
        let batch = (0..1000).map(|_| event("", &[])).collect();
        running.accept(batch).await;
    }
    let other = EventFilter {
        event_type: Some("other".parse().unwrap()),
        ..EventFilter::default()
    };
    clock.1.store(true, Ordering::SeqCst);
    let listed = running.store.history().events(other.clone(), page(1)).await;
    assert!(matches!(listed, Err(QueryError::TooSlow)), "{listed:?}");
    clock.1.store(false, Ordering::SeqCst);
    let listed = running
        .store
        .history()
        .events(other, page(1))
        .await
        .unwrap();
    assert_eq!(listed.items, []);
    running.close().await;
}

#[tokio::test]
async fn an_index_that_is_replaced_is_read_from_its_new_file() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let id = running.accept(vec![event("1", &[a])]).await[0].id;
    assert!(running.store.history().event(&id).await.unwrap().is_some());
    let path: PathBuf = folder.path().join("index.sqlite3");
    // Damage that the index's thread meets when it writes, and no query: the index is rebuilt.
    let vandal = rusqlite::Connection::open(&path).unwrap();
    vandal.execute_batch("DROP TABLE counters").unwrap();
    drop(vandal);
    let later = running.accept(vec![event("2", &[a])]).await[0].id;
    for id in [id, later] {
        assert!(running.store.history().event(&id).await.unwrap().is_some());
    }
    assert!(folder.path().join("index.sqlite3.old").exists());
    running.close().await;
}
