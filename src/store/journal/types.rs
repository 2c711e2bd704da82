//! Types of the journal's interface: durability, options, groups, the result of recovery, sizes.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{BODY_BYTES_MAX, EventSeq};
use crate::store::in_place::InPlace;
use crate::store::journal::error::{Damage, JournalError};
use crate::store::journal::place::Place;
use crate::store::reserve::Room;

/// The kind of a batch, which determines how soon it must be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Accepted events: the group is written at once and synced before the batch is reported; in a relaxed journal it is
    /// reported when it is written, and synced within 1 s. Refused when the disk is full.
    Sync,
    /// Outcomes that must be durable before the next step: written at once and synced before they are reported, also in
    /// a relaxed journal. Not refused when the disk is full.
    SyncOutcome,
    /// Written within 2 ms and then reported, synced within 100 ms, in a relaxed journal 1 s: outcomes, states.
    Write,
    /// Written at once and then reported, synced like [`Durability::Write`]: outcomes that a lane waits for.
    WriteNow,
}

impl Durability {
    pub(super) const fn waits_for_sync(self, relaxed: bool) -> bool {
        match self {
            Self::Sync => !relaxed,
            Self::SyncOutcome => true,
            Self::Write | Self::WriteNow => false,
        }
    }

    pub(super) const fn is_refused_when_full(self) -> bool {
        match self {
            Self::Sync => true,
            Self::SyncOutcome | Self::Write | Self::WriteNow => false,
        }
    }

    pub(super) const fn is_urgent(self) -> bool {
        match self {
            Self::Sync | Self::SyncOutcome | Self::WriteNow => true,
            Self::Write => false,
        }
    }
}

/// How a journal is opened.
#[derive(Default)]
pub(crate) struct Options {
    /// Accepted events are reported when they are written: a power cut may lose those of the last second.
    pub(crate) relaxed: bool,
    /// Room for outcomes when the disk is full.
    pub(crate) reserve: Option<Arc<dyn Room>>,
    /// Files that have to stay in their place.
    pub(crate) in_place: Option<Arc<InPlace>>,
}

/// A segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    /// Number, from 1.
    pub(crate) number: u32,
    /// Length of its file; 0 if that cannot be determined.
    pub(crate) bytes: u64,
    /// It is not written to any more.
    pub(crate) sealed: bool,
}

/// Metrics of one committed group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Whether it was synced, or only written.
    pub(crate) synced: bool,
    /// Duration of write and sync.
    pub(crate) duration: Duration,
    /// Number of its batches that are of events.
    pub(crate) events: usize,
}

/// The sink: called for every group, in order, on the journal's thread. Must be quick.
pub(crate) trait Committed<T>: Send + 'static {
    /// A group was committed: its batches in the order of their append, each with the places of its records.
    fn committed(&mut self, batches: Vec<(T, Vec<Place>)>, group: Group);
    /// There was no space for these batches of events: nothing of them is stored.
    fn refused(&mut self, batches: Vec<T>);
    /// The journal has failed; batches that were waiting are not committed. Called once at most, last.
    fn failed(&mut self, error: &JournalError, waiting: Vec<T>);
}

/// The result of recovery.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Damage that was skipped: bytes that once were synced, and whose CRC does not fit now. Of sealed segments only
    /// the headers are checked, and the groups if the end is not known from the next header.
    pub(crate) damaged: Vec<Damage>,
    /// Bytes after the last good group of a torn segment.
    pub(crate) torn_bytes: u64,
    /// The highest event sequence in the journal.
    pub(crate) last_seq: EventSeq,
}

/// Sizes, in bytes; tests take small ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Capacity of the first segment.
    pub(crate) first_segment: u32,
    /// Capacity of the others.
    pub(crate) segment: u32,
    /// Zeros are written ahead in steps of this.
    pub(crate) fill_step: u32,
    /// Zeros reach at least this far beyond what is written.
    pub(crate) ahead: u32,
    /// The largest size of a group that forms.
    pub(crate) group: usize,
}

const _: () = assert!(Bounds::STORE.group > BODY_BYTES_MAX + 1_000 * (16 << 10));

impl Bounds {
    /// The sizes of a store: 4 MiB, then 64 MiB a segment; groups up to 36 MiB, so that a batch of the largest size
    /// fits, with heads of 16 KiB for each of its 1,000 events.
    pub(crate) const STORE: Self = Self {
        first_segment: 4 << 20,
        segment: 64 << 20,
        fill_step: 1 << 20,
        ahead: 2 << 20,
        group: 36 << 20,
    };

    /// Returns the capacity of the segment of this number.
    pub(super) const fn capacity(&self, number: u32) -> u32 {
        if number == 1 {
            self.first_segment
        } else {
            self.segment
        }
    }
}
