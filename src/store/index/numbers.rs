//! Numbers and times as SQLite keeps them: 64 bits with a sign.

use crate::domain::Timestamp;

/// A sequence or count as SQLite keeps it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A sequence or count as it was kept.
pub(super) fn nat(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A time as SQLite keeps it.
pub(super) fn millis(time: Timestamp) -> i64 {
    time.as_millis()
}

/// A length or limit as SQLite keeps it.
pub(super) fn size(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Bytes of the journal that are read at a time.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
