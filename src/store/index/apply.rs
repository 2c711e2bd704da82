//! From records to rows: gathers a round of the journal, keeps its net effect, and writes that in one transaction
//! together with the cursor.
//!
//! A delivery that was accepted and reached its final state within the round writes no pending row. The effect of an
//! operation (requeued, cancelled, moved) depends on rows, so it ends a *stretch*: the records before it are written
//! first. The effect of a record depends only on the rows and on the records before it, so the resulting index is
//! the same wherever rounds end.
//!
//! `write` has the statements of stretches, `operations` those of operations.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use super::net::{Attempts, DeliveryKey, EventRow, Pending, RowOperation, SegmentRows, Tally, due};
use super::tallies::Tallied;
use super::wide::Wide;
use crate::domain::{EventSeq, Next, SubscriptionName, SubscriptionNumber, Timestamp};
use crate::store::SubscriptionState;
use crate::store::dedup::DedupKey;
use crate::store::entry::Entry;
use crate::store::journal::Place;
use crate::store::record::{Accepted, Attempted, Death, Record};

/// A round is written when it holds this many records …
const RECORDS_MAX: usize = 16_384;
/// … or this many bytes of rows, roughly; few in tests, so that groups are written in parts.
const BYTES_MAX: usize = if cfg!(test) { 2 << 10 } else { 4 << 20 };
/// Bytes that one delivery counts for: an entry in a map, …
const NARROW_BYTES: usize = 128;
/// … or an entry in the list of wide events. That takes 12 bytes, but counts for less: rows that are sorted by their
/// key are written faster the more of them there are.
const WIDE_BYTES: usize = 2;
/// With more deliveries than this an event is wide; few in tests.
const NARROW_MAX: usize = if cfg!(test) { 1 } else { 256 };

/// A round of the journal: records gathered to be written together.
#[derive(Debug)]
pub(super) struct Round {
    key: DedupKey,
    pub(super) stretches: Vec<Stretch>,
    /// Attempts that are not in the tallies yet.
    pub(super) tallied: Tallied,
    pub(super) last_seq: EventSeq,
    pub(super) last_time: Timestamp,
    records: usize,
    bytes: usize,
}

/// Records whose net effect is kept, and the operations that follow them.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    pub(super) segments: Vec<SegmentRows>,
    /// Deliveries accepted in this stretch and still pending.
    pub(super) fresh: HashMap<DeliveryKey, Pending>,
    /// The same for wide events, none of which was attempted in this stretch.
    pub(super) wide: Wide,
    /// Deliveries accepted before this stretch and attempted in it.
    pub(super) older: BTreeMap<DeliveryKey, Attempts>,
    pub(super) dead: Vec<(SubscriptionNumber, Entry, Death, Timestamp)>,
    pub(super) names: Vec<(SubscriptionNumber, SubscriptionName)>,
    pub(super) states: Vec<(SubscriptionNumber, SubscriptionState)>,
    /// Bulk replays: id and state, as bytes; empty bytes for one that is forgotten.
    pub(super) jobs: Vec<(u64, Vec<u8>)>,
    pub(super) tally: Tally,
    pub(super) operations: Vec<RowOperation>,
}

impl Round {
    pub(super) fn new(key: DedupKey) -> Self {
        Self {
            key,
            stretches: vec![Stretch::default()],
            tallied: Tallied::default(),
            last_seq: EventSeq(0),
            last_time: Timestamp::from_millis(i64::MIN),
            records: 0,
            bytes: 0,
        }
    }

    /// Whether the round should be written before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.records >= RECORDS_MAX || self.bytes >= BYTES_MAX
    }

    /// Takes the stretches gathered so far, to be written; more can be added.
    pub(super) fn take_stretches(&mut self) -> Vec<Stretch> {
        (self.records, self.bytes) = (0, 0);
        mem::replace(&mut self.stretches, vec![Stretch::default()])
    }

    /// Adds the next record of the journal.
    pub(super) fn add(&mut self, record: Record, place: Place) {
        self.records += 1;
        self.bytes += 256;
        match record {
            Record::Accepted(accepted) => self.accepted(&accepted, place),
            Record::Attempted(attempted) => self.attempted(attempted, place.segment),
            Record::SubscriptionNamed { number, name } => {
                self.stretch(|stretch| stretch.names.push((number, name)));
            }
            Record::SubscriptionState { number, state } => {
                self.stretch(|stretch| stretch.states.push((number, state)));
            }
            Record::Moved(moved) => {
                let row = EventRow::new(&moved.accepted, place, self.key);
                let at = moved.accepted.event.head.accepted_at;
                // The segment of its `Accepted` record may be gone, and all later events with it.
                self.last_seq = self.last_seq.max(moved.accepted.seq);
                self.bytes += row.subscriptions.len();
                self.operation(RowOperation::Move(Box::new((row, moved))), at);
            }
            Record::Job { id, state } => self.stretch(|stretch| stretch.jobs.push((id, state))),
            Record::Requeued {
                seq,
                subscription,
                at,
                attempts,
                fresh,
            } => self.operation(
                RowOperation::Requeue {
                    delivery: (subscription, seq),
                    at,
                    attempts,
                    fresh,
                },
                at,
            ),
            Record::Cancelled {
                seq,
                subscription,
                at,
            } => self.operation(
                RowOperation::Cancel {
                    delivery: (subscription, seq),
                    at,
                },
                at,
            ),
            Record::CancelledAll {
                subscription,
                upto,
                at,
            } => self.operation(
                RowOperation::CancelAll {
                    subscription,
                    upto,
                    at,
                },
                at,
            ),
        }
    }

    fn accepted(&mut self, accepted: &Accepted, place: Place) {
        let (key, count) = (self.key, accepted.deliveries.len());
        self.last_seq = self.last_seq.max(accepted.seq);
        self.last_time = self.last_time.max(accepted.event.head.accepted_at);
        let each = if count > NARROW_MAX {
            WIDE_BYTES
        } else {
            NARROW_BYTES
        };
        self.bytes += count.saturating_mul(each);
        self.stretch(|stretch| stretch.accepted(accepted, place, key));
    }

    fn attempted(&mut self, attempted: Attempted, segment: u32) {
        self.last_time = self.last_time.max(attempted.recorded_at);
        self.bytes += attempted.outcome.response_prefix.len();
        if let Some(last) = self.stretches.last()
            && last.wide.spans(attempted.seq)
        {
            // The attempt changes a row, which the stretch so far has to write first.
            self.stretches.push(Stretch::default());
        }
        self.stretch(|stretch| stretch.attempted(attempted, segment));
    }

    /// Adds to the stretch that is being gathered; an operation ends a stretch.
    fn stretch(&mut self, add: impl FnOnce(&mut Stretch)) {
        if self
            .stretches
            .last()
            .is_none_or(|last| !last.operations.is_empty())
        {
            self.stretches.push(Stretch::default());
        }
        if let Some(last) = self.stretches.last_mut() {
            add(last);
        }
    }

    fn operation(&mut self, operation: RowOperation, at: Timestamp) {
        self.last_time = self.last_time.max(at);
        if let Some(last) = self.stretches.last_mut() {
            last.operations.push(operation);
        }
    }
}

impl Stretch {
    fn segment(&mut self, segment: u32) -> Option<&mut SegmentRows> {
        if self
            .segments
            .last()
            .is_none_or(|rows| rows.segment != segment)
        {
            self.segments.push(SegmentRows {
                segment,
                events: Vec::new(),
                attempts: Vec::new(),
            });
        }
        self.segments.last_mut()
    }

    fn accepted(&mut self, accepted: &Accepted, place: Place, key: DedupKey) {
        let head = &accepted.event.head;
        let entry = Entry::accepted(accepted, place, key);
        self.tally.event(place.segment, head.accepted_at);
        let is_wide = accepted.deliveries.len() > NARROW_MAX;
        let event = u32::try_from(self.wide.events.len()).unwrap_or(u32::MAX);
        if is_wide {
            let unkeyed = Entry { key: 0, ..entry };
            self.wide.events.push((unkeyed, entry));
        }
        for (number, dead) in &accepted.deliveries {
            let entry = entry.of(accepted, *number);
            match dead {
                None => {
                    self.tally.began(*number, &entry);
                    if is_wide {
                        let keyed = entry.key != 0;
                        self.wide.deliveries.push((*number, event, keyed));
                        continue;
                    }
                    let pending = Pending { entry, due: None };
                    self.fresh.insert((*number, entry.seq), pending);
                }
                Some(death) => self.died(*number, entry, *death, head.accepted_at),
            }
        }
        let row = EventRow::new(accepted, place, key);
        if let Some(rows) = self.segment(place.segment) {
            rows.events.push(row);
        }
    }

    pub(super) fn died(
        &mut self,
        number: SubscriptionNumber,
        entry: Entry,
        death: Death,
        at: Timestamp,
    ) {
        self.tally.dead(number, &entry, 1, at);
        self.dead.push((number, entry, death, at));
    }

    fn attempted(&mut self, attempted: Attempted, segment: u32) {
        let Attempted {
            seq,
            subscription,
            attempt,
            recorded_at,
            outcome,
            next,
            blocks,
            since,
        } = attempted;
        let key = (subscription, seq);
        if let Some(rows) = self.segment(segment) {
            let due_at = due(next).map(|due| due.at);
            rows.attempts.push((key, attempt, outcome, due_at));
        }
        if let Some(pending) = self.fresh.get_mut(&key) {
            pending.entry.attempts = attempt;
            pending.entry.schedule_attempts += 1;
            pending.entry.since = since;
            pending.due = due(next);
            let entry = pending.entry;
            if pending.due.is_none() {
                self.fresh.remove(&key);
                self.tally.ended(subscription, &entry, recorded_at);
            }
            if let Next::Dead(reason) = next {
                let death = Death { reason, blocks };
                self.died(subscription, entry, death, recorded_at);
            }
        } else {
            let older = self.older.entry(key).or_insert(Attempts {
                made: 0,
                last: 0,
                end: next,
                blocks,
                since,
                at: recorded_at,
            });
            older.made += 1;
            older.last = attempt;
            older.end = next;
            older.blocks = blocks;
            older.since = since;
            older.at = recorded_at;
        }
    }
}
