//! Tests of when batches are written and synced, and which a full disk refuses: by kind, and in a relaxed journal.

use std::io;
use std::sync::Arc;

use super::memory::{Fault, Memory, MemoryReserve};
use super::shared::Timers;
use super::*;
use crate::store::journal::forming::Forming;
use crate::store::reserve::Room;

const SMALL: Bounds = Bounds {
    first_segment: 256 << 10,
    segment: 256 << 10,
    fill_step: 8 << 10,
    ahead: 16 << 10,
    group: 24 << 10,
};

fn open(disk: &Memory, relaxed: bool, reserve: Option<usize>) -> (Journal<u64>, Receiver<Told>) {
    let (sink, receiver) = sink();
    let room = |bytes| Arc::new(MemoryReserve(disk.clone(), bytes)) as Arc<dyn Room>;
    let options = Options {
        in_place: None,
        relaxed,
        reserve: reserve.map(room),
    };
    let opened = Journal::open_with(Arc::new(disk.clone()), SMALL, options, sink);
    (opened.unwrap().0, receiver)
}

fn append(
    journal: &Journal<u64>,
    receiver: &Receiver<Told>,
    durability: Durability,
    token: u64,
) -> Group {
    let batch = [accepted(token, 100)];
    journal.append_now(&batch, durability, token).unwrap();
    match told(receiver) {
        Told::Committed(batches, group) => {
            assert_eq!(batches[0].0, token);
            group
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_of_batch_is_synced_as_it_says() {
    for relaxed in [false, true] {
        let disk = Memory::default();
        let (journal, receiver) = open(&disk, relaxed, None);
        let mut token = 0;
        for (durability, synced, events) in [
            (Durability::Sync, !relaxed, 1),
            (Durability::SyncOutcome, true, 0),
            (Durability::Write, false, 0),
            (Durability::WriteNow, false, 0),
        ] {
            token += 1;
            // Nothing else waits for its sync when the batch is written.
            append(&journal, &receiver, Durability::SyncOutcome, 100 + token);
            let before = disk.syncs();
            let group = append(&journal, &receiver, durability, token);
            assert_eq!(
                (group.synced, group.events),
                (synced, events),
                "{durability:?}, relaxed: {relaxed}"
            );
            assert_eq!(disk.syncs() > before, synced, "{durability:?}");
        }
    }
}

#[test]
fn what_is_only_written_is_synced_by_itself_within_a_second_if_relaxed() {
    for (relaxed, most) in [(false, 100), (true, 1000)] {
        let disk = Memory::default();
        let (journal, receiver) = open(&disk, relaxed, None);
        let durability = if relaxed {
            Durability::Sync
        } else {
            Durability::WriteNow
        };
        let before = disk.syncs();
        let started = forming::now();
        append(&journal, &receiver, durability, 1);
        assert_eq!(disk.syncs(), before, "reported first");
        while disk.syncs() == before {
            assert!(started.elapsed() < Duration::from_secs(20), "never synced");
            std::thread::yield_now();
        }
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(most / 2), "{took:?}");
        assert!(took < Duration::from_millis(most * 2 + 500), "{took:?}");
        journal.close().unwrap();
    }
}

#[test]
fn the_thread_sleeps_until_the_next_timer() {
    assert_eq!(Timers::default().left(), None);
    let soon = forming::now() + Duration::from_secs(5);
    let none = Timers::default();
    for timers in [
        Timers {
            sync: Some(soon),
            ..none
        },
        Timers {
            look: Some(soon),
            ..none
        },
        Timers {
            place: Some(soon),
            ..none
        },
    ] {
        let left = timers.left().unwrap();
        assert!(left > Duration::from_secs(4) && left <= Duration::from_secs(5));
    }
}

#[test]
fn a_full_disk_refuses_events_also_in_a_relaxed_journal_and_takes_synced_outcomes() {
    for relaxed in [false, true] {
        let disk = Memory::default();
        let (journal, receiver) = open(&disk, relaxed, None);
        disk.fill_up();
        let mut token = 0;
        while !journal.is_full() {
            token += 1;
            // It may have become full since it was asked.
            match journal.append_now(&[accepted(token, 2000)], Durability::Sync, token) {
                Err(AppendError::Full) => break,
                appended => appended.unwrap(),
            };
            told(&receiver);
            assert!(token < 100, "never full");
        }
        assert!(matches!(
            journal.append_now(&[accepted(token, 10)], Durability::Sync, token),
            Err(AppendError::Full)
        ));
        assert!(append(&journal, &receiver, Durability::SyncOutcome, 200).synced);
    }
}

#[test]
fn outcomes_of_a_full_disk_have_the_reserve_and_events_wait_until_it_is_whole() {
    let disk = Memory::default();
    let whole = 48 << 10;
    let (journal, receiver) = open(&disk, false, Some(whole));
    let used = disk.used();
    disk.fill_up();
    // Far more than the zeros that are ahead, and more than a segment.
    for token in 1..=12 {
        append(&journal, &receiver, Durability::SyncOutcome, token);
    }
    assert!(journal.is_full());
    let taken = disk.used() - used;
    assert!(taken > 16 << 10, "{taken} bytes of the reserve were used");
    assert_eq!(scan_all(&journal).len(), 12);
    // There is room for zeros, but not for the whole reserve.
    disk.set_space(Some(used + whole + taken / 2));
    let looked = forming::now();
    while looked.elapsed() < Duration::from_millis(1500) {
        assert!(journal.is_full());
        std::thread::yield_now();
    }
    disk.set_space(None);
    while journal.is_full() {
        assert!(looked.elapsed() < Duration::from_secs(20), "does not heal");
        std::thread::yield_now();
    }
    commit(&journal, &receiver, 100, 10);
}

#[test]
fn a_reserve_that_is_used_up_lets_outcomes_wait_and_nothing_is_lost() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk, false, Some(8 << 10));
    disk.fill_up();
    for token in 1..=12 {
        let batch = [accepted(token, 3000)];
        while let Err(error) = journal.append_now(&batch, Durability::WriteNow, token) {
            assert!(matches!(error, AppendError::Overloaded), "{error}");
            std::thread::yield_now();
        }
    }
    let mut committed = 0;
    while let Ok(told) = receiver.recv_timeout(Duration::from_millis(100)) {
        let Told::Committed(batches, _) = told else {
            panic!("{told:?}")
        };
        committed += batches.len();
    }
    assert!(committed < 12, "{committed}");
    disk.set_space(None);
    while committed < 12 {
        let Told::Committed(batches, _) = told(&receiver) else {
            panic!("refused or failed")
        };
        committed += batches.len();
    }
    let found = scan_all(&journal);
    assert_eq!(found.len(), 12);
    assert!(
        (1..)
            .zip(found)
            .all(|(seq, found)| found.0 == accepted(seq, 3000))
    );
}

#[test]
fn a_completely_full_disk_can_be_started_on_from_the_reserve() {
    let bounds = SMALL;
    for filled in [false, true] {
        let disk = Memory::default();
        if filled {
            // A torn tail: the start needs a new segment.
            let (journal, receiver) = open(&disk, false, None);
            commit(&journal, &receiver, 1, 100);
            journal.close().unwrap();
            disk.flip("00000001.seg", 4096 * 3 + 100, 0x55);
        }
        let reserve = Arc::new(MemoryReserve(disk.clone(), 64 << 10));
        assert!(reserve.make_whole());
        disk.fill_up();
        let options = |reserve: &Arc<MemoryReserve>| Options {
            in_place: None,
            relaxed: false,
            reserve: Some(Arc::clone(reserve) as Arc<dyn Room>),
        };
        let error = Journal::<u64>::open_on(Arc::new(disk.clone()), bounds, sink().0).unwrap_err();
        assert!(
            matches!(&error, JournalError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
        );
        let (sink, receiver) = sink();
        let (journal, _) =
            Journal::open_with(Arc::new(disk.clone()), bounds, options(&reserve), sink).unwrap();
        assert!(journal.is_full(), "no events until the reserve is whole");
        assert!(append(&journal, &receiver, Durability::SyncOutcome, 2).synced);
        assert_eq!(scan_all(&journal).len(), 1 + usize::from(filled));
        journal.close().unwrap();
    }
}

#[test]
fn closing_after_events_were_refused_is_no_failure() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk, false, None);
    disk.fill_up();
    journal
        .append(&[accepted(1, 20 << 10)], Durability::Sync, 1)
        .unwrap();
    journal.close().unwrap();
    assert!(matches!(told(&receiver), Told::Refused(tokens) if tokens == [1]));
}

/// A write that ends early, within a group or within zeros, with any error: nothing wrong is ever reported or read.
#[test]
fn whichever_write_is_cut_short_what_was_reported_is_there() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for number in 1..=120 {
            let disk = Memory::default();
            disk.fail(Some(Fault::Write(number, kind, 1 + number * 37 % 900)));
            let (sink, receiver) = sink();
            let opened = Journal::open_on(Arc::new(disk.clone()), SMALL, sink);
            let (mut reported, mut failed) = (Vec::new(), false);
            if let Ok((journal, _)) = opened {
                for seq in 1..=100 {
                    let batch = [accepted(seq, 700)];
                    if journal.append_now(&batch, Durability::Sync, seq).is_err() {
                        // Full, or broken while zeros were written.
                        continue;
                    }
                    match told(&receiver) {
                        Told::Committed(..) => reported.push(accepted(seq, 700)),
                        Told::Refused(_) => {}
                        Told::Failed(..) => failed = true,
                    }
                }
                let closed = journal.close();
                assert!(closed.is_err() || !failed, "write {number}");
            }
            disk.fail(None);
            let (journal, _) = Journal::<u64>::open_on(
                Arc::new(Memory::with(disk.files())),
                SMALL,
                super::sink().0,
            )
            .unwrap();
            let found: Vec<_> = scan_all(&journal)
                .into_iter()
                .map(|found| found.0)
                .collect();
            assert!(
                reported.iter().all(|record| found.contains(record)),
                "write {number}, {kind}: {} of {}",
                found.len(),
                reported.len()
            );
            assert!(found.len() <= reported.len() + 1, "write {number}");
        }
    }
}

#[test]
fn a_group_of_refused_events_leaves_nothing_to_wait_for() {
    let mut forming = Forming::default();
    forming
        .push(&[accepted(1, 10)], Durability::Sync, 1, 4096)
        .unwrap();
    assert_eq!(forming.split_off_events(), [1]);
    assert_eq!((forming.is_empty(), forming.lingers()), (true, None));
    for (seq, durability) in [(2, Durability::SyncOutcome), (3, Durability::Sync)] {
        forming
            .push(&[accepted(seq, 10)], durability, seq, 4096)
            .unwrap();
    }
    assert_eq!(forming.split_off_events(), [3]);
    assert_eq!(forming.last_seq, 2, "headers name what is kept");
    assert!(forming.is_ready(false), "what is kept is written at once");
}
