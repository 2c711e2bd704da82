//! Decay: bits of a journal are flipped, its blocks zeroed, its files cut short, and it is opened on what is left.
//!
//! Required: it opens; no record is ever read that was not written; at most the records of the groups that were hit are
//! lost, and after them those that no later group proves to have been synced; and every loss is reported.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::memory::{Files, Memory, flip};
use super::*;

const BOUNDS: Bounds = Bounds {
    first_segment: 32 << 10,
    segment: 64 << 10,
    fill_step: 8 << 10,
    ahead: 8 << 10,
    group: 32 << 10,
};

struct Written {
    synced: bool,
    bytes: Range<u32>,
    records: Vec<Record>,
}

/// A journal of about 1 MiB: its files and the groups of each segment.
struct Journaled {
    files: Files,
    groups: BTreeMap<u32, Vec<Written>>,
}

impl Journaled {
    fn new(numbers: &mut Numbers) -> Self {
        let disk = Memory::default();
        let (sink, receiver) = sink();
        let (journal, _) = Journal::open_on(Arc::new(disk.clone()), BOUNDS, sink).unwrap();
        let mut groups = BTreeMap::<u32, Vec<Written>>::new();
        let mut seq = 0;
        while disk.used() < 1 << 20 {
            let durability = match numbers.next() % 3 {
                0 => Durability::Sync,
                _ => Durability::WriteNow,
            };
            let records: Vec<_> = (0..=numbers.next() % 4)
                .map(|_| {
                    seq += 1;
                    accepted(seq, usize::try_from(numbers.next() % 1500).unwrap())
                })
                .collect();
            journal.append_now(&records, durability, seq).unwrap();
            let Told::Committed(batches, group) = told(&receiver) else {
                panic!("not committed")
            };
            let places = &batches[0].1;
            let (first, last) = (places[0], places[places.len() - 1]);
            groups.entry(first.segment).or_default().push(Written {
                synced: group.synced,
                bytes: first.offset - 32..last.offset + last.length,
                records,
            });
        }
        journal.close().unwrap();
        Self {
            files: disk.files(),
            groups,
        }
    }

    fn segments(&self) -> impl Iterator<Item = (u32, &str, u32)> {
        let length = |file: &Vec<u8>| u32::try_from(file.len()).unwrap();
        let files = self.files.iter();
        (1..)
            .zip(files)
            .map(move |(number, (name, file))| (number, name.as_str(), length(file)))
    }

    /// The records of a segment which must be there although these bytes are damaged, and all of it.
    fn expected(&self, segment: u32, hit: &Range<u32>) -> (Vec<&Record>, Vec<&Record>) {
        let groups = &self.groups[&segment];
        let is_last = self.groups.keys().next_back() == Some(&segment);
        let is_hit = |group: &Written| group.bytes.start < hit.end && hit.start < group.bytes.end;
        // Everything up to here was synced, according to the header of the group after it.
        let proven = groups.split_last().map_or(0, |(_, before)| {
            before
                .iter()
                .rposition(|group| group.synced)
                .map_or(0, |last| last + 1)
        });
        let unproven_hit = (proven..groups.len()).find(|index| is_last && is_hit(&groups[*index]));
        let must =
            (0..unproven_hit.unwrap_or(groups.len())).filter(|index| !is_hit(&groups[*index]));
        let must = must.flat_map(|index| &groups[index].records).collect();
        (
            must,
            groups.iter().flat_map(|group| &group.records).collect(),
        )
    }

    /// Whether bytes are hit that may be missing after a crash: those of the last segment that are not proven synced.
    fn is_unproven(&self, segment: u32, hit: &Range<u32>) -> bool {
        let is_last = self.groups.keys().next_back() == Some(&segment);
        let end = self.groups[&segment]
            .last()
            .map_or(0, |group| group.bytes.end);
        is_last && hit.end >= end
    }

    /// Opens `files`, where bytes of a segment are damaged. Returns how many records are lost, or the fault.
    fn judge(
        &self,
        files: Files,
        segment: u32,
        hit: &Range<u32>,
        all: bool,
    ) -> Result<usize, String> {
        let opened = Journal::open_on(Arc::new(Memory::with(files)), BOUNDS, sink().0);
        let (journal, recovery) = opened.map_err(|error| format!("does not open: {error}"))?;
        let mut told = recovery.damaged.clone();
        let segments = if all {
            1..=*self.groups.keys().next_back().unwrap()
        } else {
            segment..=segment
        };
        let mut lost = 0;
        for number in segments {
            let hit = if number == segment { hit.clone() } else { 0..0 };
            let (must, written) = self.expected(number, &hit);
            let found = self.read(&journal, number, &mut told)?;
            let mut rest = written.iter();
            if !found
                .iter()
                .all(|record| rest.any(|written| *written == record))
            {
                return Err(format!(
                    "segment {number} has what was not written, or not in its order"
                ));
            }
            let mut rest = found.iter();
            if !must.iter().all(|record| rest.any(|found| found == *record)) {
                return Err(format!(
                    "segment {number}: {} of {} records, {} must be left",
                    found.len(),
                    written.len(),
                    must.len()
                ));
            }
            lost += written.len() - found.len();
        }
        if lost > 0 && told.is_empty() && recovery.torn_bytes == 0 {
            return Err(format!("{lost} records are lost and nothing is told"));
        }
        if let Some(wrong) = told
            .iter()
            .find(|damage| damage.segment != segment || damage.from > damage.to)
        {
            return Err(format!("told of {wrong}"));
        }
        journal.close().map_err(|error| error.to_string())?;
        Ok(lost)
    }

    /// The records that are read of one segment.
    fn read(
        &self,
        journal: &Journal<u64>,
        segment: u32,
        told: &mut Vec<Damage>,
    ) -> Result<Vec<Record>, String> {
        let mut found = Vec::new();
        let mut at = Position {
            segment,
            offset: 4096,
        };
        let end = journal.end();
        while at.segment == segment && at < end {
            let before = at;
            let scanned = journal.scan_telling(
                at,
                1 << 16,
                &mut |record, place| found.extend((place.segment == segment).then_some(record)),
                &mut |damage| told.push(damage),
            );
            at = scanned.map_err(|error| error.to_string())?;
            if at == before {
                return Err("the scan stands still".into());
            }
        }
        Ok(found)
    }
}

/// Returns the step between the positions that are tested: 1 in the long form, else `short`.
fn stride(short: usize) -> usize {
    if is_long() { 1 } else { short }
}

#[test]
fn a_flipped_bit_costs_at_most_the_group_it_hits() {
    let seed = 3;
    let mut numbers = Numbers(seed);
    let journaled = Journaled::new(&mut numbers);
    let (mut flips, mut lost) = (0, 0);
    for (segment, name, length) in journaled.segments() {
        for offset in (0..length).step_by(stride(211)) {
            let mut files = journaled.files.clone();
            let bit = numbers.next() % 8;
            flip(&mut files, name, offset as usize, 1 << bit);
            let all = flips % 64 == 0;
            match journaled.judge(files, segment, &(offset..offset + 1), all) {
                Ok(count) => lost += count,
                Err(error) => panic!("seed {seed}: {name}, byte {offset}, bit {bit}: {error}"),
            }
            flips += 1;
        }
    }
    eprintln!(
        "bit flips: seed {seed}, {flips} flips: every journal opened, {lost} records of groups that were hit are lost"
    );
    assert!(flips > 4000 && lost > 1000, "{flips} {lost}");
}

#[test]
fn a_zeroed_block_costs_at_most_the_groups_it_hits() {
    let seed = 4;
    let journaled = Journaled::new(&mut Numbers(seed));
    let (mut blocks, mut lost) = (0, 0);
    for (segment, name, length) in journaled.segments() {
        for offset in (0..length).step_by(4096) {
            let mut files = journaled.files.clone();
            let file = Arc::make_mut(files.get_mut(name).unwrap());
            let hit = offset..length.min(offset + 4096);
            file[hit.start as usize..hit.end as usize].fill(0);
            match journaled.judge(files, segment, &hit, true) {
                Ok(count) => lost += count,
                // Zeros behind the last proof are what a crash leaves.
                Err(error)
                    if error.ends_with("nothing is told")
                        && journaled.is_unproven(segment, &hit) => {}
                Err(error) => panic!("seed {seed}: {name}, block at {offset}: {error}"),
            }
            blocks += 1;
        }
    }
    eprintln!(
        "zeroed blocks: seed {seed}, {blocks} blocks: every journal opened, {lost} records of groups that were hit are lost"
    );
    assert!(blocks > 200 && lost > 200, "{blocks} {lost}");
}

#[test]
fn a_file_that_is_cut_short_costs_at_most_what_stood_behind() {
    let seed = 5;
    let journaled = Journaled::new(&mut Numbers(seed));
    let (mut cuts, mut lost) = (0, 0);
    for (segment, name, length) in journaled.segments() {
        for offset in (0..length).step_by(stride(419)) {
            let mut files = journaled.files.clone();
            Arc::make_mut(files.get_mut(name).unwrap()).truncate(offset as usize);
            let hit = offset..length;
            match journaled.judge(files, segment, &hit, cuts % 64 == 0) {
                Ok(count) => lost += count,
                // A cut at the end of a group is what a crash leaves.
                Err(error)
                    if error.ends_with("nothing is told")
                        && journaled.is_unproven(segment, &hit) => {}
                Err(error) => panic!("seed {seed}: {name}, cut at {offset}: {error}"),
            }
            cuts += 1;
        }
    }
    eprintln!(
        "truncations: seed {seed}, {cuts} cuts: every journal opened, {lost} records behind them are lost"
    );
    assert!(cuts > 2000 && lost > 2000, "{cuts} {lost}");
}
