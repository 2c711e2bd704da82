//! Numbers and times as SQLite keeps them: 64 bits with a sign.

use crate::domain::Timestamp;

/// Converts a sequence or count to SQLite's integer.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts SQLite's integer to a sequence or count.
pub(super) fn nat(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Converts a time to SQLite's integer, milliseconds since the Unix epoch.
pub(super) fn millis(time: Timestamp) -> i64 {
    time.as_millis()
}

/// Converts a length or limit to SQLite's integer.
pub(super) fn size(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Bytes of the journal that are read at a time.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
