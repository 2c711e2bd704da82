//! The schemas of fields that have several forms.

use serde_json::{Map, Value, json};

use crate::config::schema::forms::{
    For, choice, described, duration, key, keys, object, or_null, reference, require, text, whole,
};

/// A header's name. Source: RFC 9110, section 5.6.2.
pub(super) const HEADER_NAME: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

pub(super) fn url(writer: For) -> Value {
    let url = json!({"type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://[^\\s#\\\\]+$"});
    match writer {
        For::File => json!({"anyOf": [url, reference()]}),
        For::Api => url,
    }
}

pub(super) fn headers(writer: For) -> Value {
    let value = json!({"type": "string", "minLength": 1, "maxLength": 1024});
    let hidden = match writer {
        For::File => reference(),
        For::Api => {
            let redacted = described(
                "A value that is secret: given back, it stays.",
                json!({"const": true}),
            );
            let mut redacted = object(keys([("redacted", redacted)]));
            require(&mut redacted, &["redacted"]);
            redacted
        }
    };
    let mapping = json!({
        "type": "object",
        "maxProperties": 32,
        "propertyNames": {"pattern": HEADER_NAME},
        "additionalProperties": {"anyOf": [value, hidden]},
    });
    let pairs = json!({
        "type": "array",
        "maxItems": 32,
        "items": {"type": "string", "description": "Name: Value", "pattern": "^[^:]*[^:\\s][^:]*:\\s*\\S"},
    });
    json!({"anyOf": [mapping, pairs]})
}

/// A mapping of a scheme's name to its options.
fn with_options(name: &str, options: Map<String, Value>) -> Value {
    let mut scheme = object(keys([(name, or_null(object(options)))]));
    require(&mut scheme, &[name]);
    scheme
}

pub(super) fn signature() -> Value {
    let plain = [
        "github",
        "stripe",
        "slack",
        "shopify",
        "opnform",
        "opentrain",
    ];
    let algorithm = || {
        key(
            "The digest.",
            choice(&["sha1", "sha256", "sha512"]),
            json!("sha256"),
        )
    };
    let standard = keys([
        (
            "prefix",
            key(
                "What the header names begin with.",
                json!({"type": "string", "pattern": "^[a-z0-9-]{1,32}$"}),
                json!("webhook"),
            ),
        ),
        (
            "key",
            key(
                "whsec: the secret is whsec_ and base64; text: its bytes as written.",
                choice(&["whsec", "text"]),
                json!("whsec"),
            ),
        ),
    ]);
    let names: Vec<&str> = ["standard", "hookshot"].into_iter().chain(plain).collect();
    let mut schemes = vec![
        json!({"type": "string", "enum": names}),
        with_options("standard", standard),
        with_options("hookshot", keys([("algorithm", algorithm())])),
        hmac(algorithm()),
    ];
    schemes.extend(plain.iter().map(|name| with_options(name, Map::new())));
    let several = json!({"type": "array", "minItems": 1, "items": {"anyOf": schemes.clone()}});
    let mut forms = vec![json!({"type": "string", "enum": ["none"]})];
    forms.extend(schemes);
    forms.push(several);
    json!({"anyOf": forms})
}

fn hmac(algorithm: Value) -> Value {
    let name = || json!({"type": "string", "pattern": HEADER_NAME});
    let mut options = object(keys([
        (
            "header",
            described("The header that carries value.", name()),
        ),
        ("algorithm", algorithm),
        (
            "encoding",
            key(
                "How the signature is written.",
                choice(&["hex", "base64"]),
                json!("hex"),
            ),
        ),
        (
            "signed",
            key(
                "The signed content, of {id}, {timestamp}, {body}, {url}.",
                text(),
                json!("{body}"),
            ),
        ),
        (
            "value",
            key(
                "The header's value, of {id}, {timestamp}, {signature}.",
                text(),
                json!("{signature}"),
            ),
        ),
        (
            "timestamp_header",
            key(
                "A header of its own for the timestamp.",
                name(),
                Value::Null,
            ),
        ),
    ]));
    require(&mut options, &["header"]);
    let mut scheme = object(keys([("hmac", options)]));
    require(&mut scheme, &["hmac"]);
    scheme
}

pub(super) fn retry() -> Value {
    let jitter = || {
        let share = json!({"type": "number", "minimum": 0, "maximum": 1});
        key(
            "The part of each pause that is added to it at most.",
            share,
            json!(0.2),
        )
    };
    let pauses = json!({"type": "array", "minItems": 1, "maxItems": 1000, "items": duration(true)});
    let mut schedule = object(keys([
        (
            "schedule",
            described("The pauses between attempts.", pauses),
        ),
        ("jitter", jitter()),
    ]));
    require(&mut schedule, &["schedule"]);
    let factor = json!({"type": "number", "minimum": 1, "maximum": 100});
    let growing = object(keys([
        (
            "initial",
            key("The first pause.", duration(true), json!("1s")),
        ),
        (
            "factor",
            key(
                "What each pause is multiplied with to give the next.",
                factor,
                json!(2),
            ),
        ),
        (
            "max_interval",
            key("The longest pause.", duration(true), json!("1h")),
        ),
        (
            "max_attempts",
            key("Attempts at most.", whole(1, 1000), json!(20)),
        ),
        (
            "max_age",
            key(
                "How old a delivery may become.",
                duration(true),
                json!("3d"),
            ),
        ),
        ("jitter", jitter()),
    ]));
    json!({"anyOf": [choice(&["standard", "none"]), schedule, growing]})
}

pub(super) fn auto_disable() -> Value {
    let count = || whole(1, 1_000_000);
    let mut failures = object(keys([
        (
            "failures",
            described("This many attempts in a row must have failed.", count()),
        ),
        (
            "for",
            described(
                "The first of them must be at least this long ago; 0s: at once.",
                duration(false),
            ),
        ),
    ]));
    require(&mut failures, &["failures", "for"]);
    let mut dead = object(keys([(
        "dead",
        described(
            "This many deliveries in a row must have died since the last success.",
            count(),
        ),
    )]));
    require(&mut dead, &["dead"]);
    json!({"anyOf": [choice(&["never"]), failures, dead]})
}

pub(super) fn tls() -> Value {
    object(keys([
        (
            "ca_file",
            key(
                "PEM of the only roots to trust; null: the system's.",
                text(),
                Value::Null,
            ),
        ),
        (
            "min_version",
            key("The lowest version.", choice(&["1.2", "1.3"]), json!("1.2")),
        ),
    ]))
}
