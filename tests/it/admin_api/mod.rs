//! The admin API: who may call, what is shown, what can be done.

mod access;
mod configuration;
mod edits;
mod history;
mod states;
mod stream;
mod subscriptions;

use serde_json::Value;

use crate::support::http::{Answer, request};
use crate::support::relay::Relay;

/// The header line with the token that the relay made.
fn token_line(relay: &Relay) -> String {
    let token = std::fs::read_to_string(relay.folder().join("store/admin.token")).unwrap();
    format!("Authorization: Bearer {}\r\n", token.trim_end())
}

/// A call with the token that the relay made.
async fn call(relay: &Relay, method: &str, path: &str, body: &str) -> Answer {
    let json = "Content-Type: application/json\r\n";
    let headers = format!("{}{json}", token_line(relay));
    let answer = request(&relay.admin, method, path, &headers, body)
        .await
        .unwrap();
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    if answer.status >= 400 {
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["status"], answer.status);
    }
    answer
}

/// Reads with that token, and expects 200.
async fn look(relay: &Relay, path: &str) -> Value {
    let answer = call(relay, "GET", path, "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}
