//! Disks that fail, fill up or decay.

use std::sync::Arc;

use super::memory::{Asked, Fault, Memory};
use super::*;

const SMALL: Bounds = Bounds {
    first_segment: 64 << 10,
    segment: 64 << 10,
    fill_step: 8 << 10,
    ahead: 16 << 10,
    group: 24 << 10,
};

fn open(disk: &Memory) -> (Journal<u64>, Receiver<Told>) {
    let (sink, receiver) = sink();
    (
        Journal::open_on(Arc::new(disk.clone()), SMALL, sink)
            .unwrap()
            .0,
        receiver,
    )
}

#[test]
fn a_failed_sync_is_fatal_and_never_repeated() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk);
    journal
        .append_now(&[accepted(1, 10)], Durability::Sync, 1)
        .unwrap();
    assert!(matches!(told(&receiver), Told::Committed(..)));
    let before = disk.syncs();
    disk.fail(Some(Fault::Sync(before + 1)));
    journal
        .append_now(&[accepted(2, 10)], Durability::Sync, 2)
        .unwrap();
    let Told::Failed(error, waiting) = told(&receiver) else {
        panic!("reported as committed")
    };
    assert_eq!(
        (error.as_str(), waiting),
        ("cannot write segment 1 of the journal", vec![2])
    );
    assert!(matches!(
        journal.append_now(&[accepted(3, 10)], Durability::Sync, 3),
        Err(AppendError::Failed(_))
    ));
    assert!(journal.close().is_err());
    assert_eq!(disk.syncs(), before + 1, "no second sync");
    assert!(
        receiver.try_recv().is_err(),
        "nothing is told after the failure"
    );
}

#[test]
fn a_group_whose_sync_failed_is_written_anew_before_it_is_trusted() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk);
    journal
        .append_now(&[accepted(1, 10)], Durability::Sync, 1)
        .unwrap();
    told(&receiver);
    let syncs = |asked: &Asked| matches!(asked, Asked::Sync(_));
    disk.fail(Some(Fault::Sync(disk.syncs() + 1)));
    journal
        .append_now(&[accepted(2, 10)], Durability::Sync, 2)
        .unwrap();
    assert!(matches!(told(&receiver), Told::Failed(..)));
    // The page cache still has the group, as it has after a failed sync; the disk may not.
    let reopened = Memory::with(disk.files());
    let (journal, _) = open(&reopened);
    let log = reopened.log();
    let synced = log.iter().position(syncs).unwrap();
    let group = disk
        .log()
        .iter()
        .rev()
        .find_map(|asked| match asked {
            Asked::Write(_, offset, bytes) if *offset > 4096 => Some((*offset, bytes.clone())),
            _ => None,
        })
        .unwrap();
    let again = log[..synced].iter().any(|asked| match asked {
        Asked::Write(_, offset, bytes) => {
            let start = usize::try_from(group.0 - offset.min(&group.0)).unwrap();
            *offset <= group.0 && bytes.get(start..start + group.1.len()) == Some(&group.1[..])
        }
        _ => false,
    });
    assert!(again, "not written before the sync");
    assert_eq!(scan_all(&journal).len(), 2);
}

#[test]
fn whichever_sync_fails_none_follows_it() {
    for number in 1..=40 {
        let disk = Memory::default();
        disk.fail(Some(Fault::Sync(number)));
        let (sink, receiver) = sink();
        let Ok((journal, _)) = Journal::open_on(Arc::new(disk.clone()), SMALL, sink) else {
            continue;
        };
        for seq in 1..=60 {
            let durability = if seq % 3 == 0 {
                Durability::WriteNow
            } else {
                Durability::Sync
            };
            let appended = journal.append_now(&[accepted(seq, 3000)], durability, seq);
            if appended.is_err() || matches!(told(&receiver), Told::Failed(..)) {
                break;
            }
        }
        assert!(
            journal.close().is_err(),
            "sync {number}: the failure was not told"
        );
        assert_eq!(disk.syncs(), number, "a sync after the failed one");
    }
}

#[test]
fn a_full_disk_refuses_events_takes_outcomes_and_heals() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk);
    disk.fill_up();
    let mut token = 0;
    let refused = loop {
        token += 1;
        match journal.append_now(&[accepted(token, 2000)], Durability::Sync, token) {
            Err(AppendError::Full) => break token,
            Ok(()) => {}
            Err(error) => panic!("{error}"),
        }
        match told(&receiver) {
            Told::Committed(..) => {}
            Told::Refused(tokens) => break tokens[0],
            Told::Failed(error, _) => panic!("{error}"),
        }
        assert!(token < 1000, "never full");
    };
    journal
        .append_now(&[accepted(refused, 100)], Durability::WriteNow, 5000)
        .unwrap();
    assert!(
        matches!(told(&receiver), Told::Committed(batches, _) if batches[0].0 == 5000),
        "outcomes go on"
    );
    disk.set_space(None);
    let deadline = Duration::from_secs(10);
    let started = forming::now();
    while journal
        .append_now(&[accepted(refused + 1, 10)], Durability::Sync, 6000)
        .is_err()
    {
        assert!(started.elapsed() < deadline, "does not heal");
        std::thread::yield_now();
    }
    assert!(matches!(told(&receiver), Told::Committed(..)));
    let seqs: Vec<_> = scan_all(&journal)
        .iter()
        .map(|(record, _)| matches!(record, Record::Accepted(_)))
        .collect();
    assert_eq!(seqs.len() as u64, refused + 1);
    journal.close().unwrap();
}

#[test]
fn an_outcome_that_does_not_fit_waits_for_room() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk);
    disk.fill_up();
    for token in 1..=3 {
        journal
            .append_now(&[accepted(token, 7 << 10)], Durability::WriteNow, token)
            .unwrap();
    }
    let mut committed = Vec::new();
    let mut take = |told: Told| match told {
        Told::Committed(batches, _) => committed.extend(batches.iter().map(|(token, _)| *token)),
        other => panic!("{other:?}"),
    };
    while let Ok(told) = receiver.recv_timeout(Duration::from_millis(100)) {
        take(told);
    }
    disk.set_space(None);
    take(told(&receiver));
    assert_eq!(committed, [1, 2, 3]);
    journal.close().unwrap();
    assert_eq!(scan_all(&journal).len(), 3);
}

#[test]
fn a_batch_larger_than_a_group_is_refused_alone() {
    let (journal, receiver) = open(&Memory::default());
    assert!(matches!(
        journal.append_now(&[accepted(1, 30 << 10)], Durability::Sync, 1),
        Err(AppendError::TooLarge)
    ));
    journal
        .append_now(&[accepted(1, 20 << 10)], Durability::Sync, 1)
        .unwrap();
    assert!(matches!(told(&receiver), Told::Committed(..)));
    assert_eq!(scan_all(&journal).len(), 1);
}

#[test]
fn a_newer_format_is_named() {
    let disk = Memory::default();
    drop(open(&disk));
    let mut files = disk.files();
    let file = Arc::make_mut(files.get_mut("00000001.seg").unwrap());
    (file[8], file[2048 + 8]) = (2, 2);
    let error =
        Journal::<u64>::open_on(Arc::new(Memory::with(files)), SMALL, sink().0).unwrap_err();
    let expected = "segment 1 of the journal has format 2, this version of sidehook reads 1: run the newer version";
    assert_eq!(error.to_string(), expected);
}

/// The event's group is damaged, and no later one has a higher sequence.
#[test]
fn a_sequence_in_damaged_bytes_is_not_given_out_again() {
    let disk = Memory::default();
    let (journal, receiver) = open(&disk);
    for seq in 1..=3 {
        commit(&journal, &receiver, seq, 100);
    }
    let cancelled = Record::Cancelled {
        seq: EventSeq(2),
        subscription: SubscriptionNumber(1),
        at: Timestamp::from_millis(6),
    };
    journal
        .append_now(&[cancelled], Durability::SyncOutcome, 4)
        .unwrap();
    told(&receiver);
    journal.close().unwrap();
    disk.flip("00000001.seg", 3 * 4096 + 5, 1);
    let (journal, recovery) = Journal::open_on(Arc::new(disk.clone()), SMALL, sink().0).unwrap();
    assert!(recovery.last_seq >= EventSeq(3), "{recovery:?}");
    assert_eq!(
        recovery.damaged,
        [Damage {
            segment: 1,
            from: 2 * 4096 + scan_all(&journal)[1].1.length + 32,
            to: 4 * 4096,
            what: Damaged::Groups,
        }]
    );
    assert_eq!(
        recovery.damaged[0].to_string(),
        format!(
            "segment 1, bytes {} to 16384: groups are damaged",
            recovery.damaged[0].from
        )
    );
}
