//! Tests of the index: the same journal gives the same index, wherever its rounds end.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::ffi;
use rusqlite::types::Value;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::domain::{DeadReason, Next, SubscriptionNumber};
use crate::store::SubscriptionState;
use crate::store::harness::{NOW, due_in, given, outcome};
use crate::store::index::refill::{Answer, Wanted};
use crate::store::index::{find, refill};
use crate::store::journal::{
    Committed, Durability, Group, Journal, JournalError, Options, Place, ReadJournal, WriteJournal,
};
use crate::store::record::{Accepted, Attempted, Death, Record};

const KEY: DedupKey = DedupKey([7; 16]);
const REMEMBERED: Remembered = Remembered {
    since: NOW,
    max: 10,
};
/// Everything that these tests write.
const ALL: Remembered = Remembered {
    since: Timestamp::from_millis(0),
    max: 10,
};

/// Signals when a group is committed.
struct Told(std::sync::mpsc::SyncSender<()>);

impl Committed<()> for Told {
    fn committed(&mut self, batches: Vec<((), Vec<Place>)>, _group: Group) {
        for _ in batches {
            self.0.send(()).unwrap();
        }
    }

    fn refused(&mut self, _batches: Vec<()>) {
        panic!("no space");
    }

    fn failed(&mut self, error: &JournalError, _waiting: Vec<()>) {
        panic!("{error}");
    }
}

/// A journal of its own, to which records are written.
struct Written {
    _folder: TempDir,
    journal: Journal<()>,
    told: std::sync::mpsc::Receiver<()>,
}

impl Written {
    fn new() -> Self {
        let folder = tempdir().unwrap();
        let (sender, told) = std::sync::mpsc::sync_channel(64);
        let (journal, _) = Journal::open(
            &folder.path().join("journal"),
            Options::default(),
            Told(sender),
        )
        .unwrap();
        Self {
            _folder: folder,
            journal,
            told,
        }
    }

    fn add(&self, records: &[Record]) {
        self.journal
            .append_now(records, Durability::Sync, ())
            .unwrap();
        self.told.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}

fn accepted(seq: u64, deliveries: &[(u32, Option<DeadReason>)]) -> Record {
    let id = format!("id-{seq}");
    Record::Accepted(Accepted {
        seq: EventSeq(seq),
        event: Arc::new(given(&id, "body", &[]).event),
        deliveries: deliveries
            .iter()
            .map(|(number, dead)| {
                let death = dead.map(|reason| Death {
                    reason,
                    blocks: false,
                });
                (SubscriptionNumber(*number), death)
            })
            .collect(),
        keyed: Vec::new(),
    })
}

/// An event without deliveries, with a body of this many bytes.
fn large(seq: u64, bytes: usize) -> Record {
    let new = given(&format!("id-{seq}"), &"x".repeat(bytes), &[]);
    Record::Accepted(Accepted {
        seq: EventSeq(seq),
        event: Arc::new(new.event),
        deliveries: Vec::new(),
        keyed: Vec::new(),
    })
}

fn attempted(seq: u64, number: u32, attempt: u32, next: Next) -> Record {
    Record::Attempted(Attempted {
        seq: EventSeq(seq),
        subscription: SubscriptionNumber(number),
        attempt,
        recorded_at: NOW,
        outcome: outcome(next == Next::Delivered),
        next,
        blocks: false,
        since: NOW,
    })
}

type Rows = BTreeMap<String, Vec<Vec<Value>>>;

/// Everything in an index, table by table.
fn rows(index: &Index) -> Rows {
    let connection = &index.connection;
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap();
    let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    names
        .map(|name| {
            let name = name.unwrap();
            let mut all = connection
                .prepare(&format!("SELECT * FROM {name}"))
                .unwrap();
            let columns = all.column_count();
            let rows = all
                .query_map([], |row| {
                    (0..columns).map(|column| row.get(column)).collect()
                })
                .unwrap();
            let rows = rows.collect::<rusqlite::Result<_>>().unwrap();
            (name, rows)
        })
        .collect()
}

fn caught_up(path: &Path, written: &Written) -> Index {
    let mut index = Index::open(path, KEY).unwrap();
    index.catch_up(&written.journal, &mut |_, _| {}).unwrap();
    index
}

fn count(index: &Index, sql: &str) -> i64 {
    index
        .connection
        .query_row(sql, [], |row| row.get(0))
        .unwrap()
}

#[test]
fn the_files_of_a_index_are_for_their_owner_only() {
    let folder = tempdir().unwrap();
    let written = Written::new();
    let _index = caught_up(&folder.path().join("index.sqlite3"), &written);
    let modes = fs::read_dir(folder.path()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name(), entry.metadata().unwrap().mode() & 0o777)
    });
    let modes: Vec<_> = modes.collect();
    assert!(modes.len() > 1, "with its write-ahead log: {modes:?}");
    assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}

#[test]
fn a_delivery_that_ends_within_the_round_leaves_no_pending_row_but_its_event_and_attempt() {
    let folder = tempdir().unwrap();
    let written = Written::new();
    written.add(&[accepted(1, &[(1, None), (2, None)])]);
    written.add(&[attempted(1, 1, 1, Next::Delivered)]);
    let index = caught_up(&folder.path().join("index"), &written);
    assert_eq!(count(&index, "SELECT count(*) FROM pending"), 1);
    assert_eq!(count(&index, "SELECT count(*) FROM events_1"), 1);
    assert_eq!(count(&index, "SELECT count(*) FROM attempts_1"), 1);
    assert_eq!(count(&index, "SELECT sum(pending_bytes) FROM counters"), 4);
}

#[test]
fn what_follows_the_final_state_of_a_delivery_changes_nothing_of_it() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("index");
    let written = Written::new();
    written.add(&[accepted(1, &[(1, None)])]);
    written.add(&[attempted(1, 1, 1, Next::Dead(DeadReason::GaveUp))]);
    let index = caught_up(&path, &written);
    let before = rows(&index);
    drop(index);
    written.add(&[attempted(1, 1, 2, Next::Delivered)]);
    let after = rows(&caught_up(&path, &written));
    for table in ["deliveries", "counters"] {
        assert_eq!(before[table], after[table], "{table}");
    }
}

#[test]
fn refills_answer_what_is_pending_and_say_whether_there_is_more() {
    let folder = tempdir().unwrap();
    let written = Written::new();
    for seq in 1..=6 {
        written.add(&[accepted(seq, &[(1, None)])]);
    }
    for (seq, seconds) in [(2, 9), (3, 8), (4, 9)] {
        let next = due_in(NOW, Duration::from_secs(seconds));
        written.add(&[attempted(seq, 1, 1, next)]);
    }
    let index = caught_up(&folder.path().join("index"), &written);
    let number = SubscriptionNumber(1);
    let answer = |wanted| refill::answer(&index.connection, number, wanted, 2).unwrap();
    let refill = |after, limit| {
        let Answer::Fresh(page, upto) = answer(Wanted::Fresh(EventSeq(after), limit)) else {
            panic!("the answer of another question")
        };
        let seqs: Vec<_> = page.entries.iter().map(|entry| entry.seq.0).collect();
        (seqs, page.complete, upto.0)
    };
    assert_eq!(refill(0, 2), (vec![1, 5], false, 6));
    assert_eq!(refill(5, 2), (vec![6], true, 6));
    let due = |after, limit| {
        let Answer::Due(page) = answer(Wanted::Due(after, limit)) else {
            panic!("the answer of another question")
        };
        let entries = page.entries.iter();
        let seqs: Vec<_> = entries.map(|(_, entry)| entry.seq.0).collect();
        (seqs, page.complete)
    };
    let beginning = (Timestamp::from_millis(0), EventSeq(0));
    assert_eq!(due(beginning, 2), (vec![3, 2], false));
    let nine = NOW.plus(Duration::from_secs(9));
    assert_eq!(due((nine, EventSeq(2)), 2), (vec![4], true));
}

#[test]
fn places_and_given_ids_are_found_over_segments() {
    let folder = tempdir().unwrap();
    let written = Written::new();
    for seq in 1..=200 {
        // The first segment has 4 MiB.
        written.add(&[large(seq, 30_000)]);
    }
    let index = caught_up(&folder.path().join("index"), &written);
    for seq in [1, 100, 200] {
        let place = find::place(&index.connection, EventSeq(seq))
            .unwrap()
            .unwrap();
        assert_eq!(written.journal.read(place).unwrap().seq, EventSeq(seq));
    }
    assert!(count(&index, "SELECT count(*) FROM segments") > 1);
    assert_eq!(find::place(&index.connection, EventSeq(201)).unwrap(), None);
    let earlier = Timestamp::from_millis(NOW.as_millis() - 1);
    let found = query::given_ids(&index.connection, earlier, 150).unwrap();
    assert_eq!(found.len(), 150);
    assert_eq!((found[0].1, found[149].1), (EventSeq(51), EventSeq(200)));
    assert!(
        query::given_ids(&index.connection, NOW, 150)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_index_of_another_version_is_set_aside() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("index");
    let written = Written::new();
    written.add(&[accepted(1, &[(1, None)])]);
    let index = caught_up(&path, &written);
    let expected = rows(&index);
    index
        .connection
        .pragma_update(None, "user_version", 99)
        .unwrap();
    drop(index);
    let index = caught_up(&path, &written);
    assert_eq!(rows(&index), expected);
    assert!(path.with_extension("old").exists());
}

#[test]
fn an_index_of_another_journal_is_written_anew() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("index");
    let written = Written::new();
    written.add(&[accepted(1, &[(1, None)]), accepted(2, &[(1, None)])]);
    let index = caught_up(&path, &written);
    drop(index);
    let other = Written::new();
    other.add(&[accepted(1, &[(1, None)])]);
    let mut index = Index::open(&path, KEY).unwrap();
    let start = index
        .recover(&other.journal, EventSeq(1), NOW, REMEMBERED)
        .unwrap();
    assert_eq!(start.subscriptions[0].pending, 1);
    index.catch_up(&other.journal, &mut |_, _| {}).unwrap();
    assert_eq!(count(&index, "SELECT count(*) FROM pending"), 1);
}

#[test]
fn a_cursor_that_a_power_cut_left_ahead_goes_back_and_misses_nothing_that_follows() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("index");
    let written = Written::new();
    written.add(&[accepted(1, &[(1, None)])]);
    let mut index = caught_up(&path, &written);
    let ahead = Position {
        offset: index.cursor.offset + 100_000,
        ..index.cursor
    };
    query::pull_cursor(&index.connection, ahead).unwrap();
    drop(index);
    index = Index::open(&path, KEY).unwrap();
    index
        .recover(&written.journal, EventSeq(1), NOW, REMEMBERED)
        .unwrap();
    written.add(&[accepted(2, &[(1, None)])]);
    let expected = caught_up(&folder.path().join("anew"), &written);
    index.catch_up(&written.journal, &mut |_, _| {}).unwrap();
    assert_eq!(rows(&index), rows(&expected));
}

#[test]
fn a_page_damaged_behind_the_header_is_noticed_and_the_index_written_anew() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("index");
    let written = Written::new();
    for seq in 1..=300 {
        written.add(&[accepted(seq, &[(1, None)])]);
    }
    let index = caught_up(&path, &written);
    let expected = rows(&index);
    drop(index);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let mut index = Index::open(&path, KEY).unwrap();
    index
        .recover(&written.journal, EventSeq(300), NOW, REMEMBERED)
        .unwrap();
    assert_eq!(rows(&index), expected);
}

#[test]
fn full_disks_and_locks_are_no_damage() {
    let error =
        |code| IndexError::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    assert!(!error(ffi::SQLITE_FULL).is_damage());
    assert!(error(ffi::SQLITE_FULL).is_full());
    assert!(!error(ffi::SQLITE_BUSY).is_damage());
    assert!(!error(ffi::SQLITE_IOERR).is_damage());
    assert!(error(ffi::SQLITE_CORRUPT).is_damage());
    assert!(error(ffi::SQLITE_NOTADB).is_damage());
    assert!(IndexError::Version(9).is_damage());
}

#[derive(Debug, Clone)]
enum Step {
    Accept(Vec<(u32, bool)>),
    Attempt(usize, u8),
    State(u32),
    CatchUp,
    Reopen,
    Cancel(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => proptest::collection::vec((1_u32..4, proptest::bool::weighted(0.2)), 0..3).prop_map(Step::Accept),
        6 => (any::<usize>(), 0_u8..3).prop_map(|(which, next)| Step::Attempt(which, next)),
        1 => (1_u32..4).prop_map(Step::State),
        2 => Just(Step::CatchUp),
        1 => Just(Step::Reopen),
        1 => any::<usize>().prop_map(Step::Cancel),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Invariant 9: the same journal gives the same index, wherever its rounds end; and memory is loaded with the same
    /// data however far the index is behind.
    #[test]
    fn the_same_index_comes_out_of_the_same_journal(steps in steps()) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("index");
        let written = Written::new();
        let mut index = Index::open(&path, KEY).unwrap();
        let mut pending: Vec<(u64, u32, u32)> = Vec::new();
        let mut seq = 0;
        for step in steps {
            match step {
                Step::Accept(mut deliveries) => {
                    seq += 1;
                    deliveries.sort_unstable();
                    deliveries.dedup_by_key(|(number, _)| *number);
                    let deliveries: Vec<_> = deliveries
                        .into_iter()
                        .map(|(number, dead)| (number, dead.then_some(DeadReason::Overflow)))
                        .collect();
                    let live = deliveries.iter().filter(|(_, dead)| dead.is_none());
                    pending.extend(live.map(|(number, _)| (seq, *number, 0)));
                    written.add(&[accepted(seq, &deliveries)]);
                }
                Step::Attempt(which, next) => {
                    if pending.is_empty() {
                        continue;
                    }
                    let which = which % pending.len();
                    pending[which].2 += 1;
                    let (seq, number, attempt) = pending[which];
                    let next = match next {
                        0 => due_in(NOW, Duration::from_secs(u64::from(attempt))),
                        1 => Next::Delivered,
                        _ => Next::Dead(DeadReason::Exhausted),
                    };
                    if !matches!(next, Next::Due { .. }) {
                        pending.swap_remove(which);
                    }
                    written.add(&[attempted(seq, number, attempt, next)]);
                }
                Step::State(number) => {
                    let number = SubscriptionNumber(number);
                    let state = SubscriptionState { consecutive_failures: 3, ..Default::default() };
                    let name = format!("name-{}", number.0).parse().unwrap();
                    written.add(&[
                        Record::SubscriptionNamed { number, name },
                        Record::SubscriptionState { number, state },
                    ]);
                }
                Step::Cancel(which) => {
                    if pending.is_empty() {
                        continue;
                    }
                    let (seq, number, _) = pending.swap_remove(which % pending.len());
                    written.add(&[Record::Cancelled {
                        seq: EventSeq(seq),
                        subscription: SubscriptionNumber(number),
                        at: NOW,
                    }]);
                }
                Step::CatchUp => index.catch_up(&written.journal, &mut |_, _| {}).unwrap(),
                Step::Reopen => {
                    drop(index);
                    index = Index::open(&path, KEY).unwrap();
                }
            }
        }
        let begun = index.recover(&written.journal, EventSeq(seq), NOW, ALL).unwrap();
        index.catch_up(&written.journal, &mut |_, _| {}).unwrap();
        let known = index.recover(&written.journal, EventSeq(seq), NOW, ALL).unwrap();
        prop_assert_eq!(begun.subscriptions, known.subscriptions);
        prop_assert_eq!((begun.given_ids, begun.jobs), (known.given_ids, known.jobs));
        let anew = caught_up(&folder.path().join("anew"), &written);
        let (stepwise, at_once) = (rows(&index), rows(&anew));
        prop_assert_eq!(&stepwise, &at_once);
        let rows = count(&index, "SELECT count(*) FROM pending");
        prop_assert_eq!(usize::try_from(rows).unwrap(), pending.len());
        let counted = count(&index, "SELECT coalesce(sum(pending), 0) FROM counters");
        prop_assert_eq!(usize::try_from(counted).unwrap(), pending.len());
        let dead = count(&index, "SELECT coalesce(sum(dead), 0) FROM counters");
        prop_assert_eq!(dead, count(&index, "SELECT count(*) FROM dead"));
    }
}

#[path = "audit_tests.rs"]
mod audit_tests;
