//! `auth`: what may stand there, what is sent, and that nothing of it is shown.

use http::header::AUTHORIZATION;
use serde_json::json;
use sidehook::config::{Config, Diff, etag};

use super::load_text;

const CANARY: &str = "canary-5d2f";

fn text(auth: &str) -> String {
    format!(
        "subscriptions:\n  a:\n    url: https://a.example.com/\n    events: [x]\n    signature: none\n    auth: {auth}\n"
    )
}

fn config(auth: &str) -> Config {
    load_text(&text(auth)).unwrap().config
}

/// The value of `Authorization`.
fn sent(auth: &str) -> Option<String> {
    let config = config(auth);
    let subscription = config.subscriptions.values().next().unwrap();
    let headers = subscription.request_headers();
    let (_, value) = headers.iter().find(|(name, _)| name == AUTHORIZATION)?;
    assert!(value.is_sensitive());
    Some(String::from_utf8(value.as_bytes().to_vec()).unwrap())
}

#[test]
fn each_way_makes_its_header() {
    for (auth, expected) in [
        (
            "{bearer: {env: TOKEN}}",
            "Bearer 0123456789abcdef0123456789abcdef",
        ),
        ("{bearer: '12|a.b-c_d~e+f/g='}", "Bearer 12|a.b-c_d~e+f/g="),
        // RFC 7617, sections 2 and 2.1.
        (
            "{basic: {username: Aladdin, password: open sesame}}",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (
            "{basic: {username: test, password: '123£'}}",
            "Basic dGVzdDoxMjPCow==",
        ),
        ("{scheme: ApiKey, value: k1}", "ApiKey k1"),
        (
            "{scheme: Token, value: 'token=\"a\", client=\"b\"'}",
            "Token token=\"a\", client=\"b\"",
        ),
    ] {
        assert_eq!(sent(auth).as_deref(), Some(expected), "{auth}");
    }
    assert_eq!(sent("null"), None);
}

#[test]
fn what_is_wrong_is_said_at_its_place_and_without_the_secret() {
    let long = format!("{{bearer: {CANARY}{}}}", "x".repeat(4096));
    let one_way = "subscriptions.a.auth: expected exactly one of {bearer: …}, {basic: {username, password}} and {scheme: …, value: …}";
    for (auth, expected) in [
        ("{}", one_way),
        (
            "{bearer: canary-5d2f, scheme: ApiKey, value: canary-5d2f}",
            one_way,
        ),
        ("{scheme: ApiKey}", one_way),
        ("{value: canary-5d2f}", one_way),
        (
            "{basic: {username: a, password: canary-5d2f}, bearer: canary-5d2f}",
            one_way,
        ),
        (
            "{bearer: canary-5d2f and more}",
            "subscriptions.a.auth.bearer: expected a token of visible ASCII characters, without spaces",
        ),
        (
            "{bearer: \"canary-5d2f\\r\\nX-Evil: 1\"}",
            "subscriptions.a.auth.bearer: expected a token of visible ASCII characters, without spaces",
        ),
        (
            "{scheme: ApiKey, value: \"canary-5d2f\\tx\"}",
            "subscriptions.a.auth.value: expected visible ASCII characters, and spaces only between them",
        ),
        (
            "{scheme: 'Api Key', value: canary-5d2f}",
            "subscriptions.a.auth.scheme: expected the name of a scheme, such as ApiKey: what follows it belongs into value",
        ),
        (
            "{basic: {username: 'a:canary-5d2f', password: canary-5d2f}}",
            "subscriptions.a.auth.basic.username: expected a name without colons and control characters",
        ),
        (
            "{basic: {username: a, password: \"canary-5d2f\\n\"}}",
            "subscriptions.a.auth.basic.password: the secret ends with a line break: remove that (expected a password without control characters)",
        ),
        (
            "{basic: {username: a}}",
            "subscriptions.a.auth.basic.password: missing",
        ),
        (
            long.as_str(),
            "subscriptions.a.auth.bearer: expected at most 4096 bytes",
        ),
        (
            "{bearer: {env: NOT_SET}}",
            "subscriptions.a.auth.bearer.env: the environment variable NOT_SET is not set, or empty",
        ),
        ("{bearer: {canary-5d2f: x}}", "subscriptions.a.auth.bearer"),
    ] {
        let error = load_text(&text(auth)).unwrap_err().to_string();
        assert!(error.contains(expected), "{auth}: {error}");
        assert!(!error.contains(CANARY), "{auth}: {error}");
    }
}

#[test]
fn nothing_of_it_is_shown_and_its_changes_are() {
    for (auth, shown) in [
        (
            "{bearer: canary-5d2f}",
            json!({"bearer": {"redacted": true}}),
        ),
        (
            "{basic: {username: ann, password: canary-5d2f}}",
            json!({"basic": {"username": "ann", "password": {"redacted": true}}}),
        ),
        (
            "{scheme: ApiKey, value: canary-5d2f}",
            json!({"scheme": "ApiKey", "value": {"redacted": true}}),
        ),
    ] {
        let (one, other) = (config(auth), config(&auth.replace(CANARY, "another-one")));
        let subscription = one.subscriptions.values().next().unwrap();
        assert_eq!(subscription.definition.fields()["auth"], shown);
        assert!(!one.redacted().to_string().contains(CANARY));
        assert!(!format!("{one:?}").contains(CANARY));
        assert_ne!(
            etag(subscription),
            etag(other.subscriptions.values().next().unwrap())
        );
        let diff = serde_json::to_value(Diff::between(&one, &other))
            .unwrap()
            .to_string();
        assert!(
            diff.contains("\"auth\"") && diff.contains("\"hidden\":true"),
            "{diff}"
        );
        assert!(
            !diff.contains(CANARY) && !diff.contains("another-one"),
            "{diff}"
        );
    }
}
