//! Tests of wide batches: their deliveries are handed over in parts, after the answer, and always whole.

use tempfile::tempdir;

use super::*;
use crate::domain::{Order, SubscriptionNumber, WhenStuck};
use crate::store::harness::*;

const SUBSCRIPTIONS: usize = 200;
const EVENTS: usize = 250;

fn named(running: &Running) -> Vec<SubscriptionNumber> {
    let names = (0..SUBSCRIPTIONS).map(|number| format!("s{number}"));
    names.map(|name| running.named(&name)).collect()
}

/// A batch that is handed over in three parts.
fn wide(numbers: &[SubscriptionNumber]) -> Vec<NewEvent> {
    let one = |number| given(&format!("id-{number}"), &format!("{number}"), numbers);
    (0..EVENTS).map(one).collect()
}

fn pending(running: &Running, numbers: &[SubscriptionNumber]) -> Vec<u64> {
    let pending = |number: &SubscriptionNumber| running.store.queue(*number).counts().pending;
    numbers.iter().map(pending).collect()
}

fn bytes(running: &Running) -> u64 {
    running.store.0.subscriptions.pending_bytes()
}

#[tokio::test]
async fn a_wide_batch_is_answered_before_all_of_it_is_handed_over_and_all_of_it_is_then() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let numbers = named(&running);
    let receipts = running.accept(wide(&numbers)).await;
    assert_eq!(receipts.len(), EVENTS);
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.deliveries == SUBSCRIPTIONS)
    );
    let last = numbers.last().copied().unwrap();
    let first_part = running.take(last, EVENTS).await;
    assert!(
        first_part.len() < EVENTS,
        "{} of {EVENTS} were handed over before the answer",
        first_part.len()
    );
    // They come back to the front, so the first one last.
    first_part.into_iter().rev().for_each(drop);
    let every = u64::try_from(EVENTS).unwrap();
    assert_eq!(pending(&running, &numbers), vec![every; SUBSCRIPTIONS]);
    let expected: Vec<_> = (0..EVENTS).map(|number| number.to_string()).collect();
    for number in [numbers[0], last] {
        assert_eq!(running.drain(number).await, expected);
    }
    running.close().await;
}

#[tokio::test]
async fn what_is_known_of_a_wide_batch_is_not_counted_again() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let numbers = named(&running);
    let some: Vec<_> = wide(&numbers).into_iter().step_by(5).collect();
    let known = running.accept(some).await;
    let before = bytes(&running);
    let receipts = running.accept(wide(&numbers)).await;
    for (position, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt.duplicate, position % 5 == 0);
        assert_eq!(receipt.deliveries, SUBSCRIPTIONS);
    }
    assert_eq!(receipts[5].id, known[1].id);
    let every = u64::try_from(EVENTS).unwrap();
    assert_eq!(pending(&running, &numbers), vec![every; SUBSCRIPTIONS]);
    let all = bytes(&running);
    assert!(all > before);
    // All of it is known now.
    let again = running.accept(wide(&numbers)).await;
    assert!(again.iter().all(|receipt| receipt.duplicate));
    assert_eq!(bytes(&running), all);
    assert_eq!(pending(&running, &numbers), vec![every; SUBSCRIPTIONS]);
    running.close().await;
}

#[tokio::test]
async fn a_wide_batch_that_is_refused_is_not_counted() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let numbers = named(&running);
    running.accept(vec![given("id-7", "other", &[])]).await;
    let refused = running.store.accept(wide(&numbers)).await;
    assert!(
        matches!(refused, Err(AcceptError::Conflict(7))),
        "{refused:?}"
    );
    assert_eq!(bytes(&running), 0);

    let setup = Setup {
        segments: SMALL_SEGMENTS,
        ..Setup::default()
    };
    let folder = tempdir().unwrap();
    let small = setup.open(folder.path());
    let numbers = named(&small);
    let refused = small.store.accept(wide(&numbers)).await;
    assert!(matches!(refused, Err(AcceptError::TooLarge)), "{refused:?}");
    assert_eq!(bytes(&small), 0);
    assert_eq!(pending(&small, &numbers), vec![0; SUBSCRIPTIONS]);
    running.close().await;
    small.close().await;
}

#[tokio::test]
async fn a_batch_of_more_than_may_be_pending_is_taken_while_little_is() {
    let folder = tempdir().unwrap();
    let setup = Setup {
        max_pending: 1000,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let numbers = named(&running);
    running.accept(wide(&numbers)).await;
    assert!(bytes(&running) > 1000);
    let refused = running.store.accept(vec![event("more", &numbers)]).await;
    assert!(matches!(refused, Err(AcceptError::Pending)));
    running.close().await;
}

#[tokio::test]
async fn a_delivery_that_is_dead_from_the_start_blocks_before_what_came_first_is_handed_over() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let numbers = named(&running);
    let ordered = running.named("ordered");
    let queue = running.store.queue(ordered);
    queue.set_order(Order::Strict, WhenStuck::Block);
    let mut dead = event("more than may be pending", &[ordered]);
    dead.deliveries[0].max_pending = 1;
    let (_, receipts) = tokio::join!(running.accept(wide(&numbers)), running.accept(vec![dead]));
    assert_eq!(receipts[0].overflowed, [ordered]);
    let next = running.store.0.accepting.intake().next_seq;
    assert!(queue.0.step(|state| state.is_behind(0, next)));
    running.close().await;
}
