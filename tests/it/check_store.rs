//! `sidehook check --store`, by the real binary on the store of a relay that was stopped.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::program::{output, sidehook};
use crate::support::relay::Relay;

/// Events are held: they stay pending.
const HELD: &str = "  a: {url: 'http://127.0.0.1:9', events: ['*'], active: false}\n";

/// The folder of a relay that has accepted three events.
async fn stopped() -> TempDir {
    let relay = Relay::start(HELD).await;
    for body in ["body-1", "body-2", "body-3"] {
        assert_eq!(relay.post("a", body).await.status, 202);
    }
    relay.stop().await
}

fn check(folder: &Path) -> (Option<i32>, String) {
    let done = output(folder, &["check", "--store", "--config", "config.yaml"]);
    assert!(done.stderr.is_empty(), "{done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    let store = folder.join("store").display().to_string();
    (done.status.code(), said.replace(&store, "store"))
}

#[tokio::test]
async fn a_store_that_is_right_is_valid() {
    let folder = stopped().await;
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said,
        "config.yaml: valid, 1 subscription\n  a: 3 pending, 0 dead\nstore: valid, 3 events in 5 records of the journal\n"
    );
}

#[tokio::test]
async fn damage_in_the_journal_is_listed_and_exits_1() {
    let folder = stopped().await;
    let segment = folder.path().join("store/journal/00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let place = bytes
        .windows(6)
        .position(|found| found == b"body-2")
        .unwrap();
    bytes[place] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("\nerror: journal: segment 1, bytes "),
        "{said}"
    );
    let lost = "\nlost, as far as is known: 1 record, 1 event, 1 pending delivery; everything else was kept\n";
    assert!(said.contains(lost), "{said}");
    assert!(
        said.ends_with("store: damaged, 2 events in 4 records of the journal\n"),
        "{said}"
    );
}

#[tokio::test]
async fn of_many_damaged_places_the_first_are_listed_and_the_rest_is_counted() {
    let relay = Relay::start(HELD).await;
    for number in 0..40 {
        let body = format!("body-{number:04}-end");
        assert_eq!(relay.post("a", &body).await.status, 202);
    }
    let folder = relay.stop().await;
    let segment = folder.path().join("store/journal/00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    // Every other one, so that each is a place of its own.
    for number in (0..40).step_by(2) {
        let body = format!("body-{number:04}-end").into_bytes();
        let mut places = bytes.windows(body.len());
        let place = places.position(|found| found == body).unwrap();
        bytes[place] ^= 1;
    }
    fs::write(&segment, bytes).unwrap();
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(1), "{said}");
    let listed = said.matches("error: journal: segment 1, bytes ").count();
    assert_eq!(listed, 10, "{said}");
    let rest = "\nerror: journal: more places: 10 of records\n";
    assert!(said.contains(rest), "{said}");
    assert!(said.contains("known: 20 records, 20 events"), "{said}");
    assert!(said.lines().count() < 20, "{said}");
}

#[tokio::test]
async fn a_segment_that_is_gone_is_missed_by_the_index() {
    let folder = stopped().await;
    let other = tempfile::tempdir().unwrap();
    let segments = folder.path().join("store/journal");
    fs::rename(&segments, other.path().join("journal")).unwrap();
    fs::create_dir(&segments).unwrap();
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error: index: it has events that the journal does not have"),
        "{said}"
    );
    assert!(
        said.ends_with("store: damaged, 0 events in 0 records of the journal\n"),
        "{said}"
    );
}

#[tokio::test]
async fn an_index_is_written_anew_when_it_is_missing_or_damaged() {
    let folder = stopped().await;
    let index = folder.path().join("store/index.sqlite3");
    fs::remove_file(&index).unwrap();
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("\nthe index was missing and was written anew from the journal\n"),
        "{said}"
    );
    fs::write(
        &index,
        "this is not a database, but long enough to be taken for one",
    )
    .unwrap();
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\nerror: index: "), "{said}");
    assert!(said.contains("\n  a: 3 pending, 0 dead\n"), "{said}");
    assert_eq!(check(folder.path()).0, Some(0));
    Relay::start_in(folder, HELD).await.stop().await;
}

#[tokio::test]
async fn a_store_in_use_or_absent_is_not_checked_and_exits_2() {
    let relay = Relay::start(HELD).await;
    let (code, said) = check(relay.folder());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is in use by "), "{said}");
    assert!(said.ends_with("store: not checked\n"), "{said}");
    let folder = relay.stop().await;
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("error: the store folder store/journal cannot be used"),
        "{said}"
    );
    assert!(!folder.path().join("store").exists());
}

#[test]
fn a_wrong_configuration_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yaml"), "subscriptions: 7\n").unwrap();
    let done = sidehook(
        folder.path(),
        &["check", "--store", "--config", "config.yaml"],
    )
    .output();
    let done = done.unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(!String::from_utf8(done.stdout).unwrap().contains("store:"));
}
