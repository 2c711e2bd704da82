//! The receiver itself, seen through the relay's client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use sidehook::domain::FailureReason;
use sidehook::egress::{
    AddressPolicy, Client, ClientOptions, Egress, Roots, SendError, TlsVersion,
};

use super::certificates::Authority;
use super::receiver::{Receiver, Reply};

const TIMEOUT: Duration = Duration::from_secs(5);

fn client(authority: Option<&Authority>) -> Client {
    let options = ClientOptions {
        http2: true,
        roots: authority.map(|authority| Roots::read(authority.pem().as_bytes()).unwrap()),
        min_version: TlsVersion::Tls12,
        idle_connections: 4,
    };
    let policy = AddressPolicy {
        allow_private: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        ..AddressPolicy::default()
    };
    Egress::new().client(&options, Arc::new(policy))
}

async fn post(client: &Client, url: &str, timeout: Duration) -> Result<u16, SendError> {
    let request = Request::post(url)
        .header("x-test", "yes")
        .body(Full::from(Bytes::from("body")));
    let answer = client.send(request.unwrap(), timeout).await?;
    Ok(answer.status.as_u16())
}

#[tokio::test]
async fn requests_are_recorded_as_they_arrived() {
    let receiver = Receiver::start(|_| Reply::status(204)).await;
    let client = client(None);
    for _ in 0..2 {
        assert_eq!(
            post(&client, &receiver.url("/a?b=c"), TIMEOUT).await,
            Ok(204)
        );
    }
    let received = receiver.wait_for(2, TIMEOUT).await;
    let last = received.last().unwrap();
    assert_eq!(
        (last.number, last.method.as_str(), &*last.path),
        (2, "POST", "/a?b=c")
    );
    assert_eq!(
        (&*last.body, last.header("x-test"), last.header("absent")),
        (&b"body"[..], "yes", "")
    );
    assert_eq!((last.version, last.concurrent), (Version::HTTP_11, 1));
    assert!(received.is_sorted_by_key(|received| received.at));
    assert_eq!((receiver.count(), receiver.connections()), (2, 1));
}

#[tokio::test]
async fn replies_come_in_turn_and_the_last_one_stays() {
    let later = Reply::status(503).header("retry-after", "3").body("later");
    let receiver = Receiver::queue([later, Reply::status(200)]).await;
    let client = client(None);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(post(&client, &receiver.url("/"), TIMEOUT).await.unwrap());
    }
    assert_eq!(statuses, [503, 200, 200]);
    receiver.now(|received| Reply::status(if received.path == "/gone" { 410 } else { 202 }));
    assert_eq!(
        post(&client, &receiver.url("/gone"), TIMEOUT).await,
        Ok(410)
    );
    assert_eq!(post(&client, &receiver.url("/"), TIMEOUT).await, Ok(202));
}

#[tokio::test]
async fn an_endpoint_can_hang_reset_and_be_slow() {
    let receiver = Receiver::queue([
        Reply::hang(),
        Reply::reset(),
        Reply::status(200).after(Duration::from_millis(20)),
    ])
    .await;
    let (client, url) = (client(None), receiver.url("/"));
    let short = Duration::from_millis(200);
    assert_eq!(
        post(&client, &url, short).await.unwrap_err().reason,
        FailureReason::Timeout
    );
    assert_eq!(
        post(&client, &url, TIMEOUT).await.unwrap_err().reason,
        FailureReason::Reset
    );
    assert_eq!(post(&client, &url, TIMEOUT).await, Ok(200));
}

#[tokio::test]
async fn requests_at_once_are_counted() {
    let receiver = Receiver::start(|_| Reply::status(200).after(Duration::from_millis(50))).await;
    let (client, url) = (client(None), receiver.url("/"));
    let all = (0..8).map(|_| post(&client, &url, TIMEOUT));
    futures_util::future::join_all(all).await;
    let most = receiver
        .received()
        .iter()
        .map(|received| received.concurrent)
        .max();
    assert_eq!(most, Some(8));
}

#[tokio::test]
async fn tls_speaks_the_version_that_both_sides_offer() {
    let authority = Authority::new();
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let receiver = Receiver::start_tls(&authority, alpn, |_| Reply::status(200)).await;
        let client = client(Some(&authority));
        assert_eq!(post(&client, &receiver.url("/"), TIMEOUT).await, Ok(200));
        let received = receiver.wait_for(1, TIMEOUT).await;
        assert_eq!(received.last().unwrap().version, version);
    }
}
