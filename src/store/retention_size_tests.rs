//! Tests of `max_size`: which data counts, which is removed beyond it, and which is copied for that.

use super::tests::{DAY, MINUTE, World, numbers};
use crate::domain::{DeadReason, Next};
use crate::store::harness::*;
use crate::store::retention::Retention;

const SEGMENT: u64 = 64 << 10;
/// More than any of these has.
const ALL: u64 = 1 << 32;

#[tokio::test]
async fn size_removes_what_was_delivered_and_keeps_dead_letters_and_what_is_pending() {
    let world = World::new(Retention {
        max_size: 200 << 10,
        dedup_window: MINUTE,
        ..RETENTION
    });
    let (a, b) = (world.running.named("a"), world.running.named("b"));
    world.post(0..2, &[a, b]).await;
    let lease = world.running.take_one(a).await;
    let next = Next::Dead(DeadReason::Exhausted);
    world.running.settle(lease, next).await;
    world.post(2..200, &[a]).await;
    world.running.drain(a).await;
    world.clock.advance(2 * MINUTE);
    assert!(world.clean().await > 5);
    let bytes = world.bytes();
    assert!(bytes <= (200 << 10) + (2 * (64 << 10)), "{bytes}");
    let world = world.restart_without_index().await;
    assert_eq!(world.running.store.queue(a).counts().dead, 1);
    assert_eq!(numbers(&world.running.drain(b).await), [0, 1]);
    world.running.close().await;
}

#[tokio::test]
async fn what_is_pending_many_times_makes_no_room_for_what_is_done() {
    let world = World::new(Retention {
        max_size: 200 << 10,
        dedup_window: MINUTE,
        ..RETENTION
    });
    let done = world.running.named("done");
    let stuck: Vec<_> = (0..20)
        .map(|number| world.running.named(&format!("stuck{number}")))
        .collect();
    // 80 KiB that are pending twenty times, then 800 KiB that are not.
    world.post(0..20, &stuck).await;
    world.post(20..220, &[done]).await;
    world.running.drain(done).await;
    world.clock.advance(2 * MINUTE);
    assert!(world.clean().await > 5);
    let bytes = world.bytes();
    assert!(
        bytes <= (80 << 10) + (200 << 10) + 2 * (64 << 10),
        "{bytes}"
    );
    let world = world.restart_without_index().await;
    for number in stuck {
        assert_eq!(world.running.store.queue(number).counts().pending, 20);
    }
    world.running.close().await;
}

#[tokio::test]
async fn small_events_with_many_deliveries_are_not_copied_again_and_again() {
    let world = World::new(RETENTION);
    let done = world.running.named("done");
    let stuck: Vec<_> = (0..50)
        .map(|number| world.running.named(&format!("stuck{number}")))
        .collect();
    for _ in 0..40 {
        world.running.accept(vec![event("small", &stuck)]).await;
    }
    world.post(0..60, &[done]).await;
    world.running.drain(done).await;
    world.clock.advance(4 * DAY);
    assert!(world.clean().await > 2);
    let world = world.restart_without_index().await;
    for number in stuck {
        assert_eq!(world.running.store.queue(number).counts().pending, 40);
    }
    world.running.close().await;
}

#[tokio::test]
async fn dead_letters_that_fill_segments_are_not_copied_again_and_again() {
    let world = World::new(RETENTION);
    let a = world.running.named("a");
    world.post(0..80, &[a]).await;
    world.die(a, 80).await;
    world.clock.advance(4 * DAY);
    // Once is allowed: they stand alone in their groups.
    world.clean().await;
    assert_eq!(world.clean().await, 0);
    let world = world.restart_without_index().await;
    assert_eq!(world.running.store.queue(a).counts().dead, 80);
    world.running.close().await;
}

#[tokio::test]
async fn only_events_with_a_given_id_are_kept_beyond_the_size_while_it_is_remembered() {
    for given in [false, true] {
        let world = World::new(Retention {
            max_size: 200 << 10,
            dedup_window: MINUTE,
            ..RETENTION
        });
        let a = world.running.named("a");
        for number in 0..200 {
            let mut new = event(&format!("{number:<4096}"), &[a]);
            new.event.head.accepted_at = world.setup.clock.steady();
            new.event.head.given_id = given.then(|| format!("id-{number}").parse().unwrap());
            world.running.accept(vec![new]).await;
        }
        world.running.drain(a).await;
        assert_eq!(world.clean().await > 5, !given, "given ids: {given}");
        world.clock.advance(2 * MINUTE);
        world.clean().await;
        let bytes = world.bytes();
        assert!(bytes <= (200 << 10) + 2 * (64 << 10), "{bytes}");
        world.running.close().await;
    }
}

#[tokio::test]
async fn dead_letters_beyond_the_size_go_before_their_time_the_oldest_first() {
    // Young, and so old that delivered events are removed for age.
    for age in [MINUTE, 4 * DAY] {
        let world = World::new(Retention {
            max_size: 400 << 10,
            ..RETENTION
        });
        let a = world.running.named("a");
        world.post(0..300, &[a]).await;
        world.die(a, 300).await;
        world.clock.advance(age);
        assert!(world.clean().await > 8);
        let bytes = world.bytes();
        assert!(bytes <= (400 << 10) + 2 * SEGMENT, "{bytes}");
        let dead = world.running.store.queue(a).counts().dead;
        assert!((35..=60).contains(&dead), "{dead}");
        let world = world.restart_without_index().await;
        assert_eq!(world.running.store.queue(a).counts().dead, dead);
        world.running.close().await;
    }
}

#[tokio::test]
async fn dead_letters_among_what_was_delivered_are_kept_and_the_rest_goes() {
    for (max_size, age) in [(ALL, 4 * DAY), (600 << 10, MINUTE)] {
        let world = World::new(Retention {
            max_size,
            ..RETENTION
        });
        let (dies, done) = (world.running.named("dies"), world.running.named("done"));
        for number in 0..100 {
            world.post(5 * number..5 * number + 2, &[dies]).await;
            world.post(5 * number + 2..5 * number + 5, &[done]).await;
        }
        world.running.drain(done).await;
        world.die(dies, 200).await;
        world.clock.advance(age);
        let before = world.bytes();
        assert!(world.clean().await > 8);
        let bytes = world.bytes();
        let dead = world.running.store.queue(dies).counts().dead;
        if max_size == ALL {
            assert!(bytes < before / 2 && dead == 200, "{before} {bytes} {dead}");
        } else {
            assert!(
                bytes <= max_size + 2 * SEGMENT && dead > 40,
                "{bytes} {dead}"
            );
        }
        world.running.close().await;
    }
}

#[tokio::test]
async fn what_is_pending_among_it_keeps_the_size_only_a_little_above_its_bound() {
    let max_size = 400 << 10;
    let world = World::new(Retention {
        max_size,
        ..RETENTION
    });
    let (stuck, done) = (world.running.named("stuck"), world.running.named("done"));
    for number in 0..60 {
        world.post(2 * number..2 * number + 1, &[stuck]).await;
        world.post(2 * number + 1..2 * number + 2, &[done]).await;
    }
    let mut most = 0;
    for cycle in 0..12 {
        world.running.drain(done).await;
        world.clock.advance(MINUTE);
        world.clean().await;
        most = most.max(world.bytes());
        let number = 1000 * (cycle + 1);
        world.post(number..number + 30, &[done]).await;
    }
    // Each takes two blocks; a rotation begins when the journal has grown by a quarter.
    let pending = 60 * (8 << 10);
    assert!(
        most <= max_size + pending + pending / 4 + 4 * SEGMENT,
        "{most}"
    );
    let queue = world.running.store.queue(stuck);
    assert_eq!(queue.counts().pending, 60);
    world.running.close().await;
}
