//! Tests of [`Notices`] under a clock that is set by hand.

use super::*;
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock that a test sets.
#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Hand {
    fn wait(&self, secs: i64) {
        self.0.fetch_add(secs * 1000, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn wall(&self) -> Timestamp {
        self.steady()
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn notices() -> (Arc<Hand>, Notices) {
    let clock = Arc::new(Hand::default());
    clock.wait(1_000);
    (Arc::clone(&clock), Notices::new(clock))
}

fn name(name: &str) -> SubscriptionName {
    name.parse().unwrap()
}

fn event(number: u8) -> EventId {
    EventId::new(Timestamp::from_millis(number.into()), [number; 10])
}

fn recovered() -> Turn {
    Turn::Recovered { disabled: None }
}

fn failing(consecutive_failures: u32) -> Turn {
    Turn::Failing {
        consecutive_failures,
        last: None,
    }
}

fn deaths(taken: &Taken) -> &Deaths {
    match taken.notices.as_slice() {
        [
            Notice {
                news: News::Dead(_, deaths),
                ..
            },
        ] => deaths,
        other => panic!("expected deaths, found {other:?}"),
    }
}

#[test]
fn turns_are_taken_at_once_in_order_and_once() {
    let (_, notices) = notices();
    notices.turn(&name("a"), failing(5));
    notices.turn(&name("a"), recovered());
    let turns: Vec<_> = notices.take().notices;
    let at = Timestamp::from_millis(1_000_000);
    let told = |turn| Notice {
        at,
        news: News::Turn(name("a"), turn),
    };
    assert_eq!(turns, [told(failing(5)), told(recovered())]);
    assert_eq!(notices.take().notices, []);
}

#[test]
fn turns_that_nobody_takes_are_bounded_and_the_last_is_kept() {
    let (_, notices) = notices();
    for failures in 0..1000 {
        notices.turn(&name("a"), failing(failures));
    }
    let turns = notices.take().notices;
    assert_eq!(turns.len(), TURNS_MAX);
    assert_eq!(
        turns.last().unwrap().news,
        News::Turn(name("a"), failing(999))
    );
}

#[test]
fn deaths_are_told_a_second_later_and_then_once_a_minute() {
    let (clock, notices) = notices();
    notices.dead(&name("a"), event(1), DeadReason::Exhausted);
    let taken = notices.take();
    assert_eq!(taken.notices, []);
    assert_eq!(taken.next_at, Some(Timestamp::from_millis(1_001_000)));
    clock.wait(1);
    assert_eq!(deaths(&notices.take()).count, 1);
    notices.dead(&name("a"), event(2), DeadReason::Exhausted);
    clock.wait(59);
    notices.dead(&name("a"), event(3), DeadReason::GaveUp);
    assert_eq!(notices.take().notices, []);
    clock.wait(1);
    let taken = notices.take();
    let deaths = deaths(&taken);
    assert_eq!(deaths.count, 2);
    assert_eq!(deaths.since, Timestamp::from_millis(1_001_000));
    assert_eq!(
        deaths.reasons,
        BTreeMap::from([("exhausted", 1), ("gave_up", 1)])
    );
    assert_eq!(taken.next_at, None);
}

#[test]
fn a_subscription_does_not_wait_for_another() {
    let (clock, notices) = notices();
    notices.dead(&name("a"), event(1), DeadReason::Exhausted);
    clock.wait(1);
    assert_eq!(deaths(&notices.take()).count, 1);
    notices.dead(&name("b"), event(1), DeadReason::Exhausted);
    clock.wait(1);
    assert_eq!(deaths(&notices.take()).count, 1);
}

#[test]
fn of_many_deaths_the_first_and_last_are_named() {
    let (clock, notices) = notices();
    for number in 0..100 {
        notices.dead(&name("a"), event(number), DeadReason::Exhausted);
    }
    clock.wait(1);
    let taken = notices.take();
    let deaths = deaths(&taken);
    assert_eq!(deaths.count, 100);
    assert_eq!(deaths.first, [0, 1, 2, 3, 4].map(event));
    assert_eq!(deaths.last, [95, 96, 97, 98, 99].map(event));
}

#[test]
fn nothing_waits_at_the_end() {
    let (_, notices) = notices();
    notices.dead(&name("a"), event(1), DeadReason::Exhausted);
    notices.turn(&name("b"), recovered());
    assert_eq!(notices.take_all().len(), 2);
    assert_eq!(notices.take_all(), []);
}

#[test]
fn failed_reloads_are_drawn_together_with_the_problems_of_the_last() {
    let (_, notices) = notices();
    let problem = |line| Problem {
        file: "config.yaml".into(),
        line,
        column: 1,
        path: "listen".to_owned(),
        message: "is wrong".to_owned(),
        excerpt: None,
    };
    notices.reload_failed(&vec![problem(1)].into());
    let many: Vec<_> = (1..=30).map(problem).collect();
    notices.reload_failed(&many.clone().into());
    let [notice] = &notices.take().notices[..] else {
        panic!("one notice");
    };
    let expected = FailedReloads {
        count: 2,
        problems: many[..20].to_vec(),
        problem_count: 30,
    };
    assert_eq!(notice.news, News::ReloadFailed(expected));
    notices.reload_failed(&vec![problem(1)].into());
    let next = notices.take().notices;
    assert!(matches!(&next[..], [Notice { news: News::ReloadFailed(it), .. }] if it.count == 1));
}

#[test]
fn subscriptions_of_which_nothing_is_to_be_told_take_no_memory() {
    let (clock, notices) = notices();
    notices.dead(&name("a"), event(1), DeadReason::Exhausted);
    notices.turn(&name("b"), recovered());
    clock.wait(1);
    assert_eq!(notices.take().notices.len(), 2);
    clock.wait(60);
    assert_eq!(notices.take().notices.len(), 0);
    assert!(notices.gathered().subscriptions.is_empty());
}

#[tokio::test]
async fn who_waits_is_woken() {
    let (_, notices) = notices();
    notices.store_full(Shortage::Disk);
    notices.told().await;
    let full = News::StoreFull(Shortage::Disk);
    assert_eq!(notices.take().notices.first().unwrap().news, full);
}
