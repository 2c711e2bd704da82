//! Odd heads, early answers, and idle connections that are not quiet.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::egress::testing::{Authority, client, listen, post, read_request};

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_status_line_decides_whatever_the_rest_of_the_head_is() {
    let many = "x: y\r\n".repeat(3000);
    let long = "a".repeat(100_000);
    for rest in [
        "X Bad: 1\r\nwebhook-delivery: disable\r\nContent-Length: 2\r\n\r\nok",
        "webhook-delivery : disable\r\ncontent-length: ten\r\n\r\n",
        "webhook-delivery:\r\n disable\r\n\r\n",
        "x: a\0b\r\nwebhook-delivery: disable\r\n\r\n",
        "content-length: 1\r\ncontent-length: 2\r\nwebhook-delivery: disable\r\n\r\nab",
        "no colon\nwebhook-delivery: disable\n\n",
        "x: y\rwebhook-delivery: disable\r\r",
        &format!("{many}webhook-delivery: disable\r\n\r\n"),
        &format!("webhook-delivery: disable\r\nx: {long}\r\n\r\n"),
    ] {
        for (line, code) in [
            ("HTTP/1.1 200 OK", 200),
            ("HTTP/1.1 410 Gone\0", 410),
            ("HTTP/1.1 103 Hints\r\nx y\r\n\r\nHTTP/1.1 422 No", 422),
        ] {
            let answer = format!("{line}\r\n{rest}");
            let address = listen(move |mut stream, _| {
                let answer = answer.clone();
                async move {
                    read_request(&mut stream).await;
                    let _client_may_leave = stream.write_all(answer.as_bytes()).await;
                    let _end = stream.read(&mut [0; 64]).await;
                }
            })
            .await;
            let client = client();
            let url = format!("http://{address}/");
            let answer = client.send(post(&*url), LONG).await.unwrap();
            let shown = rest.get(..40);
            assert_eq!(answer.status.as_u16(), code, "{shown:?}");
            assert_eq!(answer.headers["webhook-delivery"], "disable", "{shown:?}");
        }
    }
}

#[tokio::test]
async fn an_early_answer_counts_although_the_rest_of_the_request_cannot_be_written() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", &[], |_| {});
    for is_secured in [false, true] {
        for code in [200, 410, 413] {
            let acceptor = acceptor.clone();
            let address = listen(move |mut stream, _| {
                let acceptor = acceptor.clone();
                async move {
                    let answer = format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\n");
                    // Else it waits behind the tickets of TLS, and the end of the connection discards it.
                    stream.set_nodelay(true).unwrap();
                    if is_secured {
                        let mut stream = acceptor.accept(stream).await.unwrap();
                        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        stream.flush().await.unwrap();
                    } else {
                        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            })
            .await;
            let (client, scheme, host) = match is_secured {
                true => (authority.client(), "https", "localhost"),
                false => (client(), "http", "127.0.0.1"),
            };
            for _ in 0..20 {
                let url = format!("{scheme}://{host}:{}/", address.port());
                let body = Full::from(vec![b'a'; 1 << 20]);
                let request = Request::post(url).body(body).unwrap();
                let sent = client.send(request, LONG).await;
                let status = sent.map(|answer| answer.status.as_u16());
                assert_eq!(status, Ok(code), "TLS: {is_secured}");
            }
        }
    }
}

#[tokio::test]
async fn a_connection_with_anything_to_read_is_not_used() {
    let late = [
        "",
        "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n",
        "junk",
    ];
    for late in late {
        let address = listen(move |stream, _| async move {
            let mut stream = stream.into_std().unwrap();
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                stream.set_nonblocking(false).unwrap();
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(ok).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_millis(20)))
                    .unwrap();
                if stream.read(&mut [0; 1024]).is_err() {
                    stream.write_all(late.as_bytes()).unwrap();
                }
            });
        })
        .await;
        let client = client();
        for _ in 0..5 {
            let url = format!("http://{address}/");
            assert_eq!(client.send(post(url), LONG).await.unwrap().status, 200);
            // The runtime hears nothing of the socket meanwhile.
            std::thread::sleep(Duration::from_millis(40));
        }
    }
}

#[tokio::test]
async fn floods_of_interim_responses_are_a_protocol_failure() {
    for part in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Hints\r\nbad\r\n\r\n",
    ] {
        let address = listen(move |mut stream, _| async move {
            read_request(&mut stream).await;
            while stream.write_all(part.repeat(64).as_bytes()).await.is_ok() {}
        })
        .await;
        let sent = client()
            .send(post(format!("http://{address}/")), LONG)
            .await;
        let error = sent.unwrap_err();
        assert_eq!(
            error.reason,
            crate::domain::FailureReason::Protocol,
            "{error}"
        );
    }
}
