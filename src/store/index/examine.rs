//! Checks the index: whether SQLite finds it sound, and whether it agrees with the journal.
//!
//! The index is first brought up to the end of the journal, as at any start, and then compared with one that is written
//! from the beginning, in a file beside it. Rows that only the index has are no fault: a power cut can take outcomes
//! from the journal, and damage can take events; such an index has more than a rebuilt one. An index that is not sound,
//! or that the journal contradicts, is set aside and rebuilt.
//!
//! Tables are walked in the order of their keys, so memory does not grow with them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, params};

use super::error::IndexError;
use super::file::{Index, ignore_missing, set_aside};
use super::numbers::nat;
use super::query::Subscription;
use super::start::{Remembered, Start};
use crate::domain::{EventSeq, Timestamp};
use crate::store::dedup::DedupKey;
use crate::store::journal::ReadJournal;

/// Messages that SQLite may report about a damaged index, at most.
const FAULTS_MAX: usize = 20;

/// The result of checking the index, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// It agrees with the journal.
    Agrees,
    /// There was none; it was rebuilt.
    Absent,
    /// It was of another version of sidehook; it was set aside and rebuilt.
    Outdated,
    /// It was damaged or wrong, for these reasons; it was set aside and rebuilt.
    Damaged(Vec<String>),
}

/// The result of the check.
#[derive(Debug)]
pub(in crate::store) struct Examined {
    pub(in crate::store) state: IndexState,
    pub(in crate::store) differences: Differences,
    pub(in crate::store) subscriptions: Vec<Subscription>,
}

/// The differences between a sound index and a rebuilt one.
#[derive(Debug, Default)]
pub(in crate::store) struct Differences {
    /// Contradictions to the journal, in words.
    pub(in crate::store) wrong: Vec<String>,
    /// Pending deliveries of which only the index has the last outcome.
    pub(in crate::store) ahead: u64,
    /// Events that the journal no longer has.
    pub(in crate::store) lost_events: u64,
    /// Pending deliveries of such events.
    pub(in crate::store) lost_pending: u64,
}

/// Checks the index at `path` against a journal whose last event is `last_seq`. A new index hashes given ids with
/// `key`.
pub(in crate::store) fn examine(
    path: &Path,
    key: DedupKey,
    (journal, last_seq): (&dyn ReadJournal, EventSeq),
    now: Timestamp,
) -> Result<Examined, IndexError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".check");
    let examination = Examination {
        path,
        fresh_path: PathBuf::from(name),
        journal,
        last_seq,
        now,
    };
    // Files left by a check that was killed are of no use.
    examination.remove_fresh()?;
    let examined = examination.run(key);
    examination.remove_fresh()?;
    examined
}

struct Examination<'a> {
    path: &'a Path,
    fresh_path: PathBuf,
    journal: &'a dyn ReadJournal,
    last_seq: EventSeq,
    now: Timestamp,
}

impl Examination<'_> {
    fn run(&self, key: DedupKey) -> Result<Examined, IndexError> {
        if !self.path.try_exists()? {
            return self.write_anew(key, IndexState::Absent);
        }
        let mut index = match Index::open_as_is(self.path, key) {
            Err(IndexError::Version(_)) => return self.write_anew(key, IndexState::Outdated),
            Err(error) if error.is_damage() => {
                return self.write_anew(key, damaged(&error));
            }
            opened => opened?,
        };
        let key = index.key;
        match self.compare(&mut index) {
            Ok(Ok((start, differences))) if differences.wrong.is_empty() => Ok(Examined {
                state: IndexState::Agrees,
                differences,
                subscriptions: start.subscriptions,
            }),
            Ok(Ok((_, Differences { wrong: faults, .. })) | Err(faults)) => {
                drop(index);
                self.write_anew(key, IndexState::Damaged(faults))
            }
            Err(error) if error.is_damage() => {
                drop(index);
                self.write_anew(key, damaged(&error))
            }
            Err(error) => Err(error),
        }
    }

    /// Brings the index up to the end of the journal and compares it. If SQLite finds it damaged, returns its messages.
    fn compare(
        &self,
        index: &mut Index,
    ) -> Result<Result<(Start, Differences), Vec<String>>, IndexError> {
        let faults = faults(&index.connection)?;
        if !faults.is_empty() {
            return Ok(Err(faults));
        }
        let start = self.bring_up(index)?;
        let mut fresh = Index::open_as_is(&self.fresh_path, index.key)?;
        // This file is not needed after a power cut.
        fresh.connection.execute_batch("PRAGMA synchronous = OFF")?;
        fresh.catch_up(self.journal, &mut |_, _| {})?;
        drop(fresh);
        let fresh = self.fresh_path.to_str().ok_or_else(|| {
            std::io::Error::other("expected a store path of valid UTF-8 to compare the index")
        })?;
        let connection = &index.connection;
        connection.execute("ATTACH DATABASE ?1 AS fresh", [fresh])?;
        let differences = differences(connection)?;
        connection.execute_batch("DETACH DATABASE fresh")?;
        Ok(Ok((start, differences)))
    }

    /// Sets the index aside, if there is one, and writes it from the beginning of the journal.
    fn write_anew(&self, key: DedupKey, state: IndexState) -> Result<Examined, IndexError> {
        set_aside(self.path)?;
        let mut index = Index::open_as_is(self.path, key)?;
        let start = self.bring_up(&mut index)?;
        Ok(Examined {
            state,
            differences: Differences::default(),
            subscriptions: start.subscriptions,
        })
    }

    /// Applies the rest of the journal. Returns the data that memory would be loaded from then, without given ids.
    fn bring_up(&self, index: &mut Index) -> Result<Start, IndexError> {
        index.join(self.journal, self.last_seq)?;
        index.catch_up(self.journal, &mut |_, _| {})?;
        let nothing = Remembered {
            since: self.now,
            max: 0,
        };
        Ok(Start::read(&index.connection, self.now, nothing)?)
    }

    fn remove_fresh(&self) -> Result<(), IndexError> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.fresh_path.as_os_str().to_owned();
            name.push(suffix);
            ignore_missing(fs::remove_file(name))?;
        }
        Ok(())
    }
}

/// Returns the state of an index that this error makes unusable.
fn damaged(error: &IndexError) -> IndexState {
    IndexState::Damaged(vec![match error {
        IndexError::Foreign => {
            "it has events that the journal does not have: the journal lost its end, or is another one".to_owned()
        }
        error => error.to_string(),
    }])
}

/// Returns the messages of SQLite's integrity check; empty if it is sound.
fn faults(connection: &Connection) -> Result<Vec<String>, IndexError> {
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({FAULTS_MAX})"))?;
    let said = check.query_map([], |row| row.get::<_, String>(0))?;
    let said = said.collect::<Result<Vec<_>, _>>()?;
    Ok(said.into_iter().filter(|line| line != "ok").collect())
}

/// Compares the index (`main`) with a rebuilt one (`fresh`).
fn differences(connection: &Connection) -> Result<Differences, IndexError> {
    let mut found = Differences::default();
    let mut wrong = |count: i64, what: &str| {
        if count > 0 {
            found.wrong.push(format!("{what}: {count}"));
        }
    };
    let (main, fresh) = (
        event_tables(connection, "main")?,
        event_tables(connection, "fresh")?,
    );
    let mut lost_events = 0;
    for segment in main.union(&fresh) {
        let (here, there) = (main.contains(segment), fresh.contains(segment));
        let table = format!("events_{segment}");
        wrong(
            events_wrong(connection, &table, here, there)?,
            "events that are missing or other than in the journal",
        );
        lost_events += match (here, there) {
            (true, true) => count(connection, &missing("main", "fresh", &table, "seq"))?,
            (true, false) => count(connection, &format!("SELECT count(*) FROM main.{table}"))?,
            (false, _) => 0,
        };
    }
    let (ended, lost_pending) = only_in(connection, ("main", "fresh"), &fresh)?;
    wrong(ended, "pending deliveries that the journal has the end of");
    let (mut ahead, unknown) = only_in(connection, ("fresh", "main"), &main)?;
    wrong(unknown, "pending deliveries that are missing");
    ahead += count(connection, &pending_where("o.attempts > n.attempts"))?;
    let differing = format!(
        "o.attempts <= n.attempts AND ({}) IS NOT ({})",
        columns("o"),
        columns("n")
    );
    wrong(
        count(connection, &pending_where(&differing))?,
        "pending deliveries that are other than in the journal",
    );
    wrong(
        count(connection, DEAD_DIFFERING)?,
        "dead letters that are other than in the journal",
    );
    wrong(
        count(connection, NAMES_DIFFERING)?,
        "subscriptions of other names than in the journal",
    );
    wrong(
        count(connection, MISCOUNTED)?,
        "subscriptions that are counted wrongly",
    );
    found.ahead = nat(ahead);
    found.lost_events = nat(lost_events);
    found.lost_pending = nat(lost_pending);
    Ok(found)
}

const DEAD_DIFFERING: &str =
    "SELECT count(*) FROM main.dead o JOIN fresh.dead n USING (subscription, seq)
    WHERE o.attempts = n.attempts AND
        (o.segment, o.offset, o.length, o.body_bytes, o.accepted_at, o.key, o.reason)
        IS NOT (n.segment, n.offset, n.length, n.body_bytes, n.accepted_at, n.key, n.reason)";

/// Only names that the rebuilt index has: damage can have taken the record of a name.
const NAMES_DIFFERING: &str =
    "SELECT count(*) FROM fresh.subscriptions n LEFT JOIN main.subscriptions o USING (number)
     WHERE n.name IS NOT NULL AND n.name IS NOT o.name";

const MISCOUNTED: &str = "SELECT count(*) FROM
    (SELECT subscription, count(*) AS count, sum(body_bytes) AS bytes FROM main.pending GROUP BY subscription)
    FULL JOIN (SELECT subscription, count(*) AS dead_count FROM main.dead GROUP BY subscription) USING (subscription)
    FULL JOIN main.counters USING (subscription)
    WHERE (coalesce(count, 0), coalesce(bytes, 0), coalesce(dead_count, 0))
        IS NOT (coalesce(pending, 0), coalesce(pending_bytes, 0), coalesce(dead, 0))";

/// Columns of `pending` that are the same whenever they are written. A due time is not: it is moved if the clock was
/// set back.
fn columns(table: &str) -> String {
    let names = [
        "segment",
        "offset",
        "length",
        "body_bytes",
        "accepted_at",
        "since",
        "key",
        "attempts",
        "schedule_attempts",
        "pause_ms",
    ];
    names.map(|name| format!("{table}.{name}")).join(", ")
}

fn pending_where(condition: &str) -> String {
    format!(
        "SELECT count(*) FROM main.pending o JOIN fresh.pending n USING (subscription, seq) WHERE {condition}"
    )
}

/// Returns the statement that counts rows of a table of `one` that are not in that of `other`.
fn missing(one: &str, other: &str, table: &str, key: &str) -> String {
    format!(
        "SELECT count(*) FROM {one}.{table} o WHERE NOT EXISTS
            (SELECT 1 FROM {other}.{table} n WHERE n.{key} = o.{key})"
    )
}

fn events_wrong(
    connection: &Connection,
    table: &str,
    here: bool,
    there: bool,
) -> Result<i64, IndexError> {
    match (here, there) {
        (_, false) => Ok(0),
        (false, true) => count(connection, &format!("SELECT count(*) FROM fresh.{table}")),
        (true, true) => count(
            connection,
            &format!(
                "SELECT count(*) FROM fresh.{table} n LEFT JOIN main.{table} o USING (seq) WHERE
                    (n.id, n.given, n.type, n.key, n.accepted_at, n.offset, n.length, n.body_bytes, n.subscriptions)
                    IS NOT (o.id, o.given, o.type, o.key, o.accepted_at, o.offset, o.length, o.body_bytes, o.subscriptions)"
            ),
        ),
    }
}

/// Counts pending deliveries of `one` that `other` lacks: those of events that `other` has, and those of others.
fn only_in(
    connection: &Connection,
    (one, other): (&str, &str),
    known: &BTreeSet<u32>,
) -> Result<(i64, i64), IndexError> {
    let mut rows = connection.prepare(&format!(
        "SELECT o.seq, o.segment FROM {one}.pending o WHERE NOT EXISTS
            (SELECT 1 FROM {other}.pending n WHERE n.subscription = o.subscription AND n.seq = o.seq)"
    ))?;
    let (mut of_known, mut of_unknown) = (0, 0);
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?));
    for row in rows.query_map([], read)? {
        let (seq, segment) = row?;
        let knows = known.contains(&segment)
            && connection
                .prepare_cached(&format!(
                    "SELECT 1 FROM {other}.events_{segment} WHERE seq = ?1"
                ))?
                .exists(params![seq])?;
        if knows {
            of_known += 1;
        } else {
            of_unknown += 1;
        }
    }
    Ok((of_known, of_unknown))
}

/// Returns the segments that have a table of events.
fn event_tables(connection: &Connection, schema: &str) -> Result<BTreeSet<u32>, IndexError> {
    let mut tables = connection.prepare(&format!(
        "SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' AND name GLOB 'events_*'"
    ))?;
    let mut segments = BTreeSet::new();
    for name in tables.query_map([], |row| row.get::<_, String>(0))? {
        let name = name?;
        segments.extend(
            name.strip_prefix("events_")
                .and_then(|number| number.parse::<u32>().ok()),
        );
    }
    Ok(segments)
}

fn count(connection: &Connection, sql: &str) -> Result<i64, IndexError> {
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}
