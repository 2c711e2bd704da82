//! OpenTrain: its three headers, its schedule, event types as a whole, disabling after ten dead deliveries in a row.

use serde_json::json;

use super::{SECRET, Sender, at, hmac_hex, next, until_shown};
use crate::support::receiver::{Received, Receiver, Reply};
use crate::support::until;

const URL: &str = "https://hooks.customer.example/opentrain";
const NAME: &str = "opentrain";

/// As its guide tells customers: take `t`, compute the HMAC of `t.body`, compare with `v1`.
fn check(request: &Received, event_type: &str, secret: &str) {
    assert_eq!(request.header("x-opentrain-event"), event_type);
    let signature = request.header("x-opentrain-signature").to_owned();
    let mut parts = signature.split(',');
    let t = parts.next().unwrap().strip_prefix("t=").unwrap();
    t.parse::<u64>().unwrap();
    let mut signed = format!("{t}.").into_bytes();
    signed.extend_from_slice(&request.body);
    let expected = format!("v1={}", hmac_hex(secret, &signed));
    assert!(parts.any(|part| part == expected), "{signature}");
    assert_eq!(request.header("user-agent"), "OpenTrain-Webhooks/1.0");
}

#[tokio::test]
async fn a_failed_delivery_is_retried_by_its_schedule_under_the_same_id() {
    let receiver = Receiver::queue([Reply::status(503), Reply::status(204)]).await;
    let sender = Sender::start(NAME, &at(URL, &receiver.url("/hook"))).await;
    let accepted = sender
        .relay
        .post("job.created", r#"{"id": 1}"#)
        .await
        .json();
    let first = next(&receiver, 0).await;
    check(&first, "job.created", SECRET);
    let id = format!("{}.{NAME}", accepted["id"].as_str().unwrap());
    assert_eq!(first.header("x-opentrain-delivery"), id);
    let path = format!("/deliveries/{id}");
    until("the attempt is recorded", async || {
        let delivery = sender.call("GET", &path, "").await.json();
        delivery["attempts"]
            .as_array()
            .is_some_and(|attempts| attempts.len() == 1)
    })
    .await;
    let delivery = sender.call("GET", &path, "").await.json();
    let time =
        |value: &serde_json::Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let due = time(&delivery["next_attempt_at"]);
    let made = time(&delivery["attempts"][0]["created_at"]);
    let pause = due.as_second() - made.as_second();
    assert!((59..=62).contains(&pause), "{pause}");
    // Redelivery by hand.
    let replayed = sender.call("POST", &format!("{path}/replay"), "").await;
    assert!((200..300).contains(&replayed.status), "{}", replayed.body);
    let second = next(&receiver, 1).await;
    check(&second, "job.created", SECRET);
    assert_eq!(second.header("x-opentrain-delivery"), id);
}

#[tokio::test]
async fn urls_and_event_types_follow_its_rules() {
    let sender = Sender::start(NAME, &[]).await;
    // A number, as the tests' configuration allows private addresses, and then names without TLS.
    let errors = sender
        .refused(NAME, r#"{"url": "http://93.184.215.14/hook"}"#)
        .await;
    assert!(
        errors["url"][0].as_str().unwrap().contains("https"),
        "{errors}"
    );
    sender
        .patch(NAME, r#"{"url": "http://localhost:8080/hook"}"#)
        .await;
    let errors = sender.refused(NAME, r#"{"events": []}"#).await;
    assert_eq!(errors, json!({"events": ["can't be blank"]}));
    let shown = sender
        .patch(NAME, r#"{"events": ["proposal.received"]}"#)
        .await;
    assert_eq!(shown["events"], json!(["proposal.received"]));
    assert!(shown.get("secret").is_none());
}

#[tokio::test]
async fn ten_dead_deliveries_in_a_row_disable_it_and_active_forgets_them() {
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let sender = Sender::start(NAME, &at(URL, &receiver.url("/hook"))).await;
    sender.patch(NAME, r#"{"retry": "none"}"#).await;
    for _ in 0..9 {
        sender.relay.post("job.updated", "{}").await;
    }
    until_shown(&sender, NAME, "/consecutive_failures", &json!(9)).await;
    assert_eq!(sender.subscription(NAME).await["status"], "active");
    sender.relay.post("job.updated", "{}").await;
    until_shown(&sender, NAME, "/status", &json!("disabled")).await;
    let shown = sender.subscription(NAME).await;
    assert_eq!(shown["disabled_reason"], "failing");
    assert!(shown["disabled_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(shown["consecutive_failures"], 10);
    // What comes meanwhile is counted and not sent later.
    let skipped = sender.relay.post("job.updated", "{}").await;
    assert_eq!(skipped.json()["deliveries"], 0);
    receiver.now(|_| Reply::status(200));
    let shown = sender.patch(NAME, r#"{"status": "active"}"#).await;
    assert_eq!(shown["consecutive_failures"], 0);
    assert_eq!(shown["disabled_at"], json!(null));
    let before = receiver.count();
    sender.relay.post("job.created", "{}").await;
    check(&next(&receiver, before).await, "job.created", SECRET);
}

#[tokio::test]
async fn a_secret_that_is_made_is_shown_once() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let sender = Sender::start(NAME, &[]).await;
    let body = json!({
        "name": "second", "url": receiver.url("/second"), "events": ["job.created"], "signature": "opentrain",
        "headers": {"User-Agent": "OpenTrain-Webhooks/1.0"},
    });
    let made = sender
        .call("POST", "/subscriptions", &body.to_string())
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.header("location"), "/v1/subscriptions/second");
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    assert!(sender.subscription("second").await.get("secret").is_none());
    let again = sender
        .call("POST", "/subscriptions", &body.to_string())
        .await;
    assert_eq!(again.status, 409);
    sender.relay.post("job.created", r#"{"id": 2}"#).await;
    check(&next(&receiver, 0).await, "job.created", &secret);
}
