//! Places of records and positions of groups in the journal.

/// The place of a record: enough to read it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The segment's number, from 1, never reused.
    pub(crate) segment: u32,
    /// Offset of the record in the segment's file, bytes.
    pub(crate) offset: u32,
    /// Length of the record, header included, bytes.
    pub(crate) length: u32,
}

/// Where a group begins, or where the next one will: a cursor. Ordered as the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    /// The segment's number; 0 is before everything.
    pub(crate) segment: u32,
    /// Offset in the segment's file, bytes.
    pub(crate) offset: u32,
}
