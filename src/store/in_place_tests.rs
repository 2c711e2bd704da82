//! Files of the store that are removed or replaced while it is open, or were not ours to begin with.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use tempfile::tempdir;

use super::harness::*;
use super::*;
use crate::domain::{SubscriptionNumber, Timestamp};

/// The files that may be taken away.
const FILES: [&str; 6] = [
    "",
    "lock",
    "journal",
    "journal/SEGMENT",
    "index.sqlite3",
    "reserve",
];

fn path_of(store: &Path, file: &str) -> PathBuf {
    if file.is_empty() {
        return store.to_owned();
    }
    if file != "journal/SEGMENT" {
        return store.join(file);
    }
    let segments = fs::read_dir(store.join("journal")).unwrap();
    let segments = segments.map(|entry| entry.unwrap().path());
    segments.max().unwrap()
}

/// The message of an error, and of its causes.
fn text_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect()
}

/// Accepts until that fails, which must be soon.
async fn failure_of(running: &Running, number: SubscriptionNumber) -> AcceptError {
    let failed = async {
        loop {
            let events = vec![event("lost", &[number])];
            if let Err(error) = running.store.accept(events).await {
                return error;
            }
        }
    };
    let failed = tokio::time::timeout(Duration::from_secs(20), failed);
    failed.await.expect("it is noticed")
}

#[tokio::test]
async fn what_is_removed_or_replaced_fails_the_store() {
    for file in FILES {
        for is_replaced in [false, true] {
            let root = tempdir().unwrap();
            let folder = root.path().join("store");
            let running = Setup::default().open(&folder);
            let number = running.named("a");
            running.accept(vec![event("kept", &[number])]).await;
            let path = path_of(&folder, file);
            let aside = root.path().join("aside");
            fs::rename(&path, &aside).unwrap();
            if is_replaced && aside.is_dir() {
                fs::create_dir(&path).unwrap();
            } else if is_replaced {
                fs::copy(&aside, &path).unwrap();
            }
            let error = failure_of(&running, number).await;
            assert!(matches!(error, AcceptError::Failed(_)), "{file}: {error}");
            let text = text_of(&error);
            assert!(text.contains("was removed or replaced"), "{file}: {text}");
            assert!(text.contains(&path.display().to_string()), "{file}: {text}");
        }
    }
}

#[tokio::test]
async fn it_is_noticed_also_while_nothing_is_written() {
    for file in FILES {
        let root = tempdir().unwrap();
        let folder = root.path().join("store");
        let running = Setup::default().open(&folder);
        let number = running.named("a");
        running.accept(vec![event("kept", &[number])]).await;
        fs::rename(path_of(&folder, file), root.path().join("aside")).unwrap();
        let noticed = running.store.0.appender.failure.raised();
        let noticed = tokio::time::timeout(Duration::from_secs(20), noticed);
        let error = noticed.await.expect("it is noticed");
        let text = text_of(&error);
        assert!(text.contains("was removed or replaced"), "{file}: {text}");
    }
}

#[tokio::test]
async fn segments_that_come_and_go_are_in_their_place() {
    let folder = tempdir().unwrap();
    let setup = Setup {
        segments: SMALL_SEGMENTS,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let number = running.named("a");
    let body = "x".repeat(8 << 10);
    for _ in 0..64 {
        running.accept(vec![event(&body, &[number])]).await;
    }
    running.close().await;
}

#[tokio::test]
async fn a_link_or_a_pipe_in_the_place_of_a_file_is_refused_by_name() {
    for file in [
        "lock",
        "reserve",
        "index.sqlite3",
        "index.sqlite3-wal",
        "journal/SEGMENT",
    ] {
        let root = tempdir().unwrap();
        let folder = root.path().join("store");
        let running = Setup::default().open(&folder);
        running.named("a");
        running.close().await;
        let path = path_of(&folder, file);
        let target = root.path().join("target");
        match fs::rename(&path, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::write(&target, b"").unwrap();
            }
            moved => moved.unwrap(),
        }
        symlink(&target, &path).unwrap();
        let before = fs::read(&target).unwrap();
        let error = Setup::default().try_open(&folder).map(drop).unwrap_err();
        let text = text_of(&error);
        assert!(text.contains("is a link"), "{file}: {text}");
        assert!(text.contains(&path.display().to_string()), "{file}: {text}");
        assert_eq!(fs::read(&target).unwrap(), before, "{file}");
    }
}

#[tokio::test]
async fn the_index_of_a_former_version_replaces_a_stale_one_and_is_set_aside() {
    let folder = tempdir().unwrap();
    let [index, former] = ["index.sqlite3", "book.sqlite3"].map(|name| folder.path().join(name));
    let open = || Setup::default().open(folder.path());
    let running = open();
    let a = running.named("a");
    running.accept(vec![event("1", &[a])]).await;
    running.close().await;
    let stale = fs::read(&index).unwrap();
    let running = open();
    assert_eq!(running.drain(a).await, ["1"]);
    running.accept(vec![event("2", &[a])]).await;
    running.close().await;
    rusqlite::Connection::open(&index)
        .and_then(|database| database.pragma_update(None, "user_version", 5))
        .unwrap();
    for is_checked in [false, true] {
        // An older program went on with its own, beside an index that a newer one had made before.
        fs::rename(&index, &former).unwrap();
        fs::write(&index, &stale).unwrap();
        fs::write(folder.path().join("book.sqlite3.old"), "damaged").unwrap();
        if is_checked {
            let report = check(folder.path(), Timestamp::default()).unwrap();
            assert_eq!(report.index, IndexState::Agrees);
        }
        let running = open();
        assert_eq!(running.store.queue(a).counts().pending, 1);
        assert_eq!(running.take_one(a).await.event().body, "2");
        running.close().await;
        let names = fs::read_dir(folder.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            !names
                .iter()
                .any(|name| name.to_string_lossy().starts_with("book"))
        );
        assert!(folder.path().join("index.sqlite3.old").exists());
    }
}
