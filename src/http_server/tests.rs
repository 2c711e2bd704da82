//! Connections as a raw client meets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;

pub(super) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Bytes of a large answer.
pub(super) const LARGE: usize = 32 << 20;

/// A server that counts requests, and answers when it is let.
pub(super) struct Server {
    pub(super) address: std::net::SocketAddr,
    pub(super) stop: CancellationToken,
    requests: Arc<AtomicUsize>,
    pub(super) gate: Arc<Semaphore>,
    pub(super) task: JoinHandle<()>,
}

pub(super) fn limits() -> Limits {
    Limits {
        head_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(20),
        ..Limits::default()
    }
}

/// Answers with the body it got; `/panic` panics, `/gate` waits for the gate, `/early` does not read the body, `/large`
/// answers more than a client takes that does not read.
pub(super) async fn start(limits: Limits) -> Server {
    let listener = Listener::tcp("127.0.0.1:0", &[]).await.unwrap().remove(0);
    let address = listener.tcp_address().unwrap();
    let stop = CancellationToken::new();
    let requests = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (counter, opened) = (Arc::clone(&requests), Arc::clone(&gate));
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        counter.fetch_add(1, Ordering::SeqCst);
        let opened = Arc::clone(&opened);
        async move {
            assert_ne!(request.uri().path(), "/panic", "asked to");
            if request.uri().path() == "/gate" {
                opened.acquire().await.unwrap().forget();
            }
            if request.uri().path() == "/early" {
                let mut refused = Response::new(Full::from("early"));
                *refused.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                return Ok(refused);
            }
            if request.uri().path() == "/large" {
                return Ok(Response::new(Full::new(Bytes::from(vec![b'x'; LARGE]))));
            }
            Ok::<_, Infallible>(match request.into_body().collect().await {
                Ok(body) => Response::new(Full::new(body.to_bytes())),
                Err(_) => Response::new(Full::from("cut")),
            })
        }
    });
    let make_service = move |peer| {
        assert_eq!(peer, Peer::Tcp { loopback: true });
        service.clone()
    };
    let task = tokio::spawn(serve(listener, make_service, limits, stop.clone()));
    Server {
        address,
        stop,
        requests,
        gate,
        task,
    }
}

impl Server {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) async fn until_requests(&self, count: usize) {
        let reached = async {
            while self.requests() < count {
                tokio::task::yield_now().await;
            }
        };
        within_deadline(reached).await;
    }
}

pub(super) async fn within_deadline<T>(wanted: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(20);
    tokio::time::timeout(deadline, wanted)
        .await
        .expect("in time")
}

pub(super) async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    within_deadline(stream.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads one answer to its end, which `last` is.
pub(super) async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), last: &str) -> String {
    let mut answer = String::new();
    while !answer.ends_with(last) {
        let mut buffer = [0; 1024];
        let length = within_deadline(stream.read(&mut buffer)).await.unwrap();
        assert_ne!(length, 0, "closed after {answer}");
        answer.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    answer
}

pub(super) fn assert_problem(answer: &str, status: &str, code: &str) {
    assert_eq!(answer.matches("HTTP/1.1 4").count(), 1, "{answer}");
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    assert!(
        answer.contains("content-type: application/problem+json\r\n"),
        "{answer}"
    );
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.contains(&format!(r#""code":"{code}""#)), "{answer}");
}

#[tokio::test]
async fn a_connection_is_kept_for_more_requests() {
    let server = start(limits()).await;
    let mut stream = server.connect().await;
    for body in ["one", "two"] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, body).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = start(limits()).await;
    let one = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none";
    let two = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntwo";
    let answer = server.exchange(format!("{one}{two}").as_bytes()).await;
    let (first, second) = (answer.find("\r\n\r\none"), answer.find("\r\n\r\ntwo"));
    assert!(first.is_some() && first < second, "{answer}");
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_a_problem() {
    let server = start(limits()).await;
    for bytes in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHo st: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = server.exchange(bytes.as_bytes()).await;
        assert_problem(&answer, "400", "malformed_request");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_and_its_connection_closed() {
    let server = start(limits()).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = 5 + smuggled.len();
    let heads = [
        format!("Host: a\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked"),
        format!("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: {length}"),
        "Host: a\r\nContent-Length: 5\r\nContent-Length: 5".to_owned(),
        "Host: a\r\nContent-Length: 5, 5".to_owned(),
        "Host: a\r\nContent-Length: +5".to_owned(),
        "Host: a\r\nContent-Length : 5".to_owned(),
        "Host: a\r\nTransfer-Encoding: gzip, chunked".to_owned(),
        "Host: a\r\nTransfer-Encoding: chunked, identity".to_owned(),
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked".to_owned(),
        "Host: a\r\nTransfer-Encoding: xchunked".to_owned(),
        "Host: a\r\nTransfer-Encoding : chunked".to_owned(),
        "Host: a\r\nTransfer-Encoding:\r\n chunked".to_owned(),
        "Host: a\r\nX: y\rContent-Length: 5".to_owned(),
        "Content-Length: 5".to_owned(),
        "Host: a\r\nHost: b\r\nContent-Length: 5".to_owned(),
        "Host: a, b\r\nContent-Length: 5".to_owned(),
    ];
    for head in heads {
        let bad = format!("POST / HTTP/1.1\r\n{head}\r\n\r\n0\r\n\r\n{smuggled}");
        let answer = server.exchange(bad.as_bytes()).await;
        assert_problem(&answer, "400", "malformed_request");
        assert_eq!(server.requests(), 0, "{head}");
    }
    let good = "POST /gate HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none";
    let bad = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx";
    server.gate.add_permits(1);
    let answer = server.exchange(format!("{good}{bad}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (_, last) = answer.split_once("\r\n\r\none").unwrap();
    assert_problem(last, "400", "malformed_request");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_head_over_its_limit_is_refused() {
    let server = start(limits()).await;
    let long = "x".repeat(limits().head_bytes);
    let answer = server
        .exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n").as_bytes())
        .await;
    assert_problem(&answer, "431", "head_too_large");
    let many = "X: y\r\n".repeat(101);
    let answer = server
        .exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes())
        .await;
    assert_problem(&answer, "431", "head_too_large");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_at_its_time() {
    let server = start(limits()).await;
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n").await;
    assert_problem(&answer, "408", "slow_request");
}

#[tokio::test]
async fn the_second_head_of_a_connection_has_no_more_time_than_the_first() {
    let server = start(limits()).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    stream.write_all(b"GET / HT").await.unwrap();
    assert_problem(&read_to_end(&mut stream).await, "408", "slow_request");
}

#[tokio::test]
async fn a_head_cut_off_by_its_sender_is_malformed() {
    let server = start(limits()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHos").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_problem(&read_to_end(&mut stream).await, "400", "malformed_request");
}

#[tokio::test]
async fn a_silent_connection_is_closed_without_a_word() {
    let idle_timeout = Duration::from_millis(100);
    let server = start(Limits {
        idle_timeout,
        ..limits()
    })
    .await;
    assert_eq!(server.exchange(b"").await, "");
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_request_that_takes_long_to_answer_is_not_idle() {
    let idle_timeout = Duration::from_millis(50);
    let server = start(Limits {
        idle_timeout,
        ..limits()
    })
    .await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0; 1];
    let closed = tokio::time::timeout(4 * idle_timeout, stream.read(&mut byte)).await;
    assert!(closed.is_err(), "nothing came and nothing was closed");
    server.gate.add_permits(1);
    assert!(
        read_to_end(&mut stream)
            .await
            .starts_with("HTTP/1.1 200 OK")
    );
}

#[tokio::test]
async fn who_ends_only_its_own_side_is_still_answered() {
    let server = start(limits()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    server.until_requests(1).await;
    server.gate.add_permits(1);
    assert!(
        read_to_end(&mut stream)
            .await
            .starts_with("HTTP/1.1 200 OK")
    );
}

#[tokio::test]
async fn who_still_sends_a_large_body_can_read_the_refusal() {
    let server = start(limits()).await;
    let mut stream = server.connect().await;
    let length = 8 << 20;
    let head = format!("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; length]).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("early"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_panic_of_a_handler_is_an_answer_and_ends_nothing() {
    let server = start(limits()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let answer = read_until(&mut stream, "}").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
}
