//! What is told as it happens, and the test of a subscription on request.

use std::time::Duration;

use sidehook::config::Subscription;
use sidehook::domain::{
    AttemptStatus, AutoDisable, DeliveryState, DisabledReason, FailureReason, Retry,
};
use sidehook::feed::{AttemptEnded, FeedEvent};
use tokio::sync::broadcast::Receiver as Listener;

use crate::support::lanes::{Relay, accepting, inactive, subscription, within};
use crate::support::receiver::{Receiver, Reply};

async fn next(listener: &mut Listener<FeedEvent>) -> FeedEvent {
    within(listener.recv()).await.unwrap()
}

async fn attempt(listener: &mut Listener<FeedEvent>) -> AttemptEnded {
    match next(listener).await {
        FeedEvent::Attempt(ended) => ended,
        other => panic!("expected an attempt, heard {other:?}"),
    }
}

async fn status(listener: &mut Listener<FeedEvent>) -> Option<DisabledReason> {
    match next(listener).await {
        FeedEvent::Subscription { name, status } => {
            assert_eq!(name.as_str(), "one");
            status.disabled.map(|(reason, _)| reason)
        }
        other => panic!("expected a subscription, heard {other:?}"),
    }
}

#[tokio::test]
async fn attempts_are_told_with_what_became_of_the_delivery() {
    let endpoint = Receiver::queue([Reply::status(503), Reply::status(404), Reply::status(200)]);
    let endpoint = endpoint.await;
    let definition = Subscription {
        give_up_on: vec![404],
        ..subscription("one", &endpoint)
    };
    let relay = Relay::start(&[definition]);
    let mut listener = relay.feed.listen();
    relay.post(&["one"], "event").await;
    let first = attempt(&mut listener).await;
    assert_eq!((first.number, first.response_code), (1, Some(503)));
    assert_eq!(first.status, AttemptStatus::Failed);
    assert_eq!(first.reason, Some(FailureReason::Http5xx));
    assert_eq!(first.state, DeliveryState::Pending);
    assert_eq!(first.event_type.as_str(), "order.paid");
    assert_eq!(first.error_message.as_deref(), Some("Service Unavailable"));
    let second = attempt(&mut listener).await;
    assert_eq!((second.number, second.state), (2, DeliveryState::Dead));
    assert_eq!(second.delivery, first.delivery);
    relay.post(&["one"], "event").await;
    let third = attempt(&mut listener).await;
    assert_eq!((third.number, third.state), (1, DeliveryState::Delivered));
    assert_eq!((third.reason, third.error_message), (None, None));
}

#[tokio::test]
async fn whatever_enables_or_disables_is_told() {
    let endpoint = Receiver::start(|_| Reply::status(410)).await;
    let definition = subscription("one", &endpoint);
    let mut relay = Relay::start(std::slice::from_ref(&definition));
    let name = "one".parse().unwrap();
    let mut listener = relay.feed.listen();
    relay.lanes.disable(&name).unwrap();
    relay.lanes.disable(&name).unwrap();
    let manual = status(&mut listener).await;
    assert_eq!(manual, Some(DisabledReason::Manual));
    relay.lanes.enable(&name).unwrap();
    assert_eq!(status(&mut listener).await, None);
    relay.apply(&[inactive(definition.clone())]);
    let config = status(&mut listener).await;
    assert_eq!(config, Some(DisabledReason::Config));
    relay.apply(std::slice::from_ref(&definition));
    assert_eq!(status(&mut listener).await, None);
    relay.post(&["one"], "event").await;
    let gone = status(&mut listener).await;
    assert_eq!(gone, Some(DisabledReason::Gone));
    assert_eq!(attempt(&mut listener).await.response_code, Some(410));
}

#[tokio::test]
async fn a_test_is_one_signed_attempt_that_leaves_no_trace() {
    let endpoint = Receiver::queue([Reply::status(500), Reply::status(200)]).await;
    let definition = Subscription {
        auto_disable: AutoDisable::Failures {
            failures: 1,
            lasting: Duration::ZERO,
        },
        retry: Retry::none(),
        ..subscription("one", &endpoint)
    };
    let relay = Relay::start(&[definition]);
    let name = "one".parse().unwrap();
    let mut listener = relay.feed.listen();
    let failed = within(relay.lanes.test(&name).unwrap()).await;
    assert_eq!(failed.reason, Some(FailureReason::Http5xx));
    let passed = within(relay.lanes.test(&name).unwrap()).await;
    assert_eq!(passed.status, AttemptStatus::Success);
    assert_eq!(passed.response_code, Some(200));
    let request = endpoint.received().pop().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["type"], "sidehook.test");
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(body["data"]["message"].is_string());
    assert_eq!(request.header("content-type"), "application/json");
    assert!(listener.try_recv().is_err());
    assert_eq!(relay.state("one").consecutive_failures, 0);
    assert!(relay.lanes.status(&name).unwrap().is_active());
    let attempts = r#"sidehook_attempts_total{subscription="one",status="failed"}"#;
    relay.shows(attempts, 0).await;
}

#[tokio::test]
async fn what_is_disabled_or_inactive_can_be_tested_and_what_has_no_url_cannot() {
    let endpoint = accepting().await;
    let definition = subscription("one", &endpoint);
    let without = Subscription {
        url: None,
        ..inactive(subscription("two", &endpoint))
    };
    let mut relay = Relay::start(&[definition.clone(), without]);
    let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
    relay.lanes.disable(&one).unwrap();
    within(relay.lanes.test(&one).unwrap()).await;
    assert!(relay.lanes.test(&two).is_none());
    assert!(relay.lanes.test(&"three".parse().unwrap()).is_none());
    relay.apply(&[inactive(definition)]);
    let outcome = within(relay.lanes.test(&one).unwrap()).await;
    assert_eq!(outcome.status, AttemptStatus::Success);
    assert_eq!(endpoint.count(), 2);
    relay.apply(&[]);
    assert!(relay.lanes.test(&one).is_none());
}

#[tokio::test]
async fn a_test_takes_no_longer_than_the_timeout() {
    let endpoint = Receiver::start(|_| Reply::hang()).await;
    let definition = Subscription {
        timeout: Duration::from_millis(50),
        ..subscription("one", &endpoint)
    };
    let relay = Relay::start(&[definition]);
    let outcome = within(relay.lanes.test(&"one".parse().unwrap()).unwrap()).await;
    assert_eq!(outcome.status, AttemptStatus::Timeout);
}
