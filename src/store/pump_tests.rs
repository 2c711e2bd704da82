//! Tests of the pump: the way back from the journal's thread.

use tempfile::tempdir;

use super::*;
use crate::store::completions::Sink;
use crate::store::harness::{Setup, event, given, no_metrics};
use crate::store::journal::{Committed, JournalError};
use crate::store::{Health, Store};

/// Waits until the journal's thread has left a result.
async fn laid_down(store: &Store) -> Vec<Fate> {
    let completions = &store.0.pump.completions;
    let waited = async {
        loop {
            let laid_down = completions.take();
            if !laid_down.fates.is_empty() {
                return laid_down.fates;
            }
            completions.changed.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waited)
        .await
        .unwrap()
}

/// The batches of events among these.
fn batches(fates: Vec<Fate>) -> Vec<Token> {
    let tokens = fates.into_iter().flat_map(|fate| match fate {
        Fate::Committed(group) => group.into_iter().map(|(token, _)| token).collect(),
        Fate::Refused(tokens) => tokens,
    });
    tokens
        .filter(|token| matches!(token, Token::Accepted(_)))
        .collect()
}

#[tokio::test]
async fn a_batch_refused_for_want_of_space_is_not_counted_and_its_given_id_is_free_again() {
    let folder = tempdir().unwrap();
    let store = Setup::default().try_open(folder.path()).unwrap();
    let number = store.subscription(&"a".parse().unwrap());
    let first = {
        let store = store.clone();
        tokio::spawn(async move { store.accept(vec![given("x", "1", &[number])]).await })
    };
    let tokens = loop {
        let tokens = batches(laid_down(&store).await);
        if !tokens.is_empty() {
            break tokens;
        }
    };
    // The second waits for the fate of the first, which the pump has not handed on yet.
    let second = {
        let store = store.clone();
        tokio::spawn(async move { store.accept(vec![given("x", "1", &[number])]).await })
    };
    yield_now().await;
    assert!(!second.is_finished());
    store.0.pump.completions.push(Fate::Refused(tokens));
    let pump = {
        let store = store.clone();
        tokio::spawn(async move { store.run().await })
    };
    assert!(matches!(first.await.unwrap(), Err(AcceptError::Full)));
    let receipts = second.await.unwrap().unwrap();
    assert!(!receipts[0].duplicate);
    assert_eq!(store.queue(number).counts().pending, 1);
    store.close().await.unwrap();
    pump.await.unwrap().unwrap();
}

#[tokio::test]
async fn when_the_journal_fails_everybody_who_waits_is_told_and_nothing_is_leased() {
    let folder = tempdir().unwrap();
    let store = Setup::default().try_open(folder.path()).unwrap();
    let number = store.subscription(&"a".parse().unwrap());
    let accepting = |new| {
        let store = store.clone();
        tokio::spawn(async move { store.accept(vec![new]).await })
    };
    let first = accepting(given("x", "1", &[number]));
    let mut tokens = Vec::new();
    while tokens.is_empty() {
        tokens = batches(laid_down(&store).await);
    }
    let duplicate = accepting(given("x", "1", &[number]));
    yield_now().await;
    let mut sink = Sink {
        completions: Arc::clone(&store.0.pump.completions),
        index: Arc::clone(&store.0.accepting.index),
        failure: Arc::clone(&store.0.appender.failure),
        metrics: no_metrics(),
    };
    let error = JournalError::Damaged { segment: 3 };
    sink.failed(&error, tokens);
    assert!(store.run().await.is_err());
    for waiting in [first, duplicate] {
        let refused = waiting.await.unwrap();
        assert!(matches!(
            refused,
            Err(AcceptError::Failed(StoreError::Journal(_)))
        ));
    }
    assert!(store.failed().await.to_string().contains("segment 3"));
    assert_eq!(store.health(), Health::Failed);
    let refused = store.accept(vec![event("2", &[number])]).await;
    assert!(matches!(refused, Err(AcceptError::Failed(_))));
    let mut leases = Vec::new();
    store.queue(number).take(1, &mut leases);
    assert!(leases.is_empty());
    assert!(store.close().await.is_err());
}

#[tokio::test]
async fn intake_stops_while_the_index_lags_too_far() {
    let folder = tempdir().unwrap();
    let store = Setup::default().try_open(folder.path()).unwrap();
    let number = store.subscription(&"a".parse().unwrap());
    store.0.operations.index.committed(0, (64 << 20) + 1);
    let refused = store.accept(vec![event("1", &[number])]).await;
    assert!(matches!(refused, Err(AcceptError::Overloaded)));
    assert_eq!(store.queue(number).counts().pending, 0);
}
