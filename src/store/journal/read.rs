//! Reading groups and records back, with their CRCs checked. Readers never read beyond the committed end.

use std::io;
use std::sync::Arc;

use crate::store::fields::Reader;
use crate::store::journal::disk::DiskFile;
use crate::store::journal::format::{
    BLOCK, GROUP_HEADER, GroupHeader, RECORD_HEADER, Seed, aligned,
};
use crate::store::journal::{Place, codec};
use crate::store::record::Record;

/// Bytes read at a time.
const WINDOW: u32 = 256 * 1024;

/// The result of looking for a group at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A group whose CRCs fit: its header, the offset of its records and where it ends.
    Group {
        header: GroupHeader,
        records_at: u32,
        end: u32,
    },
    /// A group whose header's CRC fits, but not that of its records.
    Damaged {
        header: GroupHeader,
        records_at: u32,
        end: u32,
    },
    /// No header of a group.
    Nothing,
}

/// Walks the groups of one segment up to a limit.
pub(super) struct Groups {
    file: Arc<dyn DiskFile>,
    seed: Seed,
    segment: u32,
    limit: u32,
    window: Vec<u8>,
    window_at: u32,
}

impl Groups {
    pub(super) fn new(file: Arc<dyn DiskFile>, seed: Seed, segment: u32, limit: u32) -> Self {
        Self {
            file,
            seed,
            segment,
            limit,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// Looks for a group at the next multiple of 8 from `offset` on, or at the next block, where one after a sync
    /// begins. A group on a block may follow damaged ones: the caller must check its sequence.
    pub(super) fn find(&mut self, offset: u32) -> io::Result<Found> {
        let close = aligned(offset, 8);
        let found = self.at(close)?;
        let block = aligned(offset, BLOCK);
        if found == Found::Nothing && block != close {
            self.at(block)
        } else {
            Ok(found)
        }
    }

    /// Does what [`Groups::find`] does, but takes no group on a block for the next one unless only zeros are before it.
    pub(super) fn find_next(&mut self, offset: u32) -> io::Result<Found> {
        let (close, block) = (aligned(offset, 8), aligned(offset, BLOCK));
        let found = self.at(close)?;
        if found == Found::Nothing && block < self.limit && self.are_zeros(close, block)? {
            self.at(block)
        } else {
            Ok(found)
        }
    }

    /// Returns where the first intact group begins that `accept` takes, at a multiple of `unit` after `offset`.
    pub(super) fn search(
        &mut self,
        offset: u32,
        unit: u32,
        accept: impl Fn(&GroupHeader) -> bool,
    ) -> io::Result<Option<u32>> {
        let mut begin = aligned(offset.saturating_add(1), unit);
        while begin < self.limit {
            if let Found::Group { header, .. } = self.at(begin)?
                && accept(&header)
            {
                return Ok(Some(begin));
            }
            begin = begin.saturating_add(unit);
        }
        Ok(None)
    }

    /// Whether all bytes from `offset` up to the limit are zeros.
    pub(super) fn is_clean(&mut self, offset: u32) -> io::Result<bool> {
        self.are_zeros(offset, self.limit)
    }

    fn are_zeros(&mut self, from: u32, to: u32) -> io::Result<bool> {
        let mut at = from;
        while at < to {
            let length = WINDOW.min(to - at);
            if self
                .bytes(at, length)?
                .is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0))
            {
                return Ok(false);
            }
            at += length;
        }
        Ok(true)
    }

    /// Passes the records of a group to `visit`, except damaged or unknown ones. Returns the number left out.
    pub(super) fn visit(
        &mut self,
        header: &GroupHeader,
        records_at: u32,
        visit: &mut dyn FnMut(Record, Place),
    ) -> io::Result<u32> {
        let (seed, segment) = (self.seed, self.segment);
        let Some(bytes) = self.bytes(records_at, header.length)? else {
            return Ok(header.records);
        };
        let (mut rest, mut offset, mut good) = (bytes, records_at, 0);
        while let Some((record, length)) = record_at(rest, seed) {
            let Some((_, behind)) = rest.split_at_checked(length) else {
                break;
            };
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            if let Some(record) = record {
                good += 1;
                visit(
                    record,
                    Place {
                        segment,
                        offset,
                        length,
                    },
                );
            }
            (rest, offset) = (behind, offset.saturating_add(length));
        }
        Ok(header.records.saturating_sub(good))
    }

    fn at(&mut self, offset: u32) -> io::Result<Found> {
        let seed = self.seed;
        let header_length = u32::try_from(GROUP_HEADER).unwrap_or_default();
        let Some(header) = self
            .bytes(offset, header_length)?
            .and_then(|bytes| GroupHeader::decode(bytes, seed))
        else {
            return Ok(Found::Nothing);
        };
        let records_at = offset.saturating_add(header_length);
        let end = records_at.saturating_add(header.length);
        let records = self.bytes(records_at, header.length)?;
        let checks = records.is_some_and(|bytes| seed.crc(bytes) == header.records_crc);
        Ok(if checks {
            Found::Group {
                header,
                records_at,
                end,
            }
        } else {
            Found::Damaged {
                header,
                records_at,
                end,
            }
        })
    }

    /// Returns `length` bytes at `offset`; `None` if the limit or the file ends before.
    fn bytes(&mut self, offset: u32, length: u32) -> io::Result<Option<&[u8]>> {
        if offset
            .checked_add(length)
            .is_none_or(|end| end > self.limit)
        {
            return Ok(None);
        }
        let loaded = u32::try_from(self.window.len()).unwrap_or(u32::MAX);
        let inside =
            offset >= self.window_at && offset + length <= self.window_at.saturating_add(loaded);
        if !inside {
            let wanted = length.max(WINDOW).min(self.limit - offset);
            self.window
                .resize(usize::try_from(wanted).unwrap_or_default(), 0);
            self.window_at = offset;
            let read = self.file.read_at(&mut self.window, offset.into())?;
            self.window.truncate(read);
        }
        let start = usize::try_from(offset - self.window_at).unwrap_or_default();
        let length = usize::try_from(length).unwrap_or_default();
        Ok(self.window.get(start..start.saturating_add(length)))
    }
}

/// Whether the CRC of the record at the beginning of `bytes` fits.
pub(super) fn is_whole(bytes: &[u8], seed: Seed) -> bool {
    let mut fields = Reader(bytes);
    let (Some(length), Some(crc)) = (fields.u32(), fields.u32()) else {
        return false;
    };
    let content = usize::try_from(length)
        .ok()
        .and_then(|it| fields.0.get(..it));
    content.is_some_and(|content| seed.crc(content) == crc)
}

/// Reads the record at the beginning of `bytes` and its length with header. The inner `None`: its CRC does not fit, or
/// it cannot be decoded. The outer `None`: the bytes end before the record does.
pub(super) fn record_at(bytes: &[u8], seed: Seed) -> Option<(Option<Record>, usize)> {
    let mut fields = Reader(bytes);
    let length = usize::try_from(fields.u32()?).ok()?;
    let crc = fields.u32()?;
    let content = fields.0.get(..length)?;
    let record = if seed.crc(content) == crc {
        codec::decode(content)
    } else {
        None
    };
    Some((record, RECORD_HEADER + length))
}
