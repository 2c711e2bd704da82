//! What happens, as it happens.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::admin_api::{call, look, token_line};
use crate::support::DEADLINE;
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};

/// An open stream.
struct Listening(BufReader<TcpStream>);

impl Listening {
    async fn begin(relay: &Relay, query: &str) -> Self {
        let mut stream = TcpStream::connect(&relay.admin).await.unwrap();
        let token = token_line(relay);
        let head = format!("GET /v1/stream{query} HTTP/1.1\r\nHost: localhost\r\n{token}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut listening = Self(BufReader::new(stream));
        let status = listening.line("HTTP/1.1").await;
        assert!(status.contains(" 200 "), "{status}");
        listening.line("content-type: text/event-stream").await;
        listening.line(": listening").await;
        listening
    }

    /// The next line that begins so.
    async fn line(&mut self, beginning: &str) -> String {
        loop {
            let mut line = String::new();
            let read = timeout(DEADLINE, self.0.read_line(&mut line)).await;
            assert!(read.unwrap().unwrap() > 0, "it ended before {beginning}");
            if line.starts_with(beginning) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// The next event of this kind.
    async fn heard(&mut self, kind: &str) -> serde_json::Value {
        self.line(&format!("event: {kind}")).await;
        let data = self.line("data: ").await;
        serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()
    }
}

#[tokio::test]
async fn attempts_and_replays_are_told_as_they_happen() {
    let receiver = Receiver::queue([Reply::status(503), Reply::status(200)]).await;
    let lines = subscription("a", &receiver.url("/"), ", retry: none");
    let relay = Relay::start(&format!(
        "{lines}{}",
        subscription("b", &receiver.url("/b"), "")
    ))
    .await;
    let mut listening = Listening::begin(&relay, "?subscription=a").await;
    relay.post("invoice.paid", "{}").await;
    let attempt = listening.heard("attempt").await;
    assert_eq!(attempt["subscription"], "a");
    assert_eq!(attempt["event"], "invoice.paid");
    let id = attempt["delivery_id"].as_str().unwrap().to_owned();
    if attempt["status"] == "failed" {
        assert_eq!(attempt["delivery_state"], "dead");
        let answer = call(&relay, "POST", &format!("/v1/deliveries/{id}/replay"), "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let replayed = listening.heard("delivery").await;
        assert_eq!(
            (&replayed["id"], &replayed["state"]),
            (&id.as_str().into(), &"pending".into())
        );
    }
    let shown = look(&relay, &format!("/v1/deliveries/{id}")).await;
    assert!(!shown["attempts"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn there_are_sixteen_streams_and_they_end_with_the_relay() {
    let relay = Relay::start("  off: {active: false}\n").await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Listening::begin(&relay, "").await);
    }
    let refused = call(&relay, "GET", "/v1/stream", "").await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &"too_many_streams".into())
    );
    assert!(!refused.header("retry-after").is_empty());
    let refused = call(&relay, "GET", "/v1/stream?subscription=UPPER", "").await;
    assert_eq!(refused.status, 422);
    drop(open.split_off(1));
    relay.stop().await;
    let mut rest = String::new();
    let Listening(mut stream) = open.remove(0);
    timeout(DEADLINE, stream.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    // The last chunk of the encoding: the stream was ended, not cut.
    assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
}
