//! Endpoints that misbehave, as raw sockets: each exchange ends in time and gets the right name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use http::Request;
use http_body_util::Full;
use rcgen::CertificateParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::resolver::Resolver;
use super::testing::{
    Authority, TIMEOUT, client, egress_resolving, listen, loopback, options, post, read_request,
    send_to,
};
use super::{Answer, ClientOptions, Egress, SendError};
use crate::domain::FailureReason;

/// The delay that a slow machine may add to `TIMEOUT`.
const MARGIN: std::time::Duration = std::time::Duration::from_millis(600);

/// Sends one request to an endpoint that treats each connection with `behaviour`.
async fn outcome<F, Fut>(behaviour: F) -> Result<Answer, SendError>
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let address = listen(move |stream, _| behaviour(stream)).await;
    in_time(send_to(address)).await
}

async fn in_time(
    sending: impl Future<Output = Result<Answer, SendError>>,
) -> Result<Answer, SendError> {
    let began = Instant::now();
    let result = sending.await;
    assert!(
        began.elapsed() < TIMEOUT + MARGIN,
        "took {:?}",
        began.elapsed()
    );
    if let Err(error) = &result {
        assert!(error.message.len() <= 256);
        assert!(!error.message.contains("canary"), "{}", error.message);
        assert!(!error.message.contains("hook"), "{}", error.message);
    }
    result
}

/// Sends one request to an endpoint that reads it, writes `answer` and then waits for the client to leave.
async fn answered(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Answer, SendError> {
    let answer = Arc::new(answer);
    outcome(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            read_request(&mut stream).await;
            let _client_may_leave = stream.write_all(answer.as_ref().as_ref()).await;
            hold(stream).await;
        }
    })
    .await
}

/// Keeps a connection open until the client closes it.
async fn hold(mut stream: TcpStream) {
    while stream.read(&mut [0; 1024]).await.unwrap_or(0) > 0 {}
}

/// Writes `part` until the client leaves.
async fn endlessly(mut stream: TcpStream, begin: &str, part: &[u8]) {
    read_request(&mut stream).await;
    let mut open = stream.write_all(begin.as_bytes()).await.is_ok();
    while open {
        open = stream.write_all(part).await.is_ok();
    }
}

fn reason(result: Result<Answer, SendError>) -> FailureReason {
    result.unwrap_err().reason
}

fn status(result: Result<Answer, SendError>) -> u16 {
    result.unwrap().status.as_u16()
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_a_connect_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = in_time(send_to(address)).await.unwrap_err();
    assert_eq!(error.reason, FailureReason::Connect);
    assert_eq!(
        error.message,
        format!("could not connect to {address}: connection refused")
    );
}

#[tokio::test]
async fn silence_is_a_timeout() {
    assert_eq!(reason(outcome(hold).await), FailureReason::Timeout);
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_a_timeout() {
    let slow = |mut stream: TcpStream| async move {
        let mut ticks = tokio::time::interval(TIMEOUT / 20);
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" {
            ticks.tick().await;
            let _client_may_leave = stream.write_all(&[*byte]).await;
        }
    };
    assert_eq!(reason(outcome(slow).await), FailureReason::Timeout);
}

#[tokio::test]
async fn a_connection_closed_before_the_head_is_a_reset() {
    let at_once = |stream| async move { drop(stream) };
    assert_eq!(reason(outcome(at_once).await), FailureReason::Reset);
    let after_request = |mut stream| async move {
        read_request(&mut stream).await;
    };
    assert_eq!(reason(outcome(after_request).await), FailureReason::Reset);
    let within_head = |mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 O").await.unwrap();
    };
    assert_eq!(reason(outcome(within_head).await), FailureReason::Reset);
}

#[tokio::test]
async fn a_connection_reset_before_the_head_ends_is_a_reset() {
    for begin in ["", "HTTP/1.1 200 O"] {
        let reset = move |mut stream: TcpStream| async move {
            read_request(&mut stream).await;
            stream.write_all(begin.as_bytes()).await.unwrap();
            stream.set_zero_linger().unwrap();
        };
        assert_eq!(reason(outcome(reset).await), FailureReason::Reset);
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 000 Nothing\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/9.1 200 OK\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let error = answered(answer).await.unwrap_err();
        assert_eq!(error.reason, FailureReason::Protocol, "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_head_without_end_ends_at_its_bound() {
    let headers = |stream| endlessly(stream, "HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n");
    assert_eq!(status(outcome(headers).await), 200);
    let interim = |stream| endlessly(stream, "", b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(reason(outcome(interim).await), FailureReason::Protocol);
}

#[tokio::test]
async fn a_body_that_claims_10_gib_is_read_to_its_limit_only() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
    let answer = outcome(move |stream| endlessly(stream, head, &[b'a'; 4096]))
        .await
        .unwrap();
    assert_eq!(answer.body_prefix, vec![b'a'; 4096]);
    // Claimed, but never sent.
    assert_eq!(status(answered(head).await), 200);
}

#[tokio::test]
async fn chunks_without_end_are_read_to_the_limit_only() {
    let head = "HTTP/1.1 503 Later\r\ntransfer-encoding: chunked\r\n\r\n";
    // Many at a time: one by one, a busy machine does not send as many as are read before the time is over.
    let many = move |stream| async move {
        let chunks = b"3\r\nabc\r\n".repeat(512);
        endlessly(stream, head, &chunks).await;
    };
    let answer = outcome(many).await.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body_prefix.len(), 4096);
}

#[tokio::test]
async fn a_body_that_breaks_after_the_head_does_not_change_the_status() {
    for answer in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nmuch longer than it says",
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nnot gzip",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
    ] {
        assert_eq!(status(answered(answer).await), 200, "{answer:?}");
    }
    let reset = |mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort";
        stream.write_all(head).await.unwrap();
        stream.set_zero_linger().unwrap();
    };
    assert_eq!(status(outcome(reset).await), 200);
}

#[tokio::test]
async fn the_beginning_of_a_body_that_stalls_is_kept() {
    let answer = answered("HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\nreason")
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), &*answer.body_prefix),
        (500, &b"reason"[..])
    );
}

#[tokio::test]
async fn statuses_without_a_body_end_at_their_head() {
    for code in [204, 205, 304] {
        let head = format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\nbody anyway");
        assert_eq!(status(answered(head).await), code);
    }
}

#[tokio::test]
async fn compressed_bodies_are_not_decoded() {
    // The beginning of a gzip stream of zeros, as long as it claims to be.
    let mut answer =
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 12\r\n\r\n".to_vec();
    let bomb = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xec\xc1";
    answer.extend_from_slice(bomb);
    assert_eq!(&*answered(answer).await.unwrap().body_prefix, bomb);
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let followed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&followed);
    let elsewhere = listen(move |stream, _| {
        count.fetch_add(1, Ordering::SeqCst);
        hold(stream)
    })
    .await;
    for code in [301, 302, 303, 307, 308] {
        let head = format!(
            "HTTP/1.1 {code} Moved\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n"
        );
        let answer = answered(head).await.unwrap();
        assert_eq!(answer.status.as_u16(), code);
        assert!(answer.headers.contains_key("location"));
    }
    assert_eq!(followed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn switching_protocols_is_an_answer() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    assert_eq!(status(answered(head).await), 101);
}

#[tokio::test]
async fn an_answer_before_the_request_is_read_whole_counts() {
    let address = listen(|mut stream, _| async move {
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        let refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(refusal).await.unwrap();
        std::future::pending().await
    })
    .await;
    let body = Full::from(vec![b'a'; 16 << 20]);
    let request = Request::post(format!("http://{address}/"))
        .body(body)
        .unwrap();
    assert_eq!(status(in_time(client().send(request, TIMEOUT)).await), 413);
}

/// Sends one request over TLS to an endpoint named `localhost` with a certificate made by `authority`.
async fn secured(
    authority: &Authority,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> SocketAddr {
    let acceptor = authority.acceptor(name, &[], change);
    listen(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            read_request(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await
}

async fn send_secured(authority: &Authority, address: SocketAddr) -> Result<Answer, SendError> {
    let url = format!("https://localhost:{}/hook?token=canary", address.port());
    in_time(authority.client().send(post(url), TIMEOUT)).await
}

#[tokio::test]
async fn a_certificate_of_the_given_ca_is_trusted_and_its_end_known() {
    let authority = Authority::new("ours");
    let address = secured(&authority, "localhost", |params| {
        params.not_after = rcgen::date_time_ymd(2099, 1, 2);
    })
    .await;
    let client = authority.client();
    assert_eq!(client.certificate_expires(), None);
    let url = format!("https://localhost:{}/", address.port());
    assert_eq!(status(client.send(post(url), TIMEOUT).await), 200);
    let expires = client.certificate_expires().unwrap();
    assert_eq!(expires.to_string(), "2099-01-02T00:00:00.000Z");
}

#[tokio::test]
async fn certificates_that_do_not_hold_are_named() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger"));
    let expired = secured(&authority, "localhost", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    })
    .await;
    let early = secured(&authority, "localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2098, 1, 1);
        params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    })
    .await;
    let other_name = secured(&authority, "example.com", |_| {}).await;
    let unknown = secured(&stranger, "localhost", |_| {}).await;
    for (address, expected) in [
        (expired, "has expired"),
        (early, "is not valid yet"),
        (other_name, "is for another name"),
        (unknown, "has an unknown issuer"),
    ] {
        let error = send_secured(&authority, address).await.unwrap_err();
        assert_eq!(error.reason, FailureReason::Tls);
        assert!(error.message.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_endpoint_without_tls_is_named() {
    let address = listen(|mut stream, _| async move {
        let _client_may_leave = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        hold(stream).await;
    })
    .await;
    let error = send_secured(&Authority::new("ours"), address)
        .await
        .unwrap_err();
    assert_eq!(error.reason, FailureReason::Tls);
    assert_eq!(
        error.message,
        "the endpoint does not speak TLS on this port"
    );
}

#[tokio::test]
async fn a_handshake_that_breaks_is_a_tls_failure() {
    let address = listen(|mut stream, _| async move {
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    })
    .await;
    let error = send_secured(&Authority::new("ours"), address)
        .await
        .unwrap_err();
    assert_eq!(error.reason, FailureReason::Tls);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_a_timeout() {
    let address = listen(|stream, _| hold(stream)).await;
    let result = send_secured(&Authority::new("ours"), address).await;
    assert_eq!(reason(result), FailureReason::Timeout);
}

#[tokio::test]
async fn what_takes_the_time_of_connecting_is_named() {
    let limit = TIMEOUT / 4;
    let address = listen(|stream, _| hold(stream)).await;
    let stalled = egress_resolving(|_| vec![[127, 0, 0, 1].into()]);
    let silent = Egress::with_resolver(Resolver::asking(Arc::new(|_| {
        std::future::pending().boxed()
    })));
    for (egress, expected) in [(stalled, FailureReason::Tls), (silent, FailureReason::Dns)] {
        let options = ClientOptions {
            roots: Some(Authority::new("ours").roots()),
            ..options()
        };
        let client = egress.client_within(&options, loopback(), limit);
        let url = format!("https://localhost:{}/", address.port());
        let began = Instant::now();
        assert_eq!(reason(client.send(post(url), TIMEOUT).await), expected);
        assert!((limit..TIMEOUT).contains(&began.elapsed()));
    }
}
