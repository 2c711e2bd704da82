//! Requests that the endpoint did not process are sent again at once, others never.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use futures_util::stream;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::endpoint::{Endpoint, LONG, Peer, SETTINGS, frame, go_away, ok, reset, setting};
use crate::domain::FailureReason;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const NEVER: u32 = 0x7fff_ffff;

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

#[tokio::test]
async fn what_the_endpoint_did_not_process_is_sent_again_at_once() {
    for farewell in [
        reset(1, REFUSED_STREAM),
        go_away(0, NO_ERROR),
        go_away(0, 2),
        go_away(0, 11),
        [go_away(NEVER, NO_ERROR), go_away(0, NO_ERROR)].concat(),
    ] {
        for closes in [false, true] {
            let said = farewell.clone();
            let endpoint = Endpoint::start(move |mut peer, number| {
                let said = said.clone();
                async move {
                    peer.greet(&settings()).await;
                    if number > 0 {
                        return peer.serve().await;
                    }
                    peer.request().await.unwrap();
                    peer.write(&said).await;
                    if !closes {
                        peer.hold().await;
                    }
                }
            })
            .await;
            let answer = endpoint.send(LONG).await;
            assert_eq!(answer.unwrap().status, 200, "{farewell:x?}");
            assert_eq!(endpoint.connections(), 2);
            // The first is not used any more.
            endpoint.send(LONG).await.unwrap();
            assert_eq!(endpoint.connections(), 2);
        }
    }
}

#[tokio::test]
async fn a_request_that_waits_for_its_turn_does_not_end_with_the_connection() {
    for farewell in [go_away(NEVER, NO_ERROR), go_away(1, NO_ERROR), Vec::new()] {
        let (begun, said) = (Arc::new(Notify::new()), farewell.clone());
        let first = Arc::clone(&begun);
        let endpoint = Endpoint::start(move |mut peer, number| {
            let (first, said) = (Arc::clone(&first), said.clone());
            async move {
                peer.greet(&setting(MAX_CONCURRENT_STREAMS, 1)).await;
                if number > 0 {
                    return peer.serve().await;
                }
                let stream = peer.request().await.unwrap();
                first.notify_one();
                // Only what comes after the second request was queued; a ping is answered then.
                peer.write(&frame(6, 0, 0, &[7; 8])).await;
                while peer.next().await.unwrap().kind != 6 {}
                peer.write(&said).await;
                if said.is_empty() {
                    return peer.stream.shutdown().await.unwrap();
                }
                peer.write(&ok(stream)).await;
                peer.hold().await;
            }
        })
        .await;
        let later = async {
            begun.notified().await;
            endpoint.send(LONG).await
        };
        let (one, other) = tokio::join!(endpoint.send(LONG), later);
        assert_eq!(one.is_ok(), !farewell.is_empty(), "{farewell:x?}");
        assert_eq!(other.unwrap().status, 200);
        assert_eq!(endpoint.connections(), 2);
    }
}

#[tokio::test]
async fn an_endpoint_that_processes_nothing_fails_the_attempt_in_the_end() {
    for farewell in [reset(1, REFUSED_STREAM), go_away(0, NO_ERROR), Vec::new()] {
        let said = farewell.clone();
        let endpoint = Endpoint::start(move |mut peer, _| {
            let said = said.clone();
            async move {
                if said.is_empty() {
                    return;
                }
                peer.greet(&settings()).await;
                peer.request().await.unwrap();
                peer.write(&said).await;
                peer.hold().await;
            }
        })
        .await;
        let error = endpoint.send(LONG).await.unwrap_err();
        assert_eq!(error.reason, FailureReason::Reset, "{error}");
        assert!((1..=7).contains(&endpoint.connections()), "{farewell:x?}");
    }
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_again() {
    for farewell in [
        Vec::new(),
        go_away(1, NO_ERROR),
        go_away(NEVER, NO_ERROR),
        reset(1, 2),
        reset(1, 8),
        reset(1, NO_ERROR),
    ] {
        let said = farewell.clone();
        let endpoint = Endpoint::start(move |mut peer, _| {
            let said = said.clone();
            async move {
                peer.greet(&settings()).await;
                peer.request().await.unwrap();
                peer.write(&said).await;
            }
        })
        .await;
        let error = endpoint.send(LONG).await.unwrap_err();
        assert_eq!(error.reason, FailureReason::Reset, "{farewell:x?}: {error}");
        assert_eq!(endpoint.connections(), 1);
    }
}

#[tokio::test]
async fn a_connection_whose_end_is_announced_gets_no_further_request() {
    let endpoint = Endpoint::start(|mut peer, _| async move {
        peer.greet(&settings()).await;
        let stream = peer.request().await.unwrap();
        peer.write(&[go_away(NEVER, NO_ERROR), ok(stream)].concat())
            .await;
        assert_eq!(peer.request().await, None);
    })
    .await;
    for n in 1..=5 {
        endpoint.send(LONG).await.unwrap();
        assert_eq!(endpoint.connections(), n);
    }
}

/// Answers so many requests on a connection and ignores those beyond, as nginx does by `keepalive_requests`.
async fn serve_some(mut peer: Peer, most: usize, processed: &AtomicUsize) {
    peer.greet(&setting(MAX_CONCURRENT_STREAMS, 128)).await;
    while let Some(stream) = peer.request().await {
        if peer.requests > most {
            continue;
        }
        let mut said = ok(stream);
        if peer.requests == most {
            said = [go_away(stream, NO_ERROR), said].concat();
        }
        processed.fetch_add(1, Ordering::SeqCst);
        peer.write(&said).await;
    }
}

#[tokio::test]
async fn connections_that_end_after_few_requests_fail_none() {
    for (most, at_once, requests) in [(20, 16, 600), (20, 64, 300), (1, 8, 60)] {
        let processed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&processed);
        let endpoint = Endpoint::start(move |peer, _| {
            let count = Arc::clone(&count);
            async move { serve_some(peer, most, &count).await }
        })
        .await;
        stream::iter(0..requests)
            .for_each_concurrent(at_once, |_| async {
                endpoint.send(LONG).await.unwrap();
            })
            .await;
        let processed = processed.load(Ordering::SeqCst);
        assert_eq!(processed, requests, "each is processed once");
    }
}

#[tokio::test]
async fn requests_that_start_together_wait_for_one_connection() {
    let endpoint = Endpoint::start(|mut peer, number| async move {
        peer.greet(&settings()).await;
        if number > 0 {
            return peer.serve().await;
        }
        let stream = peer.request().await.unwrap();
        peer.write(&[go_away(stream, NO_ERROR), ok(stream)].concat())
            .await;
        peer.hold().await;
    })
    .await;
    // Until the first answer it is not known that HTTP/2 is spoken.
    endpoint.send(LONG).await.unwrap();
    let all = (0..20).map(|_| endpoint.send(LONG));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(endpoint.connections(), 2);
}
