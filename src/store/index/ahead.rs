//! Records of the journal after the index's cursor, as far as memory is loaded from them: counted, not written.
//!
//! Rows of a backlog take long to write (a batch can have millions of deliveries), so the start does not wait for them:
//! it reads the records, and the index's thread writes their rows while deliveries go on.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::error::IndexError;
use super::net::DeliveryKey;
use super::numbers::{CHUNK_BYTES, int};
use super::query::Subscription;
use super::start::{Remembered, Start};
use crate::domain::{EventSeq, Next, SubscriptionName, SubscriptionNumber, Timestamp};
use crate::store::SubscriptionState;
use crate::store::dedup::DedupKey;
use crate::store::journal::{Place, Position, ReadJournal};
use crate::store::record::{Accepted, Attempted, Record};

/// With more bytes of records than this the index is written first. Few in tests, so that both happen.
const BYTES_MAX: u64 = if cfg!(test) { 2 << 10 } else { 64 << 20 };

/// The changes made by the records after the cursor.
pub(super) struct Ahead<'a> {
    index: &'a Connection,
    key: DedupKey,
    /// The latest time in them.
    pub(super) last_time: Timestamp,
    subscriptions: BTreeMap<SubscriptionNumber, Changed>,
    given_ids: Vec<(u64, EventSeq, Timestamp)>,
    jobs: BTreeMap<u64, Vec<u8>>,
    /// Lengths of the events' bodies, bytes.
    bodies: HashMap<EventSeq, u32>,
    /// Deliveries that reached their final state.
    ended: HashSet<DeliveryKey>,
    bytes: u64,
    /// The position up to which the index has to be written first: the effect of an operation depends on rows.
    from: Option<Position>,
    failed: Result<()>,
}

/// The changes of one subscription.
#[derive(Default)]
struct Changed {
    name: Option<SubscriptionName>,
    state: Option<SubscriptionState>,
    pending: i64,
    pending_bytes: i64,
    dead: u64,
    /// When the first of the accepted deliveries was accepted.
    oldest: Option<Timestamp>,
}

impl<'a> Ahead<'a> {
    /// Reads all records after the index's cursor. Returns a position if the index must be written up to there first.
    pub(super) fn read(
        index: &'a Connection,
        (key, mut cursor): (DedupKey, Position),
        journal: &dyn ReadJournal,
    ) -> Result<std::result::Result<Self, Position>, IndexError> {
        let mut ahead = Self {
            index,
            key,
            last_time: Timestamp::from_millis(i64::MIN),
            subscriptions: BTreeMap::new(),
            given_ids: Vec::new(),
            jobs: BTreeMap::new(),
            bodies: HashMap::new(),
            ended: HashSet::new(),
            bytes: 0,
            from: None,
            failed: Ok(()),
        };
        loop {
            let before = cursor;
            cursor = journal.scan(before, CHUNK_BYTES, &mut |record, place| {
                ahead.add(record, place)
            })?;
            std::mem::replace(&mut ahead.failed, Ok(()))?;
            if ahead.bytes > BYTES_MAX {
                return Ok(Err(cursor));
            }
            if cursor == before {
                return Ok(ahead.from.map_or(Ok(ahead), Err));
            }
        }
    }

    fn add(&mut self, record: Record, place: Place) {
        self.bytes += u64::from(place.length);
        match record {
            Record::Accepted(accepted) => self.accepted(&accepted),
            Record::Attempted(attempted) => {
                if self.failed.is_ok() {
                    self.failed = self.attempted(&attempted);
                }
            }
            Record::SubscriptionNamed { number, name } => self.changed(number).name = Some(name),
            Record::SubscriptionState { number, state } => self.changed(number).state = Some(state),
            Record::Job { id, state } => {
                self.jobs.insert(id, state);
            }
            Record::Moved(_)
            | Record::Requeued { .. }
            | Record::Cancelled { .. }
            | Record::CancelledAll { .. } => {
                self.from = Some(Position {
                    segment: place.segment,
                    offset: place.offset.saturating_add(1),
                });
            }
        }
    }

    fn accepted(&mut self, accepted: &Accepted) {
        let head = &accepted.event.head;
        let body_bytes = u32::try_from(accepted.event.body.len()).unwrap_or(u32::MAX);
        self.last_time = self.last_time.max(head.accepted_at);
        self.bodies.insert(accepted.seq, body_bytes);
        if let Some(hash) = self.key.hash(head) {
            self.given_ids.push((hash, accepted.seq, head.accepted_at));
        }
        for (number, dead) in &accepted.deliveries {
            let changed = self.changed(*number);
            if dead.is_some() {
                changed.dead += 1;
                continue;
            }
            changed.pending += 1;
            changed.pending_bytes += i64::from(body_bytes);
            changed.oldest.get_or_insert(head.accepted_at);
        }
    }

    fn attempted(&mut self, attempted: &Attempted) -> Result<()> {
        self.last_time = self.last_time.max(attempted.recorded_at);
        let delivery = (attempted.subscription, attempted.seq);
        if matches!(attempted.next, Next::Due { .. }) || self.ended.contains(&delivery) {
            return Ok(());
        }
        let body_bytes = match self.bodies.get(&attempted.seq) {
            Some(bytes) => Some(*bytes),
            None => pending_body(self.index, delivery)?,
        };
        // A delivery that is not pending had reached its final state before.
        let Some(body_bytes) = body_bytes else {
            return Ok(());
        };
        self.ended.insert(delivery);
        let changed = self.changed(attempted.subscription);
        changed.pending -= 1;
        changed.pending_bytes -= i64::from(body_bytes);
        changed.dead += u64::from(matches!(attempted.next, Next::Dead(_)));
        Ok(())
    }

    fn changed(&mut self, number: SubscriptionNumber) -> &mut Changed {
        self.subscriptions.entry(number).or_default()
    }

    /// Adds the changes to what was read from the index.
    pub(super) fn add_to(self, start: &mut Start, remembered: Remembered) {
        let known = std::mem::take(&mut start.subscriptions).into_iter();
        let mut known: BTreeMap<_, _> = known.map(|one| (one.number, one)).collect();
        for (number, changed) in self.subscriptions {
            let one = known.entry(number).or_insert_with(|| Subscription {
                number,
                name: None,
                state: SubscriptionState::default(),
                pending: 0,
                pending_bytes: 0,
                dead: 0,
                oldest: None,
            });
            one.name = changed.name.or(one.name.take());
            one.state = changed
                .state
                .unwrap_or_else(|| std::mem::take(&mut one.state));
            one.pending = one.pending.saturating_add_signed(changed.pending);
            one.pending_bytes = one
                .pending_bytes
                .saturating_add_signed(changed.pending_bytes);
            one.dead += changed.dead;
            let oldest = one.oldest.or(changed.oldest);
            one.oldest = oldest.filter(|_| one.pending > 0);
        }
        start.subscriptions = known.into_values().collect();
        let given_ids = self.given_ids.into_iter();
        start
            .given_ids
            .extend(given_ids.filter(|(_, _, at)| *at > remembered.since));
        let excess = start.given_ids.len().saturating_sub(remembered.max);
        start.given_ids.drain(..excess);
        let mut jobs: BTreeMap<_, _> = std::mem::take(&mut start.jobs).into_iter().collect();
        jobs.extend(self.jobs);
        jobs.retain(|_, state| !state.is_empty());
        start.jobs = jobs.into_iter().collect();
    }
}

/// Returns the length of a pending delivery's body; `None` if it has no row as pending.
fn pending_body(index: &Connection, (number, seq): DeliveryKey) -> Result<Option<u32>> {
    index
        .prepare_cached("SELECT body_bytes FROM pending WHERE subscription = ?1 AND seq = ?2")?
        .query_row(params![number.0, int(seq.0)], |row| row.get(0))
        .optional()
}
