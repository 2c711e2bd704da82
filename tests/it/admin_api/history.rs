//! Events, deliveries, attempts and bulk replays.

use serde_json::Value;

use crate::admin_api::{call, look, token_line};
use crate::support::http::request;
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::until;

/// Waits until the first delivery of the list is in this state.
async fn settled(relay: &Relay, state: &str) -> Value {
    until("the delivery is settled", async || {
        look(relay, "/v1/deliveries").await["data"][0]["state"] == state
    })
    .await;
    look(relay, "/v1/deliveries").await["data"][0].clone()
}

#[tokio::test]
async fn an_event_is_shown_with_its_deliveries_and_its_body() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), "")).await;
    let body = "{\"ü\": 1}";
    let posted = relay.post("invoice.paid", body).await.json();
    let id = posted["id"].as_str().unwrap();
    settled(&relay, "delivered").await;
    let row = &look(&relay, "/v1/events?type=invoice.paid").await["data"][0];
    assert_eq!(
        (&row["id"], &row["type"]),
        (&id.into(), &"invoice.paid".into())
    );
    assert_eq!(row["delivery_count"], 1);
    assert!(row["body"].is_null());
    let shown = look(&relay, &format!("/v1/events/{id}")).await;
    assert_eq!(shown["body"], body);
    assert_eq!(shown["content_type"], "application/json");
    assert_eq!(shown["headers"], serde_json::json!([]));
    assert_eq!(shown["deliveries"][0]["id"], format!("{id}.a"));
    assert_eq!(
        look(&relay, "/v1/events?type=other").await["data"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn a_failed_delivery_shows_its_attempts_and_what_was_answered() {
    let receiver = Receiver::start(|_| Reply::status(503)).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), ", retry: none")).await;
    relay.post("x", "{}").await;
    let row = settled(&relay, "dead").await;
    assert_eq!(row["dead_reason"], "exhausted");
    let id = row["id"].as_str().unwrap();
    let shown = look(&relay, &format!("/v1/deliveries/{id}")).await;
    let attempt = &shown["attempts"][0];
    assert_eq!(attempt["id"], format!("{id}.1"));
    assert_eq!(attempt["response_code"], 503);
    assert_eq!(attempt["reason"], "http_5xx");
    assert_eq!(attempt["error_message"], "Service Unavailable");
    assert!(attempt["response_body"].is_string());
    let listed = &look(&relay, "/v1/subscriptions/a/attempts?status=failed").await["data"][0];
    for field in [
        "id",
        "event_id",
        "event",
        "attempt",
        "status",
        "reason",
        "response_code",
        "error_message",
        "duration_ms",
        "created_at",
    ] {
        assert_eq!(listed[field], attempt[field], "{field}");
        assert!(!listed[field].is_null(), "{field}");
    }
    let other = look(&relay, "/v1/subscriptions/a/attempts?status=success").await;
    assert_eq!(other["data"], serde_json::json!([]));
    assert!(look(&relay, "/v1/deliveries?state=dead&subscription=a").await["data"][0].is_object());
}

#[tokio::test]
async fn a_dead_delivery_is_replayed_and_what_was_delivered_cannot_be_cancelled() {
    let receiver = Receiver::queue([Reply::status(503), Reply::status(200)]).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), ", retry: none")).await;
    relay.post("x", "{}").await;
    let row = settled(&relay, "dead").await;
    let path = format!("/v1/deliveries/{}", row["id"].as_str().unwrap());
    let answer = call(&relay, "POST", &format!("{path}/replay"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["id"], row["id"]);
    settled(&relay, "delivered").await;
    let refused = call(&relay, "POST", &format!("{path}/cancel"), "{}").await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &"delivered".into())
    );
}

#[tokio::test]
async fn a_held_delivery_is_cancelled_and_not_replayed() {
    let relay =
        Relay::start("  off: {active: false, url: 'https://a.example', events: ['*']}\n").await;
    relay.post("x", "{}").await;
    let row = settled(&relay, "pending").await;
    let path = format!("/v1/deliveries/{}", row["id"].as_str().unwrap());
    let refused = call(&relay, "POST", &format!("{path}/replay"), "").await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &"disabled".into())
    );
    let answer = call(&relay, "POST", &format!("{path}/cancel"), "").await;
    assert_eq!(
        (answer.status, &answer.json()["state"]),
        (200, &"cancelled".into())
    );
    let refused = call(&relay, "POST", &format!("{path}/cancel"), "{\"why\": 1}").await;
    assert_eq!(refused.status, 422);
    assert!(refused.json()["errors"]["why"].is_array());
}

#[tokio::test]
async fn writes_need_json() {
    let relay = Relay::start("  off: {active: false}\n").await;
    let token = token_line(&relay);
    let ask = async |headers: &str, body: &str| {
        let headers = format!("{token}{headers}");
        let answer = request(&relay.admin, "POST", "/v1/replays", &headers, body).await;
        answer.unwrap().status
    };
    assert_eq!(ask("", "{}").await, 415);
    assert_eq!(ask("Content-Type: text/plain\r\n", "{}").await, 415);
    assert_eq!(ask("Content-Type: application/json\r\n", "{").await, 400);
    assert_eq!(ask("Content-Type: application/json\r\n", "[]").await, 422);
    let large = format!("{{\"subscription\": \"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(ask("Content-Type: application/json\r\n", &large).await, 413);
}

#[tokio::test]
async fn dead_letters_are_counted_and_replayed_in_bulk() {
    let receiver = Receiver::start(|_| Reply::status(503)).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), ", retry: none")).await;
    for _ in 0..3 {
        relay.post("x", "{}").await;
    }
    until("all are dead", async || {
        look(&relay, "/v1/subscriptions/a").await["dead"] == 3
    })
    .await;
    let body = "{\"subscription\": \"a\", \"dry_run\": true}";
    let counted = call(&relay, "POST", "/v1/replays", body).await;
    assert_eq!(
        (counted.status, counted.body.as_str()),
        (200, "{\"matched\":3}")
    );
    let body = "{\"subscription\": \"a\", \"rate_limit\": \"100/s\"}";
    let begun = call(&relay, "POST", "/v1/replays", body).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    let place = begun.header("location").to_owned();
    until("it is done", async || {
        look(&relay, &place).await["status"] == "done"
    })
    .await;
    let shown = look(&relay, &place).await;
    assert_eq!(
        (&shown["matched"], &shown["replayed"]),
        (&3.into(), &3.into())
    );
    assert_eq!(shown["rate_limit"], "100/s");
    let stopped = call(&relay, "DELETE", &place, "").await;
    assert_eq!(
        (stopped.status, &stopped.json()["status"]),
        (200, &"done".into())
    );
    assert_eq!(
        look(&relay, "/v1/replays").await["data"][0]["id"],
        shown["id"]
    );
    for (body, path) in [
        ("{}", "subscription"),
        ("{\"subscription\": \"other\"}", "subscription"),
        ("{\"subscription\": \"a\", \"state\": \"held\"}", "state"),
    ] {
        let refused = call(&relay, "POST", "/v1/replays", body).await;
        assert_eq!(refused.status, 422, "{body}");
        assert!(
            refused.json()["errors"][path].is_array(),
            "{}",
            refused.body
        );
    }
}

#[tokio::test]
async fn cursors_stay_valid_while_events_arrive() {
    let relay =
        Relay::start("  off: {active: false, url: 'https://a.example', events: ['*']}\n").await;
    let mut posted = Vec::new();
    for _ in 0..7 {
        let id = relay.post("x", "{}").await.json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        posted.insert(0, id);
    }
    for (list, field) in [("/v1/events", "id"), ("/v1/deliveries", "event_id")] {
        let mut seen = Vec::new();
        let mut path = format!("{list}?limit=3");
        loop {
            let page = look(&relay, &path).await;
            let data = page["data"].as_array().unwrap().clone();
            seen.extend(data.iter().map(|it| it[field].as_str().unwrap().to_owned()));
            relay.post("late", "{}").await;
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            path = format!("{list}?limit=3&cursor={cursor}");
        }
        let old: Vec<_> = seen.iter().filter(|id| posted.contains(id)).collect();
        assert_eq!(old, posted.iter().collect::<Vec<_>>(), "{list}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_what_is_wrong_is_named() {
    let relay = Relay::start("  off: {active: false}\n").await;
    let id = "evt_018f4d2e-7b7a-7c3e-8d5f-0123456789ab";
    for path in [
        "/v1/events/evt_1".to_owned(),
        format!("/v1/events/{id}"),
        format!("/v1/deliveries/{id}"),
        format!("/v1/deliveries/{id}.off"),
        "/v1/replays/1".to_owned(),
        "/v1/replays/x".to_owned(),
    ] {
        assert_eq!(call(&relay, "GET", &path, "").await.status, 404, "{path}");
    }
    for operation in ["replay", "cancel"] {
        let path = format!("/v1/deliveries/{id}.off/{operation}");
        assert_eq!(call(&relay, "POST", &path, "").await.status, 404, "{path}");
    }
    for list in [
        "/v1/events",
        "/v1/deliveries",
        "/v1/subscriptions/off/attempts",
    ] {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("cursor=zz", "cursor"),
            ("since=today", "since"),
            ("other=1", "other"),
            ("until=2026-01-01", "until"),
        ] {
            let refused = call(&relay, "GET", &format!("{list}?{query}"), "").await;
            assert_eq!(refused.status, 422, "{list} {query}");
            assert!(
                refused.json()["errors"][name].is_array(),
                "{}",
                refused.body
            );
        }
    }
}
