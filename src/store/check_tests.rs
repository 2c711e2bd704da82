//! Tests of the check.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::domain::{DeadReason, Next};
use crate::store::harness::{NOW, Running, Setup, due_in, event};

/// A store that was closed with three pending deliveries of `a`, one of them attempted, one dead and one delivered.
async fn store() -> TempDir {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let number = running.named("a");
    for body in ["body-1", "body-2", "body-3", "body-4", "body-5"] {
        running.accept(vec![event(body, &[number])]).await;
    }
    settle(&running, Next::Delivered).await;
    settle(&running, Next::Dead(DeadReason::Exhausted)).await;
    settle(&running, due_in(NOW, Duration::from_secs(3600))).await;
    running.close().await;
    folder
}

async fn settle(running: &Running, next: Next) {
    let number = running.named("a");
    let lease = running.take_one(number).await;
    running.settle(lease, next).await;
}

fn checked(folder: &TempDir) -> StoreReport {
    check(folder.path(), NOW).unwrap()
}

fn counts(report: &StoreReport) -> Vec<(String, u64, u64)> {
    let subscriptions = report.subscriptions.iter();
    subscriptions
        .map(|it| (it.name.as_ref().unwrap().to_string(), it.pending, it.dead))
        .collect()
}

fn index_path(folder: &TempDir) -> PathBuf {
    folder.path().join("index.sqlite3")
}

fn index(folder: &TempDir) -> Connection {
    Connection::open(index_path(folder)).unwrap()
}

/// Changes a byte in the middle of the first segment where this text stands.
fn flip(folder: &TempDir, text: &str) {
    let path = folder.path().join("journal/00000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    let mut places = bytes.windows(text.len());
    let place = places.position(|found| found == text.as_bytes()).unwrap();
    bytes[place] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn a_store_that_is_right_is_counted_and_left_as_it_is() {
    let folder = store().await;
    let segment = folder.path().join("journal/00000001.seg");
    let before = fs::read(&segment).unwrap();
    for _ in 0..2 {
        let report = checked(&folder);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.index, IndexState::Agrees);
        assert_eq!((report.events, report.records), (5, 9));
        assert_eq!(counts(&report), [("a".to_owned(), 3, 1)]);
        assert_eq!((report.only_in_index, report.torn_bytes), (0, 0));
    }
    assert_eq!(fs::read(&segment).unwrap(), before);
    assert!(!folder.path().join("index.sqlite3.old").exists());
    assert!(!folder.path().join("index.sqlite3.check").exists());
    let running = Setup::default().open(folder.path());
    assert_eq!(running.store.queue(running.named("a")).counts().pending, 3);
    running.close().await;
}

#[tokio::test]
async fn a_damaged_event_is_told_with_its_place_and_what_is_lost_with_it() {
    let folder = store().await;
    flip(&folder, "body-4");
    let report = checked(&folder);
    assert!(!report.is_clean());
    assert_eq!((report.damaged_places, report.damaged_records), (1, 1));
    let place = &report.damaged[0];
    assert!(place.starts_with("segment 1, bytes "), "{place}");
    assert!(place.ends_with(": 1 record is damaged"), "{place}");
    assert_eq!((report.events, report.records), (4, 8));
    assert_eq!((report.lost_events, report.lost_pending), (1, 1));
    assert_eq!(report.index, IndexState::Agrees);

    fs::remove_file(index_path(&folder)).unwrap();
    let report = checked(&folder);
    assert!(!report.is_clean());
    assert_eq!((report.damaged_places, report.lost_events), (1, 0));
    assert_eq!(report.index, IndexState::Absent);
    assert_eq!(counts(&report), [("a".to_owned(), 2, 1)]);
}

#[tokio::test]
async fn a_lost_end_of_the_journal_is_known_from_the_index() {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let number = running.named("a");
    running.accept(vec![event("body-1", &[number])]).await;
    running.accept(vec![event("body-2", &[number])]).await;
    running.close().await;
    flip(&folder, "body-2");
    let report = checked(&folder);
    assert!(report.torn_bytes > 0);
    let IndexState::Damaged(reasons) = &report.index else {
        panic!("{report:?}")
    };
    assert!(reasons[0].contains("lost its end"), "{reasons:?}");
    assert_eq!(counts(&report), [("a".to_owned(), 1, 0)]);
}

#[tokio::test]
async fn an_index_that_is_missing_or_of_another_version_is_no_damage() {
    let folder = store().await;
    fs::remove_file(index_path(&folder)).unwrap();
    let report = checked(&folder);
    assert!(report.is_clean());
    assert_eq!(report.index, IndexState::Absent);
    assert_eq!(counts(&report), [("a".to_owned(), 3, 1)]);

    index(&folder)
        .execute_batch("PRAGMA user_version = 1")
        .unwrap();
    let report = checked(&folder);
    assert!(report.is_clean());
    assert_eq!(report.index, IndexState::Outdated);
    assert_eq!(checked(&folder).index, IndexState::Agrees);
}

#[tokio::test]
async fn a_damaged_index_is_written_anew() {
    for (from, to) in [(0, 100), (4096, 16 << 10)] {
        let folder = store().await;
        let mut bytes = fs::read(index_path(&folder)).unwrap();
        bytes[from..to].fill(0xAA);
        fs::write(index_path(&folder), bytes).unwrap();
        let report = checked(&folder);
        assert!(!report.is_clean());
        assert!(matches!(&report.index, IndexState::Damaged(reasons) if !reasons.is_empty()));
        assert_eq!((report.damaged_places, report.lost_events), (0, 0));
        assert_eq!(counts(&report), [("a".to_owned(), 3, 1)]);
        assert!(folder.path().join("index.sqlite3.old").exists());
        assert!(checked(&folder).is_clean());
    }
}

#[tokio::test]
async fn an_index_that_the_journal_contradicts_is_written_anew() {
    for (change, reason) in [
        ("DELETE FROM deliveries WHERE state = 0; DELETE FROM events_1", "events that are missing or other than in the journal: 5"),
        ("UPDATE events_1 SET offset = offset + 8 WHERE seq = 4", "events that are missing or other than in the journal: 1"),
        ("UPDATE deliveries SET body_bytes = 7 WHERE state = 0 AND seq = 4", "pending deliveries that are other than in the journal: 1"),
        (
            "INSERT INTO deliveries SELECT 0, 1, 1, segment, offset, length, body_bytes, accepted_at, since, key, 0, 0, NULL, NULL,
             NULL, 0, NULL FROM pending WHERE seq = 4",
            "pending deliveries that the journal has the end of: 1",
        ),
        ("UPDATE deliveries SET reason = 1 WHERE state = 2", "dead letters that are other than in the journal: 1"),
        ("UPDATE subscriptions SET name = 'b'", "subscriptions of other names than in the journal: 1"),
        ("UPDATE counters SET pending = 7", "subscriptions that are counted wrongly: 1"),
        ("DELETE FROM counters", "subscriptions that are counted wrongly: 1"),
    ] {
        let folder = store().await;
        index(&folder).execute_batch(change).unwrap();
        let report = checked(&folder);
        let IndexState::Damaged(reasons) = &report.index else {
            panic!("{change}: {report:?}")
        };
        let is_told = reasons.iter().any(|it| it == reason);
        assert!(is_told, "{change}: {reasons:?}");
        assert_eq!(counts(&report), [("a".to_owned(), 3, 1)]);
        assert_eq!(checked(&folder).index, IndexState::Agrees, "{change}");
    }
}

#[tokio::test]
async fn outcomes_that_only_the_index_has_stay_in_it() {
    let folder = store().await;
    let delivered = "DELETE FROM deliveries WHERE state = 0 AND seq = 4;
        UPDATE counters SET pending = pending - 1, pending_bytes = pending_bytes - 6;
        UPDATE deliveries SET attempts = 1, due_at = 0, pause_ms = 0 WHERE state = 0 AND seq = 5";
    index(&folder).execute_batch(delivered).unwrap();
    for _ in 0..2 {
        let report = checked(&folder);
        assert_eq!(report.index, IndexState::Agrees);
        assert!(report.is_clean());
        assert_eq!(report.only_in_index, 2);
        assert_eq!(counts(&report), [("a".to_owned(), 2, 1)]);
    }
}

#[tokio::test]
async fn a_store_that_is_open_or_absent_is_not_checked() {
    let folder = tempdir().unwrap();
    let absent = check(&folder.path().join("nowhere"), NOW);
    assert!(matches!(absent, Err(StoreError::Folder { .. })));
    assert!(!folder.path().join("nowhere").exists());
    let running = Setup::default().open(folder.path());
    assert!(matches!(
        check(folder.path(), NOW),
        Err(StoreError::InUse { .. })
    ));
    running.close().await;
    assert!(check(folder.path(), NOW).unwrap().is_clean());
}
