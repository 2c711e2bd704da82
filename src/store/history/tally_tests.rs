//! Tests of attempt results, as the store returns them: over rounds, restarts, retention and a rebuilt index.

use std::time::Duration;

use tempfile::tempdir;

use crate::domain::{
    AttemptStatus, DeadReason, FailureReason, Next, SubscriptionName, SubscriptionNumber,
};
use crate::store::harness::*;
use crate::store::history::tallies::{LastFailure, SuccessRate};
use crate::store::{IndexState, Tally, check};

async fn tally(running: &Running, name: &str) -> Tally {
    running
        .store
        .history()
        .tally(&name.parse().unwrap())
        .await
        .unwrap()
}

fn rates(last_1000: f64, last_24h: f64) -> SuccessRate {
    SuccessRate {
        last_1000: Some(last_1000),
        last_24h: Some(last_24h),
    }
}

async fn attempt(running: &Running, number: SubscriptionNumber, next: Next) {
    running.accept(vec![event("body", &[number])]).await;
    let lease = running.take_one(number).await;
    running.settle(lease, next).await;
}

#[tokio::test]
async fn attempts_are_counted_also_after_a_restart_and_without_the_index() {
    let folder = tempdir().unwrap();
    let setup = Setup::default();
    let mut running = setup.open(folder.path());
    let (a, b) = (running.named("a"), running.named("b"));
    assert_eq!(tally(&running, "a").await, Tally::default());
    assert_eq!(tally(&running, "nobody").await, Tally::default());
    for _ in 0..3 {
        attempt(&running, a, Next::Delivered).await;
    }
    attempt(&running, a, Next::Dead(DeadReason::Exhausted)).await;
    let receipts = running.accept(vec![event("body", &[b])]).await;
    let lease = running.take_one(b).await;
    let again = due_in(NOW, Duration::from_secs(60));
    running.settle(lease, again).await;
    for is_anew in [false, true] {
        let first = tally(&running, "a").await;
        assert_eq!(first.success_rate, rates(0.75, 0.75));
        assert_eq!(first.last_success_at, Some(NOW));
        let names: [SubscriptionName; 3] = ["a", "b", "unknown"].map(|name| name.parse().unwrap());
        let all = running
            .store
            .history()
            .tallies(&names.each_ref())
            .await
            .unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[&"a".parse().unwrap()], first);
        let second = Tally {
            success_rate: rates(0.0, 0.0),
            last_success_at: None,
            last_failure: Some(LastFailure {
                at: NOW,
                status: AttemptStatus::Failed,
                reason: Some(FailureReason::Http5xx),
                response_code: Some(500),
                error_message: None,
                event: Some(receipts[0].id),
                attempt: 1,
            }),
            oldest_pending_at: Some(NOW),
            blocked_by: None,
        };
        assert_eq!(all[&"b".parse().unwrap()], second);
        running.close().await;
        if is_anew {
            std::fs::remove_file(folder.path().join("index.sqlite3")).unwrap();
        }
        running = setup.open(folder.path());
    }
    let only: SubscriptionName = "b".parse().unwrap();
    assert_eq!(
        running
            .store
            .history()
            .tallies(&[&only])
            .await
            .unwrap()
            .len(),
        1
    );
    running.close().await;
}

#[tokio::test]
async fn what_was_counted_outlives_its_segments_and_is_no_fault_of_the_index() {
    let folder = tempdir().unwrap();
    let clock = HandClock::at(NOW);
    let setup = Setup {
        clock: clock.clone(),
        segments: SMALL_SEGMENTS,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let a = running.named("a");
    attempt(&running, a, Next::Dead(DeadReason::Exhausted)).await;
    let body = "x".repeat(4096);
    for _ in 0..60 {
        running.accept(vec![event(&body, &[a])]).await;
    }
    running.drain(a).await;
    let before = tally(&running, "a").await;
    assert_eq!(before.success_rate, rates(60.0 / 61.0, 60.0 / 61.0));
    clock.advance(Duration::from_secs(40 * 86_400));
    assert!(running.store.0.cleaner.clean().await.unwrap() > 1);
    let after = tally(&running, "a").await;
    assert_eq!(after.success_rate.last_1000, Some(60.0 / 61.0));
    assert_eq!(after.success_rate.last_24h, None, "that was long ago");
    assert_eq!(after.last_failure, before.last_failure);
    running.close().await;
    let report = check(folder.path(), NOW).unwrap();
    assert_eq!(report.index, IndexState::Agrees);
}
