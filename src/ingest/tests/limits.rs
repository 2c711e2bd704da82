//! Bounds in bytes, time and memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body, Frame};

use super::*;

async fn take_with<B>(routes: &Arc<Routes>, request: Request<B>) -> (u16, String, serde_json::Value)
where
    B: Body<Data = Bytes, Error = Infallible>,
{
    let intake = Intake::new(Arc::new(FixedClock));
    problem(intake.take(routes, LOOPBACK, request).await.unwrap_err()).await
}

/// A body of unknown length that always has more.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))))
    }
}

/// A body that never comes.
struct Silent;

impl Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// Headers, and the status and code that they are refused with.
type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test]
async fn what_cannot_be_meant_is_refused_before_the_body_is_read() {
    let routes = routes("");
    let long = "x".repeat(1025);
    let ids: Vec<String> = (0..65).map(|number| format!("ce-x{number}")).collect();
    let mut too_many = HeaderMap::new();
    for id in &ids {
        too_many.insert(
            http::HeaderName::try_from(id).unwrap(),
            "1".parse().unwrap(),
        );
    }
    let cases: [Case<'_>; 8] = [
        (&[("ce-id", "1"), ("ce-id", "2")], 400, "repeated_header"),
        (&[("host", "localhost")], 400, "repeated_header"),
        (&[("content-type", &long)], 400, "malformed_content_type"),
        (&[("ce-source", &long)], 422, "invalid_event"),
        (&[("content-encoding", "gzip")], 415, "content_coding"),
        (
            &[("transfer-encoding", "gzip, chunked")],
            415,
            "content_coding",
        ),
        (
            &[("content-type", "application/cloudevents-batch+json")],
            415,
            "batch_type",
        ),
        (
            &[("content-type", "application/json-seq")],
            415,
            "batch_type",
        ),
    ];
    for (headers, status, code) in cases {
        let mut request = Request::post("/events/a").header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let found = take_with(&routes, request.body(Endless).unwrap()).await;
        assert_eq!((found.0, found.1.as_str()), (status, code));
    }
    let mut request = Request::post("/events/a")
        .header("host", "localhost")
        .body(Endless)
        .unwrap();
    request.headers_mut().extend(too_many);
    assert_eq!(take_with(&routes, request).await.0, 431);
}

#[tokio::test]
async fn a_body_is_read_up_to_its_bound_and_not_beyond() {
    let routes = routes("max_body: 1KiB");
    let exact = "x".repeat(1024);
    Post {
        target: "/events/a",
        body: &exact,
        ..Post::default()
    }
    .one(&routes)
    .await;
    let over = "x".repeat(1025);
    let announced = Post {
        target: "/events/a",
        body: &over,
        ..Post::default()
    };
    assert_eq!(announced.refused(&routes).await.0, 413);
    let request = Request::post("/events/a")
        .header("host", "localhost")
        .body(Endless)
        .unwrap();
    let (status, code, _) = take_with(&routes, request).await;
    assert_eq!((status, code.as_str()), (413, "too_large"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_cut_at_its_time() {
    let started = tokio::time::Instant::now();
    let request = Request::post("/events/a")
        .header("host", "localhost")
        .body(Silent)
        .unwrap();
    let (status, code, _) = take_with(&routes(""), request).await;
    assert_eq!((status, code.as_str()), (408, "slow_request"));
    assert!(started.elapsed() >= crate::ingest::body::BODY_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_wait_for_memory_and_small_ones_do_not() {
    let routes = routes("max_body: 16MiB");
    let intake = Intake::new(Arc::new(FixedClock));
    let post = |body: Bytes| {
        let request = Request::post("/events/a").header("host", "localhost");
        request.body(Full::new(body)).unwrap()
    };
    let large = Bytes::from(vec![0; BODY_BYTES_MAX]);
    let mut holding = Vec::new();
    for _ in 0..4 {
        let taken = intake.take(&routes, LOOPBACK, post(large.clone())).await;
        holding.push(taken.unwrap());
    }
    let refused = intake
        .take(&routes, LOOPBACK, post(large.clone()))
        .await
        .unwrap_err();
    let response = refused.into_response();
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["retry-after"]
        ),
        (503, &"1".parse().unwrap())
    );
    intake
        .take(&routes, LOOPBACK, post(Bytes::from_static(b"small")))
        .await
        .unwrap();
    drop(holding);
    intake.take(&routes, LOOPBACK, post(large)).await.unwrap();
}
