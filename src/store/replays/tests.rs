//! Tests of bulk replay: which deliveries, at which pace, over stops and restarts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::tempdir;
use tokio::time::Instant;

use super::*;
use crate::domain::{
    DeliveryId, DeliveryState, EventId, EventSeq, Next, RateLimit, SubscriptionNumber, Timestamp,
};
use crate::store::changes::Claim;
use crate::store::harness::*;
use crate::store::{DeliveryFilter, NewEvent, OperationError, Page, Store, SubscriptionState};

fn request(state: DeliveryState) -> ReplayRequest {
    ReplayRequest {
        subscription: "a".parse().unwrap(),
        state,
        since: None,
        until: None,
        event_type: None,
        rate_limit: None,
    }
}

fn every_second(attempts: u32) -> Option<RateLimit> {
    let per = Duration::from_secs(1);
    Some(RateLimit { attempts, per })
}

/// Of dead letters, one an hour.
fn slow() -> ReplayRequest {
    ReplayRequest {
        rate_limit: Some(RateLimit {
            attempts: 1,
            per: Duration::from_secs(3600),
        }),
        ..request(DeliveryState::Dead)
    }
}

/// An event whose delivery is dead from the start.
fn dead(body: &str, number: SubscriptionNumber) -> NewEvent {
    let mut new = event(body, &[number]);
    new.deliveries[0].max_pending = 0;
    new
}

async fn accept_dead(running: &Running, number: SubscriptionNumber, count: usize) {
    for from in (0..count).step_by(500) {
        let upto = count.min(from + 500);
        let batch = (from..upto).map(|body| dead(&body.to_string(), number));
        running.accept(batch.collect()).await;
    }
}

/// Waits until enough of a bulk replay has happened.
async fn until(
    store: &Store,
    id: ReplayId,
    enough: impl Fn(&ReplayProgress) -> bool,
) -> ReplayProgress {
    loop {
        let changed = store.0.replays.jobs.changed.notified();
        let progress = store.replays().progress(id).unwrap();
        if enough(&progress) {
            return progress;
        }
        changed.await;
    }
}

async fn done(store: &Store, id: ReplayId) -> ReplayProgress {
    until(store, id, |progress| progress.state == ReplaysState::Done).await
}

fn remove_index(folder: &Path) {
    for file in ["index.sqlite3", "index.sqlite3-wal", "index.sqlite3-shm"] {
        fs::remove_file(folder.join(file)).ok();
    }
}

/// The events of deliveries in a state, oldest first.
async fn in_state(running: &Running, state: DeliveryState) -> Vec<EventId> {
    let filter = DeliveryFilter {
        state: Some(state),
        ..DeliveryFilter::default()
    };
    let page = Page {
        limit: 200,
        cursor: None,
    };
    let listing = running
        .store
        .history()
        .deliveries(filter, page)
        .await
        .unwrap();
    let newest_first = listing.items.into_iter();
    newest_first.rev().map(|found| found.id.event).collect()
}

#[tokio::test]
async fn dead_letters_are_replayed_at_their_pace_over_a_stop_and_restarts_none_twice() {
    let folder = tempdir().unwrap();
    let setup = Setup::default();
    let running = setup.open(folder.path());
    let a = running.named("a");
    accept_dead(&running, a, 3_000).await;

    tokio::time::pause();
    let began = Instant::now();
    let paced = ReplayRequest {
        rate_limit: every_second(100),
        ..request(DeliveryState::Dead)
    };
    let begun = running.store.replays().begin(paced.clone()).await;
    let (first, matched) = begun.unwrap();
    assert_eq!(matched, 3_000);
    until(&running.store, first, |progress| progress.replayed >= 1_000).await;
    // Paused time runs ahead while threads work, never behind.
    assert!(began.elapsed().as_secs() >= 9);
    // While it stands, time does not run ahead of the threads.
    tokio::time::resume();
    let stopped = running.store.replays().stop(first).await.unwrap();
    assert_eq!(stopped.state, ReplaysState::Stopped);
    // The lead is made up for, by no more than a second.
    let left = 3_000 - stopped.replayed;
    assert!((1_800..=2_000).contains(&left), "{left}");

    tokio::time::pause();
    let begun = running.store.replays().begin(paced).await;
    let (second, matched) = begun.unwrap();
    assert_eq!(matched, left);
    until(&running.store, second, |progress| progress.replayed >= 500).await;
    tokio::time::resume();
    running.close().await;
    // The job goes on by itself, also when the index must be rebuilt.
    let running = setup.open(folder.path());
    tokio::time::pause();
    let progress = until(&running.store, second, |progress| progress.replayed > 600).await;
    assert_eq!(progress.state, ReplaysState::Running);
    tokio::time::resume();
    running.close().await;
    remove_index(folder.path());
    let running = setup.open(folder.path());
    tokio::time::pause();
    let progress = done(&running.store, second).await;
    tokio::time::resume();
    assert_eq!(
        (progress.matched, progress.replayed, progress.skipped),
        (left, left, 0)
    );
    assert_eq!(running.store.replays().progress(first), Some(stopped));

    let again = running.store.replays().stop(second).await.unwrap();
    assert_eq!(again, progress);
    let counts = running.store.queue(a).counts();
    assert_eq!((counts.pending, counts.dead), (3_000, 0));
    let bodies = running.drain(a).await;
    assert_eq!(bodies.len(), 3_000);
    let different: BTreeSet<_> = bodies.into_iter().collect();
    assert_eq!(different.len(), 3_000);
    running.close().await;
}

#[tokio::test]
async fn a_restart_does_not_hurry_a_bulk_replay() {
    let folder = tempdir().unwrap();
    let setup = Setup::default();
    let running = setup.open(folder.path());
    let a = running.named("a");
    accept_dead(&running, a, 100).await;
    let (id, _) = running.store.replays().begin(slow()).await.unwrap();
    until(&running.store, id, |progress| progress.replayed == 1).await;
    running.close().await;
    for _ in 0..2 {
        let running = setup.open(folder.path());
        let before = running.store.replays().progress(id).unwrap().replayed;
        tokio::time::pause();
        let began = Instant::now();
        until(&running.store, id, |progress| progress.replayed > before).await;
        // Paused time runs ahead while threads work, never behind.
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(3590), "{waited:?}");
        tokio::time::resume();
        running.close().await;
        remove_index(folder.path());
    }
}

#[tokio::test]
async fn a_pattern_says_of_which_types_deliveries_are_replayed() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    for event_type in ["invoice.paid", "invoice.sent.late", "invoice:paid", "order"] {
        let mut new = dead("x", a);
        new.event.head.event_type = event_type.parse().unwrap();
        running.accept(vec![new]).await;
    }
    for (pattern, matched) in [
        ("*", 4),
        ("invoice.*", 2),
        ("invoice", 1),
        ("order", 1),
        ("paid", 0),
    ] {
        let filtered = ReplayRequest {
            event_type: Some(pattern.parse().unwrap()),
            ..request(DeliveryState::Dead)
        };
        let found = running.store.replays().count(&filtered).await.unwrap();
        assert_eq!(found, matched, "{pattern}");
    }
    running.close().await;
}

#[tokio::test]
async fn only_deliveries_of_the_type_and_time_are_replayed_and_counting_replays_none() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let (a, b) = (running.named("a"), running.named("b"));
    let mut all = Vec::new();
    let of = [
        ("one", 10, a),
        ("two", 20, a),
        ("two", 30, b),
        ("two", 40, a),
        ("two", 50, a),
    ];
    for (event_type, accepted_at, number) in of {
        let mut new = dead("x", number);
        new.event.head.event_type = event_type.parse().unwrap();
        new.event.head.accepted_at = Timestamp::from_millis(accepted_at);
        all.push(running.accept(vec![new]).await[0].id);
    }
    let filtered = ReplayRequest {
        since: Some(Timestamp::from_millis(10)),
        until: Some(Timestamp::from_millis(50)),
        event_type: Some("two".parse().unwrap()),
        ..request(DeliveryState::Dead)
    };
    assert_eq!(running.store.replays().count(&filtered).await.unwrap(), 2);
    assert_eq!(running.store.queue(a).counts().dead, 4);
    assert_eq!(running.store.replays().all(), []);
    let (id, matched) = running.store.replays().begin(filtered).await.unwrap();
    assert_eq!(matched, 2);
    assert_eq!(done(&running.store, id).await.replayed, 2);
    let pending = in_state(&running, DeliveryState::Pending).await;
    assert_eq!(pending, [all[1], all[3]]);
    running.close().await;
}

#[tokio::test]
async fn what_was_delivered_or_cancelled_is_replayed_with_a_fresh_schedule() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let (a, b) = (running.named("a"), running.named("b"));
    running.accept(vec![event("1", &[a])]).await;
    let lease = running.take_one(a).await;
    running.settle(lease, due_in(NOW, Duration::ZERO)).await;
    let lease = running.take_one(a).await;
    running.settle(lease, Next::Delivered).await;
    let batch = vec![event("2", &[b]), event("3", &[b, a]), event("4", &[a])];
    let receipts = running.accept(batch).await;
    for receipt in &receipts[1..] {
        let id = DeliveryId {
            event: receipt.id,
            subscription: "a".parse().unwrap(),
        };
        running.store.cancel(&id).await.unwrap();
    }

    let store = &running.store;
    let begun = store
        .replays()
        .begin(request(DeliveryState::Delivered))
        .await;
    let (id, matched) = begun.unwrap();
    assert_eq!(matched, 1);
    assert_eq!(done(store, id).await.replayed, 1);
    let lease = running.take_one(a).await;
    assert_eq!((lease.attempt(), lease.schedule_attempt()), (3, 1));
    running.settle(lease, Next::Delivered).await;

    let begun = store
        .replays()
        .begin(request(DeliveryState::Cancelled))
        .await;
    let (id, matched) = begun.unwrap();
    assert_eq!(matched, 2);
    assert_eq!(done(store, id).await.replayed, 2);
    assert_eq!(running.drain(a).await, ["3", "4"]);
    assert_eq!(store.queue(b).counts().pending, 2);
    running.close().await;
}

#[tokio::test]
async fn deliveries_that_changed_in_the_meantime_are_skipped() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    accept_dead(&running, a, 3).await;
    let (id, _) = running.store.replays().begin(slow()).await.unwrap();
    until(&running.store, id, |progress| progress.replayed == 1).await;
    let left = in_state(&running, DeliveryState::Dead).await;
    let cancelled = DeliveryId {
        event: *left.last().unwrap(),
        subscription: "a".parse().unwrap(),
    };
    running.store.cancel(&cancelled).await.unwrap();
    tokio::time::pause();
    let progress = done(&running.store, id).await;
    assert_eq!(
        (progress.matched, progress.replayed, progress.skipped),
        (3, 2, 1)
    );
    assert_eq!(in_state(&running, DeliveryState::Cancelled).await.len(), 1);
    running.close().await;
}

#[tokio::test]
async fn a_bulk_replay_of_a_disabled_subscription_does_not_begin_and_one_under_way_waits() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    accept_dead(&running, a, 3).await;
    let held = SubscriptionState {
        held_since: Some(NOW),
        ..SubscriptionState::default()
    };
    running.store.set_state(a, held.clone());
    let begun = running.store.replays().begin(slow()).await;
    assert!(matches!(begun, Err(OperationError::Disabled)));
    running.store.set_state(a, SubscriptionState::default());

    let (id, _) = running.store.replays().begin(slow()).await.unwrap();
    until(&running.store, id, |progress| progress.replayed == 1).await;
    tokio::time::pause();
    running.store.set_state(a, held);
    tokio::time::sleep(Duration::from_secs(36_000)).await;
    // An operation gets its turn after a chunk that has begun.
    let unknown = DeliveryId {
        event: event("", &[]).event.head.id,
        subscription: "a".parse().unwrap(),
    };
    let cancelled = running.store.cancel(&unknown).await;
    assert!(matches!(cancelled, Err(OperationError::Unknown)));
    assert_eq!(running.store.queue(a).counts().dead, 2);
    let progress = running.store.replays().progress(id).unwrap();
    assert_eq!(
        (progress.state, progress.replayed),
        (ReplaysState::Running, 1)
    );
    running.store.set_state(a, SubscriptionState::default());
    assert_eq!(done(&running.store, id).await.replayed, 3);
    running.close().await;
}

#[tokio::test]
async fn what_waits_for_a_retry_is_due_at_once_and_its_schedule_goes_on() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    running
        .accept((0..3).map(|n| event(&n.to_string(), &[a])).collect())
        .await;
    let in_an_hour = due_in(NOW, Duration::from_secs(3600));
    for _ in 0..2 {
        let lease = running.take_one(a).await;
        running.settle(lease, in_an_hour).await;
    }
    let in_flight = running.take_one(a).await;
    let (id, matched) = running
        .store
        .replays()
        .begin(request(DeliveryState::Pending))
        .await
        .unwrap();
    assert_eq!(matched, 2);
    assert_eq!(done(&running.store, id).await.replayed, 2);
    for _ in 0..2 {
        let lease = running.take_one(a).await;
        assert_eq!(
            (lease.attempt(), lease.schedule_attempt()),
            (2, 2),
            "its schedule goes on"
        );
        running.settle(lease, Next::Delivered).await;
    }
    drop(in_flight);
    assert_eq!(running.store.queue(a).counts().pending, 1);
    running.close().await;
}

#[tokio::test]
async fn what_ended_before_it_was_claimed_is_left_alone() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let ids = running
        .accept((0..3).map(|n| event(&n.to_string(), &[a])).collect())
        .await;
    let in_an_hour = due_in(NOW, Duration::from_secs(3600));
    for _ in 0..3 {
        let lease = running.take_one(a).await;
        running.settle(lease, in_an_hour).await;
    }
    let delivery = |event: EventId| DeliveryId {
        event,
        subscription: "a".parse().unwrap(),
    };
    // After they were seen as waiting, they are delivered, and due at once, before the claim.
    for (receipt, next) in ids.iter().zip([Some(Next::Delivered), None]) {
        running.store.replay(&delivery(receipt.id)).await.unwrap();
        if let Some(next) = next {
            let lease = running.take_one(a).await;
            running.settle(lease, next).await;
        }
    }
    let inner = &running.store.0;
    let queue = inner.operations.queue_of(&"a".parse().unwrap()).unwrap();
    let seqs = (1..=3).map(EventSeq).collect();
    let claim = Claim::those_free(&queue, seqs);
    assert_eq!(claim.seqs().len(), 3, "nothing is in flight");
    let waiting = run::still_waiting(&inner.operations, &claim).await.unwrap();
    let waiting: Vec<_> = waiting.iter().map(|(entry, _)| entry.seq).collect();
    assert_eq!(waiting, [EventSeq(3)]);
    drop(claim);
    running.close().await;
}

#[tokio::test]
async fn what_cannot_be_replayed_in_bulk_is_refused() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    running.named("a");
    let store = &running.store;
    let unknown = ReplayRequest {
        subscription: "nobody".parse().unwrap(),
        ..request(DeliveryState::Dead)
    };
    let begun = store.replays().begin(unknown).await;
    assert!(matches!(begun, Err(OperationError::Unknown)));
    let stopped = store.replays().stop(ReplayId(1)).await;
    assert!(matches!(stopped, Err(OperationError::Unknown)));
    running.close().await;
}

#[tokio::test]
async fn sixteen_bulk_replays_are_kept_and_the_oldest_finished_one_is_forgotten_first() {
    let folder = tempdir().unwrap();
    let setup = Setup::default();
    let running = setup.open(folder.path());
    let a = running.named("a");
    accept_dead(&running, a, 100).await;
    let store = &running.store;
    for _ in 0..16 {
        store.replays().begin(slow()).await.unwrap();
    }
    let begun = store.replays().begin(slow()).await;
    assert!(matches!(begun, Err(OperationError::TooManyReplays)));
    for id in [5, 3] {
        store.replays().stop(ReplayId(id)).await.unwrap();
    }
    let (last, _) = store.replays().begin(slow()).await.unwrap();
    assert_eq!(last, ReplayId(17));
    let kept = |store: &Store| -> Vec<u64> {
        let newest_first = store.replays().all();
        newest_first.iter().rev().map(|kept| kept.id.0).collect()
    };
    let expected: Vec<u64> = (1..=17).filter(|id| *id != 3).collect();
    assert_eq!(kept(store), expected);
    running.close().await;
    let running = setup.open(folder.path());
    assert_eq!(kept(&running.store), expected);
    running.close().await;
}

#[path = "load_tests.rs"]
mod load;
