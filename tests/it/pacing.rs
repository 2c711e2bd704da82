//! Pacing: `rate_limit`, and probing of an endpoint that is down.

use std::time::Duration;

use sidehook::config::Subscription;
use sidehook::domain::{RateLimit, Retry};
use tokio::time::Instant;

use crate::support::lanes::{Relay, accepting, subscription, until};
use crate::support::receiver::{Receiver, Reply};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn limit(attempts: u32, per: Duration) -> Option<RateLimit> {
    Some(RateLimit { attempts, per })
}

#[tokio::test]
async fn no_more_attempts_begin_than_the_rate_limit_gives() {
    let endpoint = accepting().await;
    let started = Instant::now();
    let relay = Relay::start(&[Subscription {
        rate_limit: limit(20, SECOND),
        ..subscription("one", &endpoint)
    }]);
    relay.post_batch(&["one"], &["event"; 30]).await;
    until("all are delivered", || relay.counts("one").pending == 0).await;
    let received = endpoint.received();
    assert_eq!(received.len(), 30);
    // Twenty at once, the others 50 ms apart; the clock counts whole milliseconds.
    for (further, request) in (1..).zip(received.iter().skip(20)) {
        let earliest = Duration::from_millis(50 * further - 2);
        assert!(request.at - started >= earliest, "number {further}");
    }
}

#[tokio::test]
async fn a_changed_rate_limit_applies_at_once() {
    let (endpoint, other) = (accepting().await, accepting().await);
    let definition = subscription("one", &endpoint);
    let witness = subscription("two", &other);
    let limited = Subscription {
        rate_limit: limit(1, HOUR),
        ..definition.clone()
    };
    let mut relay = Relay::start(&[limited, witness.clone()]);
    let both = ["one", "two"];
    relay.post_batch(&both, &["event"; 5]).await;
    until("the witness has all", || relay.counts("two").pending == 0).await;
    until("the first is delivered", || {
        relay.counts("one").pending == 4
    })
    .await;
    relay.post(&both, "event").await;
    until("the witness has it", || relay.counts("two").pending == 0).await;
    assert_eq!((endpoint.count(), relay.counts("one").pending), (1, 5));

    relay.apply(&[definition, witness]);
    until("all are delivered", || relay.counts("one").pending == 0).await;
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_probed_and_gets_everything_once_it_is_back() {
    const EVENTS: usize = 200;
    let endpoint = Receiver::start(|_| Reply::status(503)).await;
    let relay = Relay::start(&[Subscription {
        retry: Retry::schedule(vec![SECOND; 9]),
        ..subscription("one", &endpoint)
    }]);
    relay.post_batch(&["one"], &["event"; EVENTS]).await;
    let failed = endpoint.wait_for(11, 10 * SECOND).await;
    // Five failures, with at most three more attempts in flight by then; then three probes after 100, 200 and 400 ms.
    let taken = failed[10].at - failed[0].at;
    assert!(taken >= Duration::from_millis(695), "{taken:?}");

    endpoint.now(|_| Reply::status(200));
    until("all are delivered", || relay.counts("one").pending == 0).await;
    let received = endpoint.received();
    let failures = received.len() - EVENTS;
    assert!(failures < 16, "{failures} attempts failed");
    assert_eq!(relay.counts("one").dead, 0);
    let first_success = &received[failures];
    assert_eq!(first_success.concurrent, 1);
}

#[tokio::test]
async fn nothing_is_attempted_before_its_schedule_by_probing() {
    let endpoint = Receiver::start(|_| Reply::reset()).await;
    let relay = Relay::start(&[Subscription {
        retry: Retry::schedule(vec![HOUR; 9]),
        ..subscription("one", &endpoint)
    }]);
    relay.post_batch(&["one"], &["early"; 5]).await;
    let resets = r#"sidehook_attempt_failures_total{subscription="one",reason="reset"}"#;
    relay.shows(resets, 5).await;
    endpoint.now(|_| Reply::status(200));
    relay.post_batch(&["one"], &["late"; 8]).await;
    until("what is due is delivered", || {
        relay.counts("one").pending == 5
    })
    .await;
    let received = endpoint.received();
    let late = received.iter().filter(|request| request.body == "late");
    assert_eq!((received.len(), late.count()), (13, 8));
}
