//! Tests of retention: what is removed, what never is, and what is left after a restart and without the index.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::{TempDir, tempdir};
use tokio::time::timeout;

use crate::domain::{
    DeadReason, DeliveryId, DeliveryState, EventId, Next, Order, SubscriptionNumber, WhenStuck,
};
use crate::store::SubscriptionState;
use crate::store::harness::*;
use crate::store::retention::Retention;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A store with segments so small that a few events fill one.
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) clock: Arc<HandClock>,
    pub(super) setup: Setup,
    pub(super) running: Running,
}

impl World {
    pub(super) fn new(retention: Retention) -> Self {
        let folder = tempdir().unwrap();
        let clock = HandClock::at(NOW);
        let setup = Setup {
            clock: clock.clone(),
            retention,
            segments: SMALL_SEGMENTS,
            ..Setup::default()
        };
        let running = setup.open(folder.path());
        Self {
            folder,
            clock,
            setup,
            running,
        }
    }

    pub(super) async fn restart(self) -> Self {
        self.restart_after(|_| ()).await
    }

    /// The same, with an index that must be rebuilt.
    pub(super) async fn restart_without_index(self) -> Self {
        let forget = |folder: &Path| fs::remove_file(folder.join("index.sqlite3")).unwrap();
        self.restart_after(forget).await
    }

    async fn restart_after(self, change: impl FnOnce(&Path)) -> Self {
        self.running.close().await;
        change(self.folder.path());
        let running = self.setup.open(self.folder.path());
        Self { running, ..self }
    }

    /// Accepts events one by one, with bodies of 4 KiB that begin with their number.
    pub(super) async fn post(
        &self,
        numbers: std::ops::Range<u32>,
        to: &[SubscriptionNumber],
    ) -> Vec<EventId> {
        let mut ids = Vec::new();
        for number in numbers {
            let body = format!("{number:<4096}");
            let mut new = event(&body, to);
            new.event.head.accepted_at = self.setup.clock.steady();
            ids.extend(
                self.running
                    .accept(vec![new])
                    .await
                    .iter()
                    .map(|receipt| receipt.id),
            );
        }
        ids
    }

    pub(super) fn segments(&self) -> Vec<String> {
        files(&self.folder.path().join("journal"))
    }

    /// Bytes of the journal.
    pub(super) fn bytes(&self) -> u64 {
        let journal = self.folder.path().join("journal");
        let length = |name| fs::metadata(journal.join(name)).unwrap().len();
        self.segments().iter().map(length).sum()
    }

    /// Cleans, which must come to an end.
    pub(super) async fn clean(&self) -> usize {
        let cleaned = timeout(MINUTE, self.running.store.0.cleaner.clean()).await;
        cleaned.expect("it ends").unwrap()
    }

    pub(super) fn id(&self, event: EventId) -> DeliveryId {
        DeliveryId {
            event,
            subscription: "a".parse().unwrap(),
        }
    }

    /// Lets as many deliveries of a subscription die.
    pub(super) async fn die(&self, number: SubscriptionNumber, count: usize) {
        let mut dead = 0;
        while dead < count {
            let leases = self.running.take(number, (count - dead).min(9)).await;
            for lease in leases {
                let next = Next::Dead(DeadReason::Exhausted);
                self.running.settle(lease, next).await;
                dead += 1;
            }
        }
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The numbers that bodies begin with.
pub(super) fn numbers(bodies: &[bytes::Bytes]) -> Vec<u32> {
    let texts = bodies.iter().map(|body| std::str::from_utf8(body).unwrap());
    texts.map(|text| text.trim().parse().unwrap()).collect()
}

#[tokio::test]
async fn what_was_delivered_goes_by_age_and_what_is_pending_never() {
    let world = World::new(RETENTION);
    let (a, b) = (world.running.named("a"), world.running.named("b"));
    world.post(0..60, &[a]).await;
    world.post(60..61, &[b]).await;
    world.post(61..100, &[a]).await;
    world.running.drain(a).await;
    let before = world.segments();
    assert!(before.len() > 5, "{before:?}");
    assert_eq!(world.clean().await, 0, "nothing is old");
    world.clock.advance(4 * DAY);
    assert!(world.clean().await > 3);
    let after = world.segments();
    assert!(after.len() <= 2, "{after:?}");
    assert!(after[0] > before[2]);
    // Pending events were copied, and are delivered from there, even when only the journal is left.
    let world = world.restart().await;
    assert_eq!(world.running.store.queue(b).counts().pending, 1);
    let world = world.restart_without_index().await;
    assert_eq!(world.running.named("b"), b);
    assert_eq!(world.running.store.queue(a).counts().pending, 0);
    assert_eq!(numbers(&world.running.drain(b).await), [60]);
    world.running.close().await;
}

#[tokio::test]
async fn a_backlog_keeps_its_segments_and_is_delivered_whole_and_in_order() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    world.post(0..100, &[a]).await;
    world.clock.advance(40 * DAY);
    let before = world.segments();
    assert_eq!(world.clean().await, 0);
    assert_eq!(world.segments(), before);
    assert_eq!(
        numbers(&world.running.drain(a).await),
        (0..100).collect::<Vec<_>>()
    );
    world.running.close().await;
}

#[tokio::test]
async fn dead_letters_stay_replayable_until_they_are_old_and_go_then() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    let ids = world.post(0..60, &[a]).await;
    for lease in world.running.take(a, 2).await {
        let next = Next::Dead(DeadReason::Exhausted);
        world.running.settle(lease, next).await;
    }
    world.running.drain(a).await;
    world.clock.advance(10 * DAY);
    assert!(world.clean().await > 1);
    let world = world.restart_without_index().await;
    assert_eq!(world.running.store.queue(a).counts().dead, 2);
    world.clock.advance(MINUTE);
    world.running.store.replay(&world.id(ids[0])).await.unwrap();
    assert_eq!(numbers(&world.running.drain(a).await), [0]);
    assert_eq!(world.running.store.queue(a).counts().dead, 1);
    assert!(world.running.store.replay(&world.id(ids[9])).await.is_err());
    let view = world
        .running
        .store
        .history()
        .delivery(&world.id(ids[1]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(view.summary.state, DeliveryState::Dead);
    assert_eq!(
        world
            .running
            .store
            .history()
            .event(&ids[1])
            .await
            .unwrap()
            .unwrap()
            .event
            .body
            .len(),
        4096
    );

    world.clock.advance(25 * DAY);
    // A segment is removed only when it is no longer written to.
    world.post(60..80, &[a]).await;
    world.running.drain(a).await;
    assert!(world.clean().await > 0);
    assert_eq!(world.running.store.queue(a).counts().dead, 0);
    assert!(world.running.store.replay(&world.id(ids[1])).await.is_err());
    let world = world.restart().await;
    assert_eq!(world.running.store.queue(a).counts().dead, 0);
    world.running.close().await;
}

#[tokio::test]
async fn what_waits_for_a_retry_keeps_its_attempts_and_due_time_when_it_is_copied() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    world.post(0..1, &[a]).await;
    let lease = world.running.take_one(a).await;
    let next = due_in(world.setup.clock.steady(), 5 * DAY);
    world.running.settle(lease, next).await;
    world.post(1..60, &[a]).await;
    for lease in world.running.take(a, 59).await {
        world.running.settle(lease, Next::Delivered).await;
    }
    while world.running.store.queue(a).counts().pending > 1 {
        for lease in world.running.take(a, 59).await {
            world.running.settle(lease, Next::Delivered).await;
        }
    }
    world.clock.advance(4 * DAY);
    assert!(world.clean().await > 1);
    let world = world.restart_without_index().await;
    let mut leases = Vec::new();
    world.running.store.queue(a).take(9, &mut leases);
    assert!(leases.is_empty(), "it is not due");
    world.clock.advance(2 * DAY);
    let lease = world.running.take_one(a).await;
    assert_eq!((lease.attempt(), lease.schedule_attempt()), (2, 2));
    world.running.settle(lease, Next::Delivered).await;
    world.running.close().await;
}

#[tokio::test]
async fn a_lease_that_is_out_keeps_its_segment() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    world.post(0..60, &[a]).await;
    let lease = world.running.take_one(a).await;
    while world.running.store.queue(a).counts().pending > 1 {
        for lease in world.running.take(a, 9).await {
            world.running.settle(lease, Next::Delivered).await;
        }
    }
    world.clock.advance(4 * DAY);
    assert_eq!(world.clean().await, 0);
    world.running.settle(lease, Next::Delivered).await;
    assert_eq!(world.clean().await, 0, "its age counts from now");
    world.clock.advance(4 * DAY);
    assert!(world.clean().await > 1);
    world.running.close().await;
}

#[tokio::test]
async fn states_and_names_outlive_the_segments_that_told_of_them() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    world.post(0..1, &[a]).await;
    let state = SubscriptionState {
        consecutive_failures: 7,
        ..SubscriptionState::default()
    };
    world.running.store.set_state(a, state.clone());
    for _ in 0..2 {
        world.post(1..60, &[a]).await;
        world.running.drain(a).await;
        world.clock.advance(4 * DAY);
        assert!(world.clean().await > 1);
    }
    let world = world.restart_without_index().await;
    assert_eq!(world.running.named("a"), a);
    assert_eq!(world.running.store.state(a), state);
    world.running.close().await;
}

#[tokio::test]
async fn deliveries_of_a_removed_subscription_are_cancelled_after_their_time() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    let ids = world.post(0..3, &[a]).await;
    let state = SubscriptionState {
        removed_at: Some(NOW),
        held_since: Some(NOW),
        ..SubscriptionState::default()
    };
    world.running.store.set_state(a, state);
    world.clock.advance(6 * DAY);
    world.clean().await;
    assert_eq!(world.running.store.queue(a).counts().pending, 3);
    world.clock.advance(2 * DAY);
    world.clean().await;
    assert_eq!(world.running.store.queue(a).counts().pending, 0);
    world.running.store.cancel(&world.id(ids[0])).await.unwrap();
    let world = world.restart_without_index().await;
    assert_eq!(world.running.store.queue(a).counts().pending, 0);
    world.running.close().await;
}

#[tokio::test]
async fn a_dead_letter_that_blocked_lets_go_when_it_is_forgotten() {
    let world = World::new(Retention {
        dead: 5 * DAY,
        ..RETENTION
    });
    let (a, b) = (world.running.named("a"), world.running.named("b"));
    let queue = world.running.store.queue(a);
    queue.set_order(Order::Strict, WhenStuck::Block);
    world.post(0..1, &[a]).await;
    let lease = world.running.take_one(a).await;
    world
        .running
        .settle(lease, Next::Dead(DeadReason::Exhausted))
        .await;
    world.post(1..60, &[b]).await;
    world.running.drain(b).await;
    world.post(60..61, &[a]).await;
    let mut leases = Vec::new();
    queue.take(1, &mut leases);
    assert!(leases.is_empty());
    assert_eq!(queue.counts().blocked, 1);
    world.clock.advance(6 * DAY);
    assert!(world.clean().await > 0);
    assert_eq!(numbers(&world.running.drain(a).await), [60]);
    world.running.close().await;
}

#[tokio::test]
async fn nothing_goes_by_age_soon_after_the_start() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    world.post(0..60, &[a]).await;
    world.running.drain(a).await;
    world.clock.advance(4 * DAY);
    let world = world.restart().await;
    assert_eq!(world.clean().await, 0);
    world.clock.advance(11 * MINUTE);
    assert!(world.clean().await > 0);
    world.running.close().await;
}

#[tokio::test]
async fn what_was_copied_can_be_cancelled_when_nothing_else_is_left() {
    let world = World::new(RETENTION);
    let (a, b) = (world.running.named("a"), world.running.named("b"));
    world.post(0..59, &[b]).await;
    world.post(59..60, &[a]).await;
    world.running.drain(b).await;
    world.clock.advance(4 * DAY);
    // The segment of the last event is removed, too.
    world.running.store.0.appender.journal.seal();
    let alone = async {
        while world.segments().len() > 1 {
            world.clean().await;
            tokio::task::yield_now().await;
        }
    };
    timeout(MINUTE, alone).await.unwrap();
    let world = world.restart_without_index().await;
    assert_eq!(world.running.store.cancel_all(a).await.unwrap(), 1);
    let world = world.restart().await;
    assert_eq!(world.running.store.queue(a).counts().pending, 0);
    world.running.close().await;
}

#[path = "damaged_tests.rs"]
mod damaged;
