//! Where something stands in the journal.

/// Where a record stands: enough to read it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The segment's number, from 1, never reused.
    pub(crate) segment: u32,
    /// Of the record in the segment's file.
    pub(crate) offset: u32,
    /// Of the record, header included.
    pub(crate) length: u32,
}

/// Where a group begins, or where the next one will: a cursor. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    /// The segment's number; 0 is before everything.
    pub(crate) segment: u32,
    /// In the file.
    pub(crate) offset: u32,
}
