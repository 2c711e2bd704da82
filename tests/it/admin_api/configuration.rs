//! The configuration: what is in force, what is on the disk, and how the two differ.

use serde_json::{Value, json};

use crate::admin_api::{call, look};
use crate::support::relay::Relay;
use crate::support::until;

const ONE: &str = "  one: {active: false, title: One}\n";
const GOES: &str = "  goes: {active: false, url: 'https://a.example', events: ['*']}\n";

#[tokio::test]
async fn what_is_in_force_is_shown() {
    let relay = Relay::start(ONE).await;
    relay.rewrite("  two: {active: false}\n");
    let shown = look(&relay, "/v1/config").await;
    assert_eq!(shown["subscriptions"]["one"]["title"], "One");
    assert!(shown["subscriptions"]["two"].is_null());
    assert_eq!(shown["ingest"]["max_body"], "1MiB");
}

#[tokio::test]
async fn a_difference_tells_how_many_deliveries_a_removal_would_hold() {
    let relay = Relay::start(&format!("{ONE}{GOES}")).await;
    relay.post("x", "{}").await;
    let none = look(&relay, "/v1/config/diff").await;
    assert_eq!(
        none,
        json!({"subscriptions": [], "settings": [], "gone": []})
    );
    relay.rewrite("  one: {active: false, title: Two}\n");
    let diff = look(&relay, "/v1/config/diff").await;
    let removed = &diff["subscriptions"][0];
    assert_eq!(
        (&removed["name"], &removed["change"]),
        (&"goes".into(), &"removed".into())
    );
    assert_eq!(removed["pending"], 1);
    let field = &diff["subscriptions"][1]["fields"][0];
    assert_eq!(
        (&field["field"], &field["from"], &field["to"]),
        (&"title".into(), &"One".into(), &"Two".into())
    );
}

#[tokio::test]
async fn a_reload_holds_what_was_removed_and_cancels_it_only_if_told_to() {
    let relay = Relay::start(&format!("{ONE}{GOES}")).await;
    relay.post("x", "{}").await;
    relay.rewrite(ONE);
    let answer = call(&relay, "POST", "/v1/config/reload", "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        (
            &answer.json()["removed"],
            &answer.json()["cancelled_deliveries"]
        ),
        (&1.into(), &0.into())
    );
    assert_eq!(
        call(&relay, "GET", "/v1/subscriptions/goes", "")
            .await
            .status,
        404
    );
    let gone = look(&relay, "/v1/config/diff").await["gone"].clone();
    assert_eq!(gone, json!([{"name": "goes", "held": 1}]));
    let answer = call(
        &relay,
        "POST",
        "/v1/config/reload",
        "{\"cancel_removed\": true}",
    )
    .await;
    assert_eq!(answer.json()["cancelled_deliveries"], 1);
    assert_eq!(
        look(&relay, "/v1/deliveries").await["data"][0]["state"],
        "cancelled"
    );
}

#[tokio::test]
async fn what_is_held_of_one_that_is_gone_can_be_deleted() {
    let relay = Relay::start(&format!("{ONE}{GOES}")).await;
    relay.post("x", "{}").await;
    relay.rewrite(ONE);
    call(&relay, "POST", "/v1/config/reload", "").await;
    let answer = call(&relay, "DELETE", "/v1/subscriptions/goes", "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = answer.json();
    assert_eq!(
        (&shown["name"], &shown["held"]),
        (&"goes".into(), &1.into())
    );
    assert_eq!(shown["cancelled_deliveries"], 1);
    assert_eq!(
        call(&relay, "DELETE", "/v1/subscriptions/goes", "")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn files_that_are_wrong_change_nothing_and_are_explained() {
    let relay = Relay::start(ONE).await;
    let check = async || -> Value {
        let answer = call(&relay, "POST", "/v1/config/check", "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    assert_eq!(check().await["valid"], true);
    relay.rewrite("  one: {active: false, url: 'ftp://x'}\n");
    let checked = check().await;
    assert_eq!(checked["valid"], false);
    assert_eq!(checked["errors"][0]["path"], "subscriptions.one.url");
    for (method, path) in [("POST", "/v1/config/reload"), ("GET", "/v1/config/diff")] {
        let refused = call(&relay, method, path, "").await;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (422, &"invalid_config".into())
        );
        assert!(refused.json()["errors"]["subscriptions.one.url"].is_array());
    }
    assert_eq!(look(&relay, "/v1/subscriptions/one").await["title"], "One");
    let refused = call(
        &relay,
        "POST",
        "/v1/config/reload",
        "{\"cancel_removed\": 1}",
    )
    .await;
    assert!(refused.json()["errors"]["cancel_removed"].is_array());
    until("the failure is counted", async || {
        relay.metric("sidehook_config_last_reload_successful").await == Some(0.0)
    })
    .await;
}

/// What only the machine can tell is told as by a reload, with its place, and speaks against edits before they are written.
#[tokio::test]
async fn what_a_reload_would_refuse_on_this_machine_is_no_valid_configuration() {
    let relay = Relay::start(ONE).await;
    let right = relay.text();
    for (store, cause) in [
        ("/proc/sidehook", "file system of the kernel"),
        ("config.yaml/store", "a directory"),
    ] {
        let wrong = format!("store: {{path: {store}}}\n");
        let text: String = right
            .split_inclusive('\n')
            .map(|line| {
                if line.starts_with("store:") {
                    &*wrong
                } else {
                    line
                }
            })
            .collect();
        assert!(text.contains(&wrong), "{text}");
        relay.rewrite_whole(&text);
        let answer = call(&relay, "POST", "/v1/config/check", "").await.json();
        assert_eq!(answer["valid"], false, "{answer}");
        let error = &answer["errors"][0];
        assert_eq!(error["path"], "store.path", "{answer}");
        assert!(error["line"].as_u64().unwrap() >= 1, "{answer}");
        assert!(
            error["message"].as_str().unwrap().contains(cause),
            "{answer}"
        );
        let refused = call(&relay, "POST", "/v1/config/reload", "").await;
        assert!(refused.json()["errors"]["store.path"].is_array());
        let body = "{\"title\": \"Two\"}";
        let refused = call(&relay, "PATCH", "/v1/subscriptions/one", body).await;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (409, &"config_broken".into())
        );
        assert!(refused.body.contains("store.path"), "{}", refused.body);
        assert_eq!(relay.text(), text);
    }
    relay.rewrite_whole(&right);
    let answer = call(&relay, "POST", "/v1/config/check", "").await.json();
    assert_eq!(answer["valid"], true, "{answer}");
}
