//! An orderly end: nothing accepted is lost, nothing is delivered twice.

use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::DEADLINE;
use crate::support::http::{get, request};
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};

#[tokio::test]
async fn attempts_in_flight_are_finished_and_not_repeated() {
    let slow = |_: &_| Reply::status(200).after(Duration::from_millis(300));
    let receiver = Receiver::start(slow).await;
    let config = subscription("a", &receiver.url("/"), "");
    let relay = Relay::start(&config).await;
    relay.post("a", "1").await;
    receiver.wait_for(1, DEADLINE).await;
    let folder = relay.stop().await;

    let relay = Relay::start_in(folder, &config).await;
    relay.post("a", "2").await;
    let received = receiver.wait_for(2, DEADLINE).await;
    let bodies: Vec<_> = received.iter().map(|it| it.body.clone()).collect();
    assert_eq!(bodies, ["1", "2"]);
}

/// Once the store is free, a successor may start there and leave a note of its own.
#[tokio::test]
async fn the_note_with_the_address_is_gone_before_the_store_is_free() {
    let relay = Relay::start("  a: {active: false}\n").await;
    let store = relay.folder().join("store");
    let note = store.join("admin.address");
    assert!(note.exists());
    // A request that does not end makes the admin listener end late.
    let mut slow = TcpStream::connect(&relay.admin).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    relay.handle.stop();
    let lock = std::fs::File::open(store.join("lock")).unwrap();
    crate::support::until("the store is free", async || {
        flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
    })
    .await;
    assert!(!note.exists());
    relay.stop().await;
}

#[tokio::test]
async fn what_is_pending_is_delivered_by_the_next_start() {
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let fields = ", retry: {schedule: [1h]}";
    let relay = Relay::start(&subscription("a", &receiver.url("/"), fields)).await;
    relay.post("a", "1").await;
    receiver.wait_for(1, DEADLINE).await;
    let off = format!(
        "  a: {{url: '{}', events: ['*'], active: false}}\n",
        receiver.url("/")
    );
    relay.rewrite(&off);
    relay.handle.reload().await.unwrap().unwrap();
    relay.post("a", "2").await;
    let folder = relay.stop().await;

    receiver.now(|_| Reply::status(200));
    let relay = Relay::start_in(folder, &subscription("a", &receiver.url("/"), fields)).await;
    let received = receiver.wait_for(2, DEADLINE).await;
    assert_eq!(received[1].body, "2");
    relay.stop().await;
}

#[tokio::test]
async fn a_second_request_to_stop_ends_at_once_and_the_attempt_is_made_again() {
    let receiver = Receiver::start(|_| Reply::hang()).await;
    let config = subscription("a", &receiver.url("/"), "");
    let relay = Relay::start(&config).await;
    relay.post("a", "1").await;
    receiver.wait_for(1, DEADLINE).await;
    let begin = Instant::now();
    relay.handle.stop();
    relay.handle.stop_now();
    let folder = relay.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(5));

    receiver.now(|_| Reply::status(200));
    let _relay = Relay::start_in(folder, &config).await;
    let received = receiver.wait_for(2, DEADLINE).await;
    assert_eq!(received[1].body, "1");
}

#[tokio::test]
async fn while_attempts_finish_nothing_is_accepted_and_readiness_is_off() {
    let receiver = Receiver::start(|_| Reply::hang()).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), "")).await;
    relay.post("a", "1").await;
    receiver.wait_for(1, DEADLINE).await;
    relay.handle.stop();
    crate::support::until("readiness is off", async || {
        get(&relay.admin, "/readyz").await.status == 503
    })
    .await;
    assert_eq!(get(&relay.admin, "/healthz").await.status, 200);
    assert_eq!(get(&relay.admin, "/metrics").await.status, 200);
    crate::support::until("nothing is accepted", async || {
        request(&relay.events, "POST", "/events/a", "", "1")
            .await
            .is_err()
    })
    .await;
    relay.handle.stop_now();
    relay.stop().await;
}
