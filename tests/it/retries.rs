//! What follows a failed attempt: another one by the schedule, a pause of the lane, or a dead letter.

use std::time::Duration;

use sidehook::config::Subscription;
use sidehook::domain::Retry;

use crate::support::lanes::{Relay, accepting, inactive, subscription, until};
use crate::support::receiver::{Receiver, Reply};

const PAUSE: Duration = Duration::from_millis(10);

#[tokio::test]
async fn a_failed_delivery_is_attempted_again_until_it_succeeds() {
    let endpoint =
        Receiver::start(|request| Reply::status(if request.number < 4 { 500 } else { 200 })).await;
    let relay = Relay::start(&[subscription("one", &endpoint)]);
    relay.post(&["one"], "event").await;
    until("it is delivered", || relay.counts("one").pending == 0).await;
    let received = endpoint.received();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|request| request.body == "event"));
    let failures = r#"sidehook_attempt_failures_total{subscription="one",reason="http_5xx"}"#;
    relay.shows(failures, 3).await;
    relay
        .shows(r#"sidehook_consecutive_failures{subscription="one"}"#, 0)
        .await;
    assert_eq!(relay.counts("one").dead, 0);
}

#[tokio::test]
async fn a_delivery_is_dead_after_the_last_attempt_of_its_schedule() {
    let endpoint = Receiver::start(|_| Reply::status(404)).await;
    let relay = Relay::start(&[Subscription {
        retry: Retry::schedule(vec![PAUSE; 2]),
        ..subscription("one", &endpoint)
    }]);
    relay.post(&["one"], "event").await;
    until("it is dead", || relay.counts("one").dead == 1).await;
    assert_eq!((endpoint.count(), relay.counts("one").pending), (3, 0));
    assert_dead(&relay, "exhausted").await;
    relay
        .shows(r#"sidehook_consecutive_failures{subscription="one"}"#, 3)
        .await;
}

#[tokio::test]
async fn a_delivery_that_would_be_too_old_is_dead_before_its_attempts_are_used_up() {
    let endpoint = Receiver::start(|_| Reply::status(500)).await;
    let max_age = Duration::from_secs(60);
    let retry = Retry::exponential(max_age * 2, 2.0, max_age * 4, 10, max_age);
    let relay = Relay::start(&[Subscription {
        retry,
        ..subscription("one", &endpoint)
    }]);
    relay.post(&["one"], "event").await;
    until("it is dead", || relay.counts("one").dead == 1).await;
    assert_eq!(endpoint.count(), 1);
    assert_dead(&relay, "expired").await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_in_time_is_a_timeout() {
    let endpoint = Receiver::start(|_| Reply::hang()).await;
    let relay = Relay::start(&[Subscription {
        retry: Retry::none(),
        timeout: Duration::from_millis(50),
        ..subscription("one", &endpoint)
    }]);
    relay.post(&["one"], "event").await;
    until("it is dead", || relay.counts("one").dead == 1).await;
    assert_dead(&relay, "exhausted").await;
    relay
        .shows(
            r#"sidehook_attempts_total{subscription="one",status="timeout"}"#,
            1,
        )
        .await;
    relay
        .shows(
            r#"sidehook_attempt_failures_total{subscription="one",reason="timeout"}"#,
            1,
        )
        .await;
}

#[tokio::test]
async fn a_status_to_give_up_on_makes_a_delivery_dead_at_once() {
    let endpoint =
        Receiver::start(|request| Reply::status(if request.number == 1 { 500 } else { 404 })).await;
    let relay = Relay::start(&[Subscription {
        give_up_on: vec![400, 404],
        ..subscription("one", &endpoint)
    }]);
    relay.post(&["one"], "event").await;
    until("it is dead", || relay.counts("one").dead == 1).await;
    assert_eq!((endpoint.count(), relay.counts("one").pending), (2, 0));
    assert_dead(&relay, "gave_up").await;
}

#[tokio::test]
async fn an_endpoint_aborts_a_delivery_with_a_header() {
    let endpoint = Receiver::start(|request| match &*request.body {
        b"bad" => Reply::status(422).header("webhook-delivery", "ABORT-message "),
        _ => Reply::status(200).header("webhook-delivery", "abort-message"),
    })
    .await;
    let relay = Relay::start(&[subscription("one", &endpoint)]);
    relay.post_batch(&["one"], &["bad", "good"]).await;
    until("both are over", || relay.counts("one").pending == 0).await;
    assert_eq!((endpoint.count(), relay.counts("one").dead), (2, 1));
    assert_dead(&relay, "aborted").await;
}

#[tokio::test]
async fn retry_after_pauses_the_whole_subscription() {
    let endpoint = Receiver::start(|request| match request.number {
        1 => Reply::status(429).header("retry-after", "1"),
        _ => Reply::status(200),
    })
    .await;
    let relay = Relay::start(&[Subscription {
        concurrency: 1,
        ..subscription("one", &endpoint)
    }]);
    relay.post_batch(&["one"], &["event"; 3]).await;
    until("all are delivered", || relay.counts("one").pending == 0).await;
    let received = endpoint.received();
    assert_eq!(received.len(), 4);
    // Pauses are kept in whole milliseconds.
    assert!(received[1].at - received[0].at >= Duration::from_millis(999));
    let failures = r#"sidehook_attempt_failures_total{subscription="one",reason="http_429"}"#;
    relay.shows(failures, 1).await;
}

#[tokio::test]
async fn a_pause_outlives_a_restart_but_not_a_new_url() {
    let busy = Receiver::start(|_| Reply::status(503).header("retry-after", "3600")).await;
    let fine = accepting().await;
    let relay = Relay::start(&[subscription("one", &busy)]);
    relay.post(&["one"], "first").await;
    until("it is due again", || {
        busy.count() == 1 && relay.counts("one").in_flight == 0
    })
    .await;
    let definitions = [subscription("one", &busy), subscription("two", &fine)];
    let mut relay = relay.restart(&definitions).await;
    relay.post(&["one", "two"], "second").await;
    until("the other is delivered", || fine.count() == 1).await;
    assert_eq!(busy.count(), 1);

    relay.apply(&[subscription("one", &fine)]);
    until("only the first waits", || relay.counts("one").pending == 1).await;
    assert_eq!(fine.count(), 2);
}

#[tokio::test]
async fn failures_in_a_row_are_recorded_when_the_lanes_end() {
    let endpoint = Receiver::start(|_| Reply::status(500)).await;
    let mut relay = Relay::start(&[Subscription {
        retry: Retry::schedule(vec![PAUSE; 2]),
        ..subscription("one", &endpoint)
    }]);
    relay.post(&["one"], "event").await;
    until("it is dead", || relay.counts("one").dead == 1).await;
    relay.finish().await.unwrap();
    assert_eq!(relay.state("one").consecutive_failures, 3);
}

#[tokio::test]
async fn enabling_a_subscription_ends_its_failures_in_a_row() {
    let endpoint = Receiver::start(|_| Reply::status(500)).await;
    let definition = Subscription {
        retry: Retry::none(),
        ..subscription("one", &endpoint)
    };
    let mut relay = Relay::start(std::slice::from_ref(&definition));
    relay.post(&["one"], "event").await;
    let failures = r#"sidehook_consecutive_failures{subscription="one"}"#;
    relay.shows(failures, 1).await;
    until("it is recorded", || {
        relay.state("one").consecutive_failures == 1
    })
    .await;
    relay.apply(&[inactive(definition.clone())]);
    until("it is held", || relay.state("one").held_since.is_some()).await;
    relay.apply(&[definition]);
    relay.shows(failures, 0).await;
}

async fn assert_dead(relay: &Relay, reason: &str) {
    let series = format!(r#"sidehook_dead_letters_total{{subscription="one",reason="{reason}"}}"#);
    relay.shows(&series, 1).await;
    let dead = r#"sidehook_deliveries_total{subscription="one",outcome="dead"}"#;
    relay.shows(dead, 1).await;
}
