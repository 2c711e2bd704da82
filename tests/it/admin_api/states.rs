//! What keeps deliveries from being attempted: shown of the subscription, its deliveries and attempts, and in metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::admin_api::{call, look};
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::until;

/// An endpoint that answers with a status which can be changed.
async fn endpoint(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let current = Arc::clone(&status);
    let receiver = Receiver::start(move |_| {
        let reply = Reply::status(current.load(Ordering::Relaxed));
        reply.header("retry-after", "3600")
    });
    (receiver.await, status)
}

async fn in_state(relay: &Relay, state: &str) -> Value {
    until(state, async || {
        look(relay, "/v1/subscriptions/a").await["state"] == state
    })
    .await;
    for other in ["active", "probing", "paused", "disabled", "blocked"] {
        let series = format!("sidehook_subscription_state{{subscription=\"a\",state=\"{other}\"}}");
        let expected = f64::from(u8::from(other == state));
        assert_eq!(
            relay.metric(&series).await.unwrap_or(0.0),
            expected,
            "{other}"
        );
    }
    look(relay, "/v1/subscriptions/a").await
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.ends_with('Z'))
}

#[tokio::test]
async fn an_endpoint_that_fails_is_probed_and_retry_ends_that() {
    let (receiver, status) = endpoint(500).await;
    let fields = ", retry: {schedule: [1h, 1h]}, concurrency: 5";
    let relay = Relay::start(&subscription("a", &receiver.url("/"), fields)).await;
    for _ in 0..12 {
        relay.post("x", "{}").await;
    }
    let shown = in_state(&relay, "probing").await;
    assert_eq!(shown["status"], "active");
    assert!(is_time(&shown["probing_since"]), "{shown}");
    until("all but some are attempted", async || receiver.count() >= 6).await;
    let attempt = &look(&relay, "/v1/subscriptions/a/attempts").await["data"][0];
    assert_eq!(attempt["delivery_state"], "pending");
    assert!(is_time(&attempt["next_attempt_at"]), "{attempt}");
    let waiting = look(&relay, "/v1/deliveries?state=pending").await;
    for delivery in waiting["data"].as_array().unwrap() {
        assert_eq!(delivery["waits_for"], "probing", "{delivery}");
        assert!(is_time(&delivery["next_attempt_at"]), "{delivery}");
    }

    status.store(200, Ordering::Relaxed);
    let begun = call(&relay, "POST", "/v1/subscriptions/a/retry", "{}").await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    assert!(begun.json()["matched"].as_u64().unwrap() >= 5);
    until("everything is delivered", async || {
        look(&relay, "/v1/subscriptions/a").await["pending"] == 0
    })
    .await;
    let shown = in_state(&relay, "active").await;
    assert!(shown["probing_since"].is_null() && shown["next_attempt_at"].is_null());
    let attempt = &look(&relay, "/v1/subscriptions/a/attempts").await["data"][0];
    assert_eq!(attempt["delivery_state"], "delivered");
    assert!(attempt["next_attempt_at"].is_null());
}

#[tokio::test]
async fn a_pause_that_the_endpoint_asks_for_is_told_and_retry_ends_it() {
    let (receiver, status) = endpoint(429).await;
    let fields = ", retry: {schedule: [1s]}";
    let relay = Relay::start(&subscription("a", &receiver.url("/"), fields)).await;
    relay.post("x", "{}").await;
    let shown = in_state(&relay, "paused").await;
    assert!(is_time(&shown["paused_until"]), "{shown}");
    assert!(shown["next_attempt_at"].as_str() >= shown["paused_until"].as_str());
    let delivery = &look(&relay, "/v1/deliveries").await["data"][0];
    assert_eq!(delivery["waits_for"], "retry_after");
    status.store(204, Ordering::Relaxed);
    assert_eq!(
        call(&relay, "POST", "/v1/subscriptions/a/retry", "{}")
            .await
            .status,
        202
    );
    until("it is delivered", async || {
        look(&relay, "/v1/subscriptions/a").await["pending"] == 0
    })
    .await;
}

#[tokio::test]
async fn what_waits_behind_a_dead_delivery_says_behind_which() {
    let (receiver, _) = endpoint(500).await;
    let fields = ", retry: none, order: strict";
    let relay = Relay::start(&subscription("a", &receiver.url("/"), fields)).await;
    relay.post("x", "{}").await;
    relay.post("x", "{}").await;
    let shown = in_state(&relay, "blocked").await;
    assert_eq!(shown["blocked"], 1);
    let dead = &look(&relay, "/v1/deliveries?subscription=a&state=dead").await["data"][0];
    assert_eq!(shown["blocked_by"], dead["id"]);
    let attempt = &look(&relay, "/v1/subscriptions/a/attempts").await["data"][0];
    assert_eq!(attempt["delivery_state"], "dead");
    let waiting = &look(&relay, "/v1/deliveries?subscription=a&state=pending").await["data"][0];
    assert_eq!(waiting["waits_for"], "order");
    assert_eq!(waiting["blocked_by"], dead["id"]);
    let path = format!("/v1/deliveries/{}", waiting["id"].as_str().unwrap());
    assert_eq!(look(&relay, &path).await["blocked_by"], dead["id"]);
    let path = format!("/v1/events/{}", waiting["event_id"].as_str().unwrap());
    let event = look(&relay, &path).await;
    assert_eq!(event["deliveries"][0]["blocked_by"], dead["id"]);

    let begun = call(&relay, "POST", "/v1/subscriptions/a/retry", "{}").await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    let begun = begun.json();
    assert_eq!(
        (&begun["matched"], &begun["blocked"]),
        (&0.into(), &1.into())
    );
    assert_eq!(begun["blocked_by"], dead["id"]);
    let path = format!("/v1/deliveries/{}/cancel", dead["id"].as_str().unwrap());
    assert_eq!(call(&relay, "POST", &path, "{}").await.status, 200);
    until("what waited is attempted", async || receiver.count() == 2).await;
    let begun = call(&relay, "POST", "/v1/subscriptions/a/retry", "{}").await;
    assert!(begun.json()["blocked_by"].is_null(), "{}", begun.body);
}

#[tokio::test]
async fn by_key_only_what_has_the_key_of_a_dead_delivery_waits_for_it() {
    let (receiver, status) = endpoint(500).await;
    let fields = ", retry: {schedule: [1h]}, give_up_on: [500], order: key";
    let subscription = subscription("a", &receiver.url("/"), fields);
    let text = format!("ingest: {{key_pointer: /key}}\nsubscriptions:\n{subscription}");
    let relay = Relay::start_whole(tempfile::tempdir().unwrap(), &text).await;
    let post = async |key: &str| {
        relay.post("x", &format!("{{\"key\": \"{key}\"}}")).await;
    };
    post("one").await;
    until("the first is dead", async || {
        look(&relay, "/v1/subscriptions/a").await["dead"] == 1
    })
    .await;
    let dead = look(&relay, "/v1/deliveries?state=dead").await["data"][0].clone();
    status.store(503, Ordering::Relaxed);
    for key in ["one", "two", "two"] {
        post(key).await;
    }
    until("the first of the other key is attempted", async || {
        receiver.count() == 2
    })
    .await;
    until("all say what they wait for", async || {
        let waiting = look(&relay, "/v1/deliveries?state=pending").await;
        let newest_first = waiting["data"].as_array().unwrap().clone();
        let of = |index: usize| {
            (
                &newest_first[index]["waits_for"],
                &newest_first[index]["blocked_by"],
            )
        };
        let null = &Value::Null;
        newest_first.len() == 3
            && of(2) == (&"order".into(), &dead["id"])
            && of(1) == (&"retry_after".into(), null)
            && of(0).1 == null
    })
    .await;
}

#[tokio::test]
async fn an_attempt_says_what_follows_as_it_stands() {
    let (receiver, status) = endpoint(410).await;
    let fields = ", retry: {schedule: [1h, 1h]}";
    let relay = Relay::start(&subscription("a", &receiver.url("/"), fields)).await;
    let last = async || look(&relay, "/v1/subscriptions/a/attempts").await["data"][0].clone();
    let delivery = async || look(&relay, "/v1/deliveries").await["data"][0].clone();

    relay.post("x", "{}").await;
    in_state(&relay, "disabled").await;
    let attempt = last().await;
    assert_eq!(attempt["delivery_state"], "pending");
    assert_eq!(
        (&attempt["waits_for"], &attempt["next_attempt_at"]),
        (&"enabling".into(), &Value::Null)
    );
    let one = look(
        &relay,
        &format!(
            "/v1/deliveries/{}",
            delivery().await["id"].as_str().unwrap()
        ),
    )
    .await;
    assert_eq!(one["attempts"][0]["waits_for"], "enabling");

    status.store(503, Ordering::Relaxed);
    let body = "{\"status\": \"active\"}";
    assert_eq!(
        call(&relay, "PATCH", "/v1/subscriptions/a", body)
            .await
            .status,
        200
    );
    let id = delivery().await["id"].as_str().unwrap().to_owned();
    call(&relay, "POST", &format!("/v1/deliveries/{id}/replay"), "{}").await;
    until("it is paused", async || {
        last().await["waits_for"] == "retry_after"
    })
    .await;
    assert!(is_time(&last().await["next_attempt_at"]));
    let first = look(&relay, "/v1/subscriptions/a/attempts").await["data"][1].clone();
    assert!(
        first["waits_for"].is_null(),
        "it was attempted since: {first}"
    );

    let body = "{\"status\": \"disabled\"}";
    assert_eq!(
        call(&relay, "PATCH", "/v1/subscriptions/a", body)
            .await
            .status,
        200
    );
    let attempt = last().await;
    assert_eq!(
        (&attempt["waits_for"], &attempt["next_attempt_at"]),
        (&"enabling".into(), &Value::Null)
    );

    call(&relay, "POST", &format!("/v1/deliveries/{id}/cancel"), "{}").await;
    let attempt = last().await;
    assert_eq!(attempt["delivery_state"], "cancelled");
    assert!(attempt["waits_for"].is_null() && attempt["next_attempt_at"].is_null());
}

#[tokio::test]
async fn a_rate_that_is_used_up_is_told() {
    let (receiver, _) = endpoint(200).await;
    let fields = ", rate_limit: 1/h";
    let relay = Relay::start(&subscription("a", &receiver.url("/"), fields)).await;
    relay.post("x", "{}").await;
    relay.post("x", "{}").await;
    until("the first is delivered", async || receiver.count() == 1).await;
    until("the second waits", async || {
        let delivery = &look(&relay, "/v1/deliveries?subscription=a&state=pending").await["data"];
        delivery[0]["waits_for"] == "rate_limit" && is_time(&delivery[0]["next_attempt_at"])
    })
    .await;
    let shown = in_state(&relay, "active").await;
    assert!(is_time(&shown["rate_limited_until"]), "{shown}");
}

#[tokio::test]
async fn a_disabled_subscription_is_told_so_and_cannot_be_hurried() {
    let relay = Relay::start("  a: {active: false}\n").await;
    let shown = in_state(&relay, "disabled").await;
    assert!(shown["next_attempt_at"].is_null());
    let refused = call(&relay, "POST", "/v1/subscriptions/a/retry", "{}").await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    for (method, path) in [
        ("POST", "/v1/subscriptions/b/retry"),
        ("POST", "/v1/subscriptions/b/test"),
        ("GET", "/v1/subscriptions/b"),
        ("GET", "/v1/subscriptions/b/attempts"),
        ("DELETE", "/v1/subscriptions/b"),
    ] {
        let refused = call(&relay, method, path, "{}").await;
        assert_eq!(refused.status, 404, "{}", refused.body);
        assert!(refused.body.contains("did you mean a?"), "{}", refused.body);
    }
}
