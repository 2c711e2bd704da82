//! Deliveries of one key go in order, one at a time; a failing key holds back nobody else.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use sidehook::config::Subscription;
use sidehook::domain::{Order, Retry, WhenStuck};

use crate::support::lanes::{Relay, accepting, inactive, subscription, until};
use crate::support::receiver::{Receiver, Reply};

const PAUSE: Duration = Duration::from_millis(5);

fn ordered(name: &str, receiver: &Receiver, order: Order) -> Subscription {
    Subscription {
        order,
        retry: Retry::schedule(vec![PAUSE; 4]),
        ..subscription(name, receiver)
    }
}

/// Answers 500 to the first attempt of each body and to those that `fails` says, 200 to others.
async fn failing_first(fails: fn(&str) -> bool) -> Receiver {
    let seen = Mutex::new(BTreeMap::<String, u32>::new());
    Receiver::start(move |request| {
        let body = text(&request.body);
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(body.clone()).or_default();
        *count += 1;
        Reply::status(if *count == 1 || fails(&body) {
            500
        } else {
            200
        })
    })
    .await
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

fn bodies(receiver: &Receiver) -> Vec<String> {
    let received = receiver.received();
    received.iter().map(|request| text(&request.body)).collect()
}

#[tokio::test]
async fn a_strict_order_holds_over_failures_and_a_restart() {
    let endpoint = failing_first(|_| false).await;
    let definition = ordered("one", &endpoint, Order::Strict);
    let relay = Relay::start(&[inactive(definition.clone())]);
    relay.post_batch(&["one"], &["a", "b", "c", "d"]).await;
    let relay = relay.restart(&[definition]).await;
    until("all are delivered", || relay.counts("one").pending == 0).await;
    assert_eq!(bodies(&endpoint), ["a", "a", "b", "b", "c", "c", "d", "d"]);
}

#[tokio::test]
async fn a_dead_delivery_blocks_its_key_only_also_over_a_restart_until_it_is_replayed() {
    let endpoint = failing_first(|body| body == "a1").await;
    let definition = ordered("one", &endpoint, Order::Key);
    let relay = Relay::start(std::slice::from_ref(&definition));
    let stuck = relay.post_keyed(&["one"], "a", "a1").await;
    relay.post_keyed(&["one"], "a", "a2").await;
    relay.post_keyed(&["one"], "b", "b1").await;
    relay.post_keyed(&["one"], "b", "b2").await;
    until("b is delivered", || relay.counts("one").pending == 1).await;
    until("a1 is dead", || relay.counts("one").dead == 1).await;
    relay
        .shows(r#"sidehook_blocked_deliveries{subscription="one"}"#, 1)
        .await;
    let relay = relay.restart(std::slice::from_ref(&definition)).await;
    relay.post_keyed(&["one"], "b", "b3").await;
    until("b3 is delivered", || relay.counts("one").pending == 1).await;
    assert!(!bodies(&endpoint).contains(&"a2".to_owned()));

    // The endpoint that works now belongs to the same subscription.
    let fine = accepting().await;
    let mut relay = relay;
    relay.apply(&[ordered("one", &fine, Order::Key)]);
    relay.replay(stuck, "one").await.unwrap();
    until("a is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!(bodies(&fine), ["a1", "a2"]);
    assert_eq!(relay.counts("one").dead, 0);
}

#[tokio::test]
async fn with_skip_what_follows_a_dead_delivery_goes_on() {
    let endpoint = failing_first(|body| body == "a").await;
    let relay = Relay::start(&[Subscription {
        when_stuck: WhenStuck::Skip,
        ..ordered("one", &endpoint, Order::Strict)
    }]);
    relay.post_batch(&["one"], &["a", "b"]).await;
    until("all have ended", || relay.counts("one").pending == 0).await;
    assert_eq!(bodies(&endpoint), ["a", "a", "a", "a", "a", "b", "b"]);
    assert_eq!(relay.counts("one").blocked, 0);
}

#[tokio::test]
async fn a_cancelled_delivery_lets_what_it_blocked_go() {
    let endpoint = failing_first(|body| body == "a").await;
    let relay = Relay::start(&[ordered("one", &endpoint, Order::Strict)]);
    let stuck = relay.post_keyed(&["one"], "k", "a").await;
    relay.post_keyed(&["one"], "k", "b").await;
    until("a is dead", || relay.counts("one").dead == 1).await;
    relay.cancel(stuck, "one").await.unwrap();
    until("b is delivered", || relay.counts("one").pending == 0).await;
    assert_eq!(bodies(&endpoint), ["a", "a", "a", "a", "a", "b", "b"]);
    assert!(relay.replay(stuck, "other").await.is_err());
}
