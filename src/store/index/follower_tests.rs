//! Tests of the index's thread: rounds, questions, and an index that does not work.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::{TempDir, tempdir};

use super::*;
use crate::domain::EventSeq;
use crate::store::dedup::DedupKey;
use crate::store::harness::NoRoom;
use crate::store::index::{find, query};
use crate::store::journal::{Committed, Group, JournalError, Options, Place};
use crate::store::reserve::Room;

/// No test appends here.
struct Deaf;

impl Committed<()> for Deaf {
    fn committed(&mut self, _batches: Vec<((), Vec<Place>)>, _group: Group) {}

    fn refused(&mut self, _batches: Vec<()>) {}

    fn failed(&mut self, _error: &JournalError, _waiting: Vec<()>) {}
}

/// Room for one step.
struct OneStep(AtomicBool);

impl Room for OneStep {
    fn give(&self, _bytes: u64) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    fn make_whole(&self) -> bool {
        false
    }

    fn is_whole(&self) -> bool {
        false
    }
}

fn follower(folder: &TempDir) -> Follower {
    follower_with(folder, Arc::new(NoRoom))
}

fn follower_with(folder: &TempDir, reserve: Arc<dyn Room>) -> Follower {
    let (journal, _) = crate::store::journal::Journal::open(
        &folder.path().join("journal"),
        Options::default(),
        Deaf,
    )
    .unwrap();
    let index = Index::open(&folder.path().join("index"), DedupKey([0; 16])).unwrap();
    let around = Surroundings {
        inbox: Arc::default(),
        reserve,
        in_place: Arc::default(),
        failure: Arc::default(),
        written_anew: Box::new(|| {}),
    };
    Follower::new(index, Arc::new(journal), around)
}

fn full() -> IndexError {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    rusqlite::Error::SqliteFailure(code, None).into()
}

#[test]
fn errors_fail_the_store_only_when_they_last() {
    let folder = tempdir().unwrap();
    let mut follower = follower(&folder);
    for _ in 1..ERRORS_MAX {
        follower.recover_from(io::Error::other("broken").into());
    }
    assert!(!follower.around.failure.is_set());
    follower.recover_from(io::Error::other("broken").into());
    let failure = follower.around.failure.get();
    assert!(matches!(failure, Some(StoreError::Index(_))), "{failure:?}");
}

#[test]
fn a_full_disk_never_fails_the_store() {
    let folder = tempdir().unwrap();
    let mut follower = follower(&folder);
    for _ in 0..2 * ERRORS_MAX {
        follower.recover_from(full());
    }
    assert!(!follower.around.failure.is_set());
}

#[test]
fn what_is_kept_for_a_full_disk_is_used_at_once_and_then_waited_for() {
    let folder = tempdir().unwrap();
    let mut follower = follower_with(&folder, Arc::new(OneStep(AtomicBool::new(false))));
    assert!(follower.recover_from(full()));
    assert!(!follower.recover_from(full()));
    assert!(!follower.recover_from(io::Error::other("broken").into()));
}

#[test]
fn an_index_found_damaged_while_running_is_written_anew() {
    let folder = tempdir().unwrap();
    let mut follower = follower(&folder);
    follower
        .index
        .connection
        .execute_batch("DROP TABLE counters")
        .unwrap();
    let error = query::subscriptions(&follower.index.connection).unwrap_err();
    follower.recover_from(error.into());
    assert!(
        query::subscriptions(&follower.index.connection)
            .unwrap()
            .is_empty()
    );
    assert!(folder.path().join("index.old").exists());
}

#[test]
fn a_question_that_fails_is_answered_once_the_index_works() {
    let folder = tempdir().unwrap();
    let mut follower = follower(&folder);
    follower
        .index
        .connection
        .execute_batch("DROP TABLE segments")
        .unwrap();
    let inbox = Arc::clone(&follower.around.inbox);
    let mut answer = inbox.ask(|index| find::place(index, EventSeq(1)));
    inbox.wait(&mut follower.questions);
    let error = follower.turn().unwrap_err();
    assert!(answer.try_recv().is_err());
    follower.recover_from(error);
    follower.turn().unwrap();
    assert_eq!(answer.try_recv(), Ok(None));
}
