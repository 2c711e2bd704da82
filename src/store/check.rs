//! Checks a store that no process has open: every group and record of the journal, and that the index matches it.
//!
//! It opens the journal as a start does, and changes nothing that a start would not: an unfinished segment is removed,
//! an unfinished write at the end is cut, and the end is made durable; synced bytes are never rewritten. So it finds
//! what the next start finds. The index is a view: one that is missing, damaged or wrong is rebuilt.
//!
//! Memory does not grow with the store: the journal is read in pieces, the index walked by its keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use crate::domain::{SubscriptionName, SubscriptionNumber, Timestamp};
use crate::store::StoreError;
use crate::store::dedup::DedupKey;
use crate::store::index::{self, Examined, IndexState};
use crate::store::journal::{
    Bounds, Committed, Damage, Damaged, Group, Journal, JournalError, Options, Place, Position,
    ReadJournal, Recovery, WriteJournal,
};
use crate::store::lock::FolderLock;
use crate::store::record::Record;

/// Bytes of the journal that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// How many damaged places are listed at most; all are counted.
const DAMAGES_MAX: usize = 10;

/// The result of a check.
#[derive(Debug)]
pub struct StoreReport {
    /// Valid records of the journal.
    pub records: u64,
    /// Events among them.
    pub events: u64,
    /// Damaged places of the journal, each as segment, bytes and what is damaged; the first 10.
    pub damaged: Vec<String>,
    /// How many more damaged places there are, by what is damaged.
    pub damaged_more: BTreeMap<&'static str, u64>,
    /// How many damaged places there are.
    pub damaged_places: u64,
    /// Records in them, as far as that is known.
    pub damaged_records: u64,
    /// Bytes of an unfinished write that were cut from the end; they were never reported as stored.
    pub torn_bytes: u64,
    /// Events that are in the index but no longer in the journal.
    pub lost_events: u64,
    /// Pending deliveries of such events.
    pub lost_pending: u64,
    /// Pending deliveries whose last outcome is only in the index, as after a power cut.
    pub only_in_index: u64,
    /// The state of the index.
    pub index: IndexState,
    /// Every subscription of the store.
    pub subscriptions: Vec<SubscriptionReport>,
}

/// A subscription in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionReport {
    /// Its number in the journal.
    pub number: SubscriptionNumber,
    /// Its name; `None` if the record that contains it is damaged.
    pub name: Option<SubscriptionName>,
    /// Pending deliveries, held ones included.
    pub pending: u64,
    /// Dead letters.
    pub dead: u64,
}

impl StoreReport {
    /// Whether nothing was damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damaged_places == 0
            && self.lost_events == 0
            && self.lost_pending == 0
            && !matches!(self.index, IndexState::Damaged(_))
    }

    fn note(&mut self, damage: &Damage) {
        self.damaged_places += 1;
        if let Damaged::Records(count) = damage.what {
            self.damaged_records += u64::from(count);
        }
        if self.damaged.len() < DAMAGES_MAX {
            self.damaged.push(damage.to_string());
        } else {
            *self.damaged_more.entry(damage.what.name()).or_default() += 1;
        }
    }
}

/// Checks the store in the folder `path` and holds its lock meanwhile. Blocks for as long as it takes to read all of
/// the journal; needs disk space for a second index beside the first.
///
/// # Errors
/// [`StoreError`]: there is no store, it is in use, it cannot be read, or its journal cannot be opened.
pub fn check(path: &Path, now: Timestamp) -> Result<StoreReport, StoreError> {
    let folder = path.join("journal");
    // Before the lock, which would create a missing folder.
    if let Err(source) = fs::read_dir(&folder) {
        return Err(StoreError::Folder {
            path: folder,
            source: Arc::new(source),
        });
    }
    let _lock = FolderLock::acquire(path)?;
    let failed = |error: JournalError| StoreError::of_journal(&error);
    let (journal, recovery) =
        Journal::open_sized(&folder, Bounds::STORE, Options::default(), Nobody).map_err(failed)?;
    let mut report = read_journal(&journal, &recovery).map_err(failed)?;
    let mut key = [0; 16];
    getrandom::fill(&mut key)
        .map_err(|error| StoreError::System(Arc::new(io::Error::from(error))))?;
    let opened: (&dyn ReadJournal, _) = (&journal, recovery.last_seq);
    let path = path.join("index.sqlite3");
    index::adopt_former(&path).map_err(|error| StoreError::Folder {
        path: path.clone(),
        source: Arc::new(error),
    })?;
    let examined = index::examine(&path, DedupKey(key), opened, now);
    let examined = examined.map_err(|error| StoreError::Index(Arc::new(error)))?;
    journal.close().map_err(failed)?;
    add_index(&mut report, examined);
    Ok(report)
}

/// Reads every record of the journal.
fn read_journal(
    journal: &dyn ReadJournal,
    recovery: &Recovery,
) -> Result<StoreReport, JournalError> {
    let mut report = StoreReport {
        records: 0,
        events: 0,
        damaged: Vec::new(),
        damaged_more: BTreeMap::new(),
        damaged_places: 0,
        damaged_records: 0,
        torn_bytes: recovery.torn_bytes,
        lost_events: 0,
        lost_pending: 0,
        only_in_index: 0,
        index: IndexState::Agrees,
        subscriptions: Vec::new(),
    };
    // Reading finds the groups and records that recovery found too, and more.
    let is_read = |damage: &&Damage| matches!(damage.what, Damaged::Groups | Damaged::Records(_));
    for damage in recovery.damaged.iter().filter(|damage| !is_read(damage)) {
        report.note(damage);
    }
    let (mut records, mut events) = (0, 0);
    let mut at = Position::default();
    let end = journal.end();
    while at < end {
        let mut visit = |record: Record, _: Place| {
            records += 1;
            events += u64::from(matches!(record, Record::Accepted(_)));
        };
        let next = journal.scan_telling(at, CHUNK_BYTES, &mut visit, &mut |damage| {
            report.note(&damage);
        })?;
        if next == at {
            break;
        }
        at = next;
    }
    (report.records, report.events) = (records, events);
    Ok(report)
}

fn add_index(report: &mut StoreReport, examined: Examined) {
    let Examined {
        state,
        differences,
        subscriptions,
    } = examined;
    report.index = state;
    report.lost_events = differences.lost_events;
    report.lost_pending = differences.lost_pending;
    report.only_in_index = differences.ahead;
    let subscriptions = subscriptions.into_iter().map(|it| SubscriptionReport {
        number: it.number,
        name: it.name,
        pending: it.pending,
        dead: it.dead,
    });
    report.subscriptions = subscriptions.collect();
}

/// Ignores commits: nothing is appended.
struct Nobody;

impl Committed<()> for Nobody {
    fn committed(&mut self, _batches: Vec<((), Vec<Place>)>, _group: Group) {}
    fn refused(&mut self, _batches: Vec<()>) {}
    fn failed(&mut self, _error: &JournalError, _waiting: Vec<()>) {}
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
