//! Tests of the journal: committed records can be read back.

#![expect(clippy::as_conversions, reason = "small numbers of tests")]

use std::sync::Arc;

mod crash_states;
mod damage;
mod durability;
mod faults;
mod memory;
mod rotation;
mod segments;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::domain::{Event, EventHead, EventId, EventSeq, SubscriptionNumber, Timestamp};
use crate::store::record::Accepted;

/// The calls that a sink received.
#[derive(Debug)]
pub(super) enum Told {
    Committed(Vec<(u64, Vec<Place>)>, Group),
    Refused(Vec<u64>),
    Failed(String, Vec<u64>),
}

pub(super) struct Sink(SyncSender<Told>);

impl Committed<u64> for Sink {
    fn committed(&mut self, batches: Vec<(u64, Vec<Place>)>, group: Group) {
        self.0.send(Told::Committed(batches, group)).ok();
    }
    fn refused(&mut self, batches: Vec<u64>) {
        self.0.send(Told::Refused(batches)).ok();
    }
    fn failed(&mut self, error: &JournalError, waiting: Vec<u64>) {
        self.0.send(Told::Failed(error.to_string(), waiting)).ok();
    }
}

impl<T: Send + 'static> Journal<T> {
    /// A journal without options.
    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        bounds: Bounds,
        sink: impl Committed<T>,
    ) -> Result<(Self, Recovery), JournalError> {
        Self::open_with(disk, bounds, Options::default(), sink)
    }
}

pub(super) fn sink() -> (Sink, Receiver<Told>) {
    let (sender, receiver) = sync_channel(10_000);
    (Sink(sender), receiver)
}

pub(super) fn told(receiver: &Receiver<Told>) -> Told {
    receiver
        .recv_timeout(Duration::from_secs(20))
        .expect("the journal tells its sink")
}

/// Whether suites run in their long form: `SIDEHOOK_LONG=1`.
pub(super) fn is_long() -> bool {
    std::env::var_os("SIDEHOOK_LONG").is_some()
}

/// A reproducible stream of numbers (SplitMix64).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Appends an event, and waits until it is committed. Returns its place.
pub(super) fn commit(
    journal: &Journal<u64>,
    receiver: &Receiver<Told>,
    seq: u64,
    size: usize,
) -> Place {
    let batch = [accepted(seq, size)];
    journal.append_now(&batch, Durability::Sync, seq).unwrap();
    match told(receiver) {
        Told::Committed(batches, group) => {
            assert!(group.synced);
            batches[0].1[0]
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn accepted(seq: u64, size: usize) -> Record {
    let head = EventHead {
        id: EventId::from_bytes([7; 16]),
        given_id: None,
        event_type: "a.b".parse().unwrap(),
        key: None,
        source: None,
        subject: None,
        content_type: "text/plain".into(),
        headers: Vec::new(),
        accepted_at: Timestamp::from_millis(5),
    };
    let fill = u8::try_from(seq % 251).unwrap();
    let event = Arc::new(Event {
        head,
        body: Bytes::from(vec![fill; size]),
    });
    Record::Accepted(Accepted {
        seq: EventSeq(seq),
        event,
        deliveries: vec![(SubscriptionNumber(1), None)],
        keyed: Vec::new(),
    })
}

pub(super) fn scan_all<T: Send + 'static>(journal: &Journal<T>) -> Vec<(Record, Place)> {
    scan_by(journal, 4096)
}

/// Scans everything, this many bytes at a time.
pub(super) fn scan_by<T: Send + 'static>(
    journal: &Journal<T>,
    bytes: usize,
) -> Vec<(Record, Place)> {
    let mut found = Vec::new();
    let mut at = Position::default();
    while at < journal.end() {
        at = journal
            .scan(at, bytes, &mut |record, place| found.push((record, place)))
            .unwrap();
    }
    found
}

#[test]
fn what_is_committed_is_scanned_and_read_back_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<_> = (1..=50).map(|seq| accepted(seq, 300)).collect();
    let (sink_a, receiver) = sink();
    let (journal, _) =
        Journal::open(&folder.path().join("journal"), Options::default(), sink_a).unwrap();
    let mut places = Vec::new();
    for (index, record) in records.iter().enumerate() {
        journal
            .append_now(std::slice::from_ref(record), Durability::Sync, index as u64)
            .unwrap();
        let Told::Committed(batches, group) = told(&receiver) else {
            panic!("not committed")
        };
        assert!(group.synced);
        places.extend(batches.into_iter().flat_map(|(_, places)| places));
    }
    let found: Vec<_> = records
        .iter()
        .cloned()
        .zip(places.iter().copied())
        .collect();
    assert_eq!(scan_all(&journal), found);
    journal.close().unwrap();
    let (journal, recovery) =
        Journal::open(&folder.path().join("journal"), Options::default(), sink().0).unwrap();
    assert_eq!(
        recovery,
        Recovery {
            damaged: Vec::new(),
            torn_bytes: 0,
            last_seq: EventSeq(50)
        }
    );
    assert_eq!(scan_all(&journal), found);
    for (record, place) in &found {
        assert_eq!(Record::Accepted(journal.read(*place).unwrap()), *record);
    }
}

#[test]
fn a_group_larger_than_a_fill_step_is_not_zeroed_by_the_fill_that_follows_its_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, receiver) = sink();
    let (journal, _) =
        Journal::open(&folder.path().join("journal"), Options::default(), sink).unwrap();
    let records: Vec<_> = (1..=3).map(|seq| accepted(seq, 5 << 19)).collect();
    for (token, record) in (1..).zip(&records) {
        journal
            .append_now(std::slice::from_ref(record), Durability::Sync, token)
            .unwrap();
        assert!(matches!(told(&receiver), Told::Committed(..)));
    }
    let found: Vec<_> = scan_all(&journal)
        .into_iter()
        .map(|(record, _)| record)
        .collect();
    assert!(found == records, "{} of 3 records are left", found.len());
}
