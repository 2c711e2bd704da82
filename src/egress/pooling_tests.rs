//! Which connection carries a request, and which addresses are dialled for it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::pool::Places;
use super::testing::{
    Authority, TIMEOUT, client, egress_resolving, listen, loopback, options, post, read_request,
};
use super::{AddressPolicy, ClientOptions, Egress};
use crate::domain::FailureReason;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The observations of a server.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    closed: Notify,
}

/// Answers every request with `answer` and counts; closes each connection after `requests` of them.
async fn counted(answer: &'static [u8], requests: usize) -> (SocketAddr, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let counts = Arc::clone(&seen);
    let address = listen(move |mut stream, _| {
        let counts = Arc::clone(&counts);
        async move {
            counts.connections.fetch_add(1, Ordering::SeqCst);
            for _ in 0..requests {
                if read_request(&mut stream).await.is_none() {
                    break;
                }
                counts.requests.fetch_add(1, Ordering::SeqCst);
                stream.write_all(answer).await.unwrap();
            }
            drop(stream);
            counts.closed.notify_one();
        }
    })
    .await;
    (address, seen)
}

/// Pauses time and waits for the client to close its connection.
async fn closes_after_90_seconds(seen: &Seen) {
    tokio::time::pause();
    let began = Instant::now();
    let closed = timeout(Duration::from_secs(3_600), seen.closed.notified()).await;
    let idle = began.elapsed().as_secs();
    assert!(
        closed.is_ok() && (90..=100).contains(&idle),
        "closed after {idle} s"
    );
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/hook")
}

/// How many connections `requests` in a row take when each is answered with `answer`.
async fn connections_for(answer: &'static [u8], requests: usize) -> usize {
    let (address, seen) = counted(answer, usize::MAX).await;
    let client = client();
    for _ in 0..requests {
        client.send(post(url(address)), TIMEOUT).await.unwrap();
    }
    seen.connections.load(Ordering::SeqCst)
}

#[tokio::test]
async fn an_answer_read_whole_leaves_its_connection_for_the_next_request() {
    assert_eq!(connections_for(OK, 5).await, 1);
    assert_eq!(
        connections_for(b"HTTP/1.1 204 No Content\r\n\r\n", 5).await,
        1
    );
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert_eq!(connections_for(chunked, 5).await, 1);
}

#[tokio::test]
async fn an_answer_with_a_rest_closes_its_connection() {
    let close = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    assert_eq!(connections_for(close, 3).await, 3);
    assert_eq!(
        connections_for(b"HTTP/1.1 204 No Content\r\n\r\nrest", 3).await,
        3
    );
    let long = [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n"[..],
        &[b'a'; 20_000],
    ]
    .concat();
    assert_eq!(connections_for(long.leak(), 3).await, 3);
}

#[tokio::test]
async fn a_request_on_a_connection_that_the_endpoint_closed_goes_to_a_new_one() {
    let rude = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n";
    for farewell in [&b""[..], rude] {
        let (idle, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (close, left) = (Arc::clone(&idle), Arc::clone(&closed));
        let address = listen(move |mut stream, _| {
            let (close, left) = (Arc::clone(&close), Arc::clone(&left));
            async move {
                read_request(&mut stream).await.unwrap();
                stream.write_all(OK).await.unwrap();
                close.notified().await;
                stream.write_all(farewell).await.unwrap();
                drop(stream);
                left.notify_one();
            }
        })
        .await;
        let client = client();
        for _ in 0..3 {
            let answer = client.send(post(url(address)), TIMEOUT).await.unwrap();
            assert_eq!(answer.status, 200);
            idle.notify_one();
            closed.notified().await;
        }
    }
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let address = listen(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            // The second request is read and its connection closed without an answer.
            if read_request(&mut stream).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let client = client();
    client.send(post(url(address)), TIMEOUT).await.unwrap();
    let error = client.send(post(url(address)), TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason, FailureReason::Reset);
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn requests_at_once_have_connections_of_their_own_and_few_stay_idle() {
    let (address, seen) = counted(OK, usize::MAX).await;
    let client = client();
    for _ in 0..2 {
        let send = || client.send(post(url(address)), Duration::from_secs(5));
        let all: Vec<_> = (0..10).map(|_| send()).collect();
        for result in futures_util::future::join_all(all).await {
            result.unwrap();
        }
    }
    // Four of the ten stayed idle.
    assert_eq!(seen.connections.load(Ordering::SeqCst), 16);
}

#[tokio::test]
async fn idle_connections_are_closed_after_90_seconds() {
    let (address, seen) = counted(OK, usize::MAX).await;
    let client = client();
    client.send(post(url(address)), TIMEOUT).await.unwrap();
    closes_after_90_seconds(&seen).await;
    tokio::time::resume();
    client.send(post(url(address)), TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn all_clients_together_keep_so_many_idle_connections() {
    let (address, seen) = counted(OK, usize::MAX).await;
    let egress = Egress {
        places: Arc::new(Places::of(3)),
        ..Egress::new()
    };
    let clients = [(); 5].map(|()| egress.client(&options(), loopback()));
    for _ in 0..2 {
        for client in &clients {
            client.send(post(url(address)), TIMEOUT).await.unwrap();
        }
    }
    // Three stayed for the second request, those of two did not.
    assert_eq!(seen.connections.load(Ordering::SeqCst), 7);
    // Where most places are taken, more than half are free again soon.
    tokio::time::pause();
    let began = Instant::now();
    while egress.places.free.available_permits() < 2 && began.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((10..=21).contains(&began.elapsed().as_secs()));
}

#[tokio::test]
async fn nothing_pooled_is_trusted_after_a_timeout() {
    let address = listen(|mut stream, number| async move {
        read_request(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        // The first connections go silent after one answer.
        while read_request(&mut stream).await.is_some() && number >= 2 {
            stream.write_all(OK).await.unwrap();
        }
        std::future::pending::<()>().await;
    })
    .await;
    let client = client();
    let (one, other) = tokio::join!(
        client.send(post(url(address)), TIMEOUT),
        client.send(post(url(address)), TIMEOUT)
    );
    assert!(one.is_ok() && other.is_ok());
    let error = client.send(post(url(address)), TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason, FailureReason::Timeout);
    client.send(post(url(address)), TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_changed_gets_no_request_of_the_old_connections() {
    let ((old, old_seen), (new, new_seen)) =
        (counted(OK, usize::MAX).await, counted(OK, usize::MAX).await);
    let client = client();
    for address in [old, new, new, old] {
        client.send(post(url(address)), TIMEOUT).await.unwrap();
    }
    assert_eq!(old_seen.connections.load(Ordering::SeqCst), 2);
    assert_eq!(new_seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn dropping_a_request_closes_its_connection() {
    let closed = Arc::new(Notify::new());
    let (seen, arrived) = (Arc::clone(&closed), Arc::new(Notify::new()));
    let came = Arc::clone(&arrived);
    let address = listen(move |mut stream, _| {
        let (seen, came) = (Arc::clone(&seen), Arc::clone(&came));
        async move {
            read_request(&mut stream).await;
            came.notify_one();
            assert_eq!(read_request(&mut stream).await, None);
            seen.notify_one();
        }
    })
    .await;
    let client = client();
    tokio::select! {
        _ = client.send(post(url(address)), Duration::from_secs(60)) => panic!("nobody answered"),
        () = arrived.notified() => {}
    }
    closed.notified().await;
}

#[tokio::test]
async fn requests_carry_path_query_host_and_length() {
    let (head, written) = tokio::sync::mpsc::channel(1);
    let address = listen(move |mut stream: TcpStream, _| {
        let head = head.clone();
        async move {
            let request = read_request(&mut stream).await.unwrap();
            head.send(request).await.unwrap();
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let mut written = written;
    client()
        .send(post(format!("http://{address}/a/b?c=d")), TIMEOUT)
        .await
        .unwrap();
    let request = written.recv().await.unwrap();
    assert!(
        request.starts_with("POST /a/b?c=d HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains(&format!("\r\nhost: {address}\r\n")),
        "{request}"
    );
    assert!(request.contains("\r\ncontent-length: 7\r\n"), "{request}");
    assert!(!request.contains("transfer-encoding"), "{request}");
}

/// An HTTP/2 server that answers with the version, and counts what it saw.
async fn http2_server(authority: &Authority, alpn: &[&str]) -> (SocketAddr, Arc<Seen>) {
    let acceptor = authority.acceptor("localhost", alpn, |_| {});
    let seen = Arc::new(Seen::default());
    let counts = Arc::clone(&seen);
    let address = listen(move |stream, _| {
        let (acceptor, counts) = (acceptor.clone(), Arc::clone(&counts));
        async move {
            counts.connections.fetch_add(1, Ordering::SeqCst);
            let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
            let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                assert!(!request.headers().contains_key("host"));
                let version = format!("{:?} {}", request.version(), request.uri().path());
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(version))))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _client_may_leave = builder.serve_connection(stream, service).await;
            counts.closed.notify_one();
        }
    })
    .await;
    (address, seen)
}

#[tokio::test]
async fn http2_is_used_when_the_endpoint_offers_it_and_its_connection_shared() {
    let authority = Authority::new("ours");
    let (address, seen) = http2_server(&authority, &["h2", "http/1.1"]).await;
    let (client, url) = (
        authority.client(),
        format!("https://localhost:{}/x", address.port()),
    );
    let mut with_host = post(&*url);
    let host = HeaderValue::from_static("localhost");
    with_host.headers_mut().insert("host", host);
    let answer = client.send(with_host, TIMEOUT).await.unwrap();
    assert_eq!(
        &*answer.body_prefix,
        format!("{:?} /x", Version::HTTP_2).as_bytes()
    );
    let all = (0..20).map(|_| client.send(post(&*url), Duration::from_secs(5)));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(seen.connections.load(Ordering::SeqCst), 1);
    closes_after_90_seconds(&seen).await;
}

#[tokio::test]
async fn http2_is_not_offered_when_the_subscription_refuses_it() {
    let authority = Authority::new("ours");
    let (address, _) = http2_server(&authority, &["h2"]).await;
    let options = ClientOptions {
        http2: false,
        roots: Some(authority.roots()),
        ..options()
    };
    let egress = egress_resolving(|_| vec![[127, 0, 0, 1].into()]);
    let client = egress.client(&options, loopback());
    let url = format!("https://localhost:{}/", address.port());
    let error = client.send(post(url), TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason, FailureReason::Tls);
    assert_eq!(error.message, "no common HTTP version (ALPN)");
}

#[tokio::test]
async fn denied_addresses_of_a_mixed_answer_are_not_dialled() {
    let (address, seen) = counted(OK, usize::MAX).await;
    let egress = egress_resolving(|_| {
        let denied: [IpAddr; 3] = [
            [10, 0, 0, 1].into(),
            [169, 254, 169, 254].into(),
            [0, 0, 0, 0].into(),
        ];
        let allowed: IpAddr = [127, 0, 0, 1].into();
        denied.into_iter().chain([allowed]).collect()
    });
    let client = egress.client(&options(), loopback());
    let url = format!("http://mixed.test:{}/", address.port());
    client.send(post(url), TIMEOUT).await.unwrap();
    assert_eq!(seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_name_with_only_denied_addresses_is_blocked() {
    let (address, seen) = counted(OK, usize::MAX).await;
    let egress = egress_resolving(|_| vec![[127, 0, 0, 1].into(), [10, 0, 0, 1].into()]);
    let nothing_private = Arc::new(AddressPolicy::default());
    let client = egress.client(&options(), nothing_private);
    for host in [
        "inside.test",
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "2130706433",
    ] {
        let url = format!("http://{host}:{}/", address.port());
        let error = client.send(post(url), TIMEOUT).await.unwrap_err();
        assert_eq!(error.reason, FailureReason::Blocked, "{host}: {error}");
    }
    assert_eq!(seen.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let (address, seen) = counted(OK, usize::MAX).await;
    let egress = egress_resolving(|_| vec![[127, 0, 0, 2].into(), [127, 0, 0, 1].into()]);
    let client = egress.client(&options(), loopback());
    let url = format!("http://two.test:{}/", address.port());
    client.send(post(url), TIMEOUT).await.unwrap();
    assert_eq!(seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_name_that_changes_its_address_at_every_lookup_reaches_nothing_denied() {
    let (address, seen) = counted(OK, 1).await;
    let turn = AtomicUsize::new(0);
    let egress = egress_resolving(move |_| {
        let denied = turn.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        vec![if denied {
            [127, 0, 0, 2].into()
        } else {
            [127, 0, 0, 1].into()
        }]
    });
    let policy = Arc::new(AddressPolicy {
        allow_private: vec!["127.0.0.1/32".parse().unwrap()],
        ..AddressPolicy::default()
    });
    let denied = tokio::net::TcpListener::bind(("127.0.0.2", address.port()))
        .await
        .unwrap();
    let mut blocked = 0;
    for n in 0..100 {
        // Another name each time, so that each is looked up.
        let client = egress.client(&options(), Arc::clone(&policy));
        let url = format!("http://{n}.test:{}/", address.port());
        match client.send(post(url), TIMEOUT).await {
            Ok(answer) => assert_eq!(answer.status, 200),
            Err(error) => {
                assert_eq!(error.reason, FailureReason::Blocked);
                blocked += 1;
            }
        }
    }
    assert_eq!((blocked, seen.requests.load(Ordering::SeqCst)), (50, 50));
    let nobody = timeout(Duration::ZERO, denied.accept()).await;
    assert!(nobody.is_err(), "a denied address was dialled");
}
