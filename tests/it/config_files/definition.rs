//! A subscription as the API shows it: every field in the notation of the file, and no secret.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sidehook::config::{READ_ONLY, Subscription, etag, load};

use super::{environment, load_text};

const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Loads one subscription, named a, with these fields.
fn loaded(fields: &Value) -> Subscription {
    let text =
        format!("network: {{allow_private: [10.0.0.0/8]}}\nsubscriptions: {{a: {fields}}}\n");
    let config = load_text(&text)
        .map_err(|error| format!("{error} in {text}"))
        .unwrap()
        .config;
    let name = "a".parse().unwrap();
    Subscription::clone(config.subscriptions.get(&name).unwrap())
}

/// The fields of a definition that can be written, with the secrets that it does not tell.
fn writable(definition: &Map<String, Value>) -> Value {
    let mut fields = definition.clone();
    let has_secret = fields.get("secret_set") == Some(&json!(true));
    let is_secret_url = fields.get("url_is_secret") == Some(&json!(true));
    for key in READ_ONLY {
        fields.remove(key).unwrap();
    }
    if has_secret {
        fields.insert("secret".to_owned(), json!({"env": "SECRET"}));
    }
    if is_secret_url {
        fields.insert("url".to_owned(), json!({"env": "URL"}));
    }
    let previous = fields.get_mut("previous_secrets").unwrap();
    for previous in previous.as_array_mut().unwrap() {
        let previous = previous.as_object_mut().unwrap();
        previous.remove("secret_fingerprint").unwrap();
        previous.insert("secret".to_owned(), json!({"env": "SECRET"}));
    }
    let headers = fields.get_mut("headers").unwrap();
    for value in headers.as_object_mut().unwrap().values_mut() {
        if *value == json!({"redacted": true}) {
            *value = json!({"env": "TOKEN"});
        }
    }
    Value::Object(fields)
}

#[test]
fn the_definition_has_every_field_with_its_default() {
    let shown = loaded(&json!({"url": "https://a.example.com/h", "events": ["b", "!a.*", "a.*"]}));
    let expected = json!({
        "title": null, "description": null,
        "url": "https://a.example.com/h", "url_is_secret": false,
        "events": ["b", "!a.*", "a.*"],
        "match": {}, "when": null, "when_error": "skip",
        "active": true, "when_disabled": "hold", "locked": false,
        "secret_set": false, "secret_fingerprint": null, "previous_secrets": [],
        "signature": "none", "headers": {}, "auth": null, "forward_headers": [],
        "method": "POST", "timeout": "15s", "retry": "standard", "give_up_on": [],
        "order": "none", "when_stuck": "block", "concurrency": 16, "rate_limit": null,
        "max_pending": "1GiB", "auto_disable": {"failures": 10, "for": "5d"},
        "notify": [], "notify_after": 5,
        "tls": {"ca_file": null, "min_version": "1.2"}, "http2": "auto",
    });
    assert_eq!(Value::Object(shown.definition.fields()), expected);
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let shown = Value::Object(shown.definition.fields());
    assert_eq!(keys(&shown), keys(&expected), "the order of the fields");
}

#[test]
fn values_are_those_in_force_in_the_notation_of_the_file() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/valid/everything.yaml");
    let config = load(&path, &environment()).unwrap().config;
    let of = |name: &str| {
        let subscription = &config.subscriptions[&name.parse().unwrap()];
        subscription.definition.fields()
    };
    let billing = of("billing");
    for (key, value) in [
        ("title", json!("123")),
        ("url", json!("http://[::1]:9000/hooks?a=b")),
        ("events", json!(["invoice.*", "!invoice.draft", "quote"])),
        ("secret_set", json!(true)),
        ("secret_fingerprint", json!("76880d60")),
        (
            "signature",
            json!(["github", {"standard": {"prefix": "svix", "key": "text"}}]),
        ),
        ("headers", json!({"X-Team": "a: b", "X-Other": "c"})),
        ("retry", json!({"schedule": ["1m", "5m"], "jitter": 0})),
        ("give_up_on", json!([400, 501])),
        ("rate_limit", json!(null)),
        ("auto_disable", json!({"failures": 3, "for": "0s"})),
        (
            "tls",
            json!({"ca_file": "include/ca.pem", "min_version": "1.3"}),
        ),
        ("http2", json!("never")),
    ] {
        assert_eq!(billing[key], value, "{key}");
    }
    assert_eq!(
        billing["previous_secrets"][0]["until"],
        "2027-01-31T11:00:00.000Z"
    );
    let off = of("off");
    for (key, value) in [
        ("url", json!("https://partner.example.com")),
        ("url_is_secret", json!(true)),
        ("headers", json!({"X-Default": "1"})),
        ("method", json!("PUT")),
        ("rate_limit", json!("5000/m")),
        ("auto_disable", json!({"dead": 7})),
    ] {
        assert_eq!(off[key], value, "{key}");
    }
    assert_eq!(
        of("included")["headers"]["X-Key"],
        json!({"redacted": true})
    );
}

#[test]
fn no_secret_is_shown() {
    let secrets = json!({
        "url": {"env": "URL"}, "events": ["*"], "secret": {"env": "SECRET"},
        "previous_secrets": [{"secret": {"env": "SECRET"}, "until": "2027-01-01T00:00:00Z"}],
        "headers": {"X-Key": {"env": "TOKEN"}, "X-Open": "open"},
    });
    let subscription = loaded(&secrets);
    let shown = Value::Object(subscription.definition.fields()).to_string();
    let all = format!("{shown} {subscription:?} {}", etag(&subscription));
    for (secret, place) in [
        (SECRET, "secret"),
        ("0123456789abcdef", "header"),
        ("AAAAAAAA", "key"),
    ] {
        assert!(!all.contains(secret), "{place}: {all}");
    }
    assert!(!shown.contains("capability"), "{shown}");
    assert!(shown.contains("open"));
}

#[test]
fn the_etag_changes_with_whatever_the_files_say_and_nothing_else() {
    let base = json!({"url": {"env": "URL"}, "events": ["*"], "secret": {"env": "SECRET"}, "headers": {"X-Key": {"env": "TOKEN"}}});
    let tag = |fields: &Value| etag(&loaded(fields));
    let first = tag(&base);
    assert!(
        first.starts_with('"') && first.ends_with('"') && first.len() == 34,
        "{first}"
    );
    assert_eq!(first, tag(&base));
    let changed = |key: &str, value: Value| {
        let mut fields = base.clone();
        fields[key] = value;
        tag(&fields)
    };
    let mut tags = vec![
        first,
        changed("title", json!("x")),
        changed(
            "secret",
            json!("whsec_BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ),
        // Shown the same.
        changed("url", json!({"env": "OTHER_URL"})),
        changed("headers", json!({"X-Key": {"env": "SHORT"}})),
    ];
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 5);
}

fn duration() -> impl Strategy<Value = Value> {
    (1_u32..60, prop::sample::select(vec!["ms", "s", "m"]))
        .prop_map(|(number, unit)| json!(format!("{number}{unit}")))
}

fn pick(values: Vec<Value>) -> impl Strategy<Value = Value> {
    prop::sample::select(values)
}

fn retry() -> impl Strategy<Value = Value> {
    let schedule = (prop::collection::vec(duration(), 1..5), 0.0..1.0_f64)
        .prop_map(|(pauses, jitter)| json!({"schedule": pauses, "jitter": jitter}));
    let growing = (1_u32..50, 1.0..99.0_f64, 1_u32..999).prop_map(|(initial, factor, attempts)| {
        json!({"initial": format!("{initial}ms"), "factor": factor, "max_attempts": attempts})
    });
    prop_oneof![
        schedule,
        growing,
        Just(json!("none")),
        Just(json!({"max_age": "1d"}))
    ]
}

fn signature() -> impl Strategy<Value = Value> {
    pick(vec![
        json!("none"),
        json!("standard"),
        json!({"standard": {"prefix": "svix"}}),
        json!(["github", {"hookshot": {"algorithm": "sha512"}}, "stripe"]),
        json!({"hmac": {"header": "X-Sig", "signed": "{timestamp}.{body}", "timestamp_header": "X-T", "encoding": "base64"}}),
        json!({"opnform": {}}),
    ])
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let text = "[ -~éü]{1,40}".prop_filter("not blank", |text| !text.trim().is_empty());
    let one = prop_oneof![
        text.clone().prop_map(|text| ("title", json!(text))),
        "[ -~é\n\t]{1,80}".prop_map(|text| ("description", json!(text))),
        pick(vec![
            json!("https://a.example.com"),
            json!("http://10.0.0.1:99/?q=%20#".trim_end_matches('#')),
            json!({"env": "URL"})
        ])
        .prop_map(|url| ("url", url)),
        pick(vec![
            json!(["*"]),
            json!(["!a", "b.*", "c"]),
            json!(["no", "1.0"])
        ])
        .prop_map(|events| ("events", events)),
        pick(vec![
            json!({"/tenant_id": "acme"}),
            json!({"/a~1b/0": 7, "/live": true, "header:X-Region": "'e\"u"})
        ])
        .prop_map(|matches| ("match", matches)),
        pick(vec![
            json!("data.amount > 100 && type != 'é: #\\n'"),
            json!("true")
        ])
        .prop_map(|when| ("when", when)),
        pick(vec![json!("deliver")]).prop_map(|when| ("when_error", when)),
        pick(vec![json!(false)]).prop_map(|active| ("active", active)),
        signature().prop_map(|signature| ("signature", signature)),
        pick(vec![
            json!(["X-A: b: c", "X-B:d"]),
            json!({"x-C": "no", "X-D": {"env": "TOKEN"}}),
            json!({"X-E": "é 'q' \"#\""})
        ])
        .prop_map(|headers| ("headers", headers)),
        pick(vec![json!(["traceparent", "X-Y"])]).prop_map(|names| ("forward_headers", names)),
        pick(vec![
            json!([{"secret": {"env": "SECRET"}, "until": "2027-01-31T12:00:00.5+01:00"}])
        ])
        .prop_map(|old| ("previous_secrets", old)),
        duration().prop_map(|timeout| ("timeout", timeout)),
        duration().prop_map(|lasting| ("auto_disable", json!({"failures": 2, "for": lasting}))),
        retry().prop_map(|retry| ("retry", retry)),
        (1_u32..99).prop_map(|count| ("concurrency", json!(count))),
        (1_u64..9_999_999).prop_map(|bytes| ("max_pending", json!(format!("{bytes}B")))),
        pick(vec![json!("7/s"), json!("60/m"), json!("3600/h")])
            .prop_map(|limit| ("rate_limit", limit)),
        pick(vec![json!("never"), json!({"dead": 3})]).prop_map(|when| ("auto_disable", when)),
        pick(vec![json!([599, 300, 404])]).prop_map(|statuses| ("give_up_on", statuses)),
        pick(vec![json!("key"), json!("strict")]).prop_map(|order| ("order", order)),
        pick(vec![json!({"min_version": "1.3"})]).prop_map(|tls| ("tls", tls)),
        pick(vec![
            json!({"/a": "b", "/n": 7.5, "header:X-A": "no"}),
            json!({"/x~1y": true}),
        ])
        .prop_map(|conditions| ("match", conditions)),
        pick(vec![
            json!("data.a > 1 && headers[\"x-a\"] == 'b # c: d'"),
            json!("type == 'a' ||\n  has(data.b)"),
        ])
        .prop_map(|when| ("when", when)),
        pick(vec![json!("deliver")]).prop_map(|error| ("when_error", error)),
        pick(vec![json!(["a@example.com"])]).prop_map(|notify| ("notify", notify)),
    ];
    prop::collection::vec(one, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Written back as YAML, in either style, a definition means the same.
    #[test]
    fn a_definition_can_be_put_back(fields in fields(), has_secret in any::<bool>()) {
        let mut start = json!({"url": "https://a.example.com", "events": ["*"], "secret": {"env": "SECRET"}});
        for (key, value) in fields {
            start[key] = value;
        }
        if !has_secret {
            start["secret"] = json!(null);
            start["signature"] = json!("none");
        }
        let first = loaded(&start);
        let again = writable(&first.definition.fields());
        let second = loaded(&again);
        prop_assert_eq!(&first, &second, "{}", again);
        prop_assert_eq!(etag(&first), etag(&second));
        let block = serde_yaml::to_string(&json!({"subscriptions": {"a": again}})).unwrap();
        let text = format!("network: {{allow_private: [10.0.0.0/8]}}\n{block}");
        let third = load_text(&text).map_err(|error| TestCaseError::fail(format!("{error} in {text}")))?;
        prop_assert_eq!(&first, &*third.config.subscriptions[&"a".parse().unwrap()], "{}", text);
    }
}
