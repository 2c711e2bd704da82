//! Answers that wait for first attempts: `Prefer: wait=N`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::http::{Answer, request};
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::{DEADLINE, until};

const ONE_RETRY: &str = ", retry: {schedule: [1h]}";

async fn post(relay: &Relay, headers: &str, body: &str) -> Answer {
    request(&relay.events, "POST", "/events/a", headers, body)
        .await
        .unwrap()
}

async fn waits(relay: &Relay, seconds: u32) -> Answer {
    post(relay, &format!("Prefer: wait={seconds}\r\n"), "12").await
}

/// The result of a delivery that was not attempted.
fn not_attempted(subscription: &str, state: &str) -> Value {
    json!({"subscription": subscription, "state": state, "status": null, "response_code": null, "error_message": null})
}

async fn in_flight(relay: &Relay, subscription: &str) -> Option<f64> {
    let series = format!("sidehook_in_flight_attempts{{subscription=\"{subscription}\"}}");
    relay.metric(&series).await
}

#[tokio::test]
async fn the_answer_says_how_each_first_attempt_went() {
    let works = Receiver::start(|_| Reply::status(204)).await;
    let fails = Receiver::start(|_| Reply::status(500)).await;
    let hangs = Receiver::start(|_| Reply::hang()).await;
    let config = [
        subscription("fails", &fails.url("/"), ONE_RETRY),
        subscription("gives-up", &fails.url("/"), ", retry: none"),
        subscription("hangs", &hangs.url("/"), ", timeout: 1s"),
        subscription("held", &works.url("/"), ", active: false"),
        subscription("overflows", &works.url("/"), ", max_pending: 1B"),
        subscription("works", &works.url("/"), ""),
    ];
    let relay = Relay::start(&config.concat()).await;
    let answer = waits(&relay, 30).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("preference-applied"), "wait=30");
    assert_eq!(answer.header("vary"), "prefer");
    assert_eq!(answer.header("content-type"), "application/json");
    let answer = answer.json();
    assert_eq!(answer["deliveries"], 6);
    assert_eq!(answer["duplicate"], false);
    let failed = |subscription: &str, state: &str| {
        json!({"subscription": subscription, "state": state, "status": "failed", "response_code": 500,
               "error_message": "Internal Server Error"})
    };
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0], failed("fails", "pending"));
    assert_eq!(results[1], failed("gives-up", "dead"));
    let timed_out = &results[2];
    assert_eq!(
        (
            &timed_out["state"],
            &timed_out["status"],
            &timed_out["response_code"]
        ),
        (&json!("pending"), &json!("timeout"), &Value::Null)
    );
    assert!(timed_out["error_message"].is_string(), "{timed_out}");
    assert_eq!(results[3], not_attempted("held", "pending"));
    assert_eq!(results[4], not_attempted("overflows", "dead"));
    assert_eq!(
        results[5],
        json!({"subscription": "works", "state": "delivered", "status": "success", "response_code": 204, "error_message": null})
    );
    assert_eq!(results.len(), 6);
    relay.stop().await;
}

#[tokio::test]
async fn when_the_time_passes_first_it_is_accepted_as_usual() {
    let receiver = Receiver::start(|_| Reply::hang()).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), "")).await;
    let begin = Instant::now();
    let answer = waits(&relay, 1).await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("preference-applied"), "wait=1");
    assert_eq!(answer.json().get("results"), None);

    for (prefer, applied) in [
        ("wait=0", "wait=0"),
        ("wait=soon", ""),
        ("respond-async", ""),
    ] {
        let begin = Instant::now();
        let answer = post(&relay, &format!("Prefer: {prefer}\r\n"), "1").await;
        assert_eq!(
            (answer.status, answer.header("preference-applied")),
            (202, applied)
        );
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
    relay.handle.stop_now();
    relay.stop().await;
}

#[tokio::test]
async fn a_paused_subscription_is_not_waited_for() {
    let busy = |_: &_| Reply::status(429).header("retry-after", "3600");
    let receiver = Receiver::start(busy).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), "")).await;
    let first = waits(&relay, 60).await;
    assert_eq!(first.json()["results"][0]["response_code"], 429);
    let second = waits(&relay, 90).await;
    assert_eq!(
        (second.status, second.header("preference-applied")),
        (200, "wait=60")
    );
    assert_eq!(
        second.json()["results"],
        json!([not_attempted("a", "pending")])
    );
    assert_eq!(receiver.count(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn whoever_waits_is_answered_when_the_subscription_is_held_meanwhile() {
    let receiver = Receiver::start(|_| Reply::hang()).await;
    let one = |more: &str| {
        let fields = format!(", concurrency: 1{more}");
        subscription("a", &receiver.url("/"), &fields)
    };
    let relay = Relay::start(&one("")).await;
    relay.post("a", "in flight").await;
    receiver.wait_for(1, DEADLINE).await;
    let held = async {
        until("the second event is accepted", async || {
            let pending = "sidehook_pending_deliveries{subscription=\"a\"}";
            relay.metric(pending).await == Some(2.0)
        })
        .await;
        relay.rewrite(&one(", active: false"));
        relay.handle.reload().await.unwrap().unwrap();
    };
    let (answer, ()) = tokio::join!(waits(&relay, 60), held);
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json()["results"],
        json!([not_attempted("a", "pending")])
    );
    relay.handle.stop_now();
    relay.stop().await;
}

#[tokio::test]
async fn a_batch_has_the_results_of_each_new_event() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let url = receiver.url("/");
    let config = format!("  a: {{url: '{url}', events: [a]}}\n");
    let relay = Relay::start(&config).await;
    let batch = "{\"type\":\"a\",\"id\":\"1\"}\n{\"type\":\"unmatched\"}\n";
    let headers = "Content-Type: application/x-ndjson\r\nprefer: respond-async, WAIT=20\r\n";
    let answer = post_to(&relay, "/events", headers, batch).await;
    assert_eq!(answer.status, 200);
    let events = answer.json()["events"].clone();
    assert_eq!(events[0]["results"][0]["state"], "delivered");
    assert_eq!(events[1]["results"], json!([]));
    let empty = post_to(&relay, "/events", headers, "").await;
    assert_eq!(
        (empty.status, empty.body.as_str()),
        (202, r#"{"events":[]}"#)
    );
    assert_eq!(
        (empty.header("preference-applied"), empty.header("vary")),
        ("", "prefer")
    );
    relay.stop().await;
}

async fn post_to(relay: &Relay, path: &str, headers: &str, body: &str) -> Answer {
    request(&relay.events, "POST", path, headers, body)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_duplicate_is_answered_at_once_without_results() {
    let receiver = Receiver::start(|_| Reply::hang()).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), "")).await;
    post(&relay, "Ce-Id: 1\r\n", "1").await;
    let answer = post(&relay, "Ce-Id: 1\r\nPrefer: wait=60\r\n", "1").await;
    assert_eq!(
        (answer.status, answer.header("preference-applied")),
        (202, "")
    );
    let answer = answer.json();
    assert_eq!(
        (&answer["duplicate"], answer.get("results")),
        (&json!(true), None)
    );
    relay.handle.stop_now();
    relay.stop().await;
}

#[tokio::test]
async fn many_may_wait_at_once() {
    const MANY: usize = 64;
    let slow = |_: &_| Reply::status(200).after(Duration::from_millis(100));
    let receiver = Receiver::start(slow).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), "")).await;
    let mut waiting = JoinSet::new();
    for _ in 0..MANY {
        let events = relay.events.clone();
        waiting.spawn(async move {
            request(&events, "POST", "/events/a", "Prefer: wait=20\r\n", "1").await
        });
    }
    let answers = waiting.join_all().await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["results"][0]["state"], "delivered");
    }
    assert_eq!(receiver.count(), MANY);
    relay.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_forgotten_and_its_event_delivered() {
    let receiver = Receiver::start(|_| Reply::hang()).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), ", timeout: 1s")).await;
    let mut stream = TcpStream::connect(&relay.events).await.unwrap();
    let head = format!(
        "POST /events/a HTTP/1.1\r\nHost: {}\r\nPrefer: wait=60\r\nContent-Length: 1\r\n\r\n1",
        relay.events
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    receiver.wait_for(1, DEADLINE).await;
    drop(stream);
    until("the attempt has ended", async || {
        in_flight(&relay, "a").await == Some(0.0)
    })
    .await;
    receiver.now(|_| Reply::status(200));
    let next = waits(&relay, 20).await;
    assert_eq!(next.json()["results"][0]["state"], "delivered");
    relay.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_those_who_wait() {
    let slow = |_: &_| Reply::status(200).after(Duration::from_millis(500));
    let receiver = Receiver::start(slow).await;
    let relay = Relay::start(&subscription("a", &receiver.url("/"), ", concurrency: 1")).await;
    relay.post("a", "first").await;
    let stopping = async {
        until("the second event is accepted", async || {
            let accepted = "sidehook_events_received_total{outcome=\"accepted\"}";
            relay.metric(accepted).await == Some(2.0)
        })
        .await;
        relay.handle.stop();
    };
    let begin = Instant::now();
    let (answer, ()) = tokio::join!(waits(&relay, 60), stopping);
    assert_eq!((answer.status, answer.header("connection")), (202, "close"));
    assert_eq!(answer.json()["duplicate"], false);
    relay.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(4));
}
