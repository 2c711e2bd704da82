//! Errors of the journal, and the damage that recovery and readers find.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::store::journal::{Place, format};

/// The reason why the journal cannot be opened, cannot be read, or has failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum JournalError {
    /// The operating system returned an error.
    #[error("cannot {doing} segment {segment} of the journal")]
    Io {
        /// The operation that failed.
        doing: &'static str,
        /// The segment's number, 0 for the folder.
        segment: u32,
        /// The error of the system.
        #[source]
        source: Arc<io::Error>,
    },
    /// Written by a newer version of sidehook.
    #[error(
        "segment {segment} of the journal has format {version}, this version of sidehook reads {}: run the newer version",
        format::VERSION
    )]
    Newer {
        /// Which segment.
        segment: u32,
        /// Its format.
        version: u32,
    },
    /// No segment has a header that can be read, so nothing can be verified. Names the first segment.
    #[error("the header of segment {segment} of the journal is damaged")]
    Damaged {
        /// Which segment.
        segment: u32,
    },
    /// The segment was dropped, or there never was one of this number.
    #[error("segment {segment} is no longer in the journal")]
    Gone {
        /// Which segment.
        segment: u32,
    },
    /// Only the oldest segment can be dropped, and only once it is sealed.
    #[error("segment {segment} of the journal cannot be dropped: expected the oldest one, sealed")]
    NotOldest {
        /// Which segment.
        segment: u32,
    },
    /// A record is not where it should be, or its CRC does not fit.
    #[error("the record at {0:?} of the journal is damaged")]
    Record(Place),
    /// The record's CRC fits, but it is no event that this version can decode.
    #[error("the record at {0:?} of the journal is no event that this version knows")]
    Unknown(Place),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// Whether all bytes could be read but their CRC does not fit: they are damaged, or the place is wrong.
    pub(crate) const fn is_damage(&self) -> bool {
        matches!(self, Self::Record(_))
    }

    pub(super) fn io(doing: &'static str, segment: u32, source: io::Error) -> Self {
        Self::Io {
            doing,
            segment,
            source: Arc::new(source),
        }
    }
}

/// The reason why a batch was not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AppendError {
    /// No space on the disk for events. The journal still works; later batches may be accepted.
    #[error("no space on the disk")]
    Full,
    /// Too many bytes wait for the commit under way.
    #[error("too much waits to be written")]
    Overloaded,
    /// The batch alone is larger than a group may be.
    #[error("the batch is larger than a group of the journal may be")]
    TooLarge,
    /// The journal has failed or is closed.
    #[error(transparent)]
    Failed(JournalError),
}

/// Bytes of a segment that were written correctly and are damaged now. Records that can still be read are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The segment's number.
    pub(crate) segment: u32,
    /// Where the damaged bytes begin …
    pub(crate) from: u32,
    /// … and end: at the next byte that is known to be intact.
    pub(crate) to: u32,
    /// The damaged part.
    pub(crate) what: Damaged,
}

/// The part of a segment that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// One of the two copies of a segment's header.
    HeaderCopy,
    /// Both copies of the header.
    Header,
    /// Groups, with an unknown number of records.
    Groups,
    /// This many records of a group.
    Records(u32),
}

impl Damaged {
    /// The name of this kind of damage, in the plural, for counts.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::HeaderCopy => "copies of headers",
            Self::Header => "headers",
            Self::Groups => "groups",
            Self::Records(_) => "records",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment, from, to, ..
        } = self;
        write!(f, "segment {segment}, bytes {from} to {to}: ")?;
        match self.what {
            Damaged::HeaderCopy => f.write_str("one of two copies of the header is damaged"),
            Damaged::Header => f.write_str("the header is damaged"),
            Damaged::Groups => f.write_str("groups are damaged"),
            Damaged::Records(1) => f.write_str("1 record is damaged"),
            Damaged::Records(count) => write!(f, "{count} records are damaged"),
        }
    }
}
