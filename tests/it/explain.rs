//! `sidehook explain`, with the real binary.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::program::output;

const CONFIG: &str = r#"
ingest: {id_pointer: /event_id, tokens: [0123456789abcdef]}
network: {allow_private: [127.0.0.1/32]}
subscriptions:
  all:
    url: http://127.0.0.1:9/hooks?a=b
    events: ["*"]
    secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
    headers: {X-Team: billing, X-Key: {file: key.txt}}
    forward_headers: [X-Trace]
  draft: {url: 'https://a.example.com', events: ["invoice.*", "!invoice.paid"]}
  other: {url: 'https://a.example.com', events: ["order.*", "quote"]}
  tenant: {url: 'https://a.example.com', events: ["*"], match: {/tenant_id: acme, "header:X-Region": eu}}
  large: {url: 'https://a.example.com', events: ["*"], when: data.amount > 100}
  broken: {url: 'https://a.example.com', events: ["*"], when: data.total > 100}
  anyway: {url: {file: url.txt}, events: ["*"], when: data.total > 100, when_error: deliver}
  off: {active: false, url: 'https://a.example.com', events: ["*"], method: PUT}
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("config.yaml", CONFIG);
    write("key.txt", "canary-of-a-header");
    write("url.txt", "https://capability.example.com/canary-of-a-url");
    folder
}

fn explain(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let done = output(
        folder,
        &[&["explain", "--config", "config.yaml"], arguments].concat(),
    );
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn it_says_of_each_subscription_whether_and_why_and_shows_the_request() {
    let folder = folder();
    let data = r#"{"tenant_id":"acme","amount":100,"event_id":"in_7"}"#;
    let arguments = [
        "invoice.paid",
        "--data",
        data,
        "--header",
        "X-Region: us",
        "--header",
        "X-Trace: t1",
        "--json",
    ];
    let (code, shown, complaints) = explain(folder.path(), &arguments);
    assert_eq!(code, Some(0), "{complaints}");
    assert!(!shown.contains("canary"), "{shown}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["event"]["given_id"], "in_7");
    assert_eq!(
        shown["event"]["kept_headers"],
        json!(["x-region", "x-trace"])
    );
    let of = |name: &str| {
        let subscriptions = shown["subscriptions"].as_array().unwrap().iter();
        subscriptions
            .clone()
            .find(|it| it["name"] == name)
            .unwrap()
            .clone()
    };
    for (name, matches, outcome, detail) in [
        ("all", true, "delivered", "gets it"),
        ("draft", false, "excluded", "excluded by !invoice.paid"),
        (
            "other",
            false,
            "no_pattern",
            "no pattern of events matches: order.*, quote",
        ),
        (
            "tenant",
            false,
            "match",
            "match: header:x-region is \"us\", expected \"eu\"",
        ),
        ("large", false, "when", "when is false: data.amount > 100"),
        (
            "broken",
            false,
            "when_error",
            "when cannot be evaluated (no such key: total), and when_error is skip: data.total > 100",
        ),
        ("anyway", true, "delivered", "gets it"),
        (
            "off",
            true,
            "held",
            "matches, and holds it while it is not active",
        ),
    ] {
        let it = of(name);
        let found = (
            it["matches"].as_bool(),
            it["outcome"].as_str(),
            it["detail"].as_str(),
        );
        assert_eq!(
            found,
            (Some(matches), Some(outcome), Some(detail)),
            "{name}"
        );
        assert_eq!(it["request"].is_null(), !matches, "{name}");
    }
    assert_eq!(
        of("anyway")["note"],
        "when cannot be evaluated (no such key: total), and when_error is deliver"
    );
    assert_eq!(
        of("anyway")["request"]["url"],
        "https://capability.example.com"
    );
    assert_eq!(of("off")["request"]["method"], "PUT");
    let request = &of("all")["request"];
    assert_eq!(request["url"], "http://127.0.0.1:9/hooks?a=b");
    assert_eq!(request["body_bytes"], data.len());
    let headers = request["headers"].as_array().unwrap();
    let value = |name: &str| headers.iter().find(|it| it[0] == name).unwrap()[1].clone();
    assert_eq!(value("webhook-id"), "in_7");
    assert!(
        value("webhook-signature")
            .as_str()
            .unwrap()
            .starts_with("v1,")
    );
    assert_eq!(value("content-type"), "application/json");
    assert_eq!(value("x-team"), "billing");
    assert_eq!(value("x-trace"), "t1");
    assert_eq!(value("x-key"), json!({"redacted": true}));
}

#[test]
fn people_get_lines() {
    let folder = folder();
    std::fs::write(folder.path().join("body.json"), r#"{"amount":101}"#).unwrap();
    let arguments = [
        "order.made",
        "--data",
        "@body.json",
        "--key",
        "k7",
        "--id",
        "o1",
    ];
    let (code, shown, _) = explain(folder.path(), &arguments);
    assert_eq!(code, Some(0));
    assert!(!shown.contains("canary"), "{shown}");
    for line in [
        "order.made: 14 bytes of application/json, id o1, key k7\n",
        "+ large: gets it\n    POST https://a.example.com/\n",
        "+ other: gets it\n",
        "- tenant: match: /tenant_id is not there, expected \"acme\"\n",
        "    x-key: [redacted]\n",
        "    webhook-id: o1\n",
    ] {
        assert!(shown.contains(line), "{line} is missing in {shown}");
    }
}

#[test]
fn what_would_be_refused_is_no_success() {
    let folder = folder();
    let (code, shown, complaints) = explain(folder.path(), &["invoice paid"]);
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    assert!(
        complaints.contains("would be refused with 422"),
        "{complaints}"
    );
    assert!(
        complaints.contains("type: expected visible ASCII characters only"),
        "{complaints}"
    );
    let batch = [
        "a",
        "--data",
        "@config.yaml",
        "--header",
        "content-type: application/x-ndjson",
    ];
    assert_eq!(explain(folder.path(), &batch).0, Some(1));
    assert_eq!(
        explain(folder.path(), &["a", "--data", "no json"]).0,
        Some(2)
    );
    assert_eq!(
        explain(folder.path(), &["a", "--header", "no colon"]).0,
        Some(2)
    );
    assert_eq!(
        explain(folder.path(), &["a", "--config", "none.yaml"]).0,
        Some(2)
    );
}
