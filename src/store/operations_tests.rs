//! Tests of refused operations on one delivery: each reason has its own error.

use std::time::Duration;

use tempfile::tempdir;

use super::OperationError;
use crate::domain::{DeadReason, DeliveryId, EventId, Next, SubscriptionNumber};
use crate::store::SubscriptionState;
use crate::store::harness::*;

fn id(event: EventId, name: &str) -> DeliveryId {
    DeliveryId {
        event,
        subscription: name.parse().unwrap(),
    }
}

async fn posted(running: &Running, number: SubscriptionNumber) -> DeliveryId {
    let receipts = running.accept(vec![event("x", &[number])]).await;
    id(receipts[0].id, "a")
}

#[tokio::test]
async fn a_replay_is_refused_in_flight_disabled_and_unknown_in_ways_that_differ() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let (a, _) = (running.named("a"), running.named("b"));
    let first = posted(&running, a).await;
    let lease = running.take_one(a).await;
    let store = &running.store;
    assert!(matches!(
        store.replay(&first).await,
        Err(OperationError::InFlight)
    ));
    assert!(matches!(
        store.cancel(&first).await,
        Err(OperationError::InFlight)
    ));
    running
        .settle(lease, Next::Dead(DeadReason::Exhausted))
        .await;

    let held = SubscriptionState {
        held_since: Some(NOW),
        ..SubscriptionState::default()
    };
    store.set_state(a, held);
    let second = posted(&running, a).await;
    for disabled in [&first, &second] {
        assert!(matches!(
            store.replay(disabled).await,
            Err(OperationError::Disabled)
        ));
    }
    let nowhere = event("x", &[]).event.head.id;
    for unknown in [id(nowhere, "a"), id(first.event, "b"), id(first.event, "c")] {
        assert!(matches!(
            store.replay(&unknown).await,
            Err(OperationError::Unknown)
        ));
        assert!(matches!(
            store.cancel(&unknown).await,
            Err(OperationError::Unknown)
        ));
    }
    for held in [&first, &second] {
        store.cancel(held).await.unwrap();
    }
    running.close().await;
}

#[tokio::test]
async fn a_replay_of_a_pending_delivery_is_due_now_and_its_schedule_goes_on() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let a = running.named("a");
    let waiting = posted(&running, a).await;
    let lease = running.take_one(a).await;
    let later = due_in(NOW, Duration::from_secs(3600));
    running.settle(lease, later).await;
    running.store.replay(&waiting).await.unwrap();
    let lease = running.take_one(a).await;
    assert_eq!((lease.attempt(), lease.schedule_attempt()), (2, 2));
    running.settle(lease, Next::Delivered).await;
    assert!(matches!(
        running.store.cancel(&waiting).await,
        Err(OperationError::Delivered)
    ));
    running.store.replay(&waiting).await.unwrap();
    let lease = running.take_one(a).await;
    assert_eq!((lease.attempt(), lease.schedule_attempt()), (3, 1));
    drop(lease);
    running.close().await;
}
