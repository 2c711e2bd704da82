//! Bold Penguin Hookshot: subjects and actions, inactive until complete, one static header, its messages, partial updates.

use serde_json::json;

use super::{SECRET, Sender, at, hmac_hex, next};
use crate::support::receiver::{Receiver, Reply};

const URL: &str = "https://hooks.customer.example/hookshot";

#[tokio::test]
async fn a_subject_brings_all_its_actions() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let sender = Sender::start("hookshot", &at(URL, &receiver.url("/hook"))).await;
    let matched = async |event_type: &str| {
        let answer = sender.relay.post(event_type, "{}").await;
        answer.json()["deliveries"].as_u64().unwrap()
    };
    for (event_type, deliveries) in [
        ("quote", 1),
        ("quote:created", 1),
        ("policy:issued", 1),
        ("policy:cancelled", 0),
        ("quotes", 0),
    ] {
        assert_eq!(matched(event_type).await, deliveries, "{event_type}");
    }
    sender.patch("hookshot", r#"{"events": ["*"]}"#).await;
    assert_eq!(matched("policy:cancelled").await, 1);
    let request = next(&receiver, 0).await;
    assert_eq!(
        request.header("x-signature"),
        hmac_hex(SECRET, &request.body)
    );
    assert_eq!(request.header("x-api-key"), "5c0ffee");
}

#[tokio::test]
async fn it_is_inactive_until_it_has_a_url_and_an_event() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let sender = Sender::start("hookshot", &[]).await;
    let name = "hookshot-new";
    let shown = sender.subscription(name).await;
    assert_eq!(
        (&shown["status"], &shown["disabled_reason"]),
        (&json!("disabled"), &json!("config"))
    );
    let errors = sender.refused(name, r#"{"active": true}"#).await;
    assert_eq!(
        errors,
        json!({"url": ["can't be blank"], "events": ["can't be blank"]})
    );
    let enabled = sender
        .call(
            "PATCH",
            &format!("/subscriptions/{name}"),
            r#"{"status": "active"}"#,
        )
        .await;
    assert_eq!(enabled.status, 409, "{}", enabled.body);
    let url = json!({"url": receiver.url("/new")}).to_string();
    sender.patch(name, &url).await;
    let shown = sender
        .patch(name, r#"{"events": ["claim"], "active": true}"#)
        .await;
    assert_eq!(shown["status"], "active");
    sender.relay.post("claim:filed", "{}").await;
    assert_eq!(next(&receiver, 0).await.path, "/new");
}

#[tokio::test]
async fn a_header_is_a_colon_separated_pair() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let sender = Sender::start("hookshot", &at(URL, &receiver.url("/hook"))).await;
    let errors = sender
        .refused("hookshot", r#"{"headers": ["X-Team billing"]}"#)
        .await;
    let message = "colon separated key value pair";
    assert_eq!(errors, json!({"headers[0]": [message]}));
    sender
        .patch("hookshot", r#"{"headers": ["X-Team: billing"]}"#)
        .await;
    sender.relay.post("quote:created", "{}").await;
    let request = next(&receiver, 0).await;
    assert_eq!(
        (request.header("x-team"), request.header("x-api-key")),
        ("billing", "")
    );
}

#[tokio::test]
async fn patch_updates_partially_and_put_replaces() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let sender = Sender::start("hookshot", &at(URL, &receiver.url("/hook"))).await;
    let shown = sender.patch("hookshot", r#"{"title": "Quotes"}"#).await;
    assert_eq!(shown["headers"], json!({"X-Api-Key": "5c0ffee"}));
    let body = json!({"url": receiver.url("/hook"), "events": ["quote"], "signature": "hookshot"});
    let answer = sender
        .call("PUT", "/subscriptions/hookshot", &body.to_string())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["headers"], json!({}));
    assert_eq!(answer.json()["title"], json!(null));
}
