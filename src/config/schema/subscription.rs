//! The schemas of the fields of a subscription.

use serde_json::{Map, Value, json};

use crate::config::filter::MAX_CONDITIONS;
use crate::config::notifications::{MAX_ADDRESSES, MAX_NOTIFY_AFTER};
use crate::config::schema::forms::{
    For, boolean, choice, described, duration, email, key, keys, list, object, or_null, reference,
    require, secret, size, text, whole,
};
use crate::config::schema::values::{
    HEADER_NAME, auto_disable, headers, retry, signature, tls, url,
};
use crate::matching::EXPRESSION_BYTES_MAX;

/// The fields that each has of its own.
pub(super) fn own(writer: For) -> Map<String, Value> {
    let mut fields = keys([
        (
            "title",
            key(
                "At most 64 characters.",
                json!({"type": "string", "minLength": 1, "maxLength": 64}),
                Value::Null,
            ),
        ),
        ("description", key("For people.", text(), Value::Null)),
        (
            "url",
            key(
                "Where deliveries go; needed while active. https; http for localhost, loopback and allowed private addresses. No userinfo, no fragment.",
                url(writer),
                Value::Null,
            ),
        ),
    ]);
    if writer == For::Api {
        fields.extend(keys([(
            "url_is_secret",
            told("The URL is a secret: scheme and host are shown.", boolean()),
        )]));
    }
    fields.extend(keys([
        ("events", key("Which types, needed while active: patterns such as invoice.*, *, and !invoice.draft to exclude.", list(json!({"type": "string", "minLength": 1, "maxLength": 257})), json!([]))),
        ("match", key("What an event must be equal to, all of it: JSON pointers into the body (/tenant_id) or header: and a header's name, to texts. At most 16.", json!({"type": "object", "propertyNames": {"pattern": "^(/|header:.)"}, "additionalProperties": {"type": ["string", "number", "boolean"], "minLength": 1}, "maxProperties": MAX_CONDITIONS}), json!({}))),
        ("when", key("What else must be true of an event: a CEL expression over type, id, source, subject, key, headers and data (the JSON body, else null).", json!({"type": "string", "minLength": 1, "maxLength": EXPRESSION_BYTES_MAX}), Value::Null)),
        ("locked", key("true: nothing but the file edits, disables or rotates it.", boolean(), json!(false))),
    ]));
    fields.extend(secrets(writer));
    fields
}

const ALONG: &str = "Sign along until their time, in schemes that carry several signatures.";

const FINGERPRINT: &str = "The first 8 hexadecimal digits of the secret's SHA-256.";

/// `secret` and `previous_secrets`, and what is told of them.
fn secrets(writer: For) -> Map<String, Value> {
    let until = described(
        "RFC 3339.",
        json!({"type": "string", "format": "date-time"}),
    );
    let signs = "Signs deliveries, at least 12 characters; \"\" means none.";
    match writer {
        For::File => {
            let text = json!({"type": "string"});
            let mut previous = object(keys([
                ("secret", described("The secret.", secret())),
                ("until", until),
            ]));
            require(&mut previous, &["secret", "until"]);
            keys([
                (
                    "secret",
                    key(signs, json!({"anyOf": [text, reference()]}), Value::Null),
                ),
                ("previous_secrets", key(ALONG, list(previous), json!([]))),
            ])
        }
        For::Api => {
            let fingerprint = described(FINGERPRINT, json!({"type": "string"}));
            let mut previous = object(keys([
                ("secret_fingerprint", fingerprint.clone()),
                ("until", until),
            ]));
            require(&mut previous, &["secret_fingerprint", "until"]);
            keys([
                (
                    "secret",
                    written(
                        signs,
                        json!({"type": "string", "pattern": "^([\\s\\S]{12,})?$"}),
                    ),
                ),
                ("secret_set", told("It has a secret.", boolean())),
                (
                    "secret_fingerprint",
                    told(FINGERPRINT, or_null(json!({"type": "string"}))),
                ),
                ("previous_secrets", key(ALONG, list(previous), json!([]))),
            ])
        }
    }
}

/// The fields that may stand in `defaults`.
pub(super) fn shared(writer: For) -> Map<String, Value> {
    let names = list(json!({"type": "string", "pattern": HEADER_NAME}));
    let mut fields = keys([
        (
            "when_error",
            key(
                "What an error while when is evaluated means; it is logged and counted either way.",
                choice(&["skip", "deliver"]),
                json!("skip"),
            ),
        ),
        (
            "active",
            key(
                "false: disabled, nothing is delivered.",
                boolean(),
                json!(true),
            ),
        ),
        (
            "when_disabled",
            key(
                "hold: events that match meanwhile wait; skip: they are counted and not delivered.",
                choice(&["hold", "skip"]),
                json!("hold"),
            ),
        ),
        (
            "signature",
            or_null(described(
                "Signature schemes: one or a list, each its name or name: {options}; standard if a secret is set, else none.",
                signature(),
            )),
        ),
        (
            "headers",
            key("Static headers, at most 32.", headers(writer), json!({})),
        ),
        (
            "forward_headers",
            key(
                "Names of headers of the application's request that are passed on.",
                names,
                json!([]),
            ),
        ),
    ]);
    fields.extend(attempts());
    fields.extend(limits());
    fields.extend(care());
    fields
}

/// The shared fields that say how and how often is attempted.
fn attempts() -> Map<String, Value> {
    let statuses = list(whole(300, 599));
    keys([
        (
            "method",
            key(
                "The method of requests.",
                choice(&["POST", "PUT", "PATCH"]),
                json!("POST"),
            ),
        ),
        (
            "timeout",
            key(
                "From dialling to the end of the response head, up to 1h.",
                duration(true),
                json!("15s"),
            ),
        ),
        (
            "retry",
            key(
                "When failed deliveries are attempted again. standard: pauses of 5s 5m 30m 2h 5h 10h 14h 20h 24h.",
                retry(),
                json!("standard"),
            ),
        ),
        (
            "give_up_on",
            key(
                "Statuses that make a delivery dead at once.",
                statuses,
                json!([]),
            ),
        ),
    ])
}

/// The shared fields that say what waits for what, and how much of it.
fn limits() -> Map<String, Value> {
    let rate = json!({"type": "string", "pattern": "^0*[1-9][0-9]{0,6}/[smh]$"});
    keys([
        (
            "order",
            key(
                "none; key: in order per event key, a failing one holds back only its own key; strict: in order, one at a time.",
                choice(&["none", "key", "strict"]),
                json!("none"),
            ),
        ),
        (
            "when_stuck",
            key(
                "With an order, when a delivery is dead: block what follows until it is replayed or cancelled, or skip it.",
                choice(&["block", "skip"]),
                json!("block"),
            ),
        ),
        (
            "concurrency",
            key("Attempts in flight.", whole(1, 10_000), json!(16)),
        ),
        (
            "rate_limit",
            key(
                "Attempts in a period, bursts of one second's worth; null: no limit.",
                rate,
                Value::Null,
            ),
        ),
        (
            "max_pending",
            key(
                "Bodies pending; beyond it new deliveries are dead, reason overflow.",
                size(),
                json!("1GiB"),
            ),
        ),
    ])
}

/// The shared fields that say when it is disabled, who is told, and whom it trusts.
fn care() -> Map<String, Value> {
    let addresses =
        json!({"type": "array", "items": email(), "maxItems": MAX_ADDRESSES, "uniqueItems": true});
    keys([
        (
            "auto_disable",
            key(
                "When it is disabled for failing.",
                auto_disable(),
                json!({"failures": 10, "for": "5d"}),
            ),
        ),
        (
            "notify",
            key(
                "E-mail addresses told when it fails, is disabled and recovers; needs notifications.smtp.",
                addresses,
                json!([]),
            ),
        ),
        (
            "notify_after",
            key(
                "So many attempts in a row must have failed before they are told.",
                whole(1, MAX_NOTIFY_AFTER),
                json!(5),
            ),
        ),
        (
            "tls",
            key(
                "Whose certificates are trusted, and the lowest version.",
                tls(),
                json!({"ca_file": null, "min_version": "1.2"}),
            ),
        ),
        (
            "http2",
            key(
                "auto (ALPN) or never.",
                choice(&["auto", "never"]),
                json!("auto"),
            ),
        ),
    ])
}

/// A key that only tells.
fn told(description: &str, schema: Value) -> Value {
    let mut schema = described(description, schema);
    if let Value::Object(schema) = &mut schema {
        schema.insert("readOnly".to_owned(), json!(true));
    }
    schema
}

/// A key that is never told.
fn written(description: &str, schema: Value) -> Value {
    let mut schema = or_null(described(description, schema));
    if let Value::Object(schema) = &mut schema {
        schema.insert("writeOnly".to_owned(), json!(true));
    }
    schema
}
