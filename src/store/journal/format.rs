//! The bytes of the journal on the disk: format 1. All numbers are little-endian.
//!
//! A **segment** is the file `NNNNNNNN.seg` (its number in eight digits, from 1, never reused). It begins with a block of
//! [`BLOCK`] bytes that holds the segment header, at 0 and once more at 2048:
//!
//! ```text
//!  0  magic "SHKJRNL\0"           8 bytes
//!  8  format version              u32
//! 12  store uuid                  16 bytes
//! 28  number of this segment      u32
//! 32  number of the previous one  u32   0: there is none
//! 36  end of the previous one     u32   groups at or behind it are not part of the journal
//! 40  last event sequence         u64   of everything before this segment
//! 48  sequence of its first group u64
//! 56  CRC-32 of bytes 0 to 55     u32
//! ```
//!
//! Groups follow, then zeros. A group after a sync begins at the next multiple of [`BLOCK`], any other at the next
//! multiple of 8 after its predecessor. A **group** is a header and its records:
//!
//! ```text
//!  0  magic "GRP1"                u32
//!  4  length of the records       u32
//!  8  number of records           u32
//! 12  synced up to                u32   offset in this segment below which everything was synced when it was written
//! 16  sequence of the group       u64   one more than its predecessor's, over all segments
//! 24  CRC-32 of the records       u32
//! 28  CRC-32 of bytes 0 to 27     u32   seeded
//! ```
//!
//! A **record** is `length of what follows the CRC (u32), CRC-32 (u32), kind (u8), fields`; `codec.rs` has the fields. The CRCs
//! of groups and records are seeded with uuid and segment number, so that leftovers of another journal never pass.

use crc32fast::Hasher;

use crate::store::fields::Reader;

/// The format that this version writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;
/// The unit in which a disk writes, bytes: synced bytes share no block with later ones.
pub(super) const BLOCK: u32 = 4096;
/// Size of a group's header, bytes.
pub(super) const GROUP_HEADER: usize = 32;
/// Size of a record's length and CRC, bytes.
pub(super) const RECORD_HEADER: usize = 8;

const SEGMENT_MAGIC: &[u8; 8] = b"SHKJRNL\0";
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"GRP1");
const SEGMENT_HEADER: usize = 60;

/// The contents of a segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) uuid: [u8; 16],
    pub(super) number: u32,
    pub(super) previous: u32,
    pub(super) previous_end: u32,
    pub(super) last_seq: u64,
    pub(super) first_group: u64,
}

/// The reason why a segment's header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Written by a newer version of sidehook, in this format.
    Newer(u32),
    /// Not a header, or a torn one.
    Invalid,
}

impl SegmentHeader {
    /// Returns the header's whole block, with both copies.
    pub(super) fn encode(&self) -> Vec<u8> {
        let block = usize::try_from(BLOCK).unwrap_or_default();
        let mut bytes = Vec::with_capacity(block);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.uuid);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        bytes.extend_from_slice(&self.previous_end.to_le_bytes());
        bytes.extend_from_slice(&self.last_seq.to_le_bytes());
        bytes.extend_from_slice(&self.first_group.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.resize(block / 2, 0);
        bytes.extend_from_within(..);
        bytes
    }

    /// Reads the header in a segment's first block, from a copy whose CRC fits. Also returns whether both copies fit.
    pub(super) fn decode(block: &[u8]) -> Result<(Self, bool), HeaderFault> {
        let (first, second) = block.split_at(block.len() / 2);
        match (Self::decode_copy(first), Self::decode_copy(second)) {
            (Ok(header), Ok(_)) => Ok((header, true)),
            (Ok(header), Err(_)) | (Err(_), Ok(header)) => Ok((header, false)),
            (Err(HeaderFault::Newer(version)), Err(_))
            | (Err(_), Err(HeaderFault::Newer(version))) => Err(HeaderFault::Newer(version)),
            (Err(HeaderFault::Invalid), Err(HeaderFault::Invalid)) => Err(HeaderFault::Invalid),
        }
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let mut fields = Reader(bytes.get(..SEGMENT_HEADER).ok_or(HeaderFault::Invalid)?);
        let covered = bytes.get(..SEGMENT_HEADER - 4).unwrap_or_default();
        let magic: [u8; 8] = fields.array().ok_or(HeaderFault::Invalid)?;
        let version = fields.u32().ok_or(HeaderFault::Invalid)?;
        if &magic == SEGMENT_MAGIC && version > VERSION {
            return Err(HeaderFault::Newer(version));
        }
        let header = Self::fields(&mut fields).ok_or(HeaderFault::Invalid)?;
        let crc = fields.u32().ok_or(HeaderFault::Invalid)?;
        let fits = &magic == SEGMENT_MAGIC && version == VERSION && crc == crc32fast::hash(covered);
        if fits {
            Ok(header)
        } else {
            Err(HeaderFault::Invalid)
        }
    }

    fn fields(fields: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            uuid: fields.array()?,
            number: fields.u32()?,
            previous: fields.u32()?,
            previous_end: fields.u32()?,
            last_seq: fields.u64()?,
            first_group: fields.u64()?,
        })
    }
}

/// The contents of a group's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) length: u32,
    pub(super) records: u32,
    pub(super) synced_upto: u32,
    pub(super) sequence: u64,
    pub(super) records_crc: u32,
}

impl GroupHeader {
    pub(super) fn encode(&self, seed: Seed) -> [u8; GROUP_HEADER] {
        let mut bytes = [0; GROUP_HEADER];
        let words = [GROUP_MAGIC, self.length, self.records, self.synced_upto];
        let words = words.into_iter().flat_map(u32::to_le_bytes);
        let rest = self
            .sequence
            .to_le_bytes()
            .into_iter()
            .chain(self.records_crc.to_le_bytes());
        for (place, byte) in bytes.iter_mut().zip(words.chain(rest)) {
            *place = byte;
        }
        let (covered, crc) = bytes.split_at_mut(GROUP_HEADER - 4);
        crc.copy_from_slice(&seed.crc(covered).to_le_bytes());
        bytes
    }

    /// Reads a header. Returns `None` if there is none, or not one of this segment.
    pub(super) fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEADER)?;
        let (covered, crc) = bytes.split_at_checked(GROUP_HEADER - 4)?;
        let mut fields = Reader(covered);
        if fields.u32()? != GROUP_MAGIC || seed.crc(covered).to_le_bytes() != *crc {
            return None;
        }
        Some(Self {
            length: fields.u32()?,
            records: fields.u32()?,
            synced_upto: fields.u32()?,
            sequence: fields.u64()?,
            records_crc: fields.u32()?,
        })
    }
}

/// The initial value of a segment's CRCs: the CRC of the store's uuid and the segment's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed(u32);

impl Seed {
    pub(super) fn new(uuid: &[u8; 16], segment: u32) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(uuid);
        hasher.update(&segment.to_le_bytes());
        Self(hasher.finalize())
    }

    /// Returns the CRC-32 of `bytes`, continued from this seed.
    pub(super) fn crc(self, bytes: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// Returns the least multiple of `unit` that is not below `offset`. `unit` is a power of two.
pub(super) const fn aligned(offset: u32, unit: u32) -> u32 {
    offset.saturating_add(unit - 1) & !(unit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        uuid: [7; 16],
        number: 3,
        previous: 2,
        previous_end: 9000,
        last_seq: 77,
        first_group: 12,
    };

    #[test]
    fn segment_header_survives_writing_and_reading() {
        let bytes = HEADER.encode();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(SegmentHeader::decode(&bytes), Ok((HEADER, true)));
    }

    #[test]
    fn newer_segments_are_told_from_damaged_ones() {
        let mut bytes = HEADER.encode();
        (bytes[8], bytes[2048 + 8]) = (9, 9);
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Newer(9)));
        let mut bytes = HEADER.encode();
        bytes[30] ^= 1;
        assert_eq!(
            SegmentHeader::decode(&bytes),
            Ok((HEADER, false)),
            "the second copy serves"
        );
        bytes[2048 + 31] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Invalid));
        assert_eq!(SegmentHeader::decode(&[]), Err(HeaderFault::Invalid));
    }

    #[test]
    fn group_header_passes_only_in_its_own_segment() {
        let group = GroupHeader {
            length: 5,
            records: 1,
            synced_upto: 4096,
            sequence: 9,
            records_crc: 3,
        };
        let seed = Seed::new(&[7; 16], 3);
        let bytes = group.encode(seed);
        assert_eq!(GroupHeader::decode(&bytes, seed), Some(group));
        assert_eq!(GroupHeader::decode(&bytes, Seed::new(&[7; 16], 4)), None);
        assert_eq!(GroupHeader::decode(&bytes, Seed::new(&[8; 16], 3)), None);
        for position in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[position] ^= 1;
            assert_eq!(GroupHeader::decode(&flipped, seed), None, "byte {position}");
        }
    }

    #[test]
    fn alignment_goes_up() {
        assert_eq!(
            [
                aligned(0, 8),
                aligned(1, 8),
                aligned(8, 8),
                aligned(4097, 4096)
            ],
            [0, 8, 8, 8192]
        );
    }
}
