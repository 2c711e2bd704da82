//! What is done before the first write: finding the segments, the end of the last one, and a place to go on.
//!
//! A bad group before a later group that was written after a sync of it is damage: the later group proves that the bad
//! bytes once were on the disk. Any other bad group is the torn tail of a crash and is cut whole, with everything behind it:
//! pages of an unsynced group reach the disk in any order, so valid bytes behind a hole prove nothing. What is cut is
//! left where it is; the next segment's header says where this one ends.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::domain::EventSeq;
use crate::store::journal::disk::{Disk, DiskFile};
use crate::store::journal::format::{BLOCK, HeaderFault, Seed, SegmentHeader, aligned};
use crate::store::journal::read::{Found, Groups};
use crate::store::journal::segment::{Active, Segments, file_name, number_of};
use crate::store::journal::{Bounds, JournalError, Recovery};
use crate::store::record::Record;

/// A journal that is ready to be written to.
pub(super) struct Recovered {
    pub(super) segments: Segments,
    pub(super) active: Active,
    pub(super) next_group: u64,
    pub(super) report: Recovery,
}

/// Finds out what the folder holds, cuts a torn tail and opens or makes the segment to go on with.
pub(super) fn recover(disk: Arc<dyn Disk>, bounds: &Bounds) -> Result<Recovered, JournalError> {
    let mut report = Recovery::default();
    // A life that was killed may have left names that are seen, but not durable: nothing may be built on them before.
    disk.sync_folder()
        .map_err(|error| JournalError::io("sync", 0, error))?;
    let (headers, fresh) = read_headers(&*disk, &mut report)?;
    let Some(last) = headers.values().next_back().copied() else {
        return begin(disk, bounds, report);
    };
    let ends = ends(&*disk, &headers, &last, &mut report)?;
    let io = |error| JournalError::io("read", last.number, error);
    let file = disk.open(&file_name(last.number)).map_err(io)?;
    let length = u32::try_from(file.length().map_err(io)?).unwrap_or(u32::MAX);
    let seed = Seed::new(&last.uuid, last.number);
    let mut groups = Groups::new(Arc::clone(&file), seed, last.number, length);
    let tail = find_tail(&mut groups, &last, &mut report).map_err(io)?;
    let clean = groups.is_clean(tail.end).map_err(io)?;
    make_durable(&*file, &tail).map_err(|error| JournalError::io("sync", last.number, error))?;
    report.last_seq = EventSeq(tail.last_seq);
    let segments = Segments::new(Arc::clone(&disk), last.uuid, ends);
    let capacity = bounds.capacity(last.number);
    let offset = aligned(tail.end, BLOCK);
    let active = if clean && length <= capacity && offset < length {
        Active {
            number: last.number,
            file,
            seed,
            offset,
            synced_upto: tail.end,
            filled: length,
            capacity,
        }
    } else {
        let torn = length.saturating_sub(tail.end);
        report.torn_bytes = if clean { 0 } else { torn.into() };
        go_on_behind(&segments, &last, &tail, fresh, bounds)?
    };
    Ok(Recovered {
        segments,
        active,
        next_group: tail.next_group,
        report,
    })
}

/// Makes the groups durable that this life builds on. Those which no later group proves to be synced are written anew: after
/// a failed sync they may be in the page cache, marked as clean, and nowhere else, and a sync would say that all is well.
fn make_durable(file: &dyn DiskFile, tail: &Tail) -> io::Result<()> {
    let length = tail.end.saturating_sub(tail.proven);
    let mut unproven = vec![0; usize::try_from(length).unwrap_or_default()];
    let read = file.read_at(&mut unproven, tail.proven.into())?;
    unproven.truncate(read);
    if !unproven.is_empty() {
        file.write_at(&unproven, tail.proven.into())?;
    }
    file.sync()
}

/// Where each segment's groups end; none for the last one, which its tail tells.
fn ends(
    disk: &dyn Disk,
    headers: &BTreeMap<u32, SegmentHeader>,
    last: &SegmentHeader,
    report: &mut Recovery,
) -> Result<BTreeMap<u32, Option<u32>>, JournalError> {
    let mut ends: BTreeMap<u32, Option<u32>> =
        headers.keys().map(|number| (*number, None)).collect();
    for header in headers.values().filter(|header| header.previous != 0) {
        ends.insert(header.previous, Some(header.previous_end));
    }
    ends.retain(|number, _| headers.contains_key(number));
    for (&number, end) in &mut ends {
        if end.is_none() && number != last.number {
            // The next header, which says where this one ends, is damaged.
            *end = Some(end_of(disk, headers, number, report)?);
        }
    }
    Ok(ends)
}

/// Finds where the groups of a segment end that no header tells of.
fn end_of(
    disk: &dyn Disk,
    headers: &BTreeMap<u32, SegmentHeader>,
    number: u32,
    report: &mut Recovery,
) -> Result<u32, JournalError> {
    let io = |error| JournalError::io("read", number, error);
    let Some(header) = headers.get(&number) else {
        return Ok(BLOCK);
    };
    let file = disk.open(&file_name(number)).map_err(io)?;
    let length = u32::try_from(file.length().map_err(io)?).unwrap_or(u32::MAX);
    let mut groups = Groups::new(file, Seed::new(&header.uuid, number), number, length);
    Ok(find_tail(&mut groups, header, report).map_err(io)?.end)
}

/// Makes the segment behind one that is not written to again, because its tail is torn or it is full.
fn go_on_behind(
    segments: &Segments,
    last: &SegmentHeader,
    tail: &Tail,
    number: u32,
    bounds: &Bounds,
) -> Result<Active, JournalError> {
    let header = SegmentHeader {
        uuid: last.uuid,
        number,
        previous: last.number,
        previous_end: tail.end,
        last_seq: tail.last_seq,
        first_group: tail.next_group,
    };
    let next = Active::create(&*segments.disk, &header, bounds)
        .map_err(|error| JournalError::io("create", number, error))?;
    segments.rotated(last.number, tail.end, number);
    Ok(next)
}

/// Makes the first segment of a new journal.
fn begin(
    disk: Arc<dyn Disk>,
    bounds: &Bounds,
    report: Recovery,
) -> Result<Recovered, JournalError> {
    let mut uuid = [0; 16];
    getrandom::fill(&mut uuid)
        .map_err(|error| JournalError::io("create", 1, io::Error::other(error)))?;
    let header = SegmentHeader {
        uuid,
        number: 1,
        previous: 0,
        previous_end: 0,
        last_seq: 0,
        first_group: 1,
    };
    let active = Active::create(&*disk, &header, bounds)
        .map_err(|error| JournalError::io("create", 1, error))?;
    let segments = Segments::new(disk, uuid, BTreeMap::from([(1, None)]));
    Ok(Recovered {
        segments,
        active,
        next_group: 1,
        report,
    })
}

/// The headers of all segments, and the number of the next one to make. The last segment may have none: it was being made
/// when the process ended, and goes.
fn read_headers(
    disk: &dyn Disk,
    report: &mut Recovery,
) -> Result<(BTreeMap<u32, SegmentHeader>, u32), JournalError> {
    let names = disk
        .list()
        .map_err(|error| JournalError::io("list", 0, error))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    let last = numbers.last().copied();
    let mut headers = BTreeMap::new();
    let mut fresh = last.unwrap_or(0).saturating_add(1);
    for number in numbers {
        let mut block = [0; 4096];
        let file = disk
            .open(&file_name(number))
            .map_err(|error| JournalError::io("open", number, error))?;
        file.read_at(&mut block, 0)
            .map_err(|error| JournalError::io("read", number, error))?;
        match SegmentHeader::decode(&block) {
            Ok(header) => {
                headers.insert(number, header);
            }
            Err(HeaderFault::Newer(version)) => {
                return Err(JournalError::Newer {
                    segment: number,
                    version,
                });
            }
            Err(HeaderFault::Invalid)
                if Some(number) == last && !has_groups(&*file, number, &headers)? =>
            {
                disk.remove(&file_name(number))
                    .map_err(|error| JournalError::io("remove", number, error))?;
                disk.sync_folder()
                    .map_err(|error| JournalError::io("sync", number, error))?;
                fresh = number;
            }
            Err(HeaderFault::Invalid) if headers.is_empty() => {
                return Err(JournalError::Damaged { segment: number });
            }
            Err(HeaderFault::Invalid) => report.damaged.push(format!(
                "segment {number}: its header is damaged, it is left out"
            )),
        }
    }
    Ok((headers, fresh))
}

/// Whether a segment without a valid header has been written to: then it is damaged, not half made.
fn has_groups(
    file: &dyn DiskFile,
    number: u32,
    headers: &BTreeMap<u32, SegmentHeader>,
) -> Result<bool, JournalError> {
    let mut bytes = [0; 32];
    let read = file
        .read_at(&mut bytes, BLOCK.into())
        .map_err(|error| JournalError::io("read", number, error))?;
    let zeros = bytes.iter().take(read).all(|byte| *byte == 0);
    Ok(!zeros && (headers.is_empty() || headers.keys().all(|known| *known < number)))
}

/// Where the last segment's groups end.
struct Tail {
    end: u32,
    /// Everything below was synced, as a group behind it says.
    proven: u32,
    next_group: u64,
    last_seq: u64,
}

fn find_tail(
    groups: &mut Groups,
    header: &SegmentHeader,
    report: &mut Recovery,
) -> io::Result<Tail> {
    let mut tail = Tail {
        end: BLOCK,
        proven: BLOCK,
        next_group: header.first_group,
        last_seq: header.last_seq,
    };
    let mut behind_damage = false;
    loop {
        match groups.find(tail.end)? {
            Found::Group {
                header: group,
                records_at,
                end,
            } if group.sequence == tail.next_group
                || behind_damage && group.sequence > tail.next_group =>
            {
                behind_damage = false;
                let last_seq = &mut tail.last_seq;
                groups.visit(&group, records_at, &mut |record, _| {
                    if let Record::Accepted(accepted) = record {
                        *last_seq = (*last_seq).max(accepted.seq.0);
                    }
                })?;
                tail.proven = tail.proven.max(group.synced_upto);
                (tail.end, tail.next_group) = (end, group.sequence.saturating_add(1));
            }
            Found::Group { .. } | Found::Damaged { .. } | Found::Nothing => {
                let bad = tail.end;
                let next = tail.next_group;
                let proof = groups.search(bad, |later| {
                    later.synced_upto > bad && later.sequence > next
                })?;
                let Some(proof) = proof else { return Ok(tail) };
                report.damaged.push(format!(
                    "segment {}: bytes {bad} to {proof} are damaged",
                    header.number
                ));
                tail.end = proof;
                behind_damage = true;
            }
        }
    }
}
