//! Who gets an event, by more than its type, from the post to the endpoint.

use crate::support::http::request;
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::Relay;
use crate::support::{DEADLINE, until};

const JSON: &str = "Content-Type: application/json\r\n";

/// The paths of what arrived, in order of the alphabet.
async fn arrived(receiver: &Receiver, count: usize) -> Vec<String> {
    let requests = receiver.wait_for(count, DEADLINE).await;
    let mut paths: Vec<_> = requests.into_iter().map(|it| it.path).collect();
    paths.sort_unstable();
    paths
}

async fn deliveries(relay: &Relay, headers: &str, body: &str) -> u64 {
    let headers = format!("{JSON}{headers}");
    let answer = request(
        &relay.events,
        "POST",
        "/events/invoice.paid",
        &headers,
        body,
    )
    .await
    .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.json()["deliveries"].as_u64().unwrap()
}

#[tokio::test]
async fn each_tenant_gets_its_own_events() {
    let receiver = Receiver::start(|_| Reply::status(204)).await;
    let tenants: String = (0..50)
        .map(|tenant| {
            let url = receiver.url(&format!("/{tenant}"));
            format!("  t{tenant}: {{url: '{url}', events: ['invoice.*'], match: {{/tenant_id: t{tenant}, 'header:X-Region': eu}}}}\n")
        })
        .collect();
    let relay = Relay::start(&tenants).await;
    let body = r#"{"tenant_id":"t7"}"#;
    assert_eq!(deliveries(&relay, "X-Region: eu\r\n", body).await, 1);
    assert_eq!(deliveries(&relay, "X-Region: us\r\n", body).await, 0);
    assert_eq!(deliveries(&relay, "", body).await, 0);
    let other = r#"{"tenant_id":"t49"}"#;
    assert_eq!(deliveries(&relay, "X-Region: eu\r\n", other).await, 1);
    assert_eq!(deliveries(&relay, "X-Region: eu\r\n", "no json").await, 0);
    assert_eq!(arrived(&receiver, 2).await, ["/49", "/7"]);
    let unmatched = || async { relay.metric("sidehook_events_unmatched_total").await };
    assert_eq!(unmatched().await, Some(3.0));
}

#[tokio::test]
async fn expressions_decide_and_a_reload_replaces_them() {
    let receiver = Receiver::start(|_| Reply::status(204)).await;
    let with = |when: &str| {
        let (a, b) = (receiver.url("/a"), receiver.url("/b"));
        format!(
            "  a: {{url: '{a}', events: ['*'], when: \"{when}\"}}\n  b: {{url: '{b}', events: ['*'], when: \"{when}\", when_error: deliver}}\n"
        )
    };
    let relay = Relay::start(&with("data.amount > 100 && headers['x-plan'] == 'pro'")).await;
    let pro = "X-Plan: pro\r\n";
    assert_eq!(deliveries(&relay, pro, r#"{"amount":101}"#).await, 2);
    assert_eq!(deliveries(&relay, pro, r#"{"amount":100}"#).await, 0);
    assert_eq!(deliveries(&relay, pro, r#"{"total":101}"#).await, 1);
    assert_eq!(deliveries(&relay, "", r#"{"amount":101}"#).await, 1);
    assert_eq!(deliveries(&relay, "", r#"{"amount":1}"#).await, 0);
    assert_eq!(arrived(&receiver, 4).await, ["/a", "/b", "/b", "/b"]);
    let errors = |name: &str| {
        let series = format!("sidehook_filter_errors_total{{subscription=\"{name}\"}}");
        let relay = &relay;
        async move { relay.metric(&series).await }
    };
    assert_eq!(errors("a").await, Some(2.0));
    assert_eq!(errors("b").await, Some(2.0));

    relay.rewrite(&with("data.amount > 200"));
    relay.handle.reload().await.unwrap();
    assert_eq!(deliveries(&relay, "", r#"{"amount":101}"#).await, 0);
    assert_eq!(deliveries(&relay, "", r#"{"amount":201}"#).await, 2);
}

#[tokio::test]
async fn types_that_are_not_listed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = "event_types: [invoice.paid]\nsubscriptions: {off: {active: false}}\n";
    let relay = Relay::start_whole(folder, text).await;
    assert_eq!(relay.post("invoice.paid", "{}").await.status, 202);
    let refused = relay.post("invoice.payed", "{}").await;
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.json()["errors"]["type"][0],
        "invoice.payed is none of event_types"
    );
}

#[tokio::test]
async fn a_body_made_to_be_costly_does_not_keep_the_relay() {
    let receiver = Receiver::start(|_| Reply::status(204)).await;
    let subscriptions = format!(
        "  costly: {{url: '{0}', events: ['*'], when: 'data.all(a, data.all(b, data.all(c, a == b)))'}}\n  plain: {{url: '{0}', events: ['*']}}\n",
        receiver.url("/")
    );
    let relay = Relay::start(&subscriptions).await;
    let body = format!("[{}]", vec!["1"; 45_000].join(","));
    let posted = tokio::time::timeout(DEADLINE, relay.post("a", &body)).await;
    assert_eq!(posted.unwrap().json()["deliveries"], 1);
    let series = r#"sidehook_filter_errors_total{subscription="costly"}"#;
    until("the error is counted", async || {
        relay.metric(series).await == Some(1.0)
    })
    .await;
}
