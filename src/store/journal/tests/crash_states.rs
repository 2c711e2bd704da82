//! Power cuts: a run's writes and syncs are cut at every boundary, what was not synced is dropped, kept or torn, and the journal
//! is opened on what is left, with a second cut during recovery.
//!
//! What must hold: everything reported as synced is there, in order and without holes; nothing else but what was appended;
//! every open succeeds and the journal goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::memory::{Asked, Memory, Without, after_power_cut};
use super::*;

const SMALL: Bounds = Bounds {
    first_segment: 32 << 10,
    segment: 48 << 10,
    fill_step: 8 << 10,
    ahead: 8 << 10,
    group: 24 << 10,
};

/// A run: what was asked of the disk, and after how many operations which token was reported as synced.
struct Run {
    log: Vec<Asked>,
    synced: Vec<(usize, u64)>,
}

struct Recorder {
    disk: Memory,
    synced: Arc<Mutex<Vec<(usize, u64)>>>,
    written: Vec<u64>,
    done: SyncSender<()>,
}

impl Committed<u64> for Recorder {
    fn committed(&mut self, batches: Vec<(u64, Vec<Place>)>, group: Group) {
        self.written.extend(batches.iter().map(|(token, _)| *token));
        if group.synced {
            let asked = self.disk.asked();
            self.synced
                .lock()
                .unwrap()
                .extend(self.written.drain(..).map(|token| (asked, token)));
        }
        self.done.send(()).ok();
    }
    fn refused(&mut self, _: Vec<u64>) {}
    fn failed(&mut self, _: &JournalError, _: Vec<u64>) {}
}

/// A reproducible stream of numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn record_run(numbers: &mut Numbers, batches: u64) -> Run {
    let disk = Memory::default();
    let synced = Arc::new(Mutex::new(Vec::new()));
    let (done, wait) = sync_channel(10_000);
    let recorder = Recorder {
        disk: disk.clone(),
        synced: Arc::clone(&synced),
        written: Vec::new(),
        done,
    };
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), SMALL, recorder).unwrap();
    for token in 1..=batches {
        let durability = if numbers.next().is_multiple_of(3) {
            Durability::WriteNow
        } else {
            Durability::Sync
        };
        let size = usize::try_from(numbers.next() % 3000).unwrap();
        journal
            .append_now(&[accepted(token, size)], durability, token)
            .unwrap();
        if !numbers.next().is_multiple_of(4) {
            wait.recv_timeout(Duration::from_secs(20)).unwrap();
        }
    }
    journal.close().unwrap();
    let synced = synced.lock().unwrap().clone();
    Run {
        log: disk.log(),
        synced,
    }
}

/// Opens what is left and says what is wrong with it.
fn judge(disk: &Memory, must: u64, most: u64) -> Result<Vec<u64>, String> {
    let opened = Journal::open_on(Arc::new(disk.clone()), SMALL, sink().0);
    let (journal, recovery) = opened.map_err(|error| format!("does not open: {error}"))?;
    let seqs: Vec<u64> = scan_all(&journal)
        .iter()
        .map(|(record, _)| match record {
            Record::Accepted(accepted) => accepted.seq.0,
            other => panic!("never appended: {other:?}"),
        })
        .collect();
    journal.close().unwrap();
    let last = seqs.len() as u64;
    if seqs != (1..=last).collect::<Vec<_>>() {
        return Err(format!("a hole or disorder in {seqs:?}"));
    }
    if last < must || last > most {
        return Err(format!(
            "{last} records, at least {must} were synced and {most} appended"
        ));
    }
    if recovery.last_seq.0 != last || !recovery.damaged.is_empty() {
        return Err(format!("{last} records, but recovery says {recovery:?}"));
    }
    Ok(seqs)
}

/// Checks the states that power cuts of one run may leave; how many there were, and what was wrong.
fn check_cuts(run: &Run, without: Without, numbers: &mut Numbers) -> (usize, Vec<String>) {
    let (mut states, mut wrong) = (0, Vec::new());
    let appended = run.log.len() as u64;
    for cut in 0..=run.log.len() {
        for mode in 0..3 {
            let mut coin = || match mode {
                0 => true,
                1 => false,
                _ => numbers.next().is_multiple_of(2),
            };
            let left = after_power_cut(&BTreeMap::new(), &run.log, cut, without, &mut coin);
            let must = run
                .synced
                .iter()
                .filter(|(asked, _)| *asked <= cut)
                .map(|(_, token)| *token)
                .max()
                .unwrap_or(0);
            states += 1;
            let disk = Memory::with(left.clone());
            let seqs = match judge(&disk, must, appended) {
                Ok(seqs) => seqs,
                Err(error) => {
                    wrong.push(format!("cut {cut}, mode {mode}: {error}"));
                    continue;
                }
            };
            // Recovery itself is cut, too; what it found before must be found again.
            let log = disk.log();
            let second = usize::try_from(numbers.next()).unwrap_or(0) % (log.len() + 1);
            let mut coin = || numbers.next().is_multiple_of(2);
            let again = Memory::with(after_power_cut(&left, &log, second, without, &mut coin));
            states += 1;
            if let Err(error) = judge(&again, seqs.len() as u64, seqs.len() as u64) {
                wrong.push(format!(
                    "cut {cut}, mode {mode}, second cut {second} of {log:?}: {error}"
                ));
            }
        }
    }
    (states, wrong)
}

#[test]
fn no_power_cut_loses_what_was_synced() {
    let mut states = 0;
    for seed in 1..=4 {
        let mut numbers = Numbers(seed);
        let run = record_run(&mut numbers, 60);
        assert!(
            run.log
                .iter()
                .filter(|asked| matches!(asked, Asked::Create(_)))
                .count()
                > 2,
            "segments rotate"
        );
        assert!(
            run.synced.len() > 40,
            "only {} batches were reported as synced",
            run.synced.len()
        );
        let (checked, wrong) = check_cuts(&run, Without::Nothing, &mut numbers);
        assert!(
            wrong.is_empty(),
            "seed {seed}: {} of {checked} states: {:?}",
            wrong.len(),
            wrong.first()
        );
        states += checked;
    }
    assert!(states > 2000, "only {states} states");
}

#[test]
fn taking_out_any_sync_is_noticed() {
    for without in [Without::HeaderSync, Without::GroupSync, Without::FolderSync] {
        // A torn header shows only where a cut falls between it and the first synced group: one run may have no such cut.
        let (mut states, mut wrong) = (0, Vec::new());
        for seed in 9..=16 {
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
