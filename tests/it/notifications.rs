//! Operational events: what `notifications.webhook` is told, once, signed, and whatever happens meanwhile.

use std::time::Duration;

use serde_json::Value;
use sidehook::domain::{Clock, Secret, SystemClock};
use sidehook::signing::{Scheme, verify};

use crate::support::http::get;
use crate::support::receiver::{Received, Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::{DEADLINE, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// One attempt, after which the delivery is dead.
const ONCE: &str = ", retry: none";

fn notifications(told: &Receiver) -> String {
    let url = told.url("/told");
    format!("notifications: {{webhook: {{url: '{url}', secret: {SECRET}}}}}\n")
}

/// What a request tells: type and data; its signature is right.
fn told(request: &Received) -> (String, Value) {
    let secret = Secret::new(SECRET.into());
    let now = SystemClock::new().wall();
    let verified = verify(
        &Scheme::standard(),
        &[secret],
        &request.headers,
        &request.body,
        "",
        now,
        60,
    );
    assert_eq!(verified, Ok(()));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let member = |name: &str| body.get(name).unwrap();
    assert!(member("timestamp").as_str().unwrap().ends_with('Z'));
    let event_type = member("type").as_str().unwrap().to_owned();
    (event_type, member("data").clone())
}

/// Waits until so many were told, of any type.
async fn wait_for(receiver: &Receiver, count: usize) -> Vec<(String, Value)> {
    let requests = receiver.wait_for(count, DEADLINE).await;
    requests.iter().map(told).collect()
}

/// Waits until one of this type was told.
async fn wait_for_one(receiver: &Receiver, event_type: &str) -> Value {
    let find = || {
        let all = receiver.received();
        let mut all = all.iter().map(told);
        all.find(|(found, _)| found == event_type)
    };
    until(event_type, async || find().is_some()).await;
    find().unwrap().1
}

async fn accepting() -> Receiver {
    Receiver::start(|_| Reply::status(204)).await
}

async fn failing() -> Receiver {
    Receiver::start(|_| Reply::status(503)).await
}

fn types(told: &[(String, Value)]) -> Vec<&str> {
    told.iter()
        .filter_map(|(event_type, _)| event_type.strip_prefix("sidehook."))
        .collect()
}

#[tokio::test]
async fn failing_and_recovery_are_told_once() {
    let operator = accepting().await;
    let endpoint = failing().await;
    let fields = ", retry: {schedule: [10ms, 10ms, 10ms, 10ms, 10ms]}, notify_after: 3";
    let billing = subscription("billing", &endpoint.url("/"), fields);
    let relay = Relay::start(&format!("{billing}{}", notifications(&operator))).await;
    relay.post("a", "{}").await;
    endpoint.wait_for(5, DEADLINE).await;
    endpoint.now(|_| Reply::status(200));
    let all = wait_for(&operator, 2).await;
    let both = ["subscription.failing", "subscription.recovered"];
    // They are deliveries without an order.
    let mut found = types(&all);
    found.sort_unstable();
    assert_eq!(found, both);
    let failing = wait_for_one(&operator, "sidehook.subscription.failing").await;
    assert_eq!(failing["subscription"], "billing");
    assert_eq!(failing["consecutive_failures"], 3);
    assert_eq!(failing["last_failure"]["reason"], "http_5xx");
    assert_eq!(failing["last_failure"]["response_code"], 503);
    let recovered = wait_for_one(&operator, "sidehook.subscription.recovered").await;
    assert_eq!(recovered["was"], "failing");
    relay.stop().await;
    assert_eq!(operator.count(), 2);
}

#[tokio::test]
async fn disabling_and_enabling_are_told() {
    let operator = accepting().await;
    let endpoint = Receiver::start(|_| Reply::status(410)).await;
    let section = notifications(&operator);
    let at = |path: &str, fields: &str| subscription("billing", &endpoint.url(path), fields);
    let relay = Relay::start(&format!("{}{section}", at("/", ""))).await;
    relay.post("a", "{}").await;
    let disabled = wait_for_one(&operator, "sidehook.subscription.disabled").await;
    assert_eq!(disabled["reason"], "gone");
    assert_eq!(disabled["last_failure"]["response_code"], 410);

    // A new endpoint enables it.
    endpoint.now(|_| Reply::status(200));
    relay.rewrite(&format!("{}{section}", at("/new", "")));
    relay.handle.reload().await.unwrap().unwrap();
    let recovered = wait_for_one(&operator, "sidehook.subscription.recovered").await;
    assert_eq!(recovered["was"], "disabled");
    assert_eq!(recovered["disabled_reason"], "gone");

    // A restart repeats nothing, and tells what the file changed meanwhile.
    let folder = relay.stop().await;
    let inactive = format!("{}{section}", at("/new", ", active: false"));
    let relay = Relay::start_in(folder, &inactive).await;
    let all = wait_for(&operator, 3).await;
    assert_eq!(types(&all)[2], "subscription.disabled");
    assert_eq!(all[2].1["reason"], "config");
    let folder = relay.stop().await;
    let relay = Relay::start_in(folder, &inactive).await;
    relay.stop().await;
    assert_eq!(operator.count(), 3);
}

#[tokio::test]
async fn a_new_subscription_that_is_inactive_is_no_news() {
    let operator = accepting().await;
    let off = subscription("off", "https://a.example/", ", active: false");
    let relay = Relay::start(&format!("{off}{}", notifications(&operator))).await;
    let folder = relay.stop().await;
    let relay = Relay::start_on(folder).await;
    relay.stop().await;
    assert_eq!(operator.count(), 0);
}

#[tokio::test]
async fn dead_deliveries_are_told_together() {
    let operator = accepting().await;
    let endpoint = Receiver::start(|_| Reply::status(404)).await;
    let fields = format!("{ONCE}, auto_disable: never, notify_after: 1000");
    let billing = subscription("billing", &endpoint.url("/"), &fields);
    let relay = Relay::start(&format!("{billing}{}", notifications(&operator))).await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        let answer = relay.post("a", "{}").await;
        ids.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    // An orderly stop tells also what would wait for more.
    endpoint.wait_for(12, DEADLINE).await;
    let folder = relay.stop().await;
    let relay = Relay::start_on(folder).await;
    let count = || {
        let all = operator.received();
        let all = all.iter().map(told);
        all.map(|(_, data)| data["count"].as_u64().unwrap())
            .sum::<u64>()
    };
    until("all are told", async || count() == 12).await;
    let all = wait_for(&operator, 1).await;
    assert!(all.len() <= 2, "{all:?}");
    for (event_type, data) in &all {
        assert_eq!(event_type, "sidehook.delivery.dead");
        assert_eq!(data["subscription"], "billing");
        assert_eq!(data["reasons"]["exhausted"], data["count"]);
        let first = data["first_event_ids"].as_array().unwrap();
        let last = data["last_event_ids"].as_array().unwrap();
        assert!(!first.is_empty() && first.len() <= 5 && last.len() <= 5);
        for id in first.iter().chain(last) {
            assert!(ids.iter().any(|known| known == id), "{id} is no event");
        }
    }
    drop(relay);
}

#[tokio::test]
async fn a_failed_reload_is_told_with_its_place_and_without_secrets() {
    let operator = accepting().await;
    let section = notifications(&operator);
    let relay = Relay::start(&format!("  {{}}\n{section}")).await;
    let canary = "canary-of-a-secret-that-is-short";
    relay.rewrite(&format!(
        "  billing: {{url: 'https://a.example', events: ['*'], secret: {canary}, tiemout: 3s}}\n{section}"
    ));
    relay.handle.reload().await.unwrap().unwrap_err();
    let data = wait_for_one(&operator, "sidehook.config.reload_failed").await;
    assert_eq!(data["count"], 1);
    let problems = data["problems"].as_array().unwrap();
    assert_eq!(data["problem_count"], problems.len());
    let paths: Vec<_> = problems
        .iter()
        .map(|it| it["path"].as_str().unwrap())
        .collect();
    assert!(
        paths.contains(&"subscriptions.billing.tiemout"),
        "{paths:?}"
    );
    for problem in problems {
        assert!(problem["file"].as_str().unwrap().ends_with("config.yaml"));
        assert!(problem["line"].as_u64().unwrap() > 3);
        assert!(problem["message"].is_string());
    }
    let request = operator.received().remove(0);
    assert!(!String::from_utf8_lossy(&request.body).contains(canary));
}

#[tokio::test]
async fn what_was_accepted_is_told_after_a_restart_with_the_same_id() {
    let operator = Receiver::start(|_| Reply::hang()).await;
    let endpoint = Receiver::start(|_| Reply::status(410)).await;
    let billing = subscription("billing", &endpoint.url("/"), "");
    let relay = Relay::start(&format!("{billing}{}", notifications(&operator))).await;
    relay.post("a", "{}").await;
    operator.wait_for(1, DEADLINE).await;
    let folder = relay.stop_now().await;
    operator.now(|_| Reply::status(204));
    let relay = Relay::start_on(folder).await;
    let all = wait_for(&operator, 2).await;
    assert_eq!(all[0], all[1]);
    let requests = operator.received();
    let id = requests[0].header("webhook-id");
    assert!(id.starts_with("evt_"));
    assert_eq!(requests[1].header("webhook-id"), id);
    relay.stop().await;
}

#[tokio::test]
async fn an_operator_who_does_not_answer_delays_nothing_and_is_shown_nowhere() {
    let operator = Receiver::start(|_| Reply::hang()).await;
    let gone = Receiver::start(|_| Reply::status(410)).await;
    let works = accepting().await;
    let gone = subscription("gone", &gone.url("/"), "");
    let works_ = subscription("works", &works.url("/"), "");
    let relay = Relay::start(&format!("{gone}{works_}{}", notifications(&operator))).await;
    relay.post("a", "{}").await;
    operator.wait_for(1, DEADLINE).await;
    for number in 2..=20 {
        relay.post("a", "{}").await;
        works.wait_for(number, Duration::from_secs(5)).await;
    }
    let metrics = get(&relay.admin, "/metrics").await.body;
    assert!(metrics.contains(r#"subscription="works""#));
    assert!(!metrics.contains("_notifications"), "{metrics}");
    relay.stop_now().await;
}

#[tokio::test]
async fn notifications_come_and_go_with_the_file() {
    let (operator, other) = (accepting().await, accepting().await);
    let endpoint = Receiver::start(|_| Reply::status(410)).await;
    let at = |path: &str| subscription("billing", &endpoint.url(path), "");
    let relay = Relay::start(&at("/a")).await;
    relay.post("a", "{}").await;
    let enabled = r#"sidehook_subscription_enabled{subscription="billing"}"#;
    until("it is disabled", async || {
        relay.metric(enabled).await == Some(0.0)
    })
    .await;

    // What happened before nobody asked for.
    relay.rewrite(&format!("{}{}", at("/b"), notifications(&operator)));
    relay.handle.reload().await.unwrap().unwrap();
    relay.post("a", "{}").await;
    wait_for_one(&operator, "sidehook.subscription.disabled").await;

    relay.rewrite(&format!("{}{}", at("/c"), notifications(&other)));
    relay.handle.reload().await.unwrap().unwrap();
    relay.post("a", "{}").await;
    wait_for_one(&other, "sidehook.subscription.disabled").await;

    relay.rewrite(&at("/d"));
    relay.handle.reload().await.unwrap().unwrap();
    endpoint.now(|_| Reply::status(200));
    relay.rewrite(&at("/e"));
    relay.handle.reload().await.unwrap().unwrap();
    until("it is enabled", async || {
        relay.metric(enabled).await == Some(1.0)
    })
    .await;
    let counts = (operator.count(), other.count());
    relay.stop().await;
    assert_eq!((operator.count(), other.count()), counts);
}

#[tokio::test]
async fn want_of_room_is_told_although_there_is_none() {
    let operator = accepting().await;
    let endpoint = failing().await;
    let billing = subscription("billing", &endpoint.url("/"), "");
    let relay = Relay::start_with(&format!(
        "listen: {{events: 127.0.0.1:0, admin: 127.0.0.1:0, metrics: 127.0.0.1:0}}\n\
         store: {{path: store, max_pending: 1KiB}}\n\
         network: {{allow_private: [127.0.0.1/32]}}\n\
         subscriptions:\n{billing}{}",
        notifications(&operator)
    ))
    .await;
    let body = format!("{{\"a\": \"{}\"}}", "x".repeat(600));
    until("events are refused", async || {
        relay.post("a", &body).await.status == 503
    })
    .await;
    let data = wait_for_one(&operator, "sidehook.store.full").await;
    assert_eq!(data["reason"], "max_pending");
    relay.stop_now().await;
}

#[tokio::test]
async fn what_overflows_is_told_as_dead() {
    let operator = accepting().await;
    let endpoint = failing().await;
    let billing = subscription("billing", &endpoint.url("/"), ", max_pending: 1B");
    let relay = Relay::start(&format!("{billing}{}", notifications(&operator))).await;
    let answer = relay.post("a", "{}").await;
    let data = wait_for_one(&operator, "sidehook.delivery.dead").await;
    assert_eq!(data["reasons"], serde_json::json!({"overflow": 1}));
    assert_eq!(data["first_event_ids"][0], answer.json()["id"]);
    relay.stop().await;
}
