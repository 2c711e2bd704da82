//! Power cuts: a run's writes and syncs are cut at every boundary, unsynced bytes are dropped, kept or torn, and the
//! journal is opened on the remaining files, with a second cut during recovery.
//!
//! Required: everything reported as synced is there, in order and without gaps, unless its segment was dropped; a
//! dropped segment stays dropped; only appended records are there; every open succeeds and the journal goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::memory::{Asked, Files, Memory, Without, after_power_cut};
use super::*;

const SMALL: Bounds = Bounds {
    first_segment: 32 << 10,
    segment: 48 << 10,
    fill_step: 8 << 10,
    ahead: 8 << 10,
    group: 24 << 10,
};

/// A run: the operations on the disk, and the reports and drops, each after how many operations.
#[derive(Default)]
struct Run {
    log: Vec<Asked>,
    records: Vec<Record>,
    told: Told,
    dropped: Vec<Dropped>,
}

/// The reports that the sink received.
#[derive(Clone, Default)]
struct Told {
    /// After how many operations which token was reported as synced.
    synced: Vec<(usize, u64)>,
    /// The last token of each segment.
    last_of: BTreeMap<u32, u64>,
}

/// A segment was dropped between these operations.
struct Dropped {
    segment: u32,
    begun: usize,
    done: usize,
}

struct Recorder {
    disk: Memory,
    told: Arc<Mutex<Told>>,
    written: Vec<u64>,
    done: SyncSender<()>,
}

impl Committed<u64> for Recorder {
    fn committed(&mut self, batches: Vec<(u64, Vec<Place>)>, group: Group) {
        let mut told = self.told.lock();
        for (token, places) in &batches {
            told.last_of.insert(places[0].segment, *token);
            self.written.push(*token);
        }
        if group.synced {
            let asked = self.disk.asked();
            let synced = self.written.drain(..).map(|token| (asked, token));
            told.synced.extend(synced);
        }
        for _ in batches {
            self.done.send(()).ok();
        }
    }
    fn refused(&mut self, _: Vec<u64>) {}
    fn failed(&mut self, _: &JournalError, _: Vec<u64>) {}
}

/// One run of this many batches: of every durability, relaxed or not, with segments sealed and dropped in between.
fn record_run(numbers: &mut Numbers, batches: u64) -> Run {
    let disk = Memory::default();
    let told = Arc::new(Mutex::new(Told::default()));
    let (done, wait) = sync_channel(10_000);
    let recorder = Recorder {
        disk: disk.clone(),
        told: Arc::clone(&told),
        written: Vec::new(),
        done,
    };
    let options = Options {
        in_place: None,
        relaxed: numbers.next().is_multiple_of(4),
        reserve: None,
    };
    let opened = Journal::open_with(Arc::new(disk.clone()), SMALL, options, recorder);
    let (journal, _) = opened.unwrap();
    let mut run = Run::default();
    let mut waiting = 0;
    for token in 1..=batches {
        let durability = match numbers.next() % 8 {
            0 | 1 => Durability::WriteNow,
            2 => Durability::SyncOutcome,
            3 => Durability::Write,
            _ => Durability::Sync,
        };
        let size = usize::try_from(numbers.next() % 3000).unwrap();
        let record = accepted(token, size);
        let batch = std::slice::from_ref(&record);
        journal.append_now(batch, durability, token).unwrap();
        run.records.push(record);
        waiting += 1;
        if !numbers.next().is_multiple_of(4) {
            for _ in 0..std::mem::take(&mut waiting) {
                wait.recv_timeout(Duration::from_secs(20)).unwrap();
            }
        }
        if numbers.next().is_multiple_of(16) {
            journal.seal();
        }
        if numbers.next().is_multiple_of(12) {
            drop_some(&journal, &disk, numbers, &mut run.dropped);
        }
    }
    journal.close().unwrap();
    run.log = disk.log();
    run.told = told.lock().clone();
    run
}

/// Drops up to three of the oldest segments.
fn drop_some(
    journal: &Journal<u64>,
    disk: &Memory,
    numbers: &mut Numbers,
    dropped: &mut Vec<Dropped>,
) {
    let most = usize::try_from(1 + numbers.next() % 3).unwrap();
    let sealed = journal.segments().into_iter().filter(|info| info.sealed);
    for SegmentInfo { number, .. } in sealed.take(most) {
        let begun = disk.asked();
        journal.drop_first(number).unwrap();
        dropped.push(Dropped {
            segment: number,
            begun,
            done: disk.asked(),
        });
    }
}

/// The tokens that must be there after a cut.
struct Expected<'a> {
    records: &'a [Record],
    /// The first token there may be any of these, because a drop was under way.
    first: Vec<u64>,
    /// The last token is this at least.
    last: u64,
    /// Segments up to this were dropped.
    dropped: u32,
}

impl<'a> Expected<'a> {
    fn after(run: &'a Run, cut: usize) -> Self {
        // Tokens are in the order of their segments.
        let behind = |segment: u32| {
            let last = run.told.last_of.range(..=segment).next_back();
            last.map_or(1, |(_, token)| token + 1)
        };
        let done = run.dropped.iter().filter(|dropped| dropped.done <= cut);
        let dropped = done.map(|dropped| dropped.segment).max().unwrap_or(0);
        let mut under_way = run.dropped.iter().filter(|dropped| dropped.begun < cut);
        let begun = under_way.next_back().map_or(0, |dropped| dropped.segment);
        let synced = run.told.synced.iter().filter(|(asked, _)| *asked <= cut);
        Self {
            records: &run.records,
            first: vec![behind(dropped), behind(begun.max(dropped))],
            last: synced.map(|(_, token)| *token).max().unwrap_or(0),
            dropped,
        }
    }

    fn judge(&self, journal: &Journal<u64>, recovery: &Recovery) -> Result<(u64, u64), String> {
        let found = scan_by(journal, 1 << 20);
        let seqs: Vec<u64> = found.iter().map(|(record, _)| seq_of(record)).collect();
        let last = recovery.last_seq.0;
        let first = seqs.first().copied().unwrap_or(last + 1);
        if seqs != (first..=last).collect::<Vec<_>>() {
            return Err(format!(
                "a hole or disorder in {seqs:?}, the last is {last}"
            ));
        }
        let wrong = found.iter().find(|(record, _)| {
            let seq = usize::try_from(seq_of(record)).unwrap();
            self.records.get(seq - 1) != Some(record)
        });
        if let Some((record, _)) = wrong {
            return Err(format!("{} is not what was appended", seq_of(record)));
        }
        let lost = last < self.last || !self.first.contains(&first);
        // Segments that are not dropped may still be empty: lost with their unsynced groups, or dropped up to the end.
        let emptied = seqs.is_empty() && self.first.iter().any(|first| *first > last);
        if lost && !(emptied && last >= self.last) {
            return Err(format!(
                "{first} to {last}, expected from one of {:?} to at least {}",
                self.first, self.last
            ));
        }
        let numbers: Vec<u32> = journal.segments().iter().map(|info| info.number).collect();
        let hole = numbers.windows(2).any(|pair| pair[1] != pair[0] + 1);
        if hole || numbers[0] <= self.dropped {
            return Err(format!(
                "segments {numbers:?}, dropped up to {}",
                self.dropped
            ));
        }
        if !recovery.damaged.is_empty() {
            return Err(format!("recovery says {recovery:?}"));
        }
        Ok((first, last))
    }
}

fn seq_of(record: &Record) -> u64 {
    match record {
        Record::Accepted(accepted) => accepted.seq.0,
        other => panic!("never appended: {other:?}"),
    }
}

/// Opens the remaining files. Returns the first and last token, or the fault. With `goes_on` one more is appended.
fn open_and_judge(
    disk: &Memory,
    expected: &Expected<'_>,
    goes_on: bool,
) -> Result<(u64, u64), String> {
    let (sink, receiver) = sink();
    let opened = Journal::open_on(Arc::new(disk.clone()), SMALL, sink);
    let (journal, recovery) = opened.map_err(|error| format!("does not open: {error}"))?;
    let (first, last) = expected.judge(&journal, &recovery)?;
    if goes_on {
        commit(&journal, &receiver, last + 1, 700);
    }
    journal.close().map_err(|error| error.to_string())?;
    Ok((first, last + u64::from(goes_on)))
}

/// Checks the states that a power cut of `run` may leave, and those of a second cut during recovery or after it.
fn check_cut(
    run: &Run,
    cut: usize,
    mode: u8,
    without: Without,
    numbers: &mut Numbers,
) -> Result<(), String> {
    let sector = if mode == 3 { 4096 } else { 512 };
    let mut coin = || match mode {
        0 => true,
        1 => false,
        _ => numbers.next().is_multiple_of(2),
    };
    let nothing = Files::new();
    let left = after_power_cut(&nothing, &run.log, cut, (without, sector), &mut coin);
    let disk = Memory::with(left.clone());
    let expected = Expected::after(run, cut);
    let goes_on = numbers.next().is_multiple_of(4);
    let (first, last) = open_and_judge(&disk, &expected, goes_on)?;
    // Tokens found before must be found again, and those synced since.
    let log = disk.log();
    let second = if goes_on {
        log.len()
    } else {
        usize::try_from(numbers.next()).unwrap_or(0) % (log.len() + 1)
    };
    let mut coin = || numbers.next().is_multiple_of(2);
    let again = after_power_cut(&left, &log, second, (without, sector), &mut coin);
    let mut records = run.records[..usize::try_from(last).unwrap() - usize::from(goes_on)].to_vec();
    if goes_on {
        records.push(accepted(last, 700));
    }
    let expected = Expected {
        records: &records,
        first: vec![first],
        last,
        dropped: expected.dropped,
    };
    let log = || format!("second cut {second} of {log:?}");
    let found = open_and_judge(&Memory::with(again), &expected, false);
    match found {
        Ok((_, found)) if found == last => Ok(()),
        Ok((_, found)) => Err(format!("{}: {found} of {last}", log())),
        Err(error) => Err(format!("{}: {error}", log())),
    }
}

/// Checks the states that power cuts of one run may leave. Returns how many there were, and the faults.
fn check_cuts(run: &Run, without: Without, numbers: &mut Numbers) -> (usize, Vec<String>) {
    let (mut states, mut wrong) = (0, Vec::new());
    for cut in 0..=run.log.len() {
        for mode in 0..4 {
            states += 2;
            if let Err(error) = check_cut(run, cut, mode, without, numbers) {
                let last = cut.checked_sub(1).map(|last| &run.log[last]);
                wrong.push(format!("cut {cut} after {last:?}, mode {mode}: {error}"));
            }
        }
    }
    (states, wrong)
}

#[test]
fn no_power_cut_loses_what_was_synced() {
    let wanted = if is_long() { 120_000 } else { 10_000 };
    let (mut states, mut synced, mut dropped, mut seed) = (0, 0, 0, 0);
    while states < wanted {
        seed += 1;
        let mut numbers = Numbers(seed);
        let run = record_run(&mut numbers, 60);
        synced += run.told.synced.len();
        dropped += run.dropped.len();
        let (checked, wrong) = check_cuts(&run, Without::Nothing, &mut numbers);
        assert!(
            wrong.is_empty(),
            "seed {seed}: {} of {checked} states: {:?}",
            wrong.len(),
            wrong.first()
        );
        states += checked;
    }
    eprintln!(
        "crash states: seeds 1 to {seed}, {states} states, {synced} synced batches, {dropped} dropped segments: nothing lost, \
         nothing that was not appended, every open succeeded"
    );
    assert!(synced > 20 * usize::try_from(seed).unwrap(), "{synced}");
    assert!(dropped > usize::try_from(seed).unwrap(), "{dropped}");
}

#[test]
fn taking_out_any_sync_is_noticed() {
    for without in [
        Without::HeaderSync,
        Without::GroupSync,
        Without::FolderSync,
        Without::DropSync,
    ] {
        // A torn header shows only where a cut falls between it and the first synced group: one run may have no such cut.
        let (mut states, mut wrong, mut seed) = (0, Vec::new(), 1000);
        while wrong.is_empty() && seed < 1040 {
            seed += 1;
            let mut numbers = Numbers(seed);
            let run = record_run(&mut numbers, 60);
            let (checked, found) = check_cuts(&run, without, &mut numbers);
            states += checked;
            wrong.extend(found);
        }
        assert!(
            !wrong.is_empty(),
            "{states} states are fine without {without:?}"
        );
    }
}
