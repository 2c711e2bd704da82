//! What differs between two configurations, and the whole of one without its secrets.

use std::path::Path;

use serde_json::{Value, json};
use sidehook::config::{Config, Diff, Reloaded, at_next_start, load};

use super::{environment, load_text};
use crate::support::certificates::Authority;

fn config(text: &str) -> Config {
    load_text(text).unwrap().config
}

fn between(old: &str, new: &str) -> Value {
    serde_json::to_value(Diff::between(&config(old), &config(new))).unwrap()
}

#[test]
fn the_same_configuration_differs_in_nothing() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/valid/everything.yaml");
    let one = load(&path, &environment()).unwrap().config;
    assert!(Diff::between(&one, &one.clone()).is_empty());
    assert_eq!(Reloaded::between(&one, &one), Reloaded::default());
    // The same in other words.
    let old = "subscriptions:\n  a: {active: false, timeout: 60s, headers: [\"X: y\"], retry: standard}\n";
    let new = "defaults: {timeout: 1m}\nsubscriptions:\n  a: {active: false, headers: {X: y}}\n";
    assert!(Diff::between(&config(old), &config(new)).is_empty());
}

#[test]
fn subscriptions_are_compared_field_by_field() {
    let old = "subscriptions:\n  gone: {active: false}\n  same: {active: false}\n  other: {active: false, timeout: 5s, secret: {env: SECRET}}\n";
    let new = "subscriptions:\n  added: {active: false, title: New}\n  same: {active: false}\n  other: {active: false, timeout: 1s, locked: true}\n";
    let field = |field: &str, from: Value, to: Value| json!({"field": field, "from": from, "to": to, "hidden": false});
    let expected = json!([
        {"name": "added", "change": "added", "fields": [
            field("title", json!(null), json!("New")),
            field("active", json!(true), json!(false)),
        ]},
        {"name": "gone", "change": "removed", "fields": []},
        {"name": "other", "change": "changed", "fields": [
            field("locked", json!(false), json!(true)),
            field("secret", json!("b4ea245f"), json!(null)),
            field("signature", json!("standard"), json!("none")),
            field("timeout", json!("5s"), json!("1s")),
        ]},
    ]);
    assert_eq!(between(old, new)["subscriptions"], expected);
    let reloaded = Reloaded::between(&config(old), &config(new));
    assert_eq!(
        (reloaded.added, reloaded.changed, reloaded.removed),
        (1, 1, 1)
    );
}

#[test]
fn what_is_secret_differs_without_being_shown() {
    let one = |url: &str, token: &str| {
        format!(
            "subscriptions: {{a: {{url: {{env: {url}}}, events: [\"*\"], headers: {{X-Key: {{env: {token}}}}}}}}}\nnotifications: {{webhook: {{url: {{env: {url}}}, secret: {{env: SECRET}}}}}}\n"
        )
    };
    let found = between(&one("URL", "TOKEN"), &one("OTHER_URL", "SHORT"));
    let fields = &found["subscriptions"][0]["fields"];
    assert_eq!(fields.as_array().unwrap().len(), 2, "{fields}");
    for field in fields.as_array().unwrap() {
        assert_eq!(
            (&field["hidden"], &field["from"]),
            (&json!(true), &field["to"])
        );
    }
    assert_eq!(found["settings"][0]["key"], "notifications.webhook.url");
    assert_eq!(found["settings"][0]["hidden"], true);
    assert!(!found.to_string().contains("capability") && !found.to_string().contains("short"));
}

#[test]
fn headers_that_change_their_places_differ() {
    let one = |headers: &str| {
        format!(
            "subscriptions: {{a: {{url: \"https://a.example\", events: [\"*\"], signature: none, headers: {{{headers}}}}}}}\n"
        )
    };
    for (old, new) in [
        (
            "X-A: {env: TOKEN}, X-B: {env: SHORT}",
            "X-B: {env: TOKEN}, X-A: {env: SHORT}",
        ),
        ("X-A: a, X-B: b", "X-B: b, X-A: a"),
    ] {
        let found = between(&one(old), &one(new));
        let field = &found["subscriptions"][0]["fields"][0];
        assert_eq!(
            (&field["field"], &field["hidden"]),
            (&json!("headers"), &json!(true)),
            "{found}"
        );
    }
}

#[test]
fn the_content_of_a_ca_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(
        &path,
        "subscriptions: {a: {active: false, tls: {ca_file: ca.pem}}}\n",
    )
    .unwrap();
    let with = || {
        let pem = Authority::new().pem();
        std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
        load(&path, &environment()).unwrap().config
    };
    let diff = Diff::between(&with(), &with());
    let field = &diff.subscriptions[0].fields[0];
    assert_eq!((field.field.as_str(), field.hidden), ("tls", true));
}

#[test]
fn keys_of_other_sections_say_whether_they_need_a_restart() {
    let old = "subscriptions: {}\n";
    let new = "listen: {events: 127.0.0.1:1}\nstore: {retention: {dead: 1d}}\nlog: {level: debug}\nmetrics: {histograms: none}\nnetwork: {ports: [1]}\ningest: {max_body: 2MiB, dedup_max: 5, tokens: [aaaaaaaaaaaa]}\nsubscriptions: {}\nnotifications: {smtp: {host: localhost, from: a@example.com}}\n";
    let found = between(old, new);
    let keys: Vec<_> = found["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (
                change["key"].as_str().unwrap(),
                change["needs_restart"].as_bool().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("listen.events", true),
        ("ingest.max_body", false),
        ("ingest.tokens", false),
        ("ingest.dedup_max", true),
        ("store.retention.dead", true),
        ("network.ports", false),
        ("notifications.smtp", false),
        ("log.level", true),
        ("metrics.histograms", false),
    ];
    assert_eq!(keys, expected);
    assert_eq!(found["settings"][4]["from"], "30d");
    assert_eq!(
        at_next_start(&config(old), &config(new)),
        ["listen", "store", "log", "ingest.dedup_max"]
    );
    assert!(!found.to_string().contains("aaaaaaaaaaaa"));
}

#[test]
fn the_whole_configuration_is_shown_without_secrets() {
    for name in ["everything.yaml", "operation.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/config/valid")
            .join(name);
        let config = load(&path, &environment()).unwrap().config;
        let shown = config.redacted();
        let text = shown.to_string();
        for secret in environment()
            .variables
            .values()
            .map(String::as_str)
            .chain(["hunter"])
        {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let subscriptions = shown["subscriptions"].as_object().unwrap();
        assert_eq!(subscriptions.len(), config.subscriptions.len());
    }
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/valid/operation.yaml");
    let shown = load(&path, &environment()).unwrap().config.redacted();
    assert_eq!(shown["admin"]["tokens"][0]["name"], "Deploy pipeline");
    assert_eq!(
        shown["admin"]["tokens"][0]["scopes"],
        json!(["read", "manage"])
    );
    assert_eq!(shown["notifications"]["smtp"]["tls"], "none");
    assert_eq!(shown["store"]["max_pending"], "10GiB");
    assert_eq!(shown["listen"]["admin"], "0.0.0.0:0");
}
