//! Which callers may post.

use super::*;

fn post<'a>(headers: &'a [(&'static str, &'a str)]) -> Post<'a> {
    Post {
        target: "/events/a",
        headers,
        ..Post::default()
    }
}

#[tokio::test]
async fn web_pages_are_kept_out() {
    let routes = routes("");
    for (headers, code) in [
        ([("origin", "http://localhost:3000")], "cross_site"),
        ([("origin", "null")], "cross_site"),
        ([("sec-fetch-site", "cross-site")], "cross_site"),
        ([("sec-fetch-site", "same-site")], "cross_site"),
    ] {
        let (status, found, _) = post(&headers).refused(&routes).await;
        assert_eq!((status, found.as_str()), (403, code));
    }
    post(&[("sec-fetch-site", "none")]).one(&routes).await;
}

#[tokio::test]
async fn a_foreign_host_is_refused_where_the_listener_is_loopback() {
    let routes = routes("");
    let intake = Intake::new(Arc::new(FixedClock));
    let take = async |target: &str, host: Option<&str>, peer| {
        let mut request = Request::post(target);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        match intake.take(&routes, peer, request).await {
            Ok(_) => 202,
            Err(refusal) => refusal.into_response().status().as_u16(),
        }
    };
    let far = Peer::Tcp { loopback: false };
    assert_eq!(take("/events/a", Some("evil.example"), LOOPBACK).await, 403);
    assert_eq!(
        take("http://evil.example/events/a", Some("localhost"), LOOPBACK).await,
        403
    );
    assert_eq!(
        take("http://localhost:1/events/a", Some("localhost"), LOOPBACK).await,
        202
    );
    assert_eq!(take("/events/a", Some("events.internal"), far).await, 202);
    assert_eq!(take("/events/a", Some("anything"), Peer::Unix).await, 202);
    assert_eq!(take("/events/a", None, Peer::Unix).await, 400);
}

#[tokio::test]
async fn with_tokens_nobody_posts_without_one() {
    let routes = routes("tokens: [a-token-of-some-length]");
    for headers in [&[][..], &[("authorization", "Bearer wrong")]] {
        let refusal = post(headers).take(&routes).await.unwrap_err();
        let response = refusal.into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    post(&[("authorization", "Bearer a-token-of-some-length")])
        .one(&routes)
        .await;
}
