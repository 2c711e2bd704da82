//! Tests of listing, sealing and dropping segments.

use std::io;
use std::sync::Arc;

use super::memory::{Asked, Fault, Files, Memory, MemoryReserve, Without, after_power_cut};
use super::*;

const SMALL: Bounds = Bounds {
    first_segment: 32 << 10,
    segment: 48 << 10,
    fill_step: 8 << 10,
    ahead: 8 << 10,
    group: 24 << 10,
};

fn open(disk: &Memory) -> (Journal<u64>, Receiver<Told>) {
    let (sink, receiver) = sink();
    let opened = Journal::open_on(Arc::new(disk.clone()), SMALL, sink);
    (opened.unwrap().0, receiver)
}

/// A journal of three segments at least, and where its events are.
fn filled(disk: &Memory) -> (Journal<u64>, Receiver<Told>, Vec<Place>) {
    let (journal, receiver) = open(disk);
    let places: Vec<_> = (1..=40)
        .map(|seq| commit(&journal, &receiver, seq, 2000))
        .collect();
    assert!(places.last().unwrap().segment >= 3, "{places:?}");
    (journal, receiver, places)
}

fn seqs(journal: &Journal<u64>) -> Vec<u64> {
    let seq = |(record, _): (Record, Place)| match record {
        Record::Accepted(accepted) => accepted.seq.0,
        other => panic!("{other:?}"),
    };
    scan_all(journal).into_iter().map(seq).collect()
}

/// Waits until `what` returns `true`.
fn until(what: impl Fn() -> bool) {
    let started = forming::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_secs(20), "never");
        std::thread::yield_now();
    }
}

#[test]
fn segments_are_listed_with_the_length_of_their_files() {
    let disk = Memory::default();
    let (journal, ..) = filled(&disk);
    let listed = journal.segments();
    let (last, sealed) = listed.split_last().unwrap();
    assert!(!last.sealed && sealed.iter().all(|info| info.sealed));
    let numbers: Vec<_> = listed.iter().map(|info| info.number).collect();
    assert_eq!(numbers, (1..=last.number).collect::<Vec<_>>());
    journal.close().unwrap();
    let listed: u64 = journal.segments().iter().map(|info| info.bytes).sum();
    assert_eq!(listed, disk.used() as u64);
    assert_eq!(journal.size_bytes(), listed);
}

#[test]
fn the_oldest_segment_is_dropped_durably_and_what_follows_stays() {
    let disk = Memory::default();
    let (journal, receiver, places) = filled(&disk);
    let behind = |segment| places.iter().filter(move |place| place.segment > segment);
    let first = places.iter().filter(|place| place.segment == 1).count() as u64;
    journal.drop_first(1).unwrap();
    assert_eq!(
        disk.log().last_chunk().unwrap(),
        &[Asked::Remove("00000001.seg".into()), Asked::SyncFolder]
    );
    assert_eq!(seqs(&journal), (first + 1..=40).collect::<Vec<_>>());
    assert!(matches!(
        journal.read(places[0]),
        Err(JournalError::Gone { segment: 1 })
    ));
    assert!(behind(1).all(|place| journal.read(*place).is_ok()));
    assert_eq!(journal.segments()[0].number, 2);
    // From a position in a dropped segment a scan goes on at the first segment.
    let gone = Position {
        segment: 1,
        offset: 9000,
    };
    let mut found = 0;
    journal
        .scan(gone, usize::MAX, &mut |_, _| found += 1)
        .unwrap();
    assert_eq!(found, 40 - first);
    journal
        .drop_first(1)
        .expect("nothing happens a second time");
    commit(&journal, &receiver, 41, 100);
    journal.close().unwrap();
    let (journal, recovery) =
        Journal::open_on(Arc::new(Memory::with(disk.files())), SMALL, sink().0).unwrap();
    let healthy = Recovery {
        last_seq: EventSeq(41),
        ..Recovery::default()
    };
    assert_eq!(recovery, healthy, "a missing beginning is no damage");
    assert_eq!(seqs(&journal), (first + 1..=41).collect::<Vec<_>>());
}

#[test]
fn only_the_oldest_sealed_segment_can_be_dropped() {
    let disk = Memory::default();
    let (journal, ..) = filled(&disk);
    let last = journal.segments().last().unwrap().number;
    for number in [2, last, last + 1] {
        let error = journal.drop_first(number).unwrap_err();
        assert!(
            matches!(error, JournalError::NotOldest { segment } if segment == number),
            "{error}"
        );
    }
    for number in 1..last {
        journal.drop_first(number).unwrap();
    }
    let error = journal.drop_first(last).unwrap_err();
    assert!(matches!(error, JournalError::NotOldest { .. }), "{error}");
    assert_eq!(journal.segments().len(), 1);
    journal.close().unwrap();
    assert!(matches!(
        journal.drop_first(last),
        Err(JournalError::Closed)
    ));
}

#[test]
fn a_file_that_is_missing_already_is_dropped_and_one_that_cannot_be_removed_stays() {
    let disk = Memory::default();
    let (journal, _receiver, places) = filled(&disk);
    disk.fail(Some(Fault::Remove));
    let error = journal.drop_first(1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot remove segment 1 of the journal",
        "{error:?}"
    );
    assert!(journal.read(places[0]).is_ok(), "nothing is forgotten");
    assert_eq!(seqs(&journal).len(), 40);
    disk.fail(None);
    Disk::remove(&disk, "00000001.seg").unwrap();
    journal.drop_first(1).unwrap();
    assert_eq!(disk.log().last(), Some(&Asked::SyncFolder));
    assert_eq!(journal.segments()[0].number, 2);
}

#[test]
fn a_removal_that_cannot_be_made_durable_is_fatal() {
    let disk = Memory::default();
    let (journal, receiver, _) = filled(&disk);
    disk.fail(Some(Fault::SyncFolder));
    let error = journal.drop_first(1).unwrap_err();
    let expected = "cannot make durable the removal of segment 1 of the journal";
    assert_eq!(error.to_string(), expected);
    let Told::Failed(told, waiting) = told(&receiver) else {
        panic!("the sink is not told")
    };
    assert_eq!((told.as_str(), waiting), (expected, Vec::new()));
    assert!(matches!(
        journal.append_now(&[accepted(41, 10)], Durability::Write, 41),
        Err(AppendError::Failed(_))
    ));
    assert!(
        matches!(journal.drop_first(2), Err(JournalError::Io { .. })),
        "nothing is removed any more"
    );
    assert!(journal.close().is_err());
}

#[test]
fn a_dropped_segment_can_be_read_to_its_end_by_who_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, receiver) = sink();
    let disk = Folder::open(&folder.path().join("journal")).unwrap();
    let (journal, _) = Journal::open_on(Arc::new(disk), SMALL, sink).unwrap();
    for seq in 1..=40 {
        commit(&journal, &receiver, seq, 2000);
    }
    let mut found = Vec::new();
    journal
        .scan(Position::default(), usize::MAX, &mut |record, place| {
            if found.is_empty() {
                journal.drop_first(1).unwrap();
            }
            assert_eq!(record, accepted(found.len() as u64 + 1, 2000));
            found.push(place.segment);
        })
        .unwrap();
    assert!(found.len() == 40 && found[0] == 1, "{found:?}");
    assert!(!folder.path().join("journal/00000001.seg").exists());
}

#[test]
fn sealing_ends_the_segment_that_is_written_to_unless_it_is_empty() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk);
    journal.seal();
    commit(&journal, &receiver, 1, 100);
    assert_eq!(journal.segments().len(), 1, "it was empty");
    journal
        .append_now(&[accepted(2, 100)], Durability::WriteNow, 2)
        .unwrap();
    told(&receiver);
    journal.seal();
    until(|| journal.segments().len() == 2);
    journal.drop_first(1).unwrap();
    assert_eq!(seqs(&journal), [0; 0], "and the scan ends");
    assert_eq!(commit(&journal, &receiver, 3, 100).segment, 2);
    journal.close().unwrap();
    let reopened = Memory::with(disk.files());
    let (journal, recovery) = Journal::open_on(Arc::new(reopened), SMALL, sink().0).unwrap();
    assert_eq!((recovery.last_seq, seqs(&journal)), (EventSeq(3), vec![3]));
}

#[test]
fn an_empty_journal_whose_segments_were_dropped_keeps_the_last_sequence() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk);
    commit(&journal, &receiver, 7, 100);
    journal.seal();
    until(|| journal.segments().len() == 2);
    journal.drop_first(1).unwrap();
    journal.close().unwrap();
    let reopened = Memory::with(disk.files());
    let (journal, recovery) = Journal::open_on(Arc::new(reopened), SMALL, sink().0).unwrap();
    assert_eq!(recovery.last_seq, EventSeq(7));
    assert_eq!(journal.end().segment, 2);
}

#[test]
fn sealing_on_a_full_disk_takes_the_reserve_and_otherwise_changes_nothing() {
    for reserve in [0, 64 << 10] {
        let disk = Memory::default();
        let (sink, receiver) = sink();
        let options = Options {
            in_place: None,
            relaxed: false,
            reserve: Some(Arc::new(MemoryReserve(disk.clone(), reserve))),
        };
        let (journal, _) =
            Journal::open_with(Arc::new(disk.clone()), SMALL, options, sink).unwrap();
        commit(&journal, &receiver, 1, 100);
        disk.fill_up();
        journal.seal();
        until(|| journal.is_full());
        until(|| journal.segments().len() == 1 + usize::from(reserve > 0));
        // Outcomes still have their zeros.
        journal
            .append_now(&[accepted(2, 100)], Durability::SyncOutcome, 2)
            .unwrap();
        assert!(matches!(told(&receiver), Told::Committed(_, group) if group.synced));
        if reserve > 0 {
            journal.drop_first(1).unwrap();
            until(|| !journal.is_full());
        }
        journal.close().unwrap();
        assert_eq!(
            scan_all(&journal).len(),
            if reserve > 0 { 1 } else { 2 },
            "{reserve}"
        );
    }
}

#[test]
fn headers_that_are_damaged_cost_nothing_as_long_as_one_is_right() {
    let disk = Memory::default();
    let (journal, receiver, _) = filled(&disk);
    let last = journal.segments().last().unwrap().number;
    commit(&journal, &receiver, 41, 10);
    journal.close().unwrap();
    for right in 1..=last {
        let mut files = disk.files();
        for number in (1..=last).filter(|number| *number != right) {
            let name = format!("{number:08}.seg");
            Arc::make_mut(files.get_mut(&name).unwrap())[..4096].fill(0);
        }
        let disk = Memory::with(files);
        let (journal, receiver) = open(&disk);
        assert_eq!(seqs(&journal), (1..=41).collect::<Vec<_>>(), "{right}");
        let place = commit(&journal, &receiver, 42, 10);
        assert_eq!(place.segment > last, right != last);
        // They are dropped like others.
        journal.drop_first(1).unwrap();
        journal.close().unwrap();
        let (journal, recovery) =
            Journal::open_on(Arc::new(Memory::with(disk.files())), SMALL, sink().0).unwrap();
        assert_eq!(recovery.last_seq, EventSeq(42));
        let damaged: Vec<_> = recovery.damaged.iter().map(ToString::to_string).collect();
        let expected: Vec<_> = (2..=last)
            .filter(|number| *number != right)
            .map(|number| format!("segment {number}, bytes 0 to 4096: the header is damaged"))
            .collect();
        assert!(
            expected.iter().all(|damage| damaged.contains(damage)),
            "{damaged:?}"
        );
        assert_eq!(seqs(&journal).last(), Some(&42));
    }
}

#[test]
fn a_journal_without_any_header_is_not_taken_for_an_empty_one() {
    let disk = Memory::default();
    filled(&disk).0.close().unwrap();
    let mut files = disk.files();
    for file in files.values_mut() {
        Arc::make_mut(file)[..4096].fill(0);
    }
    let disk = Memory::with(files.clone());
    let error = Journal::<u64>::open_on(Arc::new(disk.clone()), SMALL, sink().0).unwrap_err();
    assert!(
        matches!(error, JournalError::Damaged { segment: 1 }),
        "{error}"
    );
    assert!(disk.files() == files, "nothing is touched");
}

#[test]
fn a_system_error_of_a_folder_names_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"").unwrap();
    let error = Journal::<u64>::open(&path, Options::default(), sink().0).unwrap_err();
    assert!(
        matches!(&error, JournalError::Io { source, .. } if source.kind() == io::ErrorKind::NotADirectory),
        "{error:?}"
    );
}

/// Its header is written when the disk turns out to be full: it then contains a wrong end of the previous segment.
#[test]
fn a_segment_that_could_not_be_made_never_comes_back() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk);
    commit(&journal, &receiver, 1, 100);
    disk.fail(Some(Fault::SyncWithoutSpace(disk.syncs() + 1)));
    journal.seal();
    until(|| journal.is_full());
    until(|| !journal.is_full());
    assert_eq!(commit(&journal, &receiver, 2, 100).segment, 1);
    let log = disk.log();
    let mut numbers = Numbers(1);
    for state in 0..64 {
        let mut coin = || numbers.next().is_multiple_of(2);
        let how = (Without::Nothing, 512);
        let left = after_power_cut(&Files::new(), &log, log.len(), how, &mut coin);
        let left = Arc::new(Memory::with(left));
        let (journal, _) = Journal::open_on(left, SMALL, sink().0).unwrap();
        assert_eq!(seqs(&journal), [1, 2], "state {state}");
    }
}
