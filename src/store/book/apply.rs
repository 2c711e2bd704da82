//! From records to rows: gathers a stretch of the journal, keeps its net effect, and writes that in one transaction
//! together with the cursor.
//!
//! A delivery that was accepted and reached its final state within the stretch writes no pending row. What a record
//! changes depends only on the rows and on the records before it, so the same book comes out wherever stretches end.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::schema::create_segment;
use super::{int, millis};
use crate::domain::{
    DeadReason, EventSeq, Label, Next, Outcome, SubscriptionName, SubscriptionNumber, Timestamp,
};
use crate::store::SubscriptionState;
use crate::store::dedup::DedupKey;
use crate::store::journal::{Place, Position};
use crate::store::queue::Entry;
use crate::store::record::{Accepted, Attempted, Record};

/// A stretch is written when it holds so many records …
const RECORDS_MAX: usize = 16_384;
/// … or so many bytes of rows, roughly.
const BYTES_MAX: usize = 4 << 20;

type DeliveryKey = (SubscriptionNumber, EventSeq);

/// A stretch of the journal, gathered to be written.
#[derive(Debug)]
pub(super) struct Round {
    key: DedupKey,
    segments: Vec<SegmentRows>,
    /// Accepted in this stretch and still pending.
    fresh: HashMap<DeliveryKey, Pending>,
    /// Accepted before, and attempted in this stretch.
    older: BTreeMap<DeliveryKey, Attempts>,
    dead: Vec<(SubscriptionNumber, Entry, DeadReason, Timestamp)>,
    names: Vec<(SubscriptionNumber, SubscriptionName)>,
    states: Vec<(SubscriptionNumber, SubscriptionState)>,
    counters: BTreeMap<SubscriptionNumber, Change>,
    last_seq: EventSeq,
    last_time: Timestamp,
    records: usize,
    bytes: usize,
}

/// Rows of the tables of one segment.
#[derive(Debug)]
struct SegmentRows {
    segment: u32,
    events: Vec<EventRow>,
    attempts: Vec<(EventSeq, SubscriptionNumber, u32, Outcome)>,
}

#[derive(Debug)]
struct EventRow {
    seq: EventSeq,
    id: [u8; 16],
    given: Option<u64>,
    event_type: Label,
    accepted_at: Timestamp,
    place: Place,
    subscriptions: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    entry: Entry,
    due: Option<Due>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Timestamp,
    pause_ms: i64,
}

/// What attempts made of a delivery.
#[derive(Debug)]
struct Attempts {
    /// How many were made in this stretch.
    made: u32,
    /// The number of the last.
    last: u32,
    end: Next,
    at: Timestamp,
}

#[derive(Debug, Default, Clone, Copy)]
struct Change {
    pending: i64,
    pending_bytes: i64,
    dead: i64,
}

impl Round {
    pub(super) fn new(key: DedupKey) -> Self {
        Self {
            key,
            segments: Vec::new(),
            fresh: HashMap::new(),
            older: BTreeMap::new(),
            dead: Vec::new(),
            names: Vec::new(),
            states: Vec::new(),
            counters: BTreeMap::new(),
            last_seq: EventSeq(0),
            last_time: Timestamp::from_millis(i64::MIN),
            records: 0,
            bytes: 0,
        }
    }

    /// Whether it should be written before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.records >= RECORDS_MAX || self.bytes >= BYTES_MAX
    }

    /// Adds the next record of the journal.
    pub(super) fn add(&mut self, record: Record, place: Place) {
        self.records += 1;
        self.bytes += 256;
        match record {
            Record::Accepted(accepted) => self.accepted(&accepted, place),
            Record::Attempted(attempted) => self.attempted(attempted, place.segment),
            Record::SubscriptionNamed { number, name } => self.names.push((number, name)),
            Record::SubscriptionState { number, state } => self.states.push((number, state)),
        }
    }

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

    fn accepted(&mut self, accepted: &Accepted, place: Place) {
        let head = &accepted.event.head;
        let entry = Entry {
            seq: accepted.seq,
            place,
            body_bytes: u32::try_from(accepted.event.body.len()).unwrap_or(u32::MAX),
            accepted_at: head.accepted_at,
            attempts: 0,
            schedule_attempts: 0,
        };
        self.last_seq = self.last_seq.max(accepted.seq);
        self.last_time = self.last_time.max(head.accepted_at);
        let mut subscriptions = Vec::with_capacity(accepted.deliveries.len() * 4);
        for (number, dead) in &accepted.deliveries {
            subscriptions.extend_from_slice(&number.0.to_le_bytes());
            match dead {
                None => self.pending(*number, entry),
                Some(reason) => self.died(*number, entry, *reason, head.accepted_at),
            }
        }
        let row = EventRow {
            seq: accepted.seq,
            id: *head.id.as_bytes(),
            given: self.key.hash(head),
            event_type: head.event_type.clone(),
            accepted_at: head.accepted_at,
            place,
            subscriptions,
        };
        if let Some(rows) = self.segment(place.segment) {
            rows.events.push(row);
        }
    }

    fn pending(&mut self, number: SubscriptionNumber, entry: Entry) {
        let change = self.counters.entry(number).or_default();
        change.pending += 1;
        change.pending_bytes += i64::from(entry.body_bytes);
        let pending = Pending { entry, due: None };
        self.fresh.insert((number, entry.seq), pending);
    }

    fn ended(&mut self, number: SubscriptionNumber, entry: &Entry) {
        let change = self.counters.entry(number).or_default();
        change.pending -= 1;
        change.pending_bytes -= i64::from(entry.body_bytes);
    }

    fn died(
        &mut self,
        number: SubscriptionNumber,
        entry: Entry,
        reason: DeadReason,
        at: Timestamp,
    ) {
        self.counters.entry(number).or_default().dead += 1;
        self.dead.push((number, entry, reason, at));
    }

    fn attempted(&mut self, attempted: Attempted, segment: u32) {
        let Attempted {
            seq,
            subscription,
            attempt,
            recorded_at,
            outcome,
            next,
        } = attempted;
        self.last_time = self.last_time.max(recorded_at);
        self.bytes += outcome.response_prefix.len();
        if let Some(rows) = self.segment(segment) {
            rows.attempts.push((seq, subscription, attempt, outcome));
        }
        let key = (subscription, seq);
        if let Some(pending) = self.fresh.get_mut(&key) {
            pending.entry.attempts = attempt;
            pending.entry.schedule_attempts += 1;
            pending.due = due(next);
            let entry = pending.entry;
            if pending.due.is_none() {
                self.fresh.remove(&key);
                self.ended(subscription, &entry);
            }
            if let Next::Dead(reason) = next {
                self.died(subscription, entry, reason, recorded_at);
            }
        } else {
            let older = self.older.entry(key).or_insert(Attempts {
                made: 0,
                last: 0,
                end: next,
                at: recorded_at,
            });
            older.made += 1;
            older.last = attempt;
            older.end = next;
            older.at = recorded_at;
        }
    }

    /// Writes the net effect and moves the cursor, all or nothing.
    pub(super) fn write(mut self, connection: &mut Connection, cursor: Position) -> Result<()> {
        let transaction = connection.transaction()?;
        for rows in &self.segments {
            rows.write(&transaction)?;
        }
        self.write_older(&transaction)?;
        self.write_pending(&transaction)?;
        self.write_dead(&transaction)?;
        self.write_subscriptions(&transaction)?;
        self.write_counters(&transaction)?;
        transaction.execute(
            "UPDATE book SET segment = ?1, offset = ?2, last_seq = max(last_seq, ?3), last_time = max(last_time, ?4)",
            params![cursor.segment, cursor.offset, int(self.last_seq.0), millis(self.last_time)],
        )?;
        transaction.commit()
    }

    /// Writes what attempts made of deliveries that have a row. One that has none has reached its final state.
    fn write_older(&mut self, connection: &Connection) -> Result<()> {
        let mut update = connection.prepare_cached(
            "UPDATE pending SET attempts = ?3, schedule_attempts = schedule_attempts + ?4, due_at = ?5, pause_ms = ?6
             WHERE subscription = ?1 AND seq = ?2",
        )?;
        let mut delete = connection.prepare_cached(
            "DELETE FROM pending WHERE subscription = ?1 AND seq = ?2
             RETURNING seq, segment, offset, length, body_bytes, accepted_at, attempts, schedule_attempts",
        )?;
        for ((number, seq), attempts) in std::mem::take(&mut self.older) {
            let key = (number.0, int(seq.0));
            if let Some(due) = due(attempts.end) {
                let at = millis(due.at);
                update.execute(params![
                    key.0,
                    key.1,
                    attempts.last,
                    attempts.made,
                    at,
                    due.pause_ms
                ])?;
                continue;
            }
            let Some(mut entry) = delete.query_row(key, super::query::entry).optional()? else {
                continue;
            };
            entry.attempts = attempts.last;
            self.ended(number, &entry);
            if let Next::Dead(reason) = attempts.end {
                self.died(number, entry, reason, attempts.at);
            }
        }
        Ok(())
    }

    fn write_pending(&self, connection: &Connection) -> Result<()> {
        let mut rows: Vec<_> = self.fresh.iter().collect();
        rows.sort_unstable_by_key(|(key, _)| **key);
        let mut insert = connection.prepare_cached(
            "INSERT INTO pending VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        for ((number, seq), Pending { entry, due }) in rows {
            insert.execute(params![
                number.0,
                int(seq.0),
                entry.place.segment,
                entry.place.offset,
                entry.place.length,
                entry.body_bytes,
                millis(entry.accepted_at),
                entry.attempts,
                entry.schedule_attempts,
                due.map(|due| millis(due.at)),
                due.map(|due| due.pause_ms),
            ])?;
        }
        Ok(())
    }

    fn write_dead(&self, connection: &Connection) -> Result<()> {
        let mut insert = connection
            .prepare_cached("INSERT INTO dead VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
        for (number, entry, reason, at) in &self.dead {
            insert.execute(params![
                number.0,
                int(entry.seq.0),
                entry.place.segment,
                entry.place.offset,
                entry.place.length,
                entry.body_bytes,
                millis(entry.accepted_at),
                entry.attempts,
                reason.code(),
                millis(*at),
            ])?;
        }
        Ok(())
    }

    fn write_subscriptions(&self, connection: &Connection) -> Result<()> {
        let mut name = connection.prepare_cached(
            "INSERT INTO subscriptions (number, name) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET name = excluded.name",
        )?;
        for (number, text) in &self.names {
            name.execute(params![number.0, text.as_str()])?;
        }
        let mut state = connection.prepare_cached(
            "INSERT INTO subscriptions (number, consecutive_failures, held_since, stops) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET consecutive_failures = excluded.consecutive_failures,
             held_since = excluded.held_since, stops = excluded.stops",
        )?;
        for (number, new) in &self.states {
            let stops: Vec<u8> = new
                .stops
                .iter()
                .flat_map(|(from, to)| [millis(*from).to_le_bytes(), millis(*to).to_le_bytes()])
                .flatten()
                .collect();
            let held_since = new.held_since.map(millis);
            state.execute(params![
                number.0,
                new.consecutive_failures,
                held_since,
                stops
            ])?;
        }
        Ok(())
    }

    fn write_counters(&self, connection: &Connection) -> Result<()> {
        let mut add = connection.prepare_cached(
            "INSERT INTO counters VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET pending = pending + excluded.pending,
             pending_bytes = pending_bytes + excluded.pending_bytes, dead = dead + excluded.dead",
        )?;
        for (number, change) in &self.counters {
            add.execute(params![
                number.0,
                change.pending,
                change.pending_bytes,
                change.dead
            ])?;
        }
        Ok(())
    }
}

impl SegmentRows {
    fn write(&self, connection: &Connection) -> Result<()> {
        let segment = self.segment;
        create_segment(connection, segment)?;
        let mut insert = connection.prepare_cached(&format!(
            "INSERT INTO events_{segment} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        ))?;
        for row in &self.events {
            insert.execute(params![
                int(row.seq.0),
                row.id,
                row.given.map(u64::cast_signed),
                row.event_type.as_str(),
                millis(row.accepted_at),
                row.place.offset,
                row.place.length,
                row.subscriptions,
            ])?;
        }
        if let (Some(first), Some(last)) = (self.events.first(), self.events.last()) {
            connection.execute(
                "INSERT INTO segments VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET
                 first_seq = min(first_seq, excluded.first_seq), last_seq = max(last_seq, excluded.last_seq)",
                params![segment, int(first.seq.0), int(last.seq.0)],
            )?;
        }
        self.write_attempts(connection)
    }

    fn write_attempts(&self, connection: &Connection) -> Result<()> {
        let mut insert = connection.prepare_cached(&format!(
            "INSERT INTO attempts_{} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            self.segment
        ))?;
        for (seq, number, attempt, outcome) in &self.attempts {
            let response = &outcome.response_prefix;
            insert.execute(params![
                int(seq.0),
                number.0,
                attempt,
                outcome.status.code(),
                outcome.reason.map(|reason| reason.code()),
                outcome.response_code,
                outcome.error_message.as_deref(),
                i64::try_from(outcome.duration.as_millis()).unwrap_or(i64::MAX),
                millis(outcome.started_at),
                (!response.is_empty()).then_some(&response[..]),
            ])?;
        }
        Ok(())
    }
}

/// When a delivery is due again, if it is.
fn due(next: Next) -> Option<Due> {
    match next {
        Next::Delivered | Next::Dead(_) => None,
        Next::Due { at, pause } => Some(Due {
            at,
            pause_ms: i64::try_from(pause.as_millis()).unwrap_or(i64::MAX),
        }),
    }
}
