//! The net effect of a round of the journal: rows, counts and operations.

use std::collections::BTreeMap;

use crate::domain::{EventSeq, Label, Next, Outcome, SubscriptionNumber, Timestamp};
use crate::store::dedup::DedupKey;
use crate::store::entry::Entry;
use crate::store::journal::Place;
use crate::store::record::{Accepted, Death, Moved};

/// Identifies a delivery.
pub(super) type DeliveryKey = (SubscriptionNumber, EventSeq);

/// Changes in the counters of subscriptions and segments.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counters: BTreeMap<SubscriptionNumber, Change>,
    pub(super) segments: BTreeMap<u32, SegmentChange>,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Change {
    pub(super) pending: i64,
    pub(super) pending_bytes: i64,
    pub(super) dead: i64,
}

/// Changes of the deliveries whose events are in one segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentChange {
    pub(super) pending: i64,
    pub(super) dead: i64,
    /// When the last of them ended.
    pub(super) ended_at: Timestamp,
}

impl Default for SegmentChange {
    fn default() -> Self {
        Self {
            pending: 0,
            dead: 0,
            ended_at: Timestamp::from_millis(i64::MIN),
        }
    }
}

impl Tally {
    /// Counts a delivery that is pending from now on.
    pub(super) fn began(&mut self, number: SubscriptionNumber, entry: &Entry) {
        let change = self.counters.entry(number).or_default();
        change.pending += 1;
        change.pending_bytes += i64::from(entry.body_bytes);
        self.segment(entry).pending += 1;
    }

    /// Counts a delivery that is no longer pending.
    pub(super) fn ended(&mut self, number: SubscriptionNumber, entry: &Entry, at: Timestamp) {
        let change = self.counters.entry(number).or_default();
        change.pending -= 1;
        change.pending_bytes -= i64::from(entry.body_bytes);
        let segment = self.segment(entry);
        segment.pending -= 1;
        segment.ended_at = segment.ended_at.max(at);
    }

    /// Changes the number of dead deliveries by `count`, which may be negative.
    pub(super) fn dead(
        &mut self,
        number: SubscriptionNumber,
        entry: &Entry,
        count: i64,
        at: Timestamp,
    ) {
        self.counters.entry(number).or_default().dead += count;
        let segment = self.segment(entry);
        segment.dead += count;
        segment.ended_at = segment.ended_at.max(at);
    }

    /// Records that a segment has an event of this time.
    pub(super) fn event(&mut self, segment: u32, at: Timestamp) {
        let segment = self.segments.entry(segment).or_default();
        segment.ended_at = segment.ended_at.max(at);
    }

    /// Counts a pending or dead delivery for another place from now on.
    pub(super) fn moved(&mut self, from: &Entry, to: &Entry, dead: bool) {
        for (entry, sign) in [(from, -1), (to, 1)] {
            let change = self.segment(entry);
            if dead {
                change.dead += sign;
            } else {
                change.pending += sign;
            }
        }
    }

    fn segment(&mut self, entry: &Entry) -> &mut SegmentChange {
        self.segments.entry(entry.place.segment).or_default()
    }
}

/// An attempt as a row: of which delivery, its number, how it ended, and when the delivery is due again.
type AttemptMade = (DeliveryKey, u32, Outcome, Option<Timestamp>);

/// Rows of the tables of one segment.
#[derive(Debug)]
pub(super) struct SegmentRows {
    pub(super) segment: u32,
    pub(super) events: Vec<EventRow>,
    pub(super) attempts: Vec<AttemptMade>,
}

#[derive(Debug)]
pub(super) struct EventRow {
    pub(super) seq: EventSeq,
    pub(super) id: [u8; 16],
    pub(super) given: Option<u64>,
    pub(super) event_type: Label,
    pub(super) accepted_at: Timestamp,
    pub(super) key: u64,
    pub(super) place: Place,
    pub(super) body_bytes: u32,
    pub(super) subscriptions: Vec<u8>,
}

impl EventRow {
    pub(super) fn new(accepted: &Accepted, place: Place, key: DedupKey) -> Self {
        let head = &accepted.event.head;
        let numbers = accepted.deliveries.iter();
        Self {
            seq: accepted.seq,
            id: *head.id.as_bytes(),
            given: key.hash(head),
            event_type: head.event_type.clone(),
            accepted_at: head.accepted_at,
            key: key.order(head),
            place,
            body_bytes: u32::try_from(accepted.event.body.len()).unwrap_or(u32::MAX),
            subscriptions: numbers
                .flat_map(|(number, _)| number.0.to_le_bytes())
                .collect(),
        }
    }
}

/// The state of a delivery, as its row contains it.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowState {
    Pending(Option<Due>),
    Dead(Death, Timestamp),
    Cancelled(Timestamp),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) entry: Entry,
    pub(super) due: Option<Due>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    pub(super) pause_ms: i64,
}

/// The effect of attempts on a delivery.
#[derive(Debug)]
pub(super) struct Attempts {
    /// Number of attempts in this stretch.
    pub(super) made: u32,
    /// The number of the last attempt.
    pub(super) last: u32,
    pub(super) end: Next,
    /// If it is dead, whether it blocks.
    pub(super) blocks: bool,
    /// When the schedule began, according to the last attempt.
    pub(super) since: Timestamp,
    pub(super) at: Timestamp,
}

/// Returns when a delivery is due again; `None` if it has ended.
pub(super) fn due(next: Next) -> Option<Due> {
    match next {
        Next::Delivered | Next::Dead(_) => None,
        Next::Due { at, pause } => Some(Due {
            at,
            pause_ms: i64::try_from(pause.as_millis()).unwrap_or(i64::MAX),
        }),
    }
}

/// A change of rows.
#[derive(Debug)]
pub(super) enum RowOperation {
    /// An event was copied to another segment, with those of its deliveries that are still needed.
    Move(Box<(EventRow, Moved)>),
    /// A delivery is due now.
    Requeue {
        delivery: DeliveryKey,
        at: Timestamp,
        attempts: u32,
        fresh: bool,
    },
    /// A pending or dead delivery is cancelled.
    Cancel {
        delivery: DeliveryKey,
        at: Timestamp,
    },
    /// All pending deliveries of a subscription up to a sequence are cancelled.
    CancelAll {
        subscription: SubscriptionNumber,
        upto: EventSeq,
        at: Timestamp,
    },
}
