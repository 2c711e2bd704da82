//! The schemas of the sections of the main file but `defaults`, `include` and `subscriptions`.

use serde_json::{Map, Value, json};

use crate::config::file::shown;
use crate::config::filter::MAX_TYPES;
use crate::config::schema::forms::{
    address, boolean, choice, described, duration, key, keys, list, object, or_null, pointer,
    require, secret, sender, size, text, whole,
};
use crate::domain::BODY_BYTES_MAX;

/// All of them, in the order of the file.
pub(super) fn sections() -> Map<String, Value> {
    keys([
        (
            "listen",
            section("Where sidehook listens. Changes need a restart.", listen()),
        ),
        (
            "ingest",
            section("What is accepted on the events listener.", ingest()),
        ),
        (
            "event_types",
            key(
                "The types that may be posted; another is answered 422, and a pattern that matches none of them is an error. null: all.",
                event_types(),
                Value::Null,
            ),
        ),
        (
            "store",
            section(
                "Where events are kept, how durably, how many and for how long. Changes need a restart.",
                store(),
            ),
        ),
        (
            "network",
            section("Which addresses may be dialled.", network()),
        ),
        (
            "admin",
            section("Who may use the API, and what it may change.", admin()),
        ),
        (
            "notifications",
            section(
                "Who is told when subscriptions fail, are disabled, recover.",
                notifications(),
            ),
        ),
        (
            "log",
            section("What is logged. Changes need a restart.", log()),
        ),
        ("metrics", section("What /metrics has.", metrics())),
    ])
}

fn event_types() -> Value {
    let label = json!({"type": "string", "pattern": "^[!-~]{1,256}$"});
    json!({"type": "array", "items": label, "minItems": 1, "maxItems": MAX_TYPES, "uniqueItems": true})
}

fn section(description: &str, properties: Map<String, Value>) -> Value {
    or_null(described(description, object(properties)))
}

fn listen() -> Map<String, Value> {
    let mut several = list(address());
    if let Value::Object(several) = &mut several {
        several.insert("minItems".to_owned(), json!(1));
    }
    let own = json!({"type": "string", "pattern": "^(unix:.+|.+:[0-9]{1,5})$"});
    keys([
        (
            "events",
            key(
                "Where events are posted: host:port, unix:/path, systemd:NAME, or a list of these. An address that other machines can reach needs ingest.tokens.",
                json!({"anyOf": [address(), several]}),
                json!("127.0.0.1:8780"),
            ),
        ),
        (
            "admin",
            key(
                "Admin API, /metrics, /healthz, /readyz: host:port or unix:/path. An address that other machines can reach needs admin.tokens.",
                own.clone(),
                json!("127.0.0.1:8781"),
            ),
        ),
        (
            "metrics",
            key(
                "One more listener with only /metrics, /healthz, /readyz, for scrapers from outside.",
                own,
                Value::Null,
            ),
        ),
    ])
}

fn ingest() -> Map<String, Value> {
    let place = |what: &str, default: Value| {
        let description = format!(
            "JSON pointer (RFC 6901) of an event's {what} in its body, for when no header says it; null: not looked for."
        );
        key(&description, pointer(), default)
    };
    keys([
        (
            "max_body",
            key(
                &format!(
                    "The largest body of an event, 1B to {}.",
                    shown(BODY_BYTES_MAX)
                ),
                size(),
                json!("1MiB"),
            ),
        ),
        (
            "tokens",
            key(
                "Secrets: one of them is required as `Authorization: Bearer`, if there are any.",
                list(secret()),
                json!([]),
            ),
        ),
        ("type_pointer", place("type", json!("/type"))),
        ("id_pointer", place("id", Value::Null)),
        ("key_pointer", place("key", Value::Null)),
        (
            "dedup_window",
            key(
                "How long a given id is remembered. Changes need a restart.",
                duration(true),
                json!("1h"),
            ),
        ),
        (
            "dedup_max",
            key(
                "How many given ids are remembered at most. Changes need a restart.",
                whole(1, 10_000_000),
                json!(1_000_000),
            ),
        ),
    ])
}

fn store() -> Map<String, Value> {
    let retention = keys([
        (
            "delivered",
            key(
                "How long delivered and cancelled deliveries are kept.",
                duration(true),
                json!("3d"),
            ),
        ),
        (
            "dead",
            key(
                "How long dead letters are kept.",
                duration(true),
                json!("30d"),
            ),
        ),
        (
            "max_size",
            key(
                "What all that may take beside pending events; beyond it delivered and cancelled ones go before their time, then dead ones.",
                size(),
                json!("4GiB"),
            ),
        ),
    ]);
    keys([
        (
            "path",
            key(
                "The folder of the store; null: $STATE_DIRECTORY, else sidehook-data in the working folder.",
                text(),
                Value::Null,
            ),
        ),
        (
            "durability",
            key(
                "fsync: 202 only after the event is on the disk; relaxed: once it is written, on the disk within a second.",
                choice(&["fsync", "relaxed"]),
                json!("fsync"),
            ),
        ),
        (
            "max_pending",
            key(
                "Bodies pending, all subscriptions together; above it new events get 503, nothing is dropped.",
                size(),
                json!("10GiB"),
            ),
        ),
        (
            "retention",
            section(
                "What is kept after the final state, with its attempts.",
                retention,
            ),
        ),
        (
            "removed_after",
            key(
                "Deliveries of a subscription that is gone from the file are held this long, then cancelled.",
                duration(true),
                json!("7d"),
            ),
        ),
    ])
}

fn network() -> Map<String, Value> {
    keys([
        (
            "allow_private",
            key(
                "Networks such as 10.0.0.0/8 that may be dialled although they are not public; loopback too has to be named.",
                list(json!({"type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$"})),
                json!([]),
            ),
        ),
        (
            "allow_metadata",
            key(
                "Cloud metadata addresses (169.254.169.254 and its kind) need this as well.",
                boolean(),
                json!(false),
            ),
        ),
        (
            "ports",
            key(
                "Ports that may be dialled, besides any port of addresses inside allow_private.",
                list(whole(1, 65_535)),
                json!([443, 8443]),
            ),
        ),
    ])
}

fn admin() -> Map<String, Value> {
    let mut token = object(keys([
        (
            "name",
            described(
                "What it is called in logs and messages; each once.",
                json!({"type": "string", "minLength": 1, "maxLength": 64}),
            ),
        ),
        (
            "token",
            described(
                "A secret of at least 32 visible ASCII characters.",
                secret(),
            ),
        ),
        (
            "scopes",
            described(
                "read: to look; manage: to change, and to see bodies and headers of events.",
                json!({"type": "array", "minItems": 1, "items": choice(&["read", "manage"])}),
            ),
        ),
    ]));
    require(&mut token, &["name", "token", "scopes"]);
    keys([
        (
            "tokens",
            key(
                "Who may use the API. None: a token with both scopes is made at the first start, in admin.token in the folder of the store.",
                list(token),
                json!([]),
            ),
        ),
        (
            "edit_config",
            key(
                "false: the API never writes the configuration files.",
                boolean(),
                json!(true),
            ),
        ),
        (
            "write_to",
            key(
                "The included file that receives subscriptions created by the API; null: the main file.",
                text(),
                Value::Null,
            ),
        ),
        (
            "secrets_dir",
            key(
                "Where secrets made or set by the API are kept, 0600; null: secrets in the folder of the store.",
                text(),
                Value::Null,
            ),
        ),
        (
            "allowed_hosts",
            key(
                "Host names besides localhost, 127.0.0.1 and [::1] on the events and admin listeners, without port.",
                list(
                    json!({"type": "string", "pattern": "^([A-Za-z0-9._-]+|\\[[0-9a-fA-F:.]+\\])$"}),
                ),
                json!([]),
            ),
        ),
    ])
}

fn notifications() -> Map<String, Value> {
    let mut smtp = object(keys([
        (
            "host",
            described(
                "Name or address of the mail server.",
                json!({"type": "string", "minLength": 1, "maxLength": 253}),
            ),
        ),
        (
            "port",
            or_null(described(
                "Its port; 587 by default, 465 with implicit, 25 with none.",
                whole(1, 65_535),
            )),
        ),
        (
            "tls",
            key(
                "starttls: TLS is begun in the open connection, and required; implicit: from the first byte; none: for servers on this machine.",
                choice(&["starttls", "implicit", "none"]),
                json!("starttls"),
            ),
        ),
        (
            "username",
            key(
                "With password; null: no authentication.",
                text(),
                Value::Null,
            ),
        ),
        ("password", or_null(described("With username.", secret()))),
        (
            "from",
            described(
                "The sender: an address, or a name and an address in angle brackets.",
                sender(),
            ),
        ),
    ]));
    require(&mut smtp, &["host", "from"]);
    let mut webhook = object(keys([
        ("url", described("The endpoint, https.", secret())),
        (
            "secret",
            described(
                "Signs as scheme standard: whsec_ and the base64 of 24 to 64 bytes.",
                secret(),
            ),
        ),
    ]));
    require(&mut webhook, &["url", "secret"]);
    keys([
        (
            "smtp",
            key(
                "How e-mails to the addresses in notify are sent; null: they are not.",
                smtp,
                Value::Null,
            ),
        ),
        (
            "webhook",
            key("Where operational events are posted.", webhook, Value::Null),
        ),
    ])
}

fn log() -> Map<String, Value> {
    keys([
        (
            "format",
            key(
                "auto: pretty on a terminal, json otherwise.",
                choice(&["auto", "pretty", "json"]),
                json!("auto"),
            ),
        ),
        (
            "level",
            key(
                "What is worth a line.",
                choice(&["error", "warn", "info", "debug", "trace"]),
                json!("info"),
            ),
        ),
    ])
}

fn metrics() -> Map<String, Value> {
    keys([(
        "histograms",
        key(
            "attempt_duration_seconds and delivery_delay_seconds: per_subscription has the label subscription, shared has not, none: they are left out; auto: per_subscription up to 1,000 subscriptions, shared above.",
            choice(&["auto", "per_subscription", "shared", "none"]),
            json!("auto"),
        ),
    )])
}
