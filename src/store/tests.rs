//! Tests of the store through its public calls.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tempfile::tempdir;

use super::harness::*;
use super::*;
use crate::domain::{DeadReason, Next, SystemClock, Timestamp};

#[tokio::test]
async fn an_accepted_event_is_leased_to_each_of_its_subscriptions() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let (a, b) = (running.named("a"), running.named("b"));
    let receipts = running.accept(vec![event("hello", &[a, b])]).await;
    assert_eq!((receipts[0].deliveries, receipts[0].duplicate), (2, false));
    for number in [a, b] {
        let lease = running.take_one(number).await;
        assert_eq!(lease.event().body, "hello");
        assert_eq!(lease.event().head.id, receipts[0].id);
        assert_eq!((lease.attempt(), lease.schedule_attempt()), (1, 1));
        running.settle(lease, Next::Delivered).await;
        assert_eq!(running.store.queue(number).counts(), QueueCounts::default());
    }
    running.close().await;
}

#[tokio::test]
async fn deliveries_are_taken_in_order_of_acceptance() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let batch = ["1", "2", "3"].map(|body| event(body, &[a])).to_vec();
    running.accept(batch).await;
    running.accept(vec![event("4", &[a])]).await;
    assert_eq!(running.drain(a).await, ["1", "2", "3", "4"]);
    running.close().await;
}

#[tokio::test]
async fn a_leased_delivery_is_given_to_nobody_else_and_returns_when_the_lease_is_dropped() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    running
        .accept(vec![event("1", &[a]), event("2", &[a])])
        .await;
    let lease = running.take_one(a).await;
    let mut others = Vec::new();
    running.store.queue(a).take(10, &mut others);
    assert_eq!(others.len(), 1);
    assert_eq!(running.store.queue(a).counts().in_flight, 2);
    drop(lease);
    let again = running.take_one(a).await;
    assert_eq!(
        (again.event().body.as_ref(), again.attempt()),
        (&b"1"[..], 1)
    );
    running.settle(again, Next::Delivered).await;
    drop(others);
    running.close().await;
}

#[tokio::test]
async fn a_failed_delivery_is_ready_again_when_it_is_due() {
    let folder = tempdir().unwrap();
    let setup = Setup {
        clock: Arc::new(SystemClock::new()),
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let a = running.named("a");
    running.accept(vec![event("1", &[a])]).await;
    let lease = running.take_one(a).await;
    let due = due_in(setup.clock.steady(), Duration::from_millis(30));
    let Next::Due { at, .. } = due else {
        unreachable!()
    };
    running.settle(lease, due).await;
    let again = running.take_one(a).await;
    assert!(setup.clock.steady() >= at);
    assert_eq!((again.attempt(), again.schedule_attempt()), (2, 2));
    assert_eq!(again.event().body, "1");
    running
        .settle(again, Next::Dead(DeadReason::Exhausted))
        .await;
    let counts = running.store.queue(a).counts();
    assert_eq!(
        (counts.pending, counts.pending_bytes, counts.dead),
        (0, 0, 1)
    );
    running.close().await;
}

#[tokio::test]
async fn what_is_pending_survives_a_restart_with_its_attempts_and_due_time() {
    let folder = tempdir().unwrap();
    let clock = HandClock::at(NOW);
    let setup = Setup {
        clock: clock.clone(),
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let (a, b) = (running.named("a"), running.named("b"));
    running
        .accept(vec![event("1", &[a]), event("2", &[a, b])])
        .await;
    let lease = running.take_one(a).await;
    let pause = Duration::from_secs(60);
    running.settle(lease, due_in(NOW, pause)).await;
    let dead = running.take_one(b).await;
    running.settle(dead, Next::Dead(DeadReason::GaveUp)).await;
    running.close().await;

    let running = setup.open(folder.path());
    let mut names = running.store.subscriptions();
    names.sort();
    assert_eq!(
        names,
        [("a".parse().unwrap(), a), ("b".parse().unwrap(), b)]
    );
    let counts = running.store.queue(a).counts();
    assert_eq!((counts.pending, counts.pending_bytes), (2, 2));
    assert_eq!(counts.oldest_accepted_at, Some(NOW));
    assert_eq!(running.store.queue(b).counts().dead, 1);
    let second = running.take_one(a).await;
    assert_eq!(second.event().body, "2");
    let mut none = Vec::new();
    running.store.queue(a).take(5, &mut none);
    assert!(none.is_empty(), "not due yet");
    clock.advance(pause);
    let first = running.take_one(a).await;
    assert_eq!(
        (first.event().body.as_ref(), first.attempt()),
        (&b"1"[..], 2)
    );
    drop((first, second));
    running.close().await;
}

#[tokio::test]
async fn after_a_clock_was_set_back_nothing_waits_longer_than_its_pause() {
    let folder = tempdir().unwrap();
    let pause = Duration::from_secs(60);
    {
        let running = Setup::default().open(folder.path());
        let a = running.named("a");
        running.accept(vec![event("1", &[a])]).await;
        let lease = running.take_one(a).await;
        running.settle(lease, due_in(NOW, pause)).await;
        running.close().await;
    }
    let earlier = Timestamp::from_millis(NOW.as_millis() - 1_000_000_000);
    let clock = HandClock::at(earlier);
    let setup = Setup {
        clock: clock.clone(),
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    clock.advance(pause);
    let a = running.named("a");
    assert_eq!(running.take_one(a).await.attempt(), 2);
    running.close().await;
}

#[tokio::test]
async fn a_backlog_beyond_every_bound_is_delivered_whole_and_in_order() {
    let folder = tempdir().unwrap();
    let setup = Setup {
        bounds: TINY,
        memory_budget: 2_000,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let a = running.named("a");
    let bodies: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
    for body in &bodies {
        running.accept(vec![event(body, &[a])]).await;
    }
    assert_eq!(running.drain(a).await, bodies);
    running.close().await;
}

#[tokio::test]
async fn queues_that_ask_the_index_at_once_share_what_memory_there_is() {
    let folder = tempdir().unwrap();
    let setup = Setup {
        memory_budget: 10_000,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let numbers: Vec<_> = (0..40).map(|n| running.named(&format!("s{n}"))).collect();
    let events = (0..100).map(|n| event(&n.to_string(), &numbers));
    running.accept(events.collect()).await;
    running.close().await;
    let running = setup.open(folder.path());
    let queues: Vec<_> = numbers.iter().map(|n| running.store.queue(*n)).collect();
    // None is answered before all have asked.
    let index = &running.store.0.operations.index;
    let (go_on, wait) = std::sync::mpsc::sync_channel(1);
    drop(index.ask(move |_| Ok(wait.recv().ok())));
    let mut leases = Vec::new();
    for queue in &queues {
        queue.take(1, &mut leases);
    }
    go_on.send(()).unwrap();
    index.ask(|_| Ok(())).await.unwrap();
    // One may be answered in full before it is known that this was too much.
    let most = 10_000 + 100 * 112 + 40 * 16 * 112;
    let used = running.store.0.pump.budget.used();
    assert!((10_000..=most).contains(&used), "{used}");
    running.close().await;
}

#[tokio::test]
async fn above_max_pending_no_event_is_accepted() {
    let folder = tempdir().unwrap();
    let setup = Setup {
        max_pending: 1_000,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let a = running.named("a");
    running.accept(vec![event(&"x".repeat(1_001), &[a])]).await;
    let refused = running.store.accept(vec![event("x", &[a])]).await;
    assert!(matches!(refused, Err(AcceptError::Pending)), "{refused:?}");
    running.drain(a).await;
    running.accept(vec![event("x", &[a])]).await;
    running.close().await;
}

#[tokio::test]
async fn beyond_max_pending_a_delivery_is_dead_and_others_still_get_the_event() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let (a, b) = (running.named("a"), running.named("b"));
    let mut new = event("12345", &[a, b]);
    new.deliveries[0].max_pending = 9;
    running.accept(vec![new.clone()]).await;
    let receipts = running.accept(vec![new]).await;
    assert_eq!(receipts[0].overflowed, [a]);
    assert_eq!(receipts[0].deliveries, 2);
    let counts = running.store.queue(a).counts();
    assert_eq!(
        (counts.pending, counts.pending_bytes, counts.dead),
        (1, 5, 1)
    );
    assert_eq!(running.store.queue(b).counts().pending, 2);
    assert_eq!(running.drain(a).await.len(), 1);
    running.close().await;
    let running = Setup::default().open(folder.path());
    assert_eq!(running.store.queue(a).counts().dead, 1);
    running.close().await;
}

#[tokio::test]
async fn the_same_given_id_is_answered_with_the_first_events_receipt() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let b = running.named("b");
    let first = running.accept(vec![given("x", "1", &[a, b])]).await;
    let again = running.accept(vec![given("x", "1", &[])]).await;
    assert_eq!((again[0].id, again[0].deliveries), (first[0].id, 2));
    assert!(again[0].duplicate);
    let other = running
        .store
        .accept(vec![event("0", &[a]), given("x", "2", &[a])]);
    assert!(matches!(other.await, Err(AcceptError::Conflict(1))));
    let mut elsewhere = given("x", "2", &[]);
    elsewhere.event.head.source = Some("/other".into());
    assert!(!running.accept(vec![elsewhere]).await[0].duplicate);
    assert_eq!(
        running.store.queue(a).counts().pending,
        1,
        "nothing of the conflicting batch"
    );
    running.close().await;

    let running = Setup::default().open(folder.path());
    let after = running.accept(vec![given("x", "1", &[a])]).await;
    assert_eq!((after[0].id, after[0].duplicate), (first[0].id, true));
    running.close().await;
}

#[tokio::test]
async fn a_given_id_twice_in_one_batch_is_one_event() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let batch = vec![
        given("x", "1", &[a]),
        event("2", &[a]),
        given("x", "1", &[a]),
    ];
    let receipts = running.accept(batch).await;
    assert_eq!(
        receipts.iter().map(|r| r.duplicate).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert_eq!(receipts[0].id, receipts[2].id);
    let conflicting = vec![given("y", "1", &[a]), given("y", "2", &[a])];
    let refused = running.store.accept(conflicting).await;
    assert!(matches!(refused, Err(AcceptError::Conflict(1))));
    assert_eq!(running.drain(a).await, ["1", "2"]);
    running.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_race_with_one_given_id_one_is_new() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    for round in 0..20 {
        let id = format!("id-{round}");
        let racers: Vec<_> = (0..64)
            .map(|_| {
                let (store, new) = (running.store.clone(), given(&id, "body", &[a]));
                tokio::spawn(async move { store.accept(vec![new]).await.unwrap().remove(0) })
            })
            .collect();
        let mut ids = Vec::new();
        let mut new = 0;
        for racer in racers {
            let receipt = racer.await.unwrap();
            new += usize::from(!receipt.duplicate);
            ids.push(receipt.id);
        }
        ids.dedup();
        assert_eq!((new, ids.len()), (1, 1));
    }
    assert_eq!(running.drain(a).await.len(), 20);
    running.close().await;
}

#[tokio::test]
async fn an_index_that_was_deleted_or_damaged_is_written_anew() {
    let folder = tempdir().unwrap();
    let index = folder.path().join("index.sqlite3");
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let first = running
        .accept(vec![given("x", "1", &[a]), event("2", &[a])])
        .await;
    let lease = running.take_one(a).await;
    running.settle(lease, Next::Delivered).await;
    running.close().await;
    for damage in [
        None,
        Some(&b"this is no database, but it is long enough to look at"[..]),
    ] {
        match damage {
            None => fs::remove_file(&index).unwrap(),
            Some(bytes) => fs::write(&index, bytes).unwrap(),
        }
        let running = Setup::default().open(folder.path());
        assert_eq!(running.store.queue(a).counts().pending, 1);
        assert_eq!(running.take_one(a).await.event().body, "2");
        let again = running.accept(vec![given("x", "1", &[a])]).await;
        assert_eq!((again[0].id, again[0].duplicate), (first[0].id, true));
        running.close().await;
    }
    assert!(folder.path().join("index.sqlite3.old").exists());
}

#[tokio::test]
async fn the_state_of_a_subscription_survives_a_restart_even_without_an_event() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let state = SubscriptionState {
        consecutive_failures: 7,
        held_since: Some(NOW),
        stops: vec![(NOW, NOW.plus(Duration::from_secs(1))), (NOW, NOW)],
        ..SubscriptionState::default()
    };
    running.store.set_state(a, state.clone());
    running.close().await;
    let running = Setup::default().open(folder.path());
    assert_eq!(running.named("a"), a);
    assert_eq!(running.store.state(a), state);
    assert_eq!(
        running.store.state(running.named("b")),
        SubscriptionState::default()
    );
    running.close().await;
}

#[tokio::test]
async fn a_name_that_no_event_used_is_forgotten_and_its_number_reused() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let (_, b) = (running.named("a"), running.named("b"));
    running.accept(vec![event("1", &[b])]).await;
    running.close().await;
    let running = Setup::default().open(folder.path());
    assert_eq!(running.store.subscriptions(), [("b".parse().unwrap(), b)]);
    assert!(running.named("c") > b);
    running.close().await;
}

#[tokio::test]
async fn a_second_store_on_the_same_folder_is_refused() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let error = Setup::default().try_open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    running.close().await;
    Setup::default().open(folder.path()).close().await;
}

#[tokio::test]
async fn a_closed_store_accepts_nothing() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    running.store.close().await.unwrap();
    let a = running.named("a");
    let refused = running.store.accept(vec![event("1", &[a])]).await;
    assert!(matches!(refused, Err(AcceptError::Failed(_))));
    assert_eq!(running.store.queue(a).counts(), QueueCounts::default());
}

#[tokio::test]
async fn the_oldest_delivery_is_known_also_when_it_is_only_in_the_index() {
    let folder = tempdir().unwrap();
    let setup = Setup {
        bounds: TINY,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let a = running.named("a");
    for number in 0..10 {
        let mut new = event("x", &[a]);
        new.event.head.accepted_at = NOW.plus(Duration::from_secs(number));
        running.accept(vec![new]).await;
    }
    let queue = running.store.queue(a);
    assert_eq!(queue.counts().oldest_accepted_at, Some(NOW));
    let lease = running.take_one(a).await;
    running.settle(lease, Next::Delivered).await;
    let second = Some(NOW.plus(Duration::from_secs(1)));
    assert_eq!(queue.counts().oldest_accepted_at, second);
    running.store.publish();
    running.close().await;
}

#[tokio::test]
async fn an_index_that_breaks_while_running_strands_no_delivery() {
    let folder = tempdir().unwrap();
    let clock = HandClock::at(NOW);
    let setup = Setup {
        bounds: TINY,
        clock: clock.clone(),
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let a = running.named("a");
    let bodies: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let batch = bodies.iter().map(|body| event(body, &[a])).collect();
    running.accept(batch).await;
    for lease in running.take(a, 3).await {
        let next = due_in(NOW, Duration::from_secs(1));
        running.settle(lease, next).await;
    }
    // Rows are hidden from the queue, as a flipped bit hides them, and then SQLite notices.
    let index = rusqlite::Connection::open(folder.path().join("index.sqlite3")).unwrap();
    index.busy_timeout(Duration::from_secs(5)).unwrap();
    index
        .execute_batch(
            "DELETE FROM deliveries WHERE state = 0 AND seq % 3 = 0; DROP TABLE counters;",
        )
        .unwrap();
    clock.advance(Duration::from_secs(2));
    let mut delivered = running.drain(a).await;
    delivered.sort();
    let mut expected = bodies;
    expected.sort();
    assert_eq!(delivered, expected);
    running.close().await;
}
