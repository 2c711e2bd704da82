//! Reading committed records: all in order, or one by its place.

use std::io;

use crate::store::journal::error::{Damage, Damaged, JournalError};
use crate::store::journal::format::BLOCK;
use crate::store::journal::place::{Place, Position};
use crate::store::journal::read::{Found, Groups, is_whole, record_at};
use crate::store::journal::segment::Segments;
use crate::store::record::{Accepted, Record};

/// The part of a segment that is scanned.
struct Part {
    from: Position,
    /// Where its groups end.
    limit: u32,
    /// The segment is not written to any more: its last group ends at `limit`, but for alignment.
    sealed: bool,
    /// Bytes to read, at most, roughly.
    most: u64,
}

impl Part {
    /// Whether zeros from `offset` on are the padding before the next group, and not groups that are gone. After a sync
    /// the padding goes up to a block.
    const fn is_padding(&self, offset: u32) -> bool {
        let unit = if self.sealed { 8 } else { BLOCK };
        self.limit.saturating_sub(offset) < unit
    }
}

/// Implements [`ReadJournal::scan_telling`](super::ReadJournal::scan_telling), up to `end`.
pub(super) fn scan(
    segments: &Segments,
    (from, end): (Position, Position),
    max_bytes: usize,
    visit: &mut dyn FnMut(Record, Place),
    tell: &mut dyn FnMut(Damage),
) -> Result<Position, JournalError> {
    let mut at = from;
    let mut left = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    while at < end && left > 0 {
        let limit = match segments.end_of(at.segment) {
            None => 0,
            Some(_) if at.segment == end.segment => end.offset,
            Some(limit) => limit.unwrap_or(0),
        };
        if at.offset >= limit {
            let Some(next) = segments
                .after(at.segment)
                .filter(|next| *next <= end.segment)
            else {
                break;
            };
            at = Position {
                segment: next,
                offset: BLOCK,
            };
            continue;
        }
        let part = Part {
            from: at,
            limit,
            sealed: at.segment != end.segment,
            most: left,
        };
        let until = match scan_segment(segments, part, visit, tell) {
            Ok(until) => until,
            // Dropped meanwhile: the next iteration goes on with the segment after it.
            Err(JournalError::Gone { .. }) => continue,
            Err(error) => return Err(error),
        };
        left = left.saturating_sub(u64::from(until.saturating_sub(at.offset)));
        at.offset = until;
    }
    Ok(at)
}

/// Visits groups of one segment. Returns where the next one begins.
fn scan_segment(
    segments: &Segments,
    part: Part,
    visit: &mut dyn FnMut(Record, Place),
    tell: &mut dyn FnMut(Damage),
) -> Result<u32, JournalError> {
    let Part {
        from, limit, most, ..
    } = part;
    let segment = from.segment;
    let io = |error| JournalError::io("read", segment, error);
    let file = segments.file(segment)?;
    let length = u32::try_from(file.length().map_err(io)?).unwrap_or(u32::MAX);
    let readable = limit.min(length);
    let mut groups = Groups::new(file, segments.seed(segment), segment, readable);
    let mut damaged = |from, to, what| {
        tell(Damage {
            segment,
            from,
            to,
            what,
        });
    };
    let (mut offset, mut last) = (from.offset, 0);
    while offset < readable && u64::from(offset - from.offset) < most {
        offset = match groups.find_next(offset).map_err(io)? {
            Found::Group {
                header,
                records_at,
                end,
            }
            | Found::Damaged {
                header,
                records_at,
                end,
            } => {
                let lost = groups.visit(&header, records_at, visit).map_err(io)?;
                if lost > 0 {
                    damaged(records_at, end.min(limit), Damaged::Records(lost));
                }
                last = header.sequence;
                end
            }
            Found::Nothing if part.is_padding(offset) && groups.is_clean(offset).map_err(io)? => {
                readable
            }
            Found::Nothing => {
                // An event's body may contain a copy of a group of this journal, but only of an earlier group.
                let next = groups.search(offset, 8, |later| later.sequence > last);
                let next = next.map_err(io)?.unwrap_or(readable);
                damaged(offset, next, Damaged::Groups);
                next
            }
        };
    }
    if offset >= readable && readable < limit {
        damaged(offset, limit.max(offset), Damaged::Groups);
        offset = limit;
    }
    Ok(offset)
}

/// Implements [`ReadJournal::read`](super::ReadJournal::read).
pub(super) fn read(segments: &Segments, place: Place) -> Result<Accepted, JournalError> {
    let file = segments.file(place.segment)?;
    let mut bytes = vec![0; usize::try_from(place.length).unwrap_or_default()];
    let read = file
        .read_at(&mut bytes, place.offset.into())
        .map_err(|error| JournalError::io("read", place.segment, error))?;
    if read < bytes.len() {
        let short = io::ErrorKind::UnexpectedEof.into();
        return Err(JournalError::io("read", place.segment, short));
    }
    let seed = segments.seed(place.segment);
    match record_at(&bytes, seed) {
        Some((Some(Record::Accepted(accepted)), _)) => Ok(accepted),
        Some((Some(Record::Moved(moved)), _)) => Ok(moved.accepted),
        _ if is_whole(&bytes, seed) => Err(JournalError::Unknown(place)),
        _ => Err(JournalError::Record(place)),
    }
}

/// Implements [`ReadJournal::damages`](super::ReadJournal::damages).
pub(super) fn damages(
    segments: &Segments,
    segment: u32,
    end: Position,
) -> Result<Vec<Damage>, JournalError> {
    let mut found = Vec::new();
    let mut offset = BLOCK;
    let limit = match segments.end_of(segment) {
        Some(_) if segment == end.segment => end.offset,
        Some(limit) => limit.unwrap_or(0),
        None => return Err(JournalError::Gone { segment }),
    };
    while offset < limit {
        let part = Part {
            from: Position { segment, offset },
            limit,
            sealed: segment != end.segment,
            most: u64::MAX,
        };
        offset = scan_segment(segments, part, &mut |_, _| {}, &mut |damage| {
            found.push(damage)
        })?
        .max(offset + 1);
    }
    Ok(found)
}
