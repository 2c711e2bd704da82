//! Who may call.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::admin_api::{call, look, token_line};
use crate::support::http::{get, request};
use crate::support::relay::Relay;

const OFF: &str = "  off: {active: false}\n";

/// The method and a path of every operation, as the API tells them, but for those that are open.
async fn operations(relay: &Relay) -> Vec<(String, String)> {
    let document = look(relay, "/v1/openapi.json").await;
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if path.starts_with("/v1/") {
            let methods = methods.as_object().unwrap().keys();
            found.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
        }
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

#[tokio::test]
async fn nothing_but_the_three_open_paths_answers_without_a_token() {
    let relay = Relay::start(OFF).await;
    for (method, path) in operations(&relay).await {
        for header in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Basic Og==\r\n",
        ] {
            let answer = request(&relay.admin, &method, &path, header, "")
                .await
                .unwrap();
            assert_eq!(answer.status, 401, "{method} {path} {header}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(&relay.admin, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn web_pages_of_other_sites_are_kept_out_whatever_token_they_have() {
    let relay = Relay::start(OFF).await;
    let token = token_line(&relay);
    for (method, path) in operations(&relay).await {
        for foreign in [
            "Origin: https://evil.example\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
        ] {
            let headers = format!("{token}{foreign}");
            let answer = request(&relay.admin, &method, &path, &headers, "")
                .await
                .unwrap();
            assert_eq!(answer.status, 403, "{method} {path} {foreign}");
            assert_eq!(answer.json()["code"], "cross_site");
        }
    }
    let own = format!(
        "{token}Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n",
        relay.admin
    );
    let answer = request(&relay.admin, "GET", "/v1/events", &own, "")
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_name_that_was_rebound_to_this_machine_is_foreign() {
    let relay = Relay::start(OFF).await;
    let mut stream = tokio::net::TcpStream::connect(&relay.admin).await.unwrap();
    let head = format!(
        "GET /v1/events HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{}\r\n",
        token_line(&relay)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("foreign_host"), "{answer}");
}

#[tokio::test]
async fn the_token_is_made_once_for_its_owner_only() {
    let relay = Relay::start(OFF).await;
    let path = relay.folder().join("store/admin.token");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = token_line(&relay);
    let folder = relay.stop().await;
    let relay = Relay::start_in(folder, OFF).await;
    assert_eq!(token_line(&relay), first);
    look(&relay, "/v1/events").await;
}

#[tokio::test]
async fn a_unix_socket_needs_no_token() {
    let relay = Relay::start(OFF).await;
    let folder = relay.stop().await;
    let text = "listen: {events: 127.0.0.1:0, admin: 'unix:admin.sock'}\nstore: {path: store}\nsubscriptions: {off: {active: false}}\n";
    std::fs::write(folder.path().join("config.yaml"), text).unwrap();
    let (_program, _) = crate::support::program::Program::relay(folder.path());
    let mut stream = UnixStream::connect(folder.path().join("admin.sock"))
        .await
        .unwrap();
    let head = "GET /v1/subscriptions/off HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["status"], "disabled");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart() {
    let relay = Relay::start(OFF).await;
    assert_eq!(call(&relay, "GET", "/v1/nothing", "").await.status, 404);
    assert_eq!(call(&relay, "GET", "/v1/events/", "").await.status, 404);
    let answer = call(&relay, "DELETE", "/v1/events", "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
    let answer = request(&relay.admin, "HEAD", "/v1/events", &token_line(&relay), "")
        .await
        .unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn the_listener_for_metrics_has_nothing_else() {
    let relay = Relay::start(OFF).await;
    let token = token_line(&relay);
    for (method, path) in operations(&relay).await {
        let answer = request(&relay.metrics, &method, &path, &token, "")
            .await
            .unwrap();
        assert_eq!(answer.status, 404, "{method} {path}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(&relay.metrics, path).await.status, 200, "{path}");
    }
}
