//! Tests of [`Alerts`] under a clock that is set by hand.

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

fn alerts() -> (Arc<Hand>, Alerts) {
    let clock = Arc::new(Hand::default());
    clock.wait(1_000);
    (Arc::clone(&clock), Alerts::new(clock))
}

fn name(name: &str) -> SubscriptionName {
    name.parse().unwrap()
}

fn event(number: u8) -> EventId {
    EventId::new(Timestamp::from_millis(number.into()), [number; 10])
}

fn recovered() -> StatusAlert {
    StatusAlert::Recovered { disabled: None }
}

fn failing(consecutive_failures: u32) -> StatusAlert {
    StatusAlert::Failing {
        consecutive_failures,
        last: None,
    }
}

fn deaths(taken: &Taken) -> &Deaths {
    match taken.alerts.as_slice() {
        [
            Alert {
                kind: AlertKind::Dead(_, deaths),
                ..
            },
        ] => deaths,
        other => panic!("expected deaths, found {other:?}"),
    }
}

#[test]
fn turns_are_taken_at_once_in_order_and_once() {
    let (_, alerts) = alerts();
    alerts.status(&name("a"), failing(5));
    alerts.status(&name("a"), recovered());
    let turns: Vec<_> = alerts.take().alerts;
    let at = Timestamp::from_millis(1_000_000);
    let alert = |turn| Alert {
        at,
        kind: AlertKind::Status(name("a"), turn),
    };
    assert_eq!(turns, [alert(failing(5)), alert(recovered())]);
    assert_eq!(alerts.take().alerts, []);
}

#[test]
fn turns_that_nobody_takes_are_bounded_and_the_last_is_kept() {
    let (_, alerts) = alerts();
    for failures in 0..1000 {
        alerts.status(&name("a"), failing(failures));
    }
    let turns = alerts.take().alerts;
    assert_eq!(turns.len(), STATUSES_MAX);
    assert_eq!(
        turns.last().unwrap().kind,
        AlertKind::Status(name("a"), failing(999))
    );
}

#[test]
fn deaths_are_told_a_second_later_and_then_once_a_minute() {
    let (clock, alerts) = alerts();
    alerts.dead(&name("a"), event(1), DeadReason::Exhausted);
    let taken = alerts.take();
    assert_eq!(taken.alerts, []);
    assert_eq!(taken.next_at, Some(Timestamp::from_millis(1_001_000)));
    clock.wait(1);
    assert_eq!(deaths(&alerts.take()).count, 1);
    alerts.dead(&name("a"), event(2), DeadReason::Exhausted);
    clock.wait(59);
    alerts.dead(&name("a"), event(3), DeadReason::GaveUp);
    assert_eq!(alerts.take().alerts, []);
    clock.wait(1);
    let taken = alerts.take();
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
    let (clock, alerts) = alerts();
    alerts.dead(&name("a"), event(1), DeadReason::Exhausted);
    clock.wait(1);
    assert_eq!(deaths(&alerts.take()).count, 1);
    alerts.dead(&name("b"), event(1), DeadReason::Exhausted);
    clock.wait(1);
    assert_eq!(deaths(&alerts.take()).count, 1);
}

#[test]
fn of_many_deaths_the_first_and_last_are_named() {
    let (clock, alerts) = alerts();
    for number in 0..100 {
        alerts.dead(&name("a"), event(number), DeadReason::Exhausted);
    }
    clock.wait(1);
    let taken = alerts.take();
    let deaths = deaths(&taken);
    assert_eq!(deaths.count, 100);
    assert_eq!(deaths.first, [0, 1, 2, 3, 4].map(event));
    assert_eq!(deaths.last, [95, 96, 97, 98, 99].map(event));
}

#[test]
fn nothing_waits_at_the_end() {
    let (_, alerts) = alerts();
    alerts.dead(&name("a"), event(1), DeadReason::Exhausted);
    alerts.status(&name("b"), recovered());
    assert_eq!(alerts.take_all().len(), 2);
    assert_eq!(alerts.take_all(), []);
}

#[test]
fn failed_reloads_are_drawn_together_with_the_problems_of_the_last() {
    let (_, alerts) = alerts();
    let problem = |line| Problem {
        file: "config.yaml".into(),
        line,
        column: 1,
        path: "listen".to_owned(),
        message: "is wrong".to_owned(),
        excerpt: None,
    };
    alerts.reload_failed(&vec![problem(1)].into());
    let many: Vec<_> = (1..=30).map(problem).collect();
    alerts.reload_failed(&many.clone().into());
    let [alert] = &alerts.take().alerts[..] else {
        panic!("one alert");
    };
    let expected = FailedReloads {
        count: 2,
        problems: many[..20].to_vec(),
        problem_count: 30,
    };
    assert_eq!(alert.kind, AlertKind::ReloadFailed(expected));
    alerts.reload_failed(&vec![problem(1)].into());
    let next = alerts.take().alerts;
    assert!(
        matches!(&next[..], [Alert { kind: AlertKind::ReloadFailed(it), .. }] if it.count == 1)
    );
}

#[test]
fn subscriptions_of_which_nothing_is_to_be_told_take_no_memory() {
    let (clock, alerts) = alerts();
    alerts.dead(&name("a"), event(1), DeadReason::Exhausted);
    alerts.status(&name("b"), recovered());
    clock.wait(1);
    assert_eq!(alerts.take().alerts.len(), 2);
    clock.wait(60);
    assert_eq!(alerts.take().alerts.len(), 0);
    assert!(alerts.gathered().subscriptions.is_empty());
}

#[tokio::test]
async fn who_waits_is_woken() {
    let (_, alerts) = alerts();
    alerts.store_full(Shortage::Disk);
    alerts.raised().await;
    let full = AlertKind::StoreFull(Shortage::Disk);
    assert_eq!(alerts.take().alerts.first().unwrap().kind, full);
}
