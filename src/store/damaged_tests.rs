//! Tests of events that are damaged on the disk: when their deliveries are dead, and when not.

use super::*;
use crate::domain::{EventSeq, Order, WhenStuck};
use crate::store::journal::Place;

/// Changes one bit of the event with this body.
fn damage(folder: &Path, needle: &str) {
    let mut damaged = 0;
    for file in fs::read_dir(folder.join("journal")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let mut windows = bytes.windows(needle.len());
        if let Some(place) = windows.position(|found| found == needle.as_bytes()) {
            bytes[place] ^= 1;
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
}

#[tokio::test]
async fn what_is_damaged_is_dead_after_a_second_look_and_lets_its_segment_go() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    let needle = "a-needle-that-is-found-in-no-other-event";
    let id = world.running.accept(vec![event(needle, &[a])]).await[0].id;
    let lease = world.running.take_one(a).await;
    let in_years = due_in(NOW, DAY * 1000);
    world.running.settle(lease, in_years).await;
    let filler = "x".repeat(4_000);
    for _ in 0..60 {
        world.running.accept(vec![event(&filler, &[a])]).await;
        let lease = world.running.take_one(a).await;
        world.running.settle(lease, Next::Delivered).await;
    }
    let world = world.restart_after(|folder| damage(folder, needle)).await;
    world.clock.advance(DAY * 4);
    let inner = &world.running.store.0;
    let first = inner.appender.journal.segments()[0].number;
    inner.cleaner.clean().await.unwrap();
    assert_eq!(
        inner.appender.journal.segments()[0].number,
        first,
        "one look is not enough"
    );
    let counts = || world.running.store.queue(a).counts();
    assert_eq!((counts().pending, counts().dead), (1, 0));
    world.clock.advance(MINUTE);
    inner.cleaner.clean().await.unwrap();
    assert_eq!((counts().pending, counts().dead), (0, 1));
    assert_eq!(world.running.store.queue(a).take_unreadable(), [id]);
    let delivery = DeliveryId {
        event: id,
        subscription: "a".parse().unwrap(),
    };
    let shown = || async {
        world
            .running
            .store
            .history()
            .delivery(&delivery)
            .await
            .unwrap()
    };
    let dead = shown().await.unwrap();
    assert_eq!(dead.summary.state, DeliveryState::Dead);
    assert_eq!(dead.summary.dead_reason, Some(DeadReason::Unreadable));
    assert_eq!(dead.attempts.len(), 2);
    // Removed like delivered events, long before other dead letters.
    world.clock.advance(DAY * 4);
    inner.cleaner.clean().await.unwrap();
    assert!(
        inner.appender.journal.segments()[0].number > first,
        "it goes, with those behind it"
    );
    assert_eq!(shown().await, None);
    assert_eq!(counts().dead, 0);
    world.running.close().await;
}

#[tokio::test]
async fn what_is_damaged_blocks_what_follows_it_in_an_order() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    let needle = "a-needle-that-is-found-in-no-other-event";
    let strict = |world: &World| {
        let queue = world.running.store.queue(a);
        queue.set_order(Order::Strict, WhenStuck::Block);
        queue
    };
    strict(&world);
    world.running.accept(vec![event(needle, &[a])]).await;
    let lease = world.running.take_one(a).await;
    let later = due_in(NOW, MINUTE * 30);
    world.running.settle(lease, later).await;
    world.post(0..2, &[a]).await;
    let world = world.restart_after(|folder| damage(folder, needle)).await;
    let queue = strict(&world);
    let inner = &world.running.store.0;
    inner
        .cleaner
        .unreadable
        .damaged
        .found((a, EventSeq(1)), NOW);
    world.clock.advance(MINUTE);
    // Later deliveries wait in memory.
    assert!(
        timeout(Duration::from_millis(200), queue.ready())
            .await
            .is_err()
    );
    inner.cleaner.clean().await.unwrap();
    assert_eq!(queue.counts().dead, 1);
    let ready = timeout(Duration::from_millis(500), queue.ready()).await;
    assert!(ready.is_err(), "it goes although a dead one blocks it");
    assert_eq!(queue.counts().blocked, 2);
    world.running.close().await;
}

#[tokio::test]
async fn a_place_that_is_wrong_is_no_damage() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    world.post(0..3, &[a]).await;
    let journal = &world.running.store.0.appender.journal;
    let segment = journal.end().segment;
    let wrong = Place {
        segment,
        offset: journal.end().offset - 64,
        length: 40,
    };
    assert!(journal.read(wrong).unwrap_err().is_damage());
    let mut known = std::collections::HashMap::new();
    assert!(
        !world
            .running
            .store
            .0
            .cleaner
            .unreadable
            .is_damaged(wrong, &mut known)
            .await
    );
    assert_eq!(known[&segment].len(), 0);
    world.running.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_for_now_stays_pending() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    world.post(0..1, &[a]).await;
    let key = (a, EventSeq(1));
    // Reported as damaged, but it is not, or is in memory: the second look finds that.
    let inner = &world.running.store.0;
    inner.cleaner.unreadable.damaged.found(key, NOW);
    world.clock.advance(MINUTE);
    inner.cleaner.clean().await.unwrap();
    assert_eq!(world.running.store.queue(a).counts().pending, 1);
    let lease = world.running.take_one(a).await;
    world.running.settle(lease, due_in(NOW, MINUTE * 9)).await;
    inner.cleaner.unreadable.damaged.found(key, NOW);
    world.clock.advance(MINUTE);
    inner.cleaner.clean().await.unwrap();
    let counts = world.running.store.queue(a).counts();
    assert_eq!((counts.pending, counts.dead), (1, 0));
    world.running.close().await;
}

#[test]
fn only_bytes_that_were_read_prove_damage() {
    use crate::store::journal::JournalError;
    let place = Place {
        segment: 1,
        offset: 0,
        length: 0,
    };
    let source = Arc::new(std::io::Error::from_raw_os_error(5));
    let doing = "read";
    let failed = JournalError::Io {
        doing,
        segment: 1,
        source,
    };
    assert!(!failed.is_damage());
    assert!(!JournalError::Gone { segment: 1 }.is_damage());
    assert!(!JournalError::Closed.is_damage());
    assert!(!JournalError::Unknown(place).is_damage());
    assert!(JournalError::Record(place).is_damage());
}
