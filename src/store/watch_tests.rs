//! Tests of waiting for first attempts.

use std::time::Duration;

use futures_util::FutureExt;
use tempfile::tempdir;

use super::*;
use crate::domain::{DeadReason, Flow};
use crate::store::harness::{NOW, Running, Setup, due_in, event, given, outcome};
use crate::store::{Lease, NewEvent};

async fn watched(running: &Running, events: Vec<NewEvent>) -> (Vec<Receipt>, Option<Watch>) {
    running.store.accept_watched(events).await.unwrap()
}

async fn watch(running: &Running, new: NewEvent) -> Watch {
    watched(running, vec![new]).await.1.unwrap()
}

/// The result of a watch over one event, which must come soon.
async fn finished(watch: Watch) -> Vec<FirstAttempt> {
    let finished = tokio::time::timeout(Duration::from_secs(20), watch.finished());
    let mut events = finished.await.unwrap().unwrap();
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn is_waiting(watch: &Watch) -> Vec<bool> {
    let mut all = watch.watchers.lock().keys().copied().collect::<Vec<_>>();
    all.sort_unstable();
    let awaited = watch.events.iter().flatten();
    awaited
        .map(|awaited| match awaited {
            Awaited::Known(_) => false,
            Awaited::Waiting(key, _) => all.contains(key),
        })
        .collect()
}

fn waiting(running: &Running) -> (usize, usize) {
    let watchers = &running.store.0.outcomes.watchers;
    (
        watchers.lock().len(),
        watchers.count.load(Ordering::Relaxed),
    )
}

async fn fail(running: &Running, lease: Lease, next: Next) {
    let mut failed = outcome(false);
    failed.error_message = Some("Internal Server Error".into());
    let written = running.store.settle(lease, failed, next, true);
    written.await.unwrap();
}

#[tokio::test]
async fn every_outcome_is_told_with_the_state_that_follows() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let numbers = ["a", "b", "c"].map(|name| running.named(name));
    let watch = watch(&running, event("1", &numbers)).await;
    let [a, b, c] = numbers;
    running
        .settle(running.take_one(a).await, Next::Delivered)
        .await;
    let pause = due_in(NOW, Duration::from_secs(5));
    fail(&running, running.take_one(b).await, pause).await;
    assert_eq!(is_waiting(&watch), [false, false, true]);
    let dead = Next::Dead(DeadReason::Exhausted);
    fail(&running, running.take_one(c).await, dead).await;

    let attempted = |subscription, state, status, code, message: Option<&str>| FirstAttempt {
        subscription,
        state,
        status: Some(status),
        response_code: Some(code),
        error_message: message.map(Box::from),
    };
    let message = Some("Internal Server Error");
    use AttemptStatus::{Failed, Success};
    use DeliveryState::{Dead, Delivered, Pending};
    assert_eq!(
        finished(watch).await,
        [
            attempted(a, Delivered, Success, 200, None),
            attempted(b, Pending, Failed, 500, message),
            attempted(c, Dead, Failed, 500, message),
        ]
    );
    assert_eq!(waiting(&running), (0, 0));
    running.close().await;
}

#[tokio::test]
async fn an_event_without_deliveries_and_an_overflow_are_known_at_once() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let number = running.named("a");
    assert_eq!(finished(watch(&running, event("1", &[])).await).await, []);
    let mut overflowing = event("2", &[number]);
    overflowing.deliveries[0].max_pending = 0;
    let dead = FirstAttempt::none(number, DeliveryState::Dead);
    assert_eq!(finished(watch(&running, overflowing).await).await, [dead]);
    assert_eq!(waiting(&running), (0, 0));
    running.close().await;
}

#[tokio::test]
async fn a_stalled_queue_lets_go_whoever_waits_but_for_what_is_in_flight() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let (number, other) = (running.named("a"), running.named("b"));
    let queue = running.store.queue(number);
    let (_, both) = watched(&running, vec![event("1", &[number]), event("2", &[number])]).await;
    let both = both.unwrap();
    let elsewhere = watch(&running, event("3", &[other])).await;
    let lease = running.take_one(number).await;

    queue.set_flow(Flow::Held, true);
    assert_eq!(is_waiting(&both), [true, false]);
    assert_eq!(is_waiting(&elsewhere), [true]);
    let pending = FirstAttempt::none(number, DeliveryState::Pending);
    let later = watch(&running, event("4", &[number])).await;
    assert_eq!(finished(later).await, std::slice::from_ref(&pending));

    running.settle(lease, Next::Delivered).await;
    let told = both.finished().await.unwrap();
    assert_eq!(told[0][0].state, DeliveryState::Delivered);
    assert_eq!(told[1], [pending]);

    queue.set_flow(Flow::Open, false);
    let again = watch(&running, event("5", &[number])).await;
    assert_eq!(is_waiting(&again), [true]);
    drop((again, elsewhere));
    assert_eq!(waiting(&running), (0, 0));
    running.close().await;
}

#[tokio::test]
async fn what_something_else_holds_back_stays_pending() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let number = running.named("a");
    let watch = watch(&running, event("1", &[number])).await;
    let watchers = &running.store.0.outcomes.watchers;
    watchers.cannot_be_attempted(number, EventSeq(7));
    assert_eq!(is_waiting(&watch), [true]);
    watchers.cannot_be_attempted(number, EventSeq(1));
    let pending = FirstAttempt::none(number, DeliveryState::Pending);
    assert_eq!(finished(watch).await, [pending]);
    watchers.cannot_be_attempted(number, EventSeq(1));
    running.close().await;
}

#[tokio::test]
async fn duplicates_are_not_waited_for() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let number = running.named("a");
    let first = given("x", "1", &[number]);
    running.accept(vec![first.clone()]).await;
    let (receipts, none) = watched(&running, vec![first.clone()]).await;
    assert!(receipts[0].duplicate && none.is_none());
    let (_, none) = watched(&running, Vec::new()).await;
    assert!(none.is_none());

    let mixed = vec![first, given("y", "2", &[number]), event("3", &[])];
    let (receipts, watch) = watched(&running, mixed).await;
    let duplicates: Vec<_> = receipts.iter().map(|it| it.duplicate).collect();
    assert_eq!(duplicates, [true, false, false]);
    for lease in running.take(number, 2).await {
        running.settle(lease, Next::Delivered).await;
    }
    let told = watch.unwrap().finished().await.unwrap();
    let counts: Vec<_> = told.iter().map(Vec::len).collect();
    assert_eq!(counts, [0, 1, 0]);
    running.close().await;
}

#[tokio::test]
async fn beyond_the_bound_nothing_is_waited_for() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let number = running.named("a");
    let many = |count| (0..count).map(|_| event("", &[number])).collect::<Vec<_>>();
    let (_, most) = watched(&running, many(WAITING_MAX - 1)).await;
    assert_eq!(waiting(&running), (WAITING_MAX - 1, WAITING_MAX - 1));
    assert!(watched(&running, many(2)).await.1.is_none());
    let last = watched(&running, many(1)).await.1;
    assert!(last.is_some());
    assert!(watched(&running, many(1)).await.1.is_none());
    drop(most);
    assert_eq!(waiting(&running), (1, 1));
    drop(last);
    assert_eq!(waiting(&running), (0, 0));
    running.close().await;
}

#[tokio::test]
async fn a_watch_given_up_leaves_nothing_behind_and_the_delivery_goes_on() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let number = running.named("a");
    let waits = watch(&running, event("1", &[number])).await;
    let given_up = tokio::time::timeout(Duration::ZERO, waits.finished()).await;
    assert!(given_up.is_err());
    assert_eq!(waiting(&running), (0, 0));
    // Its commit is still under way when the watch is dropped.
    let accepted = running.store.accept_watched(vec![event("2", &[number])]);
    assert!(accepted.now_or_never().is_none());
    assert_eq!(waiting(&running), (0, 0));
    assert_eq!(running.drain(number).await, ["1", "2"]);
    running.close().await;
}

#[tokio::test]
async fn whoever_waits_is_let_go_when_the_store_fails() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let number = running.named("a");
    let watch = watch(&running, event("1", &[number])).await;
    running
        .store
        .0
        .appender
        .failure
        .set(crate::store::StoreError::Closed);
    let told = tokio::time::timeout(Duration::from_secs(20), watch.finished());
    assert_eq!(told.await.unwrap(), None);
}
