//! Tests of new segments: bytes synced before, around and after them stay.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::memory::{Asked, Files, Memory, Without, after_power_cut};
use super::*;

#[test]
fn a_large_synced_batch_survives_what_follows_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (sink_a, receiver) = sink();
    let (journal, _) = Journal::open(&path, Options::default(), sink_a).unwrap();
    let place = commit(&journal, &receiver, 1, 5 << 20);
    commit(&journal, &receiver, 2, 100);
    journal.close().unwrap();
    let (journal, recovery) = Journal::open(&path, Options::default(), sink().0).unwrap();
    let found = scan_all(&journal).len();
    let read = journal.read(place).is_ok();
    assert!(
        found == 2 && read,
        "scan found {found} of 2, read ok: {read}, {recovery:?}"
    );
}

#[test]
fn synced_bytes_are_never_rewritten_around_large_groups() {
    let bounds = Bounds {
        first_segment: 32 << 10,
        segment: 128 << 10,
        fill_step: 8 << 10,
        ahead: 8 << 10,
        group: 48 << 10,
    };
    let disk = Memory::default();
    let (sink_a, receiver) = sink();
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), bounds, sink_a).unwrap();
    for seq in 1..=6 {
        commit(&journal, &receiver, seq, 20 << 10);
    }
    journal.close().unwrap();
    let mut synced: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    let mut pending: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for asked in disk.log() {
        match asked {
            Asked::Write(name, offset, bytes) => {
                let range = (offset, offset + bytes.len() as u64);
                let zeros = bytes.iter().all(|b| *b == 0);
                for (a, b) in synced.get(&name).into_iter().flatten() {
                    assert!(
                        range.1 <= *a || range.0 >= *b,
                        "{name}: {range:?} (zeros: {zeros}) rewrites synced {a}..{b}"
                    );
                }
                if !zeros && offset > 0 {
                    pending.entry(name).or_default().push(range);
                }
            }
            Asked::Sync(name) => {
                let done = pending.remove(&name).unwrap_or_default();
                synced.entry(name).or_default().extend(done);
            }
            _ => {}
        }
    }
}

/// kill -9 after each operation (nothing is lost), then a power cut after the next process has acknowledged.
#[test]
fn a_power_cut_after_a_kill_keeps_what_the_second_life_acknowledged() {
    let bounds = Bounds {
        first_segment: 32 << 10,
        segment: 48 << 10,
        fill_step: 8 << 10,
        ahead: 8 << 10,
        group: 24 << 10,
    };
    let disk = Memory::default();
    let (sink_a, receiver) = sink();
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), bounds, sink_a).unwrap();
    for seq in 1..=20 {
        commit(&journal, &receiver, seq, 2000);
    }
    journal.close().unwrap();
    let log = disk.log();
    let mut wrong = Vec::new();
    for kill in 0..=log.len() {
        // All operations of the killed process are in the page cache.
        let seen = after_power_cut(
            &Files::new(),
            &log,
            kill,
            (Without::Nothing, 512),
            &mut || true,
        );
        let second = Memory::with(seen.clone());
        let (sink_b, receiver) = sink();
        let (journal, recovery) =
            Journal::open_on(Arc::new(second.clone()), bounds, sink_b).unwrap();
        let next = recovery.last_seq.0 + 1;
        commit(&journal, &receiver, next, 100);
        journal.close().unwrap();
        // Now the power fails: only the synced bytes of both processes are left.
        let both: Vec<_> = log[..kill].iter().cloned().chain(second.log()).collect();
        let left = after_power_cut(
            &Files::new(),
            &both,
            both.len(),
            (Without::Nothing, 512),
            &mut || false,
        );
        match Journal::<u64>::open_on(Arc::new(Memory::with(left)), bounds, sink().0) {
            Ok((journal, _)) => {
                let n = scan_all(&journal).len() as u64;
                if n != next {
                    wrong.push(format!(
                        "kill after {kill} ({:?}): {n} of {next}",
                        log[..kill].last().map(|a| match a {
                            Asked::Write(n, o, _) => format!("write {n} {o}"),
                            other => format!("{other:?}"),
                        })
                    ));
                }
            }
            Err(error) => wrong.push(format!("kill {kill}: {error}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        log.len() + 1
    );
}

#[test]
fn a_damaged_header_in_the_middle_costs_nothing() {
    let bounds = Bounds {
        first_segment: 32 << 10,
        segment: 48 << 10,
        fill_step: 8 << 10,
        ahead: 8 << 10,
        group: 24 << 10,
    };
    let disk = Memory::default();
    let (sink_a, receiver) = sink();
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), bounds, sink_a).unwrap();
    let places: Vec<_> = (1..=40)
        .map(|seq| commit(&journal, &receiver, seq, 2000))
        .collect();
    journal.close().unwrap();
    disk.flip("00000002.seg", 30, 0x10);
    disk.flip("00000002.seg", 2048 + 30, 0x10);
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), bounds, sink().0).unwrap();
    let want = places.len();
    let found = scan_all(&journal).len();
    assert_eq!(found, want, "its groups are read without it");
}

#[test]
fn outcomes_keep_room_when_the_disk_fills() {
    let bounds = Bounds {
        first_segment: 512 << 10,
        segment: 512 << 10,
        fill_step: 8 << 10,
        ahead: 64 << 10,
        group: 100 << 10,
    };
    let disk = Memory::default();
    let (sink_a, receiver) = sink();
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), bounds, sink_a).unwrap();
    disk.fill_up();
    journal
        .append_now(&[accepted(1, 59 << 10)], Durability::Sync, 1)
        .unwrap();
    assert!(matches!(told(&receiver), Told::Refused(_)));
    for seq in 0..8 {
        journal
            .append_now(&[accepted(seq, 500)], Durability::WriteNow, 100 + seq)
            .unwrap();
        let told = told(&receiver);
        assert!(
            matches!(told, Told::Committed(..)),
            "no room for outcome {seq} is left by events: {told:?}"
        );
    }
}

/// G1 and G2 are only written; G1 ends exactly at a block; G1 is lost, G2 is kept.
#[test]
fn an_unsynced_group_behind_a_lost_one_is_cut() {
    let bounds = Bounds {
        first_segment: 256 << 10,
        segment: 256 << 10,
        fill_step: 32 << 10,
        ahead: 32 << 10,
        group: 24 << 10,
    };
    let disk = Memory::default();
    let (sink_a, receiver) = sink();
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), bounds, sink_a).unwrap();
    let mut ends = Vec::new();
    let write = |seq, size, ends: &mut Vec<Position>| {
        journal
            .append_now(&[accepted(seq, size)], Durability::WriteNow, seq)
            .unwrap();
        told(&receiver);
        ends.push(journal.end());
    };
    write(1, 1000, &mut ends);
    let fixed = ends[0].offset as usize - 4096 - 1000;
    let room = 8192 - ends[0].offset as usize;
    write(2, room - fixed + 4, &mut ends);
    write(3, 500, &mut ends);
    let mut files = disk.files();
    let file = Arc::make_mut(files.get_mut("00000001.seg").unwrap());
    assert_eq!(ends[1].offset, 8192, "{ends:?}");
    file[ends[0].offset as usize..8192].fill(0);
    let (journal, recovery) =
        Journal::open_on(Arc::new(Memory::with(files)), bounds, sink().0).unwrap();
    let seqs: Vec<_> = scan_all(&journal)
        .iter()
        .map(|(r, _)| match r {
            Record::Accepted(a) => a.seq.0,
            _ => 0,
        })
        .collect();
    assert_eq!(seqs, [1], "{recovery:?}");
}
