//! Subscriptions as the API shows them.

use crate::admin_api::{call, look};
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::until;

#[tokio::test]
async fn a_subscription_is_shown_with_its_state() {
    let receiver = Receiver::start(|_| Reply::status(503)).await;
    let fields = ", retry: {schedule: [1h]}";
    let relay = Relay::start(&subscription("a", &receiver.url("/"), fields)).await;
    relay.post("x", "{}").await;
    until("the attempt has failed", async || {
        look(&relay, "/v1/subscriptions/a").await["consecutive_failures"] == 1
    })
    .await;
    let shown = look(&relay, "/v1/subscriptions/a").await;
    assert_eq!(shown["name"], "a");
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["disabled_at"], serde_json::Value::Null);
    assert_eq!(
        (&shown["pending"], &shown["held"], &shown["dead"]),
        (&1.into(), &0.into(), &0.into())
    );
    assert!(shown["oldest_pending_age_seconds"].is_number(), "{shown}");
}

#[tokio::test]
async fn what_waits_for_a_disabled_subscription_is_held() {
    let relay =
        Relay::start("  off: {active: false, url: 'https://a.example', events: ['*']}\n").await;
    relay.post("x", "{}").await;
    let shown = look(&relay, "/v1/subscriptions/off").await;
    assert_eq!(shown["status"], "disabled");
    assert_eq!(shown["disabled_reason"], "config");
    assert!(shown["disabled_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&shown["pending"], &shown["held"]), (&0.into(), &1.into()));
    assert!(shown["oldest_pending_age_seconds"].is_null());
    let delivery = &look(&relay, "/v1/deliveries").await["data"][0];
    assert_eq!(
        (&delivery["state"], &delivery["held"]),
        (&"pending".into(), &true.into())
    );
}

#[tokio::test]
async fn a_tag_goes_with_the_definition_and_not_with_the_state() {
    let relay = Relay::start("  off: {active: false, title: one}\n").await;
    let tag = async || {
        let answer = call(&relay, "GET", "/v1/subscriptions/off", "").await;
        answer.header("etag").to_owned()
    };
    let first = tag().await;
    assert!(
        first.starts_with('"') && first.ends_with('"') && first.len() > 10,
        "{first}"
    );
    assert_eq!(tag().await, first);
}

#[tokio::test]
async fn the_list_goes_by_name_and_is_paged() {
    let names = ["a", "b", "c-d", "e_f", "g0"];
    let lines: String = names
        .iter()
        .map(|name| format!("  {name}: {{active: false}}\n"))
        .collect();
    let relay = Relay::start(&lines).await;
    let mut seen = Vec::new();
    let mut path = "/v1/subscriptions?limit=2".to_owned();
    loop {
        let page = look(&relay, &path).await;
        let data = page["data"].as_array().unwrap();
        assert!(!data.is_empty() && data.len() <= 2, "{page}");
        seen.extend(
            data.iter()
                .map(|it| it["name"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/subscriptions?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, names);
    let refused = call(&relay, "GET", "/v1/subscriptions?cursor=e1", "").await;
    assert_eq!(refused.status, 422);
    assert!(refused.json()["errors"]["cursor"].is_array());
}

#[tokio::test]
async fn a_name_that_nothing_has_is_not_found() {
    let relay = Relay::start("  off: {active: false}\n").await;
    for name in ["other", "_internal", "UPPER", "a%2Fb", "%ff"] {
        for rest in ["", "/attempts"] {
            let path = format!("/v1/subscriptions/{name}{rest}");
            assert_eq!(call(&relay, "GET", &path, "").await.status, 404, "{path}");
        }
    }
    look(&relay, "/v1/subscriptions/%6fff").await;
}
