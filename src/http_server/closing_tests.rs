//! Connections that have to leave: for another one, or because the listener stops.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Limits;
use super::tests::{
    GET, LARGE, Server, assert_problem, limits, read_to_end, read_until, start, within_deadline,
};

const GATED: &[u8] = b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server with few places, where nothing ends by its time.
async fn crowded(connections: usize) -> Server {
    start(Limits {
        connections,
        head_timeout: Duration::from_secs(600),
        idle_timeout: Duration::from_secs(600),
        ..limits()
    })
    .await
}

/// A connection that has sent these bytes, and got an answer if `answered`.
async fn sent(server: &Server, bytes: &[u8], answered: bool) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(bytes).await.unwrap();
    if answered {
        read_until(&mut stream, "\r\n\r\n").await;
    }
    stream
}

#[tokio::test]
async fn who_keeps_us_waiting_leaves_for_a_fresh_client() {
    let body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nx";
    let chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1";
    let unread = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
    let kinds: [(&[u8], bool, &str); 6] = [
        (b"", false, ""),
        (GET, true, ""),
        (b"GET / HTTP/1.1\r\nHo", false, "408"),
        (body, false, "408"),
        (chunked, false, "408"),
        (unread, false, "200"),
    ];
    for (bytes, answered, end) in kinds {
        let server = crowded(4).await;
        let mut slow = Vec::new();
        for _ in 0..12 {
            slow.push(sent(&server, bytes, answered).await);
        }
        let fresh = async {
            let mut fresh = server.connect().await;
            fresh.write_all(GET).await.unwrap();
            read_until(&mut fresh, "\r\n\r\n").await
        };
        assert!(within_deadline(fresh).await.starts_with("HTTP/1.1 200"));
        let mut first = Vec::new();
        within_deadline(slow[0].read_to_end(&mut first))
            .await
            .unwrap();
        let shown = String::from_utf8_lossy(&first[..first.len().min(200)]).into_owned();
        match end {
            "" => assert_eq!(shown, ""),
            "200" => assert!(first.len() < LARGE, "was cut"),
            _ => assert_problem(&shown, end, "slow_request"),
        }
    }
}

#[tokio::test]
async fn who_was_refused_and_goes_on_sending_keeps_no_place() {
    let server = crowded(1).await;
    let early = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nx";
    let began = tokio::time::Instant::now();
    let mut refused = Vec::new();
    for _ in 0..30 {
        let mut stream = sent(&server, early, false).await;
        read_until(&mut stream, "early").await;
        refused.push(stream);
    }
    // Each would keep the place for a second.
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_trickle_is_no_progress() {
    let server = crowded(2).await;
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n";
    let mut slow = [
        sent(&server, head, false).await,
        sent(&server, head, false).await,
    ];
    let fresh = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut fresh = std::pin::pin!(fresh);
    let answer = loop {
        tokio::select! {
            answer = &mut fresh => break answer,
            () = tokio::time::sleep(Duration::from_millis(5)) => for stream in &mut slow {
                // One of the two is closed sooner or later.
                drop(stream.write_all(b"x").await);
            }
        }
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_request_under_way_never_leaves_and_the_next_waits_for_its_end() {
    let server = crowded(2).await;
    let mut busy = [
        sent(&server, GATED, false).await,
        sent(&server, GATED, false).await,
    ];
    server.until_requests(2).await;
    let mut third = sent(&server, GET, false).await;
    let mut byte = [0; 1];
    let waited = tokio::time::timeout(Duration::from_millis(100), third.read(&mut byte)).await;
    assert!(waited.is_err() && server.requests() == 2);
    server.gate.add_permits(2);
    for stream in &mut busy {
        let answer = read_until(stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // Now the two are idle, and one has to leave.
    read_until(&mut third, "\r\n\r\n").await;
}

#[tokio::test]
async fn of_idle_and_busy_ones_the_idle_one_leaves() {
    let server = crowded(2).await;
    let mut busy = sent(&server, GATED, false).await;
    server.until_requests(1).await;
    let mut idle = sent(&server, GET, true).await;
    let mut fresh = sent(&server, GET, true).await;
    assert_eq!(read_to_end(&mut idle).await, "");
    server.gate.add_permits(1);
    read_until(&mut busy, "\r\n\r\n").await;
    fresh.write_all(GET).await.unwrap();
    read_until(&mut fresh, "\r\n\r\n").await;
}

#[tokio::test]
async fn requests_that_arrive_while_stopping_are_answered_as_the_last_of_their_connections() {
    let server = start(limits()).await;
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.push(sent(&server, GET, true).await);
    }
    // These are written before the server sees them, and one has connected before it was accepted.
    server.stop.cancel();
    let mut early = sent(&server, GET, false).await;
    for stream in &mut kept[..10] {
        stream.write_all(GET).await.unwrap();
    }
    let answer = read_to_end(&mut early).await;
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    for stream in &mut kept[10..] {
        stream.write_all(GET).await.unwrap();
    }
    for stream in &mut kept {
        let answer = read_to_end(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    server.task.await.unwrap();
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_answers_what_is_under_way() {
    let server = start(limits()).await;
    let mut idle = server.connect().await;
    idle.write_all(GET).await.unwrap();
    read_until(&mut idle, "\r\n\r\n").await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    server.until_requests(2).await;
    server.stop.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(!server.task.is_finished());
    server.gate.add_permits(1);
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn requests_that_outlast_the_grace_period_are_cut() {
    let drain_timeout = Duration::from_millis(50);
    let server = start(Limits {
        drain_timeout,
        ..limits()
    })
    .await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    server.until_requests(1).await;
    server.stop.cancel();
    server.task.await.unwrap();
    assert_eq!(read_to_end(&mut busy).await, "");
}
