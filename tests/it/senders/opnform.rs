//! OpnForm: `X-Webhook-Signature`, blocked headers, short secrets, conditional logic, the log of attempts, rotation.

use serde_json::json;

use super::{SECRET, Sender, at, hmac_hex, next};
use crate::support::DEADLINE;
use crate::support::receiver::{Received, Receiver, Reply};

const URL: &str = "https://hooks.customer.example/opnform";
const FITS: &str = r#"{"type":"form.submitted","data":{"score":72,"plan":"free","name":"Ada"}}"#;

/// As OpnForm's guide tells its customers: compare with the HMAC of the raw body.
fn check(request: &Received, secret: &str) {
    let expected = format!("sha256={}", hmac_hex(secret, &request.body));
    assert_eq!(request.header("x-webhook-signature"), expected);
    assert_eq!(request.header("content-type"), "application/json");
}

#[tokio::test]
async fn submissions_that_fit_the_logic_arrive_signed() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let sender = Sender::start("opnform", &at(URL, &receiver.url("/hook"))).await;
    sender.relay.post("form.submitted", FITS).await;
    let request = next(&receiver, 0).await;
    check(&request, SECRET);
    assert_eq!(request.body, FITS);
    let others = [
        r#"{"data":{"score":10,"plan":"free"}}"#,
        r#"{"data":{"plan":"free"}}"#,
    ];
    for other in others {
        let answer = sender.relay.post("form.submitted", other).await;
        assert_eq!(answer.json()["deliveries"], 0, "{other}");
    }
    // The logic can be replaced and removed.
    sender.patch("opnform", r#"{"when": null}"#).await;
    sender.relay.post("form.submitted", others[0]).await;
    assert_eq!(next(&receiver, 1).await.body, others[0]);
}

#[tokio::test]
async fn url_secret_headers_status_and_logic_change_one_by_one_and_as_a_whole() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let sender = Sender::start("opnform", &at(URL, &receiver.url("/hook"))).await;
    let before = sender.file();
    let other = receiver.url("/other");
    sender
        .patch("opnform", &json!({ "url": other }).to_string())
        .await;
    let changed = sender.file();
    let differing = before.lines().zip(changed.lines());
    assert_eq!(differing.filter(|(old, new)| old != new).count(), 1);
    let shown = sender
        .patch("opnform", r#"{"headers": {"X-Team": "forms"}}"#)
        .await;
    assert_eq!(shown["headers"], json!({"X-Team": "forms"}));
    let shown = sender
        .patch("opnform", r#"{"secret": "a secret of my own"}"#)
        .await;
    assert_eq!(shown["secret_set"], true);
    assert!(!shown.to_string().contains("a secret of my own"));
    sender.relay.post("form.submitted", FITS).await;
    let request = next(&receiver, 0).await;
    check(&request, "a secret of my own");
    assert_eq!(
        (request.path.as_str(), request.header("x-team")),
        ("/other", "forms")
    );
    let disabled = sender.patch("opnform", r#"{"status": "disabled"}"#).await;
    assert_eq!(disabled["status"], "disabled");
    assert_eq!(disabled["disabled_reason"], "manual");
    assert_eq!(
        sender.patch("opnform", r#"{"status": "active"}"#).await["status"],
        "active"
    );
    let whole = json!({
        "title": "Contact form", "url": other, "events": ["form.*"], "signature": "opnform",
        "headers": {"X-Form": "7"}, "when": "data.data.score > 1",
    });
    let answer = sender
        .call("PUT", "/subscriptions/opnform", &whole.to_string())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["headers"], json!({"X-Form": "7"}));
    sender.relay.post("form.submitted", FITS).await;
    // The secret was not named, so it stays.
    check(&next(&receiver, 1).await, "a secret of my own");
}

#[tokio::test]
async fn the_ten_blocked_headers_and_short_secrets_are_refused_in_its_words() {
    let sender = Sender::start("opnform", &[]).await;
    let before = sender.file();
    let names = [
        "Authorization",
        "X-Webhook-Signature",
        "Content-Type",
        "Content-Length",
        "Host",
        "Cookie",
        "X-CSRF-Token",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Real-IP",
    ];
    for name in names {
        for written in [name.to_owned(), name.to_ascii_lowercase()] {
            let body = json!({"headers": {&written: "x"}}).to_string();
            let errors = sender.refused("opnform", &body).await.to_string();
            let message =
                format!("The '{written}' header cannot be customized for security reasons.");
            assert!(errors.contains(&message), "{errors}");
        }
    }
    let errors = sender
        .refused("opnform", r#"{"secret": "eleven char"}"#)
        .await;
    let message = "The webhook secret must be at least 12 characters.";
    assert_eq!(errors, json!({"secret": [message]}));
    assert_eq!(sender.file(), before);
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let sender = Sender::start("opnform", &[]).await;
    let path = "/subscriptions/opnform";
    assert_eq!(sender.call_as("", "PATCH", path, "{}").await.status, 401);
    assert_eq!(sender.call_as("wrong", "GET", path, "").await.status, 401);
    assert_eq!(
        sender.call("GET", "/subscriptions/other", "").await.status,
        404
    );
    assert_eq!(
        sender
            .call("PATCH", "/subscriptions/other", "{}")
            .await
            .status,
        404
    );
    assert_eq!(
        sender.call("PATCH", path, r#"{"url": 5}"#).await.status,
        422
    );
}

#[tokio::test]
async fn a_token_that_may_only_read_cannot_change() {
    let reader = "a-token-that-may-only-read-0123456789";
    let section = format!(
        "admin: {{tokens: [{{name: reader, token: {reader}, scopes: [read]}}, {{name: all, token: {reader}-and-all, scopes: [read, manage]}}]}}\nsubscriptions:\n  opnform:"
    );
    let sender = Sender::start("opnform", &[("subscriptions:\n  opnform:", &section)]).await;
    let path = "/subscriptions/opnform";
    assert_eq!(sender.call_as(reader, "GET", path, "").await.status, 200);
    let refused = sender
        .call_as(reader, "PATCH", path, r#"{"title": "x"}"#)
        .await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn the_log_shows_attempts_newest_first_page_by_page() {
    let receiver = Receiver::queue([
        Reply::status(500),
        Reply::status(200),
        Reply::hang(),
        Reply::status(200),
    ])
    .await;
    let sender = Sender::start("opnform", &at(URL, &receiver.url("/hook"))).await;
    sender
        .patch("opnform", r#"{"retry": "none", "timeout": "300ms"}"#)
        .await;
    for number in 1..=4 {
        sender.relay.post("form.submitted", FITS).await;
        let path = "/subscriptions/opnform/attempts";
        crate::support::until("the attempt is in the log", async || {
            sender.call("GET", path, "").await.json()["data"]
                .as_array()
                .unwrap()
                .len()
                == number
        })
        .await;
    }
    let mut statuses = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/subscriptions/opnform/attempts?limit=3{cursor}");
        let page = sender.call("GET", &path, "").await.json();
        statuses.extend(page["data"].as_array().unwrap().iter().map(|attempt| {
            (
                attempt["status"].as_str().unwrap().to_owned(),
                attempt["response_code"].as_u64(),
            )
        }));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected = [
        ("success", Some(200)),
        ("timeout", None),
        ("success", Some(200)),
        ("failed", Some(500)),
    ];
    let expected = expected.map(|(status, code)| (status.to_owned(), code));
    assert_eq!(statuses, expected);
    let failed = "/subscriptions/opnform/attempts?status=failed";
    let failed = sender.call("GET", failed, "").await.json();
    assert_eq!(failed["data"].as_array().unwrap().len(), 1);
    assert_eq!(failed["data"][0]["error_message"], "Internal Server Error");
}

#[tokio::test]
async fn a_rotated_secret_signs_at_once_and_beside_standard_both_do() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let sender = Sender::start("opnform", &at(URL, &receiver.url("/hook"))).await;
    sender
        .patch("opnform", r#"{"signature": ["opnform", "standard"]}"#)
        .await;
    let rotated = sender
        .call(
            "POST",
            "/subscriptions/opnform/rotate-secret",
            r#"{"grace": "1h"}"#,
        )
        .await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    let secret = rotated.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "shown once");
    assert!(sender.subscription("opnform").await.get("secret").is_none());
    sender.relay.post("form.submitted", FITS).await;
    let received = receiver.wait_for(1, DEADLINE).await;
    check(&received[0], &secret);
    let signatures = received[0].header("webhook-signature").to_owned();
    assert_eq!(signatures.split(' ').count(), 2, "{signatures}");
    let again = "a-second-read-does-not-show-it";
    assert!(!sender.file().contains(&secret), "{again}");
}
