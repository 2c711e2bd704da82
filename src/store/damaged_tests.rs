//! Tests of events that are damaged on the disk: when their deliveries are dead, and when not.

use super::*;
use crate::domain::EventSeq;

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
    let world = world
        .restart_after(|folder| {
            let mut damaged = 0;
            for file in fs::read_dir(folder.join("journal")).unwrap() {
                let path = file.unwrap().path();
                let mut bytes = fs::read(&path).unwrap();
                let place = bytes
                    .windows(needle.len())
                    .position(|found| found == needle.as_bytes());
                if let Some(place) = place {
                    bytes[place] ^= 1;
                    fs::write(&path, bytes).unwrap();
                    damaged += 1;
                }
            }
            assert_eq!(damaged, 1);
        })
        .await;
    world.clock.advance(DAY * 4);
    let inner = &world.running.store.0;
    let first = inner.journal.segments()[0].number;
    inner.clean().await.unwrap();
    assert_eq!(
        inner.journal.segments()[0].number,
        first,
        "one look is not enough"
    );
    let counts = || world.running.store.queue(a).counts();
    assert_eq!((counts().pending, counts().dead), (1, 0));
    world.clock.advance(MINUTE);
    inner.clean().await.unwrap();
    assert_eq!((counts().pending, counts().dead), (0, 1));
    assert_eq!(world.running.store.queue(a).take_unreadable(), 1);
    let delivery = DeliveryId {
        event: id,
        subscription: "a".parse().unwrap(),
    };
    let shown = || async { world.running.store.delivery(&delivery).await.unwrap() };
    let dead = shown().await.unwrap();
    assert_eq!(dead.summary.state, DeliveryState::Dead);
    assert_eq!(dead.summary.dead_reason, Some(DeadReason::Unreadable));
    assert_eq!(dead.attempts.len(), 2);
    // As what was delivered, long before other dead letters.
    world.clock.advance(DAY * 4);
    inner.clean().await.unwrap();
    assert!(
        inner.journal.segments()[0].number > first,
        "it goes, with those behind it"
    );
    assert_eq!(shown().await, None);
    assert_eq!(counts().dead, 0);
    world.running.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_for_now_stays_pending() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    world.post(0..1, &[a]).await;
    let key = (a, EventSeq(1));
    // Said to be damaged, and it is not, or is in memory: a second look tells.
    let inner = &world.running.store.0;
    inner.hub.damaged.found(key, NOW);
    world.clock.advance(MINUTE);
    inner.clean().await.unwrap();
    assert_eq!(world.running.store.queue(a).counts().pending, 1);
    let lease = world.running.take_one(a).await;
    world.running.settle(lease, due_in(NOW, MINUTE * 9)).await;
    inner.hub.damaged.found(key, NOW);
    world.clock.advance(MINUTE);
    inner.clean().await.unwrap();
    let counts = world.running.store.queue(a).counts();
    assert_eq!((counts.pending, counts.dead), (1, 0));
    world.running.close().await;
}

#[test]
fn only_bytes_that_were_read_prove_damage() {
    use crate::store::journal::{JournalError, Place};
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
    assert!(JournalError::Record(place).is_damage());
}
