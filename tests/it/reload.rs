//! A new configuration, whole or not at all.

use rustix::process::Signal;

use crate::support::http::get;
use crate::support::program::Program;
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::{DEADLINE, until};

const SUCCESSFUL: &str = "sidehook_config_last_reload_successful";

#[tokio::test]
async fn a_new_subscription_gets_events_from_the_reload_on() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let relay = Relay::start("  off: {active: false}\n").await;
    assert_eq!(relay.post("a", "1").await.json()["deliveries"], 0);
    relay.rewrite(&subscription("new", &receiver.url("/new"), ""));
    let reloaded = relay.handle.reload().await.unwrap().unwrap();
    assert_eq!(
        (reloaded.added, reloaded.changed, reloaded.removed),
        (1, 0, 1)
    );
    assert_eq!(relay.post("a", "2").await.json()["deliveries"], 1);
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].body, "2");
}

#[tokio::test]
async fn a_changed_url_is_used_from_the_next_attempt() {
    let failing = Receiver::start(|_| Reply::status(500)).await;
    let working = Receiver::start(|_| Reply::status(200)).await;
    let fields = ", retry: {schedule: [200ms, 200ms, 200ms, 200ms]}";
    let relay = Relay::start(&subscription("a", &failing.url("/"), fields)).await;
    relay.post("a", "1").await;
    failing.wait_for(1, DEADLINE).await;
    relay.rewrite(&subscription("a", &working.url("/"), fields));
    relay.handle.reload().await.unwrap().unwrap();
    working.wait_for(1, DEADLINE).await;
}

#[tokio::test]
async fn what_was_disabled_for_failing_is_enabled_by_a_new_url_in_the_file() {
    const ENABLED: &str = r#"sidehook_subscription_enabled{subscription="a"}"#;
    let receiver =
        Receiver::start(|request| Reply::status(if request.path == "/new" { 200 } else { 404 }))
            .await;
    let fields = ", give_up_on: [404], auto_disable: {failures: 2, for: 0s}, concurrency: 1";
    let old = subscription("a", &receiver.url("/old"), fields);
    let relay = Relay::start(&old).await;
    for _ in 0..3 {
        relay.post("a", "1").await;
    }
    let gave_up = r#"sidehook_dead_letters_total{subscription="a",reason="gave_up"}"#;
    until("it is disabled", async || {
        relay.metric(ENABLED).await == Some(0.0) && relay.metric(gave_up).await == Some(2.0)
    })
    .await;
    let relay = Relay::start_in(relay.stop().await, &old).await;
    assert_eq!(relay.metric(ENABLED).await, Some(0.0));
    let new = subscription("a", &receiver.url("/new"), fields);
    relay.rewrite(&new);
    relay.handle.reload().await.unwrap().unwrap();
    assert_eq!(relay.metric(ENABLED).await, Some(1.0));
    let received = receiver.wait_for(3, DEADLINE).await;
    assert_eq!(received[2].path, "/new");
}

#[tokio::test]
async fn a_file_with_errors_leaves_the_running_configuration_in_place() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), "")).await;
    assert_eq!(relay.metric(SUCCESSFUL).await, Some(1.0));
    relay.rewrite("  a: {url: 7, colour: blue}\n");
    let problems = relay.handle.reload().await.unwrap().unwrap_err().0;
    assert!(problems.len() >= 2, "{problems:?}");
    assert_eq!(relay.metric(SUCCESSFUL).await, Some(0.0));
    assert_eq!(
        relay
            .metric(r#"sidehook_config_reloads_total{outcome="failure"}"#)
            .await,
        Some(1.0)
    );
    assert_eq!(relay.post("a", "1").await.json()["deliveries"], 1);
    receiver.wait_for(1, DEADLINE).await;

    relay.rewrite(&subscription("a", &receiver.url("/"), ""));
    relay.handle.reload().await.unwrap().unwrap();
    assert_eq!(relay.metric(SUCCESSFUL).await, Some(1.0));
}

#[tokio::test]
async fn deliveries_of_a_removed_subscription_are_held_until_it_returns() {
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let fields = ", retry: {schedule: [100ms, 100ms, 100ms, 100ms, 100ms]}";
    let config = subscription("a", &receiver.url("/"), fields);
    let relay = Relay::start(&config).await;
    relay.post("a", "1").await;
    receiver.wait_for(1, DEADLINE).await;
    relay.rewrite("  off: {active: false}\n");
    relay.handle.reload().await.unwrap().unwrap();
    receiver.now(|_| Reply::status(200));
    let before = receiver.count();
    assert!(
        !get(&relay.admin, "/metrics")
            .await
            .body
            .contains(r#"subscription="a""#)
    );
    relay.rewrite(&config);
    relay.handle.reload().await.unwrap().unwrap();
    receiver.wait_for(before + 1, DEADLINE).await;
}

#[tokio::test]
async fn dropping_tokens_and_opening_a_listener_later_is_refused() {
    let relay = Relay::start("  off: {active: false}\n").await;
    let file = |listen: &str, tokens: &str| {
        format!(
            "listen: {{events: {listen}, admin: 127.0.0.1:0}}\nstore: {{path: store}}\ningest: {{tokens: [{tokens}]}}\nsubscriptions: {{off: {{active: false}}}}\n"
        )
    };
    let token = "a-token-of-thirty-two-characters";
    relay.rewrite_whole(&file("127.0.0.1:0", token));
    relay.handle.reload().await.unwrap().unwrap();
    assert_eq!(relay.post("a", "1").await.status, 401);
    relay.rewrite_whole(&file("127.0.0.1:1", ""));
    let problems = relay.handle.reload().await.unwrap().unwrap_err().0;
    assert_eq!(problems[0].path, "ingest.tokens");
    assert_eq!(relay.post("a", "1").await.status, 401);
}

#[tokio::test]
async fn reloads_under_load_lose_and_refuse_nothing() {
    const EVENTS: usize = 300;
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), "")).await;
    let posting = async {
        for number in 0..EVENTS {
            let answer = relay.post("a", &number.to_string()).await;
            assert_eq!(answer.status, 202, "{}", answer.body);
        }
    };
    let reloading = async {
        for round in 0..50 {
            let fields = if round % 2 == 0 {
                ", concurrency: 2"
            } else {
                ""
            };
            relay.rewrite(&subscription("a", &receiver.url("/"), fields));
            relay.handle.reload().await.unwrap().unwrap();
        }
    };
    tokio::join!(posting, reloading);
    let received = receiver.wait_for(EVENTS, DEADLINE).await;
    assert_eq!(received.len(), EVENTS);
    until("nothing is pending", async || {
        relay
            .metric(r#"sidehook_pending_deliveries{subscription="a"}"#)
            .await
            == Some(0.0)
    })
    .await;
}

#[tokio::test]
async fn what_matches_a_subscription_that_is_gone_is_skipped_if_it_says_so() {
    const ENABLED: &str = r#"sidehook_subscription_enabled{subscription="a"}"#;
    const SKIPPED: &str = r#"sidehook_deliveries_total{subscription="a",outcome="skipped"}"#;
    let gone = Receiver::start(|_| Reply::status(410)).await;
    let fields = ", when_disabled: skip";
    let relay = Relay::start(&subscription("a", &gone.url("/"), fields)).await;
    assert_eq!(relay.post("a", "1").await.json()["deliveries"], 1);
    until("it is disabled", async || {
        relay.metric(ENABLED).await == Some(0.0)
    })
    .await;
    assert_eq!(relay.post("a", "2").await.json()["deliveries"], 0);
    until("it is counted", async || {
        relay.metric(SKIPPED).await == Some(1.0)
    })
    .await;
    // Also after a restart; what was held before is delivered once it is enabled.
    let folder = relay.stop().await;
    let relay = Relay::start_in(folder, &subscription("a", &gone.url("/"), fields)).await;
    assert_eq!(relay.post("a", "3").await.json()["deliveries"], 0);
    let working = Receiver::start(|_| Reply::status(200)).await;
    relay.rewrite(&subscription("a", &working.url("/"), fields));
    relay.handle.reload().await.unwrap().unwrap();
    let received = working.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].body, "1");
    assert_eq!(relay.post("a", "4").await.json()["deliveries"], 1);
}

#[test]
fn an_api_that_other_machines_reach_keeps_its_tokens_until_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let write = |admin: &str, tokens: &str| {
        let config = format!(
            "listen: {{events: 127.0.0.1:0, admin: '{admin}:0'}}\nstore: {{path: store}}\nadmin: {{tokens: {tokens}}}\nsubscriptions: {{}}\n"
        );
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    };
    write(
        "0.0.0.0",
        "[{name: a, token: a-token-of-thirty-two-characters, scopes: [read]}]",
    );
    let (relay, _) = Program::relay(folder.path());
    write("127.0.0.1", "[]");
    relay.signal(Signal::HUP);
    assert_eq!(
        relay.log_line("the configuration is wrong")["path"],
        "admin.tokens"
    );
}
