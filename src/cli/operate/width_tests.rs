//! The tables of `status`, `attempts`, `deliveries` and `events` on terminals of 80, 120 and 200 columns, as
//! `tests/fixtures/tables.txt` has them.

use std::fmt::Write as _;

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::{attempts, deliveries, events, samples, status};
use crate::api::{Attempt, Delivery, Event, Subscription};
use crate::cli::show::text::time;
use crate::cli::show::{Style, Table};
use crate::domain::Timestamp;

const EXPECTED: &str = include_str!("../../../tests/fixtures/tables.txt");

const EVENTS: [&str; 3] = [
    "evt_01a226e9-94b0-78c8-b647-a69599d098bc",
    "evt_01a226e9-94b0-7f31-8a11-0123456789ab",
    "evt_01a22600-0000-7000-8000-000000000000",
];

fn subscriptions() -> Vec<Subscription> {
    let at = "2026-11-24T10:07:00.000Z";
    let all = [
        json!({"name": "billing", "url": "https://hooks.accounting-partner.example.com:8443/webhooks/v2", "state": "probing",
            "pending": 2979, "held": 0, "dead": 12, "consecutive_failures": 1840, "success_rate": {"last_1000": 0.0, "last_24h": null},
            "oldest_pending_age_seconds": 90_061.0, "next_attempt_at": at}),
        json!({"name": "a-name-as-long-as-names-may-be-which-is-sixty-four-characters-x", "url": "https://a.example/",
            "state": "active", "pending": 0, "held": 0, "dead": 0, "consecutive_failures": 0,
            "success_rate": {"last_1000": 1.0, "last_24h": null}}),
        json!({"name": "crm", "url": "https://crm.example/", "state": "disabled", "disabled_reason": "failing",
            "pending": 0, "held": 1_234_567, "dead": 0, "consecutive_failures": 20, "success_rate": {"last_1000": 0.42, "last_24h": null}}),
    ];
    all.map(samples::subscription).into()
}

fn attempts() -> Vec<Attempt> {
    let all = [
        json!({"event_id": EVENTS[0], "event": "customer.subscription.updated", "attempt": 12, "status": "failed",
            "reason": "http_5xx", "response_code": 503, "error_message": "Service Unavailable", "duration_ms": 1204,
            "created_at": "2026-11-24T10:02:00.000Z", "delivery_state": "pending",
            "next_attempt_at": "2026-11-24T10:32:01.204Z"}),
        json!({"event_id": EVENTS[1], "event": "invoice.paid", "attempt": 1, "status": "success", "reason": null,
            "response_code": 204, "error_message": null, "duration_ms": 12, "created_at": "2026-11-24T10:01:00.000Z",
            "delivery_state": "delivered", "next_attempt_at": null}),
        json!({"event_id": EVENTS[2], "event": "invoice.paid", "attempt": 9, "status": "timeout", "reason": "timeout",
            "response_code": null, "error_message": "no response within 15s", "duration_ms": 15_000,
            "created_at": "2026-11-20T10:01:00.000Z", "delivery_state": "dead", "next_attempt_at": null}),
    ];
    all.map(samples::attempt).into()
}

fn deliveries() -> Vec<Delivery> {
    let row = |event: &str, name: &str, state: &str| {
        json!({"id": format!("{event}.{name}"), "event": "customer.subscription.updated", "state": state, "held": false,
            "dead_reason": null, "attempt_count": 3, "next_attempt_at": null, "waits_for": null,
            "created_at": "2026-11-24T10:01:00.000Z"})
    };
    let mut probed = row(EVENTS[0], "billing", "pending");
    probed["next_attempt_at"] = json!("2026-11-24T10:07:00.000Z");
    probed["waits_for"] = json!("probing");
    let mut dead = row(EVENTS[1], "accounting-of-the-partner", "dead");
    dead["dead_reason"] = json!("exhausted");
    let all = [probed, dead, row(EVENTS[2], "crm", "delivered")];
    all.map(samples::delivery).into()
}

fn events() -> Vec<Event> {
    let row = |id: &str, event_type: &str, given: Value, key: Value| {
        json!({"id": id, "type": event_type, "given_id": given, "key": key, "body_bytes": 12_345, "delivery_count": 2,
            "created_at": "2026-11-24T10:01:00.000Z"})
    };
    let all = [
        row(
            EVENTS[0],
            "customer.subscription.updated",
            json!("in_1P2q3R4s5T6u7V8w9X"),
            json!("acct_42"),
        ),
        row(EVENTS[2], "invoice.paid", Value::Null, Value::Null),
    ];
    all.map(samples::event).into()
}

fn tables(now: Timestamp) -> [(&'static str, Table); 4] {
    [
        ("status", status::overview(&subscriptions(), now)),
        ("attempts", attempts::table(&attempts(), now)),
        ("deliveries", deliveries::table(&deliveries(), now)),
        ("events", events::table(&events(), now)),
    ]
}

#[test]
fn tables_are_as_wide_as_the_terminal_and_no_row_is_wrapped() {
    let now = time("2026-11-24T10:03:00.000Z").unwrap();
    let mut shown = String::new();
    for width in [80, 120, 200] {
        for (name, table) in tables(now) {
            let style = Style {
                colour: false,
                width: Some(width),
            };
            let text = table.render(style);
            for line in text.lines() {
                assert!(line.width() <= width.into(), "{name} at {width}: {line}");
            }
            writeln!(shown, "## {name} at {width}\n{text}").unwrap();
        }
    }
    if shown != EXPECTED {
        let path = std::env::temp_dir().join("tables.txt");
        std::fs::write(&path, &shown).unwrap();
        panic!(
            "tests/fixtures/tables.txt is not what is shown now, which is in {}",
            path.display()
        );
    }
}
