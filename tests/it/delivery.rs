//! Lanes: what is pending is attempted, by the current definition, within the bounds of its subscription.

use std::time::Duration;

use crate::support::lanes::{Relay, accepting, inactive, subscription, until, within};
use crate::support::receiver::{Receiver, Reply};
use bytes::Bytes;
use sidehook::config::Subscription;
use sidehook::delivery::{LaneError, SettingsProblem};
use sidehook::domain::Retry;
use sidehook::signing::Scheme;

#[tokio::test]
async fn an_event_is_delivered_to_each_of_its_subscriptions() {
    let (one, two) = (accepting().await, accepting().await);
    let relay = Relay::start(&[subscription("one", &one), subscription("two", &two)]);
    relay.post(&["one", "two"], "first").await;
    relay.post(&["two"], "second").await;
    until("all is delivered", || {
        relay.counts("one").pending + relay.counts("two").pending == 0
    })
    .await;
    assert_eq!(bodies(&one), ["first"]);
    assert_eq!(two.count(), 2);
    let delivered = r#"sidehook_deliveries_total{subscription="two",outcome="delivered"}"#;
    relay.shows(delivered, 2).await;
    relay
        .shows(
            r#"sidehook_attempts_total{subscription="two",status="success"}"#,
            2,
        )
        .await;
}

#[tokio::test]
async fn no_more_attempts_are_in_flight_than_concurrency_allows() {
    let endpoint = slow().await;
    let relay = Relay::start(&[Subscription {
        concurrency: 3,
        ..subscription("one", &endpoint)
    }]);
    relay.post_batch(&["one"], &["event"; 10]).await;
    until("all is delivered", || relay.counts("one").pending == 0).await;
    let received = endpoint.received();
    assert_eq!(received.len(), 10);
    let most = received.iter().map(|request| request.concurrent).max();
    assert_eq!(most, Some(3));
}

#[tokio::test]
async fn an_inactive_subscription_holds_and_delivers_once_it_is_active() {
    let (endpoint, other) = (accepting().await, accepting().await);
    let definition = subscription("one", &endpoint);
    let witness = subscription("two", &other);
    let mut relay = Relay::start(&[inactive(definition.clone()), witness.clone()]);
    relay.post(&["one", "two"], "event").await;
    until("the other is delivered", || other.count() == 1).await;
    assert_eq!(endpoint.count(), 0);
    relay
        .shows(r#"sidehook_held_deliveries{subscription="one"}"#, 1)
        .await;
    relay
        .shows(r#"sidehook_pending_deliveries{subscription="one"}"#, 0)
        .await;
    relay
        .shows(r#"sidehook_subscription_enabled{subscription="one"}"#, 0)
        .await;
    assert!(relay.state("one").held_since.is_some());

    relay.apply(&[definition, witness]);
    until("it is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!(endpoint.count(), 1);
    relay
        .shows(r#"sidehook_subscription_enabled{subscription="one"}"#, 1)
        .await;
    assert_eq!(relay.state("one").held_since, None);
}

#[tokio::test]
async fn a_subscription_that_becomes_inactive_is_held_from_then_on() {
    let (endpoint, other) = (accepting().await, accepting().await);
    let definition = subscription("one", &endpoint);
    let witness = subscription("two", &other);
    let mut relay = Relay::start(&[definition.clone(), witness.clone()]);
    relay.apply(&[inactive(definition), witness]);
    relay.post(&["one", "two"], "event").await;
    until("the other is delivered", || other.count() == 1).await;
    assert_eq!((endpoint.count(), relay.counts("one").pending), (0, 1));
}

#[tokio::test]
async fn a_removed_subscription_holds_and_goes_on_when_its_name_returns() {
    let (endpoint, other) = (accepting().await, accepting().await);
    let definition = subscription("one", &endpoint);
    let witness = subscription("two", &other);
    let mut relay = Relay::start(&[definition.clone(), witness.clone()]);
    relay.apply(std::slice::from_ref(&witness));
    relay.post(&["one", "two"], "event").await;
    until("the other is delivered", || other.count() == 1).await;
    assert_eq!((endpoint.count(), relay.counts("one").pending), (0, 1));
    assert!(relay.state("one").held_since.is_some());

    relay.apply(&[definition, witness]);
    until("it is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!(endpoint.count(), 1);
}

#[tokio::test]
async fn a_name_may_return_at_any_later_reload() {
    let endpoint = accepting().await;
    let definition = subscription("one", &endpoint);
    let mut relay = Relay::start(std::slice::from_ref(&definition));
    for reloads in 1..=3 {
        relay.apply(&[]);
        until("it is held", || relay.state("one").held_since.is_some()).await;
        relay.post(&["one"], "event").await;
        for _ in 1..reloads {
            relay.apply(&[]);
            tokio::task::yield_now().await;
        }
        assert_eq!(relay.counts("one").pending, 1);
        relay.apply(std::slice::from_ref(&definition));
        until("it is delivered", || relay.counts("one").pending == 0).await;
        assert_eq!(endpoint.count(), reloads);
    }
    relay.finish().await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_only_the_store_knows_is_held() {
    let endpoint = Receiver::start(|_| Reply::status(500)).await;
    let definition = Subscription {
        retry: Retry::schedule(vec![Duration::from_secs(3600)]),
        ..subscription("one", &endpoint)
    };
    let relay = Relay::start(std::slice::from_ref(&definition));
    relay.post(&["one"], "event").await;
    until("it failed", || endpoint.count() == 1).await;
    let mut relay = relay.restart(&[]).await;
    assert_eq!(relay.counts("one").pending, 1);
    assert!(relay.state("one").held_since.is_some());
    relay.apply(&[definition]);
    until("it goes on", || relay.state("one").held_since.is_none()).await;
}

#[tokio::test]
async fn a_changed_url_applies_from_the_next_attempt() {
    let (old, new) = (slow().await, accepting().await);
    let mut relay = Relay::start(&[subscription("one", &old)]);
    relay.post(&["one"], "in flight").await;
    until("it is in flight", || old.count() == 1).await;
    relay.apply(&[subscription("one", &new)]);
    relay.post(&["one"], "later").await;
    until("the later one is delivered", || new.count() == 1).await;
    until("all is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!(
        (bodies(&old), bodies(&new)),
        (vec!["in flight".into()], vec!["later".into()])
    );
}

#[tokio::test]
async fn an_endpoint_that_hangs_does_not_delay_another() {
    let hanging = Receiver::start(|_| Reply::hang()).await;
    let fine = accepting().await;
    let relay = Relay::start(&[
        subscription("hanging", &hanging),
        subscription("fine", &fine),
    ]);
    let events = ["event"; 50];
    relay.post_batch(&["hanging", "fine"], &events).await;
    until("the other has all", || relay.counts("fine").pending == 0).await;
    until("its slots are taken", || hanging.count() == 4).await;
    assert_eq!(relay.counts("hanging").pending, 50);
}

#[tokio::test]
async fn lanes_end_after_their_attempts_in_flight_and_take_nothing_more() {
    let endpoint = slow().await;
    let mut relay = Relay::start(&[Subscription {
        concurrency: 1,
        ..subscription("one", &endpoint)
    }]);
    relay.post_batch(&["one"], &["event"; 20]).await;
    until("one is in flight", || endpoint.count() >= 1).await;
    relay.finish().await.unwrap();
    let attempted = u64::try_from(endpoint.count()).unwrap();
    assert!(attempted < 20);
    assert_eq!(relay.counts("one").pending, 20 - attempted);
    assert_eq!(relay.counts("one").in_flight, 0);
}

#[tokio::test]
async fn stopping_at_once_leaves_what_was_in_flight_pending() {
    let endpoint = Receiver::start(|_| Reply::hang()).await;
    let mut relay = Relay::start(&[subscription("one", &endpoint)]);
    relay.post(&["one"], "event").await;
    until("it is in flight", || endpoint.count() == 1).await;
    relay.shutdown.stop_now.cancel();
    within(relay.lanes.joined()).await.unwrap();
    let counts = relay.counts("one");
    assert_eq!((counts.pending, counts.in_flight), (1, 0));
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_changes_nothing() {
    let (old, new) = (accepting().await, accepting().await);
    let mut relay = Relay::start(&[subscription("one", &old)]);
    let broken = || subscription("two", &new);
    let no_url = Subscription {
        url: None,
        ..broken()
    };
    let mut long_url = broken();
    let endpoint = long_url.url.as_mut().unwrap();
    endpoint.url.set_query(Some(&"x".repeat(70_000)));
    let no_secret = Subscription {
        signature: vec![Scheme::by_name("github").unwrap()],
        ..broken()
    };
    for (definition, expected) in [
        (no_url, "NoUrl"),
        (long_url, "Target"),
        (no_secret, "Signing"),
    ] {
        let error = relay.try_apply(&[subscription("one", &new), definition]);
        let error = error.unwrap_err();
        assert_eq!(error.subscription.as_str(), "two");
        let found = match error.source {
            SettingsProblem::NoUrl => "NoUrl",
            SettingsProblem::Target(_) => "Target",
            SettingsProblem::Signing(_) => "Signing",
            SettingsProblem::Mailer(_) => "Mailer",
        };
        assert_eq!(found, expected);
    }
    relay.post(&["one"], "event").await;
    until("it is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!((old.count(), new.count()), (1, 0));
}

#[tokio::test]
async fn an_outcome_that_cannot_be_written_ends_the_lanes_with_an_error() {
    let endpoint = slow().await;
    let mut relay = Relay::start(&[subscription("one", &endpoint)]);
    relay.post(&["one"], "event").await;
    until("it is in flight", || endpoint.count() == 1).await;
    relay.store.close().await.unwrap();
    let ended = within(relay.lanes.joined()).await;
    assert!(matches!(ended, Err(LaneError::Store { .. })), "{ended:?}");
}

#[tokio::test]
async fn without_subscriptions_the_lanes_end_when_they_are_told_to() {
    let mut relay = Relay::start(&[]);
    let early = tokio::time::timeout(Duration::from_millis(20), relay.lanes.joined()).await;
    assert!(early.is_err(), "ended although nobody asked for it");
    relay.finish().await.unwrap();
}

#[tokio::test]
async fn every_lane_answers_the_beat_whether_it_has_work_or_not() {
    let hanging = Receiver::start(|_| Reply::hang()).await;
    let idle = subscription("idle", &hanging);
    let mut relay = Relay::start(&[
        idle.clone(),
        subscription("busy", &hanging),
        inactive(subscription("held", &hanging)),
    ]);
    relay.post(&["busy"], "event").await;
    assert!(relay.lanes.beat());
    assert!(!relay.lanes.beat(), "nobody has turned in between");
    within(async {
        while !relay.lanes.beat() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// An endpoint that takes its time, so that attempts are in flight while the test goes on.
async fn slow() -> Receiver {
    Receiver::start(|_| Reply::status(200).after(Duration::from_millis(100))).await
}

fn bodies(receiver: &Receiver) -> Vec<Bytes> {
    let received = receiver.received().into_iter();
    received.map(|request| request.body).collect()
}
