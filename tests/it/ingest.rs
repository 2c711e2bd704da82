//! The events listener over its sockets, with the store behind it.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{Answer, request};
use crate::support::relay::Relay;

/// Nobody listens there: what is accepted stays pending.
const NOWHERE: &str = "  a: {url: 'http://127.0.0.1:9', events: ['*', '!unwanted']}\n";

const JSON: &str = "Content-Type: application/json\r\n";
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

async fn post(relay: &Relay, path: &str, headers: &str, body: &str) -> Answer {
    request(&relay.events, "POST", path, headers, body)
        .await
        .unwrap()
}

/// Sends bytes as they are, ends this side, and reads what comes back.
async fn send_raw(relay: &Relay, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&relay.events).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(answer).unwrap()
}

async fn received(relay: &Relay, outcome: &str) -> f64 {
    let series = format!("sidehook_events_received_total{{outcome=\"{outcome}\"}}");
    relay.metric(&series).await.unwrap()
}

#[tokio::test]
async fn an_accepted_event_is_answered_with_its_id_and_deliveries() {
    let relay = Relay::start(NOWHERE).await;
    let answer = post(&relay, "/events/invoice.paid", "", "body").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (202, "application/json")
    );
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("evt_") && id.len() == 40, "{id}");
    assert_eq!(
        answer.body,
        format!(r#"{{"id":"{id}","deliveries":1,"duplicate":false}}"#)
    );
    let unmatched = post(&relay, "/events/unwanted", "", "").await;
    assert_eq!(
        (unmatched.status, &unmatched.json()["deliveries"]),
        (202, &Value::from(0))
    );
    assert_eq!(received(&relay, "accepted").await, 2.0);
    assert_eq!(
        relay.metric("sidehook_events_unmatched_total").await,
        Some(1.0)
    );
    relay.stop().await;
}

#[tokio::test]
async fn the_same_given_id_and_source_is_the_same_event() {
    let relay = Relay::start(NOWHERE).await;
    let first = post(&relay, "/events/a", "Ce-Id: 1\r\n", "x").await.json();
    let again = post(&relay, "/events/a", "Ce-Id: 1\r\n", "x").await.json();
    assert_eq!(
        (&again["id"], &again["duplicate"]),
        (&first["id"], &Value::from(true))
    );
    let other_source = post(&relay, "/events/a", "Ce-Id: 1\r\nCe-Source: /s\r\n", "x").await;
    assert_eq!(other_source.json()["duplicate"], false);
    for (path, body) in [("/events/a", "other body"), ("/events/b", "x")] {
        let conflict = post(&relay, path, "Ce-Id: 1\r\n", body).await;
        assert_eq!(
            (conflict.status, &conflict.json()["code"]),
            (422, &"given_id_conflict".into())
        );
        assert!(conflict.json()["errors"]["id"].is_array());
    }
    let counts = [
        received(&relay, "accepted").await,
        received(&relay, "duplicate").await,
        received(&relay, "rejected").await,
    ];
    assert_eq!(counts, [2.0, 1.0, 2.0]);
    relay.stop().await;
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all() {
    let relay = Relay::start(NOWHERE).await;
    let accepted = post(
        &relay,
        "/events",
        NDJSON,
        "{\"type\":\"a\"}\n{\"type\":\"unwanted\"}\n",
    )
    .await;
    assert_eq!(accepted.status, 202);
    let deliveries: Vec<_> = accepted.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["deliveries"].as_u64().unwrap())
        .collect();
    assert_eq!(deliveries, [1, 0]);
    assert_eq!(
        post(&relay, "/events", NDJSON, "\n").await.body,
        r#"{"events":[]}"#
    );
    for (body, status) in [("{\"type\":\"a\"}\n{}", 422), ("{\"type\":\"a\"}\n{", 400)] {
        assert_eq!(post(&relay, "/events", NDJSON, body).await.status, status);
    }
    assert_eq!(received(&relay, "accepted").await, 2.0);
    assert_eq!(received(&relay, "rejected").await, 2.0);
    relay.stop().await;
}

/// Single events and batches of the largest size, with as many headers as are kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_has_the_largest_size_fits_and_one_byte_more_does_not() {
    const MOST: usize = 16 << 20;
    let text = format!("ingest: {{max_body: 16MiB}}\nsubscriptions:\n{NOWHERE}");
    let relay = Relay::start_whole(tempfile::tempdir().unwrap(), &text).await;
    let kept: String = (0..14)
        .map(|number| format!("ce-x{number}: {}\r\n", "v".repeat(1000)))
        .collect();
    let event = "x".repeat(MOST);
    let begin = "{\"type\":\"a\",\"pad\":\"";
    let each = MOST / 1000 - 1;
    let line = format!("{begin}{}\"}}\n", "x".repeat(each - begin.len() - 3));
    let mut batch = line.repeat(999);
    let left = MOST - batch.len();
    batch.push_str(&format!(
        "{begin}{}\"}}\n",
        "x".repeat(left - begin.len() - 3)
    ));
    assert_eq!((event.len(), batch.len()), (MOST, MOST));
    let lines = format!("{NDJSON}{kept}");
    for (path, headers, body) in [
        ("/events/a", "", &event),
        ("/events/a", kept.as_str(), &event),
        ("/events", lines.as_str(), &batch),
        ("/events/a", kept.as_str(), &event),
    ] {
        // The index may be behind after so much: then there is place again soon.
        let posted = async || post(&relay, path, headers, body).await;
        let mut answer = posted().await;
        let mut tries = 0..100;
        while answer.status == 503 && tries.next().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = posted().await;
        }
        assert_eq!(answer.status, 202, "{path} {}", answer.body);
    }
    for (headers, body) in [("", &event), (NDJSON, &batch)] {
        let over = format!("{body}\n");
        let refused = post(&relay, "/events/a", headers, &over).await;
        assert_eq!(refused.status, 413);
        assert!(
            refused.body.contains("larger than 16777216 bytes"),
            "{}",
            refused.body
        );
    }
    relay.stop().await;
}

/// Requests as bytes, each with the status that it is refused with.
fn refused_requests(host: &str) -> Vec<(u16, String)> {
    let too_large = format!("Content-Length: {}", (1 << 20) + 1);
    let long_type = format!("/events/{}", "t".repeat(257));
    let head =
        |line: &str, headers: &str| format!("{line} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n");
    let posted = |headers: &str| head("POST /events/a", headers);
    let chunked = posted("Transfer-Encoding: chunked");
    vec![
        (400, "NONSENSE\r\n\r\n".to_owned()),
        (
            400,
            "POST /events/a HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        (400, posted("Content-Length: 10") + "half"),
        (400, posted("Content-Length: x")),
        (400, posted("Content-Length: 1\r\nContent-Length: 2") + "ab"),
        (400, posted("Transfer-Encoding: gzip")),
        (400, format!("{chunked}zz\r\nbody\r\n0\r\n\r\n")),
        (400, format!("{chunked}4\r\nbo")),
        (400, posted("Ce-Id: 1\r\nCe-Id: 2\r\nContent-Length: 0")),
        (400, head("POST /events/%zz", "Content-Length: 0")),
        (
            403,
            posted("Origin: https://evil.example\r\nContent-Length: 0"),
        ),
        (
            403,
            posted("Sec-Fetch-Site: cross-site\r\nContent-Length: 0"),
        ),
        (
            403,
            "POST /events/a HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        (404, head("POST /elsewhere", "Content-Length: 0")),
        (405, head("GET /events", "")),
        (405, head("DELETE /events/a", "")),
        (413, posted(&too_large)),
        (413, posted(&format!("Expect: 100-continue\r\n{too_large}"))),
        (
            415,
            posted("Content-Type: application/cloudevents-batch+json\r\nContent-Length: 2") + "[]",
        ),
        (
            415,
            posted("Content-Encoding: gzip\r\nContent-Length: 1") + "x",
        ),
        (422, head("POST /events", "Content-Length: 2") + "{}"),
        (422, head(&format!("POST {long_type}"), "Content-Length: 0")),
        (
            422,
            posted(&format!("{NDJSON}Ce-Id: 1\r\nContent-Length: 2")) + "{}",
        ),
        (431, posted(&format!("X: {}", "x".repeat(20 << 10)))),
    ]
}

#[tokio::test]
async fn whatever_is_refused_gets_its_status_and_leaves_nothing_behind() {
    let relay = Relay::start(NOWHERE).await;
    for (status, bytes) in refused_requests(&relay.events) {
        let answer = send_raw(&relay, bytes.as_bytes()).await;
        let shown: String = bytes.chars().take(200).collect();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{shown:?} was answered {answer:?}"
        );
        assert!(
            answer.contains("application/problem+json"),
            "{shown:?} was answered {answer:?}"
        );
        assert_eq!(answer.matches("HTTP/1.1 4").count(), 1, "{answer:?}");
    }
    assert_eq!(received(&relay, "accepted").await, 0.0);
    let pending = relay
        .metric("sidehook_pending_deliveries{subscription=\"a\"}")
        .await;
    assert_eq!(pending, Some(0.0));
    relay.stop().await;
}

#[tokio::test]
async fn who_asks_first_may_send_and_is_answered() {
    let relay = Relay::start(NOWHERE).await;
    let mut stream = TcpStream::connect(&relay.events).await.unwrap();
    let head = format!(
        "POST /events/a HTTP/1.1\r\nHost: {}\r\n{JSON}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        relay.events
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 202");
    drop(stream);
    relay.stop().await;
}
