//! Recovery at open: finds the segments, the end of the last one, and the place of the next write.
//!
//! A bad group is damage if a later group was written after a sync of it: the later group proves that the bad bytes
//! once were on the disk. Any other bad group is the torn tail of a crash and is cut, with everything after it. Pages
//! of an unsynced group reach the disk in any order, so valid bytes after a gap prove nothing. The bytes that are cut
//! stay in the file; the next segment's header contains where this one ends.
//!
//! The first segments may be missing: they were dropped. A segment whose header is damaged is read all the same: the
//! seed of its CRCs follows from the uuid in any other header and from the segment's number in its file name.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::domain::EventSeq;
use crate::store::journal::disk::{Disk, DiskFile};
use crate::store::journal::format::{BLOCK, HeaderFault, Seed, SegmentHeader, aligned};
use crate::store::journal::read::{Found, Groups};
use crate::store::journal::segment::{Active, Segments, file_name, number_of};
use crate::store::journal::{Bounds, Damage, Damaged, JournalError, Recovery};
use crate::store::record::Record;
use crate::store::reserve::{Room, is_no_space};

/// No record of an accepted event is shorter, bytes: its id alone has 16.
const ACCEPTED_MIN: u32 = 32;

/// A journal that is ready to be written to.
pub(super) struct Recovered {
    pub(super) segments: Segments,
    pub(super) active: Active,
    pub(super) next_group: u64,
    pub(super) report: Recovery,
}

/// Reads the folder, cuts a torn tail, and opens or makes the segment to write to. Takes the room of the reserve for
/// that if the disk has none.
pub(super) fn recover(
    disk: Arc<dyn Disk>,
    bounds: &Bounds,
    reserve: Option<&dyn Room>,
) -> Result<Recovered, JournalError> {
    let mut report = Recovery::default();
    // A process that was killed may have left names that are not durable: they must be synced before anything else.
    disk.sync_folder()
        .map_err(|error| JournalError::io("sync", 0, error))?;
    let Headers { found, fresh } = read_headers(&*disk, &mut report)?;
    let Some((&last, &last_header)) = found.last_key_value() else {
        return begin(disk, bounds, reserve, report);
    };
    let Some(uuid) = found.values().flatten().map(|header| header.uuid).next() else {
        let segment = found.keys().copied().next().unwrap_or(last);
        return Err(JournalError::Damaged { segment });
    };
    let (ends, tail) = ends(&*disk, uuid, &found, &mut report)?;
    let io = |error| JournalError::io("read", last, error);
    let (mut groups, file, length) = groups_of(&*disk, uuid, last).map_err(io)?;
    let clean = groups.is_clean(tail.end).map_err(io)?;
    make_durable(&*file, &tail).map_err(|error| JournalError::io("sync", last, error))?;
    report.last_seq = EventSeq(tail.last_seq);
    let segments = Segments::new(Arc::clone(&disk), uuid, ends);
    let capacity = bounds.capacity(last);
    let offset = aligned(tail.end, BLOCK);
    let goes_on = clean && last_header.is_some() && length <= capacity && offset < length;
    let active = if goes_on {
        Active {
            number: last,
            file,
            seed: Seed::new(&uuid, last),
            offset,
            synced_upto: tail.end,
            filled: length,
            capacity,
        }
    } else {
        let torn = length.saturating_sub(tail.end);
        report.torn_bytes = if clean { 0 } else { torn.into() };
        // The last segment is not written to again: its tail is torn, or it is full, or its header is damaged.
        let header = SegmentHeader {
            uuid,
            number: fresh,
            previous: last,
            previous_end: tail.end,
            last_seq: tail.last_seq,
            first_group: tail.next_group,
        };
        let next = create(&*disk, &header, bounds, reserve)?;
        segments.rotated(last, tail.end, fresh);
        next
    };
    Ok(Recovered {
        segments,
        active,
        next_group: tail.next_group,
        report,
    })
}

/// Makes the groups that were found durable. Those which no later group proves to be synced are written again: after a
/// failed sync they may be only in the page cache, marked as clean, and then another sync would succeed without effect.
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

/// Returns where each segment's groups end (`None` for the last segment), and the tail of the last segment.
fn ends(
    disk: &dyn Disk,
    uuid: [u8; 16],
    found: &BTreeMap<u32, Option<SegmentHeader>>,
    report: &mut Recovery,
) -> Result<(BTreeMap<u32, Option<u32>>, Tail), JournalError> {
    let mut ends: BTreeMap<u32, Option<u32>> = found.keys().map(|number| (*number, None)).collect();
    for header in found.values().flatten() {
        if let Some(end) = ends.get_mut(&header.previous) {
            *end = Some(header.previous_end);
        }
    }
    let last = found.keys().next_back().copied();
    let mut tail = Tail::before_everything();
    for (&number, end) in &mut ends {
        // The next header contains where this segment ends, if there is one and it is not damaged.
        if end.is_none() {
            let io = |error| JournalError::io("read", number, error);
            let (mut groups, ..) = groups_of(disk, uuid, number).map_err(io)?;
            let start = match found.get(&number) {
                Some(Some(header)) => Tail::behind(header),
                // Its first sequence is not known, but is higher than those of its predecessor.
                Some(None) | None => Tail {
                    end: BLOCK,
                    proven: BLOCK,
                    certain: false,
                    ..tail
                },
            };
            tail = find_tail(&mut groups, number, start, report).map_err(io)?;
            *end = Some(tail.end).filter(|_| Some(number) != last);
        }
    }
    Ok((ends, tail))
}

/// Opens a segment: its groups, its file and its length.
fn groups_of(
    disk: &dyn Disk,
    uuid: [u8; 16],
    number: u32,
) -> io::Result<(Groups, Arc<dyn DiskFile>, u32)> {
    let file = disk.open(&file_name(number))?;
    let length = u32::try_from(file.length()?).unwrap_or(u32::MAX);
    let seed = Seed::new(&uuid, number);
    let groups = Groups::new(Arc::clone(&file), seed, number, length);
    Ok((groups, file, length))
}

/// Makes the first segment of a new journal.
fn begin(
    disk: Arc<dyn Disk>,
    bounds: &Bounds,
    reserve: Option<&dyn Room>,
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
    let active = create(&*disk, &header, bounds, reserve)?;
    let segments = Segments::new(disk, uuid, BTreeMap::from([(1, None)]));
    Ok(Recovered {
        segments,
        active,
        next_group: 1,
        report,
    })
}

/// Makes a segment. If the disk is full, it takes the room of the reserve, so that the store can start.
fn create(
    disk: &dyn Disk,
    header: &SegmentHeader,
    bounds: &Bounds,
    reserve: Option<&dyn Room>,
) -> Result<Active, JournalError> {
    let created = match Active::create(disk, header, bounds) {
        Err(error)
            if is_no_space(&error) && reserve.is_some_and(|reserve| reserve.give(u64::MAX)) =>
        {
            Active::create(disk, header, bounds)
        }
        created => created,
    };
    created.map_err(|error| JournalError::io("create", header.number, error))
}

/// The result of reading all headers.
struct Headers {
    /// The header of each segment; `None` where it is damaged.
    found: BTreeMap<u32, Option<SegmentHeader>>,
    /// The number of the next segment to make.
    fresh: u32,
}

/// Reads the headers of all segments. An empty last segment without one was being made when the process ended: removed.
fn read_headers(disk: &dyn Disk, report: &mut Recovery) -> Result<Headers, JournalError> {
    let names = disk
        .list()
        .map_err(|error| JournalError::io("list", 0, error))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    let last = numbers.last().copied();
    let mut found = BTreeMap::new();
    let mut fresh = last.unwrap_or(0).saturating_add(1);
    for number in numbers {
        let io = |error| JournalError::io("read", number, error);
        let mut block = [0; 4096];
        let file = disk.open(&file_name(number)).map_err(io)?;
        file.read_at(&mut block, 0).map_err(io)?;
        match SegmentHeader::decode(&block) {
            Ok((header, both)) if header.number == number => {
                found.insert(number, Some(header));
                if both {
                    continue;
                }
                if Some(number) == last && is_empty(Arc::clone(&file)).map_err(io)? {
                    // It was being made when the process ended.
                    mend_header(&*file, &header, &block).map_err(io)?;
                } else {
                    report.damaged.push(of_header(number, Damaged::HeaderCopy));
                }
            }
            Err(HeaderFault::Newer(version)) => {
                return Err(JournalError::Newer {
                    segment: number,
                    version,
                });
            }
            Ok(_) | Err(HeaderFault::Invalid) => {
                if Some(number) == last && is_empty(file).map_err(io)? {
                    disk.remove(&file_name(number))
                        .map_err(|error| JournalError::io("remove", number, error))?;
                    disk.sync_folder()
                        .map_err(|error| JournalError::io("sync", number, error))?;
                    fresh = number;
                } else {
                    found.insert(number, None);
                    report.damaged.push(of_header(number, Damaged::Header));
                }
            }
        }
    }
    Ok(Headers { found, fresh })
}

const fn of_header(segment: u32, what: Damaged) -> Damage {
    Damage {
        segment,
        from: 0,
        to: BLOCK,
        what,
    }
}

/// Writes the damaged copy of a header again. It is synced together with the groups that are found.
fn mend_header(file: &dyn DiskFile, header: &SegmentHeader, block: &[u8]) -> io::Result<()> {
    let (whole, mut offset) = (header.encode(), 0);
    let half = whole.len() / 2;
    for (right, found) in whole.chunks(half).zip(block.chunks(half)) {
        if right != found {
            file.write_at(right, offset)?;
        }
        offset += u64::from(BLOCK / 2);
    }
    Ok(())
}

/// Whether a segment has no groups: only zeros follow its header. No group is written before the header is synced.
fn is_empty(file: Arc<dyn DiskFile>) -> io::Result<bool> {
    let length = u32::try_from(file.length()?).unwrap_or(u32::MAX);
    // No CRC is checked, so any seed will do.
    Groups::new(file, Seed::new(&[0; 16], 0), 0, length).is_clean(BLOCK)
}

/// The end of a segment's groups, as far as they were followed.
#[derive(Debug, Clone, Copy)]
struct Tail {
    end: u32,
    /// Everything below was synced, according to a later group's header.
    proven: u32,
    next_group: u64,
    /// Whether the next group must have exactly that sequence; after damage it may have a higher one.
    certain: bool,
    last_seq: u64,
}

impl Tail {
    const fn before_everything() -> Self {
        Self {
            end: BLOCK,
            proven: BLOCK,
            next_group: 0,
            certain: false,
            last_seq: 0,
        }
    }

    const fn behind(header: &SegmentHeader) -> Self {
        Self {
            end: BLOCK,
            proven: BLOCK,
            next_group: header.first_group,
            certain: true,
            last_seq: header.last_seq,
        }
    }

    /// Whether a group of this sequence may come next.
    const fn takes(&self, sequence: u64) -> bool {
        sequence == self.next_group || !self.certain && sequence > self.next_group
    }
}

/// Follows the groups of a segment from `tail` on.
fn find_tail(
    groups: &mut Groups,
    segment: u32,
    mut tail: Tail,
    report: &mut Recovery,
) -> io::Result<Tail> {
    loop {
        match groups.find(tail.end)? {
            Found::Group {
                header: group,
                records_at,
                end,
            } if tail.takes(group.sequence) => {
                tail.certain = true;
                let last_seq = &mut tail.last_seq;
                groups.visit(&group, records_at, &mut |record, _| {
                    *last_seq = (*last_seq).max(last_seq_of(&record));
                })?;
                tail.proven = tail.proven.max(group.synced_upto);
                (tail.end, tail.next_group) = (end, group.sequence.saturating_add(1));
            }
            Found::Group { .. } | Found::Damaged { .. } | Found::Nothing => {
                let (bad, next) = (tail.end, tail.next_group);
                // The first group after a sync begins on a block.
                let proof = groups.search(bad, BLOCK, |later| {
                    later.synced_upto > bad && later.sequence > next
                })?;
                let Some(proof) = proof else { return Ok(tail) };
                report.damaged.push(Damage {
                    segment,
                    from: bad,
                    to: proof,
                    what: Damaged::Groups,
                });
                pass_over(groups, &mut tail, proof)?;
            }
        }
    }
}

/// Goes on at `proof`, after damage. The sequence of an event that cannot be read must not be used again, so as many
/// sequences are skipped as the damaged bytes can have held.
fn pass_over(groups: &mut Groups, tail: &mut Tail, proof: u32) -> io::Result<()> {
    let (next, mut at, last_seq) = (tail.next_group, tail.end, &mut tail.last_seq);
    while let Some(begin) = groups.search(at, 8, |later| later.sequence > next)?
        && begin < proof
    {
        at = begin;
        if let Found::Group {
            header, records_at, ..
        } = groups.find(begin)?
        {
            groups.visit(&header, records_at, &mut |record, _| {
                *last_seq = (*last_seq).max(last_seq_of(&record));
            })?;
        }
    }
    let lost = proof.saturating_sub(tail.end) / ACCEPTED_MIN;
    tail.last_seq = tail.last_seq.saturating_add(lost.into());
    tail.end = proof;
    tail.certain = false;
    Ok(())
}

/// Returns the sequence of the event that a record is about, 0 if it is about none.
const fn last_seq_of(record: &Record) -> u64 {
    match record {
        Record::Accepted(accepted) => accepted.seq.0,
        Record::Moved(moved) => moved.accepted.seq.0,
        Record::Attempted(attempted) => attempted.seq.0,
        Record::Requeued { seq, .. } | Record::Cancelled { seq, .. } => seq.0,
        Record::CancelledAll { upto, .. } => upto.0,
        Record::SubscriptionNamed { .. }
        | Record::SubscriptionState { .. }
        | Record::Job { .. } => 0,
    }
}
