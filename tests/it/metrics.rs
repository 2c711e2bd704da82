//! What operators scrape: the health paths and `/metrics`.

use crate::support::http::{get, request};
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::{DEADLINE, until};

#[tokio::test]
async fn health_paths_answer_once_the_relay_runs() {
    let relay = Relay::start("  off: {active: false}\n").await;
    for path in ["/healthz", "/readyz"] {
        let answer = get(&relay.admin, path).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "ok\n"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn head_is_answered_as_get_without_a_body() {
    let relay = Relay::start("  off: {active: false}\n").await;
    let answer = request(&relay.admin, "HEAD", "/metrics", "", "")
        .await
        .unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let relay = Relay::start("  off: {active: false}\n").await;
    let answer = get(&relay.admin, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(
        answer
            .body
            .contains("# TYPE sidehook_events_received_total counter\n")
    );
    assert_eq!(relay.metric("sidehook_store_healthy").await, Some(1.0));
    assert_eq!(
        relay
            .metric(r#"sidehook_subscription_enabled{subscription="off"}"#)
            .await,
        Some(0.0)
    );
}

#[tokio::test]
async fn other_paths_and_methods_are_problems() {
    let relay = Relay::start("  off: {active: false}\n").await;
    let answer = get(&relay.admin, "/nothing").await;
    assert_eq!(answer.status, 401);
    let answer = get(&relay.metrics, "/v1/subscriptions").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.json()["status"], 404);
    let answer = request(&relay.admin, "POST", "/metrics", "", "")
        .await
        .unwrap();
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn a_foreign_host_may_ask_for_health_and_metrics() {
    let relay = Relay::start("  off: {active: false}\n").await;
    let host = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n";
    let answer = request(&relay.admin, "GET", "/readyz", host, "")
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_event_shows_in_every_metric_it_concerns() {
    let receiver = Receiver::queue([Reply::status(503), Reply::status(200)]).await;
    let fields = ", retry: {schedule: [10ms]}";
    let relay = Relay::start(&subscription("a", &receiver.url("/"), fields)).await;
    assert_eq!(relay.post("invoice.paid", "{}").await.status, 202);
    receiver.wait_for(2, DEADLINE).await;
    let delivered = r#"sidehook_deliveries_total{subscription="a",outcome="delivered"}"#;
    until("it is delivered", async || {
        relay.metric(delivered).await == Some(1.0)
    })
    .await;
    let expected = [
        (r#"sidehook_events_received_total{outcome="accepted"}"#, 1.0),
        (
            r#"sidehook_attempts_total{subscription="a",status="failed"}"#,
            1.0,
        ),
        (
            r#"sidehook_attempts_total{subscription="a",status="success"}"#,
            1.0,
        ),
        (
            r#"sidehook_attempt_failures_total{subscription="a",reason="http_5xx"}"#,
            1.0,
        ),
        (
            r#"sidehook_delivery_delay_seconds_count{subscription="a"}"#,
            1.0,
        ),
        (r#"sidehook_pending_deliveries{subscription="a"}"#, 0.0),
        (r#"sidehook_subscription_enabled{subscription="a"}"#, 1.0),
        ("sidehook_store_pending_bytes", 0.0),
    ];
    for (series, value) in expected {
        assert_eq!(relay.metric(series).await, Some(value), "{series}");
    }
}

#[tokio::test]
async fn histograms_follow_a_reload() {
    const OWN: &str = r#"sidehook_attempt_duration_seconds_count{subscription="a"}"#;
    const SHARED: &str = "sidehook_attempt_duration_seconds_count";
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), "")).await;
    let whole = relay.text();
    assert_eq!(relay.metric(OWN).await, None, "nothing was attempted");
    for (events, (word, own, shared)) in (1..).zip([
        ("auto", Some(1.0), None),
        ("shared", None, Some(1.0)),
        ("none", None, None),
        ("per_subscription", Some(2.0), None),
    ]) {
        relay.rewrite_whole(&format!("metrics: {{histograms: {word}}}\n{whole}"));
        relay.handle.reload().await.unwrap().unwrap();
        assert_eq!(relay.post("a", "{}").await.status, 202);
        let delivered = r#"sidehook_deliveries_total{subscription="a",outcome="delivered"}"#;
        until("it is delivered", async || {
            relay.metric(delivered).await == Some(f64::from(events))
        })
        .await;
        assert_eq!(relay.metric(OWN).await, own, "{word}");
        assert_eq!(relay.metric(SHARED).await, shared, "{word}");
    }
}
