//! What queues ask of the book and of the reader, and what they are answered.
//!
//! The book applies everything the journal has before it answers, so an answer misses nothing that was committed
//! when it was asked for.

use super::due::DueKey;
use super::order::FollowersWanted;
use super::{Entry, Place};
use crate::domain::EventSeq;
use crate::store::budget::Permit;

/// What a queue wants from others after a step; to be carried out once the queue is unlocked.
#[derive(Debug, Default)]
pub(in crate::store) struct Wants {
    /// Deliveries never attempted that follow this sequence, this many at most.
    pub(in crate::store) refill: Option<(EventSeq, usize)>,
    /// Deliveries to be attempted again that follow this key, this many at most.
    pub(in crate::store) due_refill: Option<(DueKey, usize)>,
    /// What follows in lines whose next delivery is only in the book.
    pub(in crate::store) followers: Vec<FollowersWanted>,
    /// Dead deliveries that block what follows them, this many at most.
    pub(in crate::store) blockers: Option<usize>,
    /// Events to be read back.
    pub(in crate::store) loads: Vec<Load>,
}

/// An event to be read back for a delivery that is about to be attempted.
#[derive(Debug)]
pub(in crate::store) struct Load {
    pub(in crate::store) seq: EventSeq,
    pub(in crate::store) place: Place,
    pub(in crate::store) permit: Permit,
}

/// Deliveries never attempted, in order of acceptance.
#[derive(Debug)]
pub(in crate::store) struct Refilled {
    pub(in crate::store) entries: Vec<Entry>,
    /// There was nothing more in the book.
    pub(in crate::store) complete: bool,
    /// The highest sequence that the book knew when it answered.
    pub(in crate::store) upto: EventSeq,
}

/// Deliveries to be attempted again, in the order of their due times.
#[derive(Debug)]
pub(in crate::store) struct DueRefilled {
    pub(in crate::store) entries: Vec<(DueKey, Entry)>,
    /// There was nothing more in the book.
    pub(in crate::store) complete: bool,
}
