//! ECI: titles and descriptions, locked subscriptions, disabling after ten failures in a row, the mailing list, the
//! success rate.

use serde_json::json;

use super::{Sender, until_shown};
use crate::support::receiver::{Receiver, Reply};
use crate::support::smtp::MailServer;
use crate::support::{DEADLINE, until};

const ORDERS: &str = "eci-orders";
const ORDERS_URL: &str = "https://warehouse.example/hooks";
const LEDGER: &str = "eci-ledger";
const LEDGER_URL: &str = "https://ledger.example/hooks";

#[tokio::test]
async fn a_title_has_64_characters_at_most() {
    let sender = Sender::start("eci", &[]).await;
    let title = "ü".repeat(64);
    let shown = sender
        .patch(
            ORDERS,
            &json!({"title": title, "description": "For packing"}).to_string(),
        )
        .await;
    assert_eq!(
        (&shown["title"], &shown["description"]),
        (&json!(title), &json!("For packing"))
    );
    let long = json!({"title": "x".repeat(65)}).to_string();
    let errors = sender.refused(ORDERS, &long).await;
    assert_eq!(
        errors["title"],
        json!(["expected at most 64 characters, found 65"])
    );
}

#[tokio::test]
async fn a_locked_one_refuses_edits_and_is_never_disabled() {
    let receiver = Receiver::start(|_| Reply::status(410)).await;
    let url = receiver.url("/ledger");
    let sender = Sender::start("eci", &[(LEDGER_URL, &url)]).await;
    let before = sender.file();
    let path = format!("/subscriptions/{LEDGER}");
    for (method, path, body) in [
        ("PATCH", path.clone(), r#"{"title": "Mine"}"#),
        ("PATCH", path.clone(), r#"{"status": "disabled"}"#),
        ("PATCH", path.clone(), r#"{"locked": false}"#),
        (
            "PUT",
            path.clone(),
            r#"{"url": "https://other.example", "events": ["*"]}"#,
        ),
        ("DELETE", path.clone(), ""),
        ("POST", format!("{path}/rotate-secret"), "{}"),
    ] {
        let answer = sender.call(method, &path, body).await;
        assert_eq!(answer.status, 409, "{method} {path}: {}", answer.body);
    }
    assert_eq!(sender.file(), before);
    for _ in 0..12 {
        sender.relay.post("payment.made", "{}").await;
    }
    until("its endpoint was asked", async || receiver.count() >= 5).await;
    assert_eq!(sender.subscription(LEDGER).await["status"], "active");
}

#[tokio::test]
async fn ten_failures_in_a_row_disable_it_and_the_mailing_list_is_told() {
    let mails = MailServer::start(|_| None).await;
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let url = receiver.url("/orders");
    let port = format!("port: {},", mails.port());
    let ledger = Receiver::start(|_| Reply::status(200)).await;
    let replaced = [
        (ORDERS_URL, url.as_str()),
        (LEDGER_URL, &ledger.url("/ledger")),
        ("port: 25,", &port),
    ];
    let sender = Sender::start("eci", &replaced).await;
    receiver.now(|_| Reply::status(200));
    for _ in 0..10 {
        sender.relay.post("order.placed", "{}").await;
    }
    until("the first ten arrived", async || receiver.count() >= 10).await;
    receiver.now(|_| Reply::status(400));
    sender.patch(ORDERS, r#"{"retry": "none"}"#).await;
    for _ in 0..10 {
        sender.relay.post("order.placed", "{}").await;
    }
    until_shown(&sender, ORDERS, "/status", &json!("disabled")).await;
    let shown = sender.subscription(ORDERS).await;
    assert_eq!(shown["disabled_reason"], "failing");
    until_shown(&sender, ORDERS, "/success_rate/last_1000", &json!(0.5)).await;
    until_shown(&sender, ORDERS, "/success_rate/last_24h", &json!(0.5)).await;
    // What happens within a second is one e-mail to each.
    let mails = mails.wait_for(2, DEADLINE).await;
    let mut list: Vec<_> = mails.iter().flat_map(|mail| &mail.to).collect();
    list.sort();
    assert_eq!(list, ["<operations@eci.example>", "<shop@eci.example>"]);
    for mail in &mails {
        for told in ["eci-orders is failing", "eci-orders is disabled"] {
            assert!(mail.text.contains(told), "{}", mail.text);
        }
    }
}
