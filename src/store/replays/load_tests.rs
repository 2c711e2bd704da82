//! Tests of large bulk replays: how much is in memory, and that each delivery comes once.

use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::domain::{Order, WhenStuck};

#[tokio::test]
async fn a_slow_endpoint_has_a_bounded_part_of_a_bulk_replay_in_memory_and_gets_all_of_it_once() {
    const COUNT: usize = 9_000;
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    accept_dead(&running, a, COUNT).await;
    let begun = running
        .store
        .replays()
        .begin(request(DeliveryState::Dead))
        .await;
    let (id, _) = begun.unwrap();
    until(&running.store, id, |progress| progress.replayed >= 4_000).await;
    let queue = running.store.queue(a);
    let mut seen = BTreeSet::new();
    while seen.len() < COUNT {
        let due = queue.0.step(|state| state.due_at(NOW));
        assert!(due <= 4_500, "{due} are in memory");
        let counts = queue.counts();
        let ended = u64::try_from(seen.len()).unwrap();
        assert_eq!(counts.pending + counts.dead + ended, 9_000);
        queue.ready().await;
        let mut leases = Vec::new();
        queue.take(100, &mut leases);
        for lease in leases {
            assert!(seen.insert(lease.event().head.id), "none comes twice");
            running.settle(lease, Next::Delivered).await;
        }
    }
    assert_eq!(done(&running.store, id).await.replayed, 9_000);
    let counts = queue.counts();
    assert_eq!((counts.pending, counts.dead), (0, 0));
    running.close().await;
}

/// Replayed deliveries wait for an older dead one: the replay of that one must go on nevertheless.
#[tokio::test]
async fn what_blocks_can_be_replayed_however_much_waits_behind_it() {
    const BEHIND: usize = 4_600;
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let queue = running.store.queue(a);
    queue.set_order(Order::Strict, WhenStuck::Block);
    let mut first = dead("first", a);
    first.event.head.event_type = "two.first".parse().unwrap();
    running.accept(vec![first]).await;
    // Pending behind it: deliveries replayed behind this one are not looked at before it has gone.
    running.accept(vec![event("pending", &[a])]).await;
    accept_dead(&running, a, BEHIND).await;
    let of_type = |event_type: &str| ReplayRequest {
        event_type: Some(event_type.parse().unwrap()),
        ..request(DeliveryState::Dead)
    };
    let others = of_type("test");
    let (id, matched) = running.store.replays().begin(others).await.unwrap();
    assert_eq!(matched, u64::try_from(BEHIND).unwrap());
    let (first, _) = running
        .store
        .replays()
        .begin(of_type("two.first"))
        .await
        .unwrap();
    let finished = async {
        (
            done(&running.store, first).await,
            done(&running.store, id).await,
        )
    };
    let finished = tokio::time::timeout(Duration::from_secs(60), finished).await;
    assert!(finished.is_ok(), "a replay waits for ever");
    running.close().await;
}

/// A line whose head is due in hours does not move: the replay that brings the head forward does not wait for it.
#[tokio::test]
async fn a_retry_does_not_wait_for_what_it_is_to_bring_forward() {
    const COUNT: usize = 4_600;
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let queue = running.store.queue(a);
    queue.set_order(Order::Strict, WhenStuck::Skip);
    accept_dead(&running, a, COUNT).await;
    let (id, _) = running
        .store
        .replays()
        .begin(request(DeliveryState::Dead))
        .await
        .unwrap();
    until(&running.store, id, |progress| progress.replayed >= 500).await;
    // As a lane does: it takes all that may go, which is nothing.
    let lane = running.store.queue(a);
    // The head fails and comes in hours: the others wait in its line.
    let lease = running.take_one(a).await;
    let head = lease.event().head.id;
    running
        .settle(lease, due_in(NOW, Duration::from_secs(36_000)))
        .await;
    let looks = tokio::spawn(async move {
        loop {
            let ready = tokio::time::timeout(Duration::from_millis(5), lane.ready()).await;
            assert!(ready.is_err(), "something goes before the head");
        }
    });
    let finished = tokio::time::timeout(Duration::from_secs(60), done(&running.store, id)).await;
    assert!(
        finished.is_ok(),
        "the replay waits for a line that stands still"
    );
    looks.abort();
    let (retry, matched) = running
        .store
        .replays()
        .begin(request(DeliveryState::Pending))
        .await
        .unwrap();
    assert!(matched >= 1);
    let finished = tokio::time::timeout(Duration::from_secs(60), done(&running.store, retry)).await;
    assert!(
        finished.is_ok(),
        "the retry waits for what it is to bring forward"
    );
    assert_eq!(running.take_one(a).await.event().head.id, head);
    running.close().await;
}

#[tokio::test]
async fn what_waits_is_retried_once_each_while_the_index_is_slow() {
    let folder = tempdir().unwrap();
    let setup = Setup {
        bounds: TINY,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let a = running.named("a");
    let queue = running.store.queue(a);
    let mut all = BTreeSet::new();
    let in_an_hour = due_in(NOW, Duration::from_secs(3600));
    for batch in 0..10 {
        let batch = (0..30).map(|n| event(&format!("{batch}-{n}"), &[a]));
        for receipt in running.accept(batch.collect()).await {
            all.insert(receipt.id);
            let lease = running.take_one(a).await;
            running.settle(lease, in_an_hour).await;
        }
    }
    let index = Arc::clone(&running.store.0.operations);
    let slow = tokio::spawn(async move {
        loop {
            let busy = |_: &Connection| {
                std::thread::sleep(Duration::from_millis(20));
                Ok(())
            };
            index.ask(busy).await.unwrap();
        }
    });
    let begun = running
        .store
        .replays()
        .begin(request(DeliveryState::Pending));
    let (id, matched) = begun.await.unwrap();
    assert_eq!(matched, 300);
    // A second retry, as impatient operators make it, finds what is left.
    let again = running
        .store
        .replays()
        .begin(request(DeliveryState::Pending));
    let (again, _) = again.await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < all.len() {
        queue.ready().await;
        let mut leases = Vec::new();
        queue.take(7, &mut leases);
        for lease in leases {
            let (id, attempt) = (lease.event().head.id, lease.attempt());
            if attempt == 1 {
                // One of those accepted meanwhile: none is refused.
                running.settle(lease, Next::Delivered).await;
                continue;
            }
            assert!(seen.insert(id), "none comes twice");
            running.settle(lease, Next::Delivered).await;
            if seen.len() % 50 == 0 {
                running.accept(vec![event("later", &[a])]).await;
            }
        }
    }
    assert_eq!(seen, all);
    let (first, second) = (
        done(&running.store, id).await,
        done(&running.store, again).await,
    );
    assert_eq!(first.replayed + second.replayed, 300);
    slow.abort();
    while queue.counts().pending > 0 {
        let lease = running.take_one(a).await;
        assert_eq!(lease.attempt(), 1);
        running.settle(lease, Next::Delivered).await;
    }
    running.close().await;
}
