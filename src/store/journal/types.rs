//! What is said to the journal and by it: groups, how soon something must be on the disk, sizes.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{BODY_BYTES_MAX, EventSeq};
use crate::store::in_place::InPlace;
use crate::store::journal::error::{Damage, JournalError};
use crate::store::journal::place::Place;
use crate::store::reserve::Room;

/// What a batch is, and so how soon it must be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Accepted events: the group is written at once and synced before the batch is reported; in a relaxed journal it is
    /// reported when it is written, and synced within 1 s. Refused when the disk is full.
    Sync,
    /// Outcomes that something durable hangs on: written at once and synced before they are reported, also in a relaxed
    /// journal. Not refused when the disk is full.
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
    /// What outcomes have when the disk is full.
    pub(crate) reserve: Option<Arc<dyn Room>>,
    /// What has to stay in its place.
    pub(crate) in_place: Option<Arc<InPlace>>,
}

/// A segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    /// Its number.
    pub(crate) number: u32,
    /// Length of its file; 0 if that cannot be found out.
    pub(crate) bytes: u64,
    /// It is not written to any more.
    pub(crate) sealed: bool,
}

/// Figures of one committed group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Whether it was synced, or only written.
    pub(crate) synced: bool,
    /// How long write and sync took.
    pub(crate) duration: Duration,
    /// How many of its batches are of events.
    pub(crate) events: usize,
}

/// Told of every group, in order, on the journal's thread. Must be quick.
pub(crate) trait Committed<T>: Send + 'static {
    /// The batches in the order of their append, each with the places of its records.
    fn committed(&mut self, batches: Vec<(T, Vec<Place>)>, group: Group);
    /// There was no space for these, which are of events: nothing of them is stored.
    fn refused(&mut self, batches: Vec<T>);
    /// The journal has failed; batches that were waiting are not committed. Called once at most, last.
    fn failed(&mut self, error: &JournalError, waiting: Vec<T>);
}

/// What recovery found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Damaged places that were passed over: once synced, now with a CRC that does not fit. Of sealed segments only their
    /// headers are looked at.
    pub(crate) damaged: Vec<Damage>,
    /// Bytes behind the last good group of a torn segment.
    pub(crate) torn_bytes: u64,
    /// The highest event sequence in the journal.
    pub(crate) last_seq: EventSeq,
}

/// Sizes, in bytes; tests take small ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of the first segment.
    pub(crate) first_segment: u32,
    /// Of the others.
    pub(crate) segment: u32,
    /// Zeros are written ahead in steps of this.
    pub(crate) fill_step: u32,
    /// Zeros reach at least this far beyond what is written.
    pub(crate) ahead: u32,
    /// A group that forms holds no more than this.
    pub(crate) group: usize,
}

const _: () = assert!(Bounds::STORE.group > BODY_BYTES_MAX + 1_000 * (16 << 10));

impl Bounds {
    /// What a store uses: 4 MiB, then 64 MiB a segment; groups up to 36 MiB, so that a batch of the largest size fits,
    /// with heads of 16 KiB for each of its 1,000 events.
    pub(crate) const STORE: Self = Self {
        first_segment: 4 << 20,
        segment: 64 << 20,
        fill_step: 1 << 20,
        ahead: 2 << 20,
        group: 36 << 20,
    };

    /// Bytes that a segment of this number may have.
    pub(super) const fn capacity(&self, number: u32) -> u32 {
        if number == 1 {
            self.first_segment
        } else {
            self.segment
        }
    }
}
