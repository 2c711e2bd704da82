//! Disabling: by the endpoint, by its failures, by somebody; what is held meanwhile, and what enables again.

use std::time::Duration;

use sidehook::config::Subscription;
use sidehook::domain::DisabledReason::{self, Config, Endpoint, Failing, Gone, Manual};
use sidehook::domain::StatusError;
use sidehook::domain::{AutoDisable, Retry};

use crate::support::lanes::{Relay, accepting, inactive, subscription, until};
use crate::support::receiver::{Receiver, Reply};

const ENABLED: &str = r#"sidehook_subscription_enabled{subscription="one"}"#;
const HELD: &str = r#"sidehook_held_deliveries{subscription="one"}"#;
const FAILURES: &str = r#"sidehook_consecutive_failures{subscription="one"}"#;

/// Disabled after so many failed attempts in a row, however quickly they came.
fn after(failures: u32) -> AutoDisable {
    AutoDisable::Failures {
        failures,
        lasting: Duration::ZERO,
    }
}

/// The same subscription with another path.
fn moved(definition: Subscription) -> Subscription {
    let mut url = definition.url.unwrap();
    url.url.set_path("/elsewhere");
    Subscription {
        url: Some(url),
        ..definition
    }
}

fn reason(relay: &Relay) -> Option<DisabledReason> {
    let status = relay.lanes.status(&"one".parse().unwrap()).unwrap();
    status.disabled.map(|(reason, _)| reason)
}

async fn is_disabled(relay: &Relay, expected: DisabledReason) {
    until("it is disabled", || reason(relay) == Some(expected)).await;
    until("nothing is in flight", || {
        relay.counts("one").in_flight == 0
    })
    .await;
}

/// Posts an event for both, and waits until the other subscription has delivered all it has.
async fn post_with_witness(relay: &Relay) {
    relay.post(&["one", "two"], "event").await;
    until("the witness is delivered", || {
        relay.counts("two").pending == 0
    })
    .await;
}

#[tokio::test]
async fn gone_disables_and_holds_until_the_url_changes() {
    let (endpoint, other) = (
        Receiver::start(|_| Reply::status(410)).await,
        accepting().await,
    );
    let witness = subscription("two", &other);
    // Its schedule is used up with the first attempt: what is gone is held all the same.
    let definition = Subscription {
        retry: Retry::none(),
        ..subscription("one", &endpoint)
    };
    let both = [definition.clone(), witness.clone()];
    let relay = Relay::start(&both);
    relay.post(&["one"], "event").await;
    is_disabled(&relay, Gone).await;
    post_with_witness(&relay).await;
    assert_eq!(endpoint.count(), 1);
    let counts = relay.counts("one");
    assert_eq!((counts.pending, counts.dead), (2, 0));
    relay.shows(ENABLED, 0).await;
    relay.shows(HELD, 2).await;

    let mut relay = relay.restart(&both).await;
    assert_eq!(reason(&relay), Some(Gone));
    post_with_witness(&relay).await;
    relay.apply(&both);
    post_with_witness(&relay).await;
    assert_eq!((endpoint.count(), relay.counts("one").pending), (1, 4));

    endpoint.now(|_| Reply::status(200));
    relay.apply(&[moved(definition), witness]);
    assert_eq!(reason(&relay), None);
    until("all is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!(endpoint.count(), 5);
    relay.shows(ENABLED, 1).await;
    relay.shows(FAILURES, 0).await;
}

#[tokio::test]
async fn a_restart_with_a_new_url_enables_what_was_gone() {
    let endpoint = Receiver::queue([Reply::status(410), Reply::status(200)]).await;
    let relay = Relay::start(&[subscription("one", &endpoint)]);
    relay.post(&["one"], "event").await;
    is_disabled(&relay, Gone).await;
    let relay = relay
        .restart(&[moved(subscription("one", &endpoint))])
        .await;
    until("it is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!(reason(&relay), None);
}

#[tokio::test]
async fn an_endpoint_disables_with_a_header_whatever_its_status() {
    for status in [200, 500] {
        let endpoint = Receiver::queue([
            Reply::status(status).header("webhook-delivery", " Disable "),
            Reply::status(200),
        ])
        .await;
        let definition = Subscription {
            retry: Retry::none(),
            concurrency: 1,
            ..subscription("one", &endpoint)
        };
        let mut relay = Relay::start(std::slice::from_ref(&definition));
        relay.post_batch(&["one"], &["event"; 3]).await;
        is_disabled(&relay, Endpoint).await;
        let counts = relay.counts("one");
        let dead = u64::from(status == 500);
        assert_eq!(
            (endpoint.count(), counts.pending, counts.dead),
            (1, 2, dead)
        );

        relay.apply(&[inactive(definition.clone())]);
        assert_eq!(reason(&relay), Some(Config));
        relay.apply(&[definition]);
        assert_eq!(reason(&relay), None);
        until("the others are delivered", || {
            relay.counts("one").pending == 0
        })
        .await;
        assert_eq!(endpoint.count(), 3);
    }
}

#[tokio::test]
async fn a_locked_subscription_is_disabled_by_nothing_but_its_file() {
    let endpoint = Receiver::start(|request| match request.number {
        1 => Reply::status(410),
        2 => Reply::status(500).header("webhook-delivery", "disable"),
        3 => Reply::status(410).header("webhook-delivery", "disable"),
        _ => Reply::status(200),
    })
    .await;
    let relay = Relay::start(&[Subscription {
        locked: true,
        auto_disable: after(1),
        ..subscription("one", &endpoint)
    }]);
    relay.post(&["one"], "event").await;
    until("it is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!((endpoint.count(), relay.counts("one").dead), (4, 0));
    let name = "one".parse().unwrap();
    assert_eq!(relay.lanes.disable(&name), Err(StatusError::Locked));
    assert_eq!(reason(&relay), None);
    let failures = r#"sidehook_attempt_failures_total{subscription="one",reason="http_410"}"#;
    relay.shows(failures, 2).await;
}

#[tokio::test]
async fn gone_ends_a_locked_delivery_that_has_no_attempts_left() {
    let endpoint = Receiver::start(|_| Reply::status(410)).await;
    let relay = Relay::start(&[Subscription {
        locked: true,
        retry: Retry::none(),
        ..subscription("one", &endpoint)
    }]);
    relay.post(&["one"], "event").await;
    until("it is dead", || relay.counts("one").dead == 1).await;
}

#[tokio::test]
async fn failures_in_a_row_disable_once_the_first_is_long_enough_ago() {
    let endpoint = Receiver::start(|_| Reply::status(500)).await;
    let definition = Subscription {
        auto_disable: AutoDisable::Failures {
            failures: 3,
            lasting: Duration::from_secs(86_400),
        },
        ..subscription("one", &endpoint)
    };
    let mut relay = Relay::start(std::slice::from_ref(&definition));
    relay.post(&["one"], "first").await;
    until("its attempts are used up", || relay.counts("one").dead == 1).await;
    assert_eq!((endpoint.count(), reason(&relay)), (10, None));

    relay.apply(&[Subscription {
        auto_disable: after(11),
        ..definition
    }]);
    relay.post(&["one"], "second").await;
    is_disabled(&relay, Failing).await;
    let counts = relay.counts("one");
    assert_eq!((endpoint.count(), counts.pending), (11, 1));
    assert_eq!(relay.state("one").consecutive_failures, 11);
    relay.shows(FAILURES, 11).await;

    endpoint.now(|_| Reply::status(200));
    relay.lanes.enable(&"one".parse().unwrap()).unwrap();
    relay.shows(FAILURES, 0).await;
    until("it is delivered", || relay.counts("one").pending == 0).await;
}

#[tokio::test]
async fn a_success_begins_the_row_anew() {
    let endpoint =
        Receiver::start(|request| Reply::status(if request.number % 3 == 0 { 200 } else { 500 }))
            .await;
    let relay = Relay::start(&[Subscription {
        auto_disable: after(3),
        concurrency: 1,
        ..subscription("one", &endpoint)
    }]);
    for _ in 0..4 {
        relay.post(&["one"], "event").await;
        until("it is delivered", || relay.counts("one").pending == 0).await;
    }
    assert_eq!((endpoint.count(), reason(&relay)), (12, None));
}

#[tokio::test]
async fn dead_deliveries_in_a_row_disable() {
    let endpoint = Receiver::queue([
        Reply::status(500),
        Reply::status(200),
        Reply::status(404),
        Reply::status(500),
        Reply::status(200),
    ])
    .await;
    let relay = Relay::start(&[Subscription {
        retry: Retry::none(),
        concurrency: 1,
        auto_disable: AutoDisable::Dead(2),
        ..subscription("one", &endpoint)
    }]);
    relay.post_batch(&["one"], &["event"; 6]).await;
    is_disabled(&relay, Failing).await;
    let counts = relay.counts("one");
    assert_eq!((endpoint.count(), counts.pending, counts.dead), (4, 2, 3));
    relay.lanes.enable(&"one".parse().unwrap()).unwrap();
    until("the others are delivered", || {
        relay.counts("one").pending == 0
    })
    .await;
    assert_eq!(relay.counts("one").dead, 3);
}

#[tokio::test]
async fn what_somebody_disabled_stays_so_until_somebody_enables_it() {
    let (endpoint, other) = (accepting().await, accepting().await);
    let definition = subscription("one", &endpoint);
    let witness = subscription("two", &other);
    let both = [definition.clone(), witness.clone()];
    let relay = Relay::start(&both);
    let name = "one".parse().unwrap();
    relay.lanes.disable(&name).unwrap();
    let (recorded, _) = relay.state("one").disabled.unwrap();
    assert_eq!((recorded, reason(&relay)), (Manual, Some(Manual)));
    post_with_witness(&relay).await;

    let mut relay = relay.restart(&both).await;
    post_with_witness(&relay).await;
    let elsewhere = moved(definition.clone());
    relay.apply(&[inactive(definition), witness.clone()]);
    assert_eq!(relay.lanes.enable(&name), Err(StatusError::Inactive));
    relay.apply(&[elsewhere, witness]);
    assert_eq!(reason(&relay), Some(Manual));
    post_with_witness(&relay).await;
    assert_eq!((endpoint.count(), relay.counts("one").pending), (0, 3));

    relay.lanes.enable(&name).unwrap();
    assert_eq!(relay.state("one").disabled, None);
    until("all is delivered", || relay.counts("one").pending == 0).await;
    relay.lanes.enable(&name).unwrap();
    assert_eq!(reason(&relay), None);
}

#[tokio::test]
async fn only_what_the_file_has_is_disabled_or_enabled() {
    let endpoint = accepting().await;
    let mut relay = Relay::start(&[subscription("one", &endpoint)]);
    relay.apply(&[]);
    for name in ["one", "other"] {
        let name = name.parse().unwrap();
        assert_eq!(relay.lanes.disable(&name), Err(StatusError::Unknown));
        assert_eq!(relay.lanes.enable(&name), Err(StatusError::Unknown));
        assert_eq!(relay.lanes.status(&name), None);
    }
    assert_eq!(relay.lanes.statuses().count(), 0);
}

#[tokio::test]
async fn the_answer_of_an_endpoint_that_was_replaced_does_not_disable_the_new_one() {
    let old = Receiver::start(|_| {
        Reply::status(410)
            .header("webhook-delivery", "disable")
            .after(Duration::from_millis(100))
    })
    .await;
    let new = accepting().await;
    let definition = Subscription {
        retry: Retry::none(),
        auto_disable: after(1),
        ..subscription("one", &old)
    };
    let mut relay = Relay::start(&[definition]);
    relay.post(&["one"], "event").await;
    until("it is in flight", || old.count() == 1).await;
    relay.apply(&[Subscription {
        retry: Retry::none(),
        ..subscription("one", &new)
    }]);
    until("it is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!((new.count(), relay.counts("one").dead), (1, 0));
    assert_eq!(reason(&relay), None);
}

#[tokio::test]
async fn a_subscription_gone_from_the_file_is_so_since_it_was_first_noticed() {
    let endpoint = accepting().await;
    let definition = subscription("one", &endpoint);
    let mut relay = Relay::start(std::slice::from_ref(&definition));
    assert_eq!(relay.state("one").removed_at, None);
    relay.apply(&[]);
    let removed_at = relay.state("one").removed_at;
    assert!(removed_at.is_some());
    let mut relay = relay.restart(&[]).await;
    assert_eq!(relay.state("one").removed_at, removed_at);
    relay.apply(&[definition]);
    assert_eq!(relay.state("one").removed_at, None);
}

#[tokio::test]
async fn what_is_cancelled_is_counted_once_whatever_cancels_it() {
    const CANCELLED: &str = r#"sidehook_deliveries_total{subscription="one",outcome="cancelled"}"#;
    let endpoint = Receiver::start(|_| Reply::status(500)).await;
    let definition = Subscription {
        retry: Retry::none(),
        ..subscription("one", &endpoint)
    };
    let mut relay = Relay::start(std::slice::from_ref(&definition));
    let dead = relay.post_keyed(&["one"], "key", "event").await;
    until("it is dead", || relay.counts("one").dead == 1).await;
    relay.lanes.disable(&"one".parse().unwrap()).unwrap();
    let held = relay.post_keyed(&["one"], "key", "event").await;
    relay.post_batch(&["one"], &["event", "event"]).await;
    relay.shows(CANCELLED, 0).await;
    relay.cancel(held, "one").await.unwrap();
    relay.cancel(held, "one").await.unwrap();
    relay.shows(CANCELLED, 1).await;
    relay.cancel(dead, "one").await.unwrap();
    let number = relay.store.subscription(&"one".parse().unwrap());
    assert_eq!(relay.store.cancel_all(number).await.unwrap(), 2);
    relay.shows(CANCELLED, 3).await;
    assert_eq!(
        (relay.counts("one").pending, relay.counts("one").dead),
        (0, 0)
    );
    relay.apply(&[]);
    relay.apply(&[definition]);
    relay.shows(CANCELLED, 3).await;
}
