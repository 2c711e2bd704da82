//! Rows of the index for lists: from a place on, newest first, a limited number at a time.
//!
//! Each walk reads a bounded number of rows and returns where it ended, so that the caller decides how far to go.
//! The segment that still grows has no indexes: its rows are read in the order of their numbers.

use std::ops::ControlFlow;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::numbers::{int, millis, nat};
use super::query;
use super::schema::ENTRY;
use crate::domain::{
    AttemptStatus, DeadReason, DeliveryState, EventId, EventSeq, FailureReason, Label, Outcome,
    SubscriptionName, SubscriptionNumber, Timestamp,
};
use crate::store::entry::Entry;
use crate::store::journal::Place;

/// The cost of a search in an index, in rows.
const SEARCH_ROWS: u64 = 16;

/// An event.
#[derive(Debug, Clone)]
pub(in crate::store) struct EventRow {
    pub(in crate::store) seq: EventSeq,
    pub(in crate::store) id: EventId,
    pub(in crate::store) event_type: Label,
    pub(in crate::store) accepted_at: Timestamp,
    pub(in crate::store) place: Place,
    pub(in crate::store) body_bytes: u32,
    subscriptions: Vec<u8>,
}

impl EventRow {
    /// Returns the subscriptions of the event, in the order of their numbers.
    pub(in crate::store) fn subscriptions(&self) -> Vec<SubscriptionNumber> {
        let (numbers, _) = self.subscriptions.as_chunks::<4>();
        let mut numbers: Vec<_> = numbers
            .iter()
            .map(|bytes| SubscriptionNumber(u32::from_le_bytes(*bytes)))
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

/// The filter of events.
#[derive(Debug, Clone)]
pub(in crate::store) struct EventsWanted {
    /// Of this type only.
    pub(in crate::store) event_type: Option<Label>,
    /// Given ids with a hash from the first to the second only.
    pub(in crate::store) given: Option<(u64, u64)>,
    /// Accepted in this span.
    pub(in crate::store) span: Span,
}

/// A span of time: from `since` on, before `until`.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Span {
    pub(in crate::store) since: Option<Timestamp>,
    pub(in crate::store) until: Option<Timestamp>,
}

impl Span {
    pub(in crate::store) fn has(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
    }

    /// The same in milliseconds: from the first on, before the second.
    pub(super) fn bounds(self) -> (i64, i64) {
        (
            self.since.map_or(i64::MIN, millis),
            self.until.map_or(i64::MAX, millis),
        )
    }
}

/// How far a walk got.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Walked<P> {
    /// The next walk goes on before this.
    pub(in crate::store) next: P,
    /// Number of rows read.
    pub(in crate::store) rows: u64,
}

/// Visits the wanted events before `below`, newest first, of one segment that has events of the span, and reads `rows`
/// rows at most. Returns `None` if no segment has such events before `below`.
pub(in crate::store) fn events(
    connection: &Connection,
    below: EventSeq,
    rows: u64,
    wanted: &EventsWanted,
    visit: &mut dyn FnMut(EventRow) -> Result<ControlFlow<()>>,
) -> Result<Option<Walked<EventSeq>>> {
    let (since, until) = wanted.span.bounds();
    let segment: Option<(u32, u64, u64)> = connection
        .prepare_cached(
            "SELECT segment, first_seq, last_seq FROM segments
             WHERE first_seq < ?1 AND accepted_to >= ?2 AND accepted_from < ?3 ORDER BY first_seq DESC LIMIT 1",
        )?
        .query_row([int(below.0), since, until], |row| {
            Ok((row.get(0)?, nat(row.get(1)?), nat(row.get(2)?)))
        })
        .optional()?;
    let Some((segment, first, last)) = segment else {
        return Ok(None);
    };
    let below = below.0.min(last.saturating_add(1));
    let is_indexed = wanted.given.is_some() && is_sealed(connection, segment)?;
    let from = if is_indexed {
        first
    } else {
        first.max(below.saturating_sub(rows))
    };
    let (given_from, given_to) = wanted.given.unzip();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM events_{segment} {} WHERE seq >= ?1 AND seq < ?2 AND accepted_at >= ?3 AND accepted_at < ?4
         {} {} ORDER BY seq DESC",
        event_columns(segment),
        if is_indexed { format!("INDEXED BY events_{segment}_given") } else { String::new() },
        if wanted.given.is_some() { "AND given BETWEEN ?5 AND ?6" } else { "AND ?5 IS NULL AND ?6 IS NULL" },
        if wanted.event_type.is_some() { "AND type = ?7" } else { "AND ?7 IS NULL" },
    ))?;
    let mut found = statement.query(params![
        int(from),
        int(below),
        since,
        until,
        given_from.map(u64::cast_signed),
        given_to.map(u64::cast_signed),
        wanted.event_type.as_ref().map(Label::as_str),
    ])?;
    while let Some(row) = found.next()? {
        if visit(event_row(row)?)?.is_break() {
            break;
        }
    }
    let looked_at = if is_indexed {
        SEARCH_ROWS
    } else {
        below.saturating_sub(from).max(1)
    };
    Ok(Some(Walked {
        next: EventSeq(from),
        rows: looked_at,
    }))
}

/// Returns the columns of an event of a segment.
pub(super) fn event_columns(segment: u32) -> String {
    format!("seq, id, type, accepted_at, {segment}, offset, length, body_bytes, subscriptions")
}

/// Reads an event from those columns.
pub(super) fn event_row(row: &Row<'_>) -> Result<EventRow> {
    Ok(EventRow {
        seq: EventSeq(nat(row.get(0)?)),
        id: EventId::from_bytes(row.get(1)?),
        event_type: label(row, 2)?,
        accepted_at: Timestamp::from_millis(row.get(3)?),
        place: Place {
            segment: row.get(4)?,
            offset: row.get(5)?,
            length: row.get(6)?,
        },
        body_bytes: row.get(7)?,
        subscriptions: row.get(8)?,
    })
}

/// The row of a delivery, which is pending, dead or cancelled.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct DeliveryRow {
    pub(in crate::store) entry: Entry,
    pub(in crate::store) state: DeliveryState,
    /// When it is due again; `None` unless it is pending and was attempted.
    pub(in crate::store) due_at: Option<Timestamp>,
    /// The reason why it is dead.
    pub(in crate::store) reason: Option<DeadReason>,
    /// When it died or was cancelled.
    pub(in crate::store) ended_at: Option<Timestamp>,
}

/// Returns a delivery in this state; `None` if it is in another.
pub(in crate::store) fn delivery_in(
    connection: &Connection,
    state: DeliveryState,
    number: SubscriptionNumber,
    seq: EventSeq,
) -> Result<Option<DeliveryRow>> {
    one_delivery(connection, Some(state), number, "seq = ?2", seq)
}

/// Returns the last delivery of a subscription before `below` in this state, which must be one with rows.
pub(in crate::store) fn delivery_before(
    connection: &Connection,
    state: DeliveryState,
    number: SubscriptionNumber,
    below: EventSeq,
) -> Result<Option<DeliveryRow>> {
    let condition = "seq < ?2 ORDER BY seq DESC LIMIT 1";
    one_delivery(connection, Some(state), number, condition, below)
}

/// Returns the row of a delivery; `None` if it was delivered or is not kept.
pub(in crate::store) fn delivery_row(
    connection: &Connection,
    number: SubscriptionNumber,
    seq: EventSeq,
) -> Result<Option<DeliveryRow>> {
    let condition = "seq = ?2 ORDER BY state LIMIT 1";
    one_delivery(connection, None, number, condition, seq)
}

/// Returns a delivery in this state, or in any that has rows if `state` is `None`.
fn one_delivery(
    connection: &Connection,
    state: Option<DeliveryState>,
    number: SubscriptionNumber,
    condition: &str,
    seq: EventSeq,
) -> Result<Option<DeliveryRow>> {
    let states = match state {
        Some(_) => "state = ?3",
        None => "state IN (0, 2, 3) AND ?3 IS NULL",
    };
    connection
        .prepare_cached(&format!(
            "SELECT {ENTRY}, due_at, reason, ended_at, state FROM deliveries
             WHERE {states} AND subscription = ?1 AND {condition}"
        ))?
        .query_row(
            params![number.0, int(seq.0), state.map(DeliveryState::code)],
            |row| {
                Ok(DeliveryRow {
                    entry: query::entry(row)?,
                    state: coded(row, 13, DeliveryState::from_code)?
                        .unwrap_or(DeliveryState::Pending),
                    due_at: row.get::<_, Option<i64>>(10)?.map(Timestamp::from_millis),
                    reason: coded(row, 11, DeadReason::from_code)?,
                    ended_at: row.get::<_, Option<i64>>(12)?.map(Timestamp::from_millis),
                })
            },
        )
        .optional()
}

/// The place of an attempt in the index: later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct AttemptPlace {
    pub(in crate::store) segment: u32,
    pub(in crate::store) row: u64,
}

impl AttemptPlace {
    /// A place after all attempts.
    pub(in crate::store) const END: Self = Self {
        segment: u32::MAX,
        row: u64::MAX,
    };
}

/// An attempt.
#[derive(Debug, Clone)]
pub(in crate::store) struct AttemptRow {
    pub(in crate::store) place: AttemptPlace,
    pub(in crate::store) seq: EventSeq,
    /// Its number, from 1.
    pub(in crate::store) attempt: u32,
    pub(in crate::store) outcome: Outcome,
    /// When its delivery was due again after it; `None` if the delivery ended with it.
    pub(in crate::store) due_at: Option<Timestamp>,
}

const ATTEMPT: &str =
    "rowid, seq, n, status, reason, code, error, duration_ms, started_at, response, due_at";

/// Visits the attempts of a subscription before `below`, newest first, of one segment that has attempts of the span,
/// and reads `rows` rows at most. Returns `None` if no segment has such attempts before `below`.
pub(in crate::store) fn attempts(
    connection: &Connection,
    below: AttemptPlace,
    rows: u64,
    (number, span): (SubscriptionNumber, Span),
    visit: &mut dyn FnMut(AttemptRow) -> Result<ControlFlow<()>>,
) -> Result<Option<Walked<AttemptPlace>>> {
    let highest = below.segment.saturating_sub(u32::from(below.row <= 1));
    let (since, until) = span.bounds();
    let segment: Option<u32> = connection
        .prepare_cached(
            "SELECT segment FROM segments WHERE segment <= ?1 AND began_to >= ?2 AND began_from < ?3
             ORDER BY segment DESC LIMIT 1",
        )?
        .query_row(params![highest, since, until], |row| row.get(0))
        .optional()?;
    let Some(segment) = segment else {
        return Ok(None);
    };
    let last: Option<i64> = connection
        .prepare_cached(&format!("SELECT max(rowid) FROM attempts_{segment}"))?
        .query_row([], |row| row.get(0))?;
    let end = last.map_or(0, nat).saturating_add(1);
    let top = if segment == below.segment {
        end.min(below.row)
    } else {
        end
    };
    let is_indexed = is_sealed(connection, segment)?;
    let from = if is_indexed {
        1
    } else {
        top.saturating_sub(rows).max(1)
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {ATTEMPT} FROM attempts_{segment} WHERE subscription = ?1 AND rowid >= ?2 AND rowid < ?3
         ORDER BY rowid DESC LIMIT ?4"
    ))?;
    let mut found = statement.query(params![number.0, int(from), int(top), int(rows)])?;
    let (mut seen, mut lowest) = (0, from);
    while let Some(row) = found.next()? {
        seen += 1;
        let attempt = attempt_row(row, segment)?;
        if seen == rows {
            lowest = attempt.place.row;
        }
        if visit(attempt)?.is_break() {
            break;
        }
    }
    let looked_at = if is_indexed {
        seen + SEARCH_ROWS
    } else {
        top.saturating_sub(from).max(1)
    };
    Ok(Some(Walked {
        next: AttemptPlace {
            segment,
            row: lowest,
        },
        rows: looked_at,
    }))
}

/// Returns the last attempts of a delivery, `most` at most, newest first.
pub(in crate::store) fn attempts_of(
    connection: &Connection,
    number: SubscriptionNumber,
    seq: EventSeq,
    most: usize,
) -> Result<Vec<AttemptRow>> {
    let mut found = Vec::new();
    for segment in segments(connection)?.into_iter().rev() {
        let room = u64::try_from(most.saturating_sub(found.len())).unwrap_or(0);
        if room == 0 {
            break;
        }
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {ATTEMPT} FROM attempts_{segment} WHERE seq = ?1 AND subscription = ?2
             ORDER BY rowid DESC LIMIT ?3"
        ))?;
        let key = params![int(seq.0), number.0, int(room)];
        for row in statement.query_map(key, |row| attempt_row(row, segment))? {
            found.push(row?);
        }
    }
    Ok(found)
}

fn attempt_row(row: &Row<'_>, segment: u32) -> Result<AttemptRow> {
    let response: Option<Vec<u8>> = row.get(9)?;
    Ok(AttemptRow {
        place: AttemptPlace {
            segment,
            row: nat(row.get(0)?),
        },
        seq: EventSeq(nat(row.get(1)?)),
        attempt: row.get(2)?,
        due_at: row.get::<_, Option<i64>>(10)?.map(Timestamp::from_millis),
        outcome: Outcome {
            started_at: Timestamp::from_millis(row.get(8)?),
            duration: std::time::Duration::from_millis(nat(row.get(7)?)),
            status: coded(row, 3, AttemptStatus::from_code)?.unwrap_or(AttemptStatus::Failed),
            reason: coded(row, 4, FailureReason::from_code)?,
            response_code: row.get(5)?,
            error_message: row.get::<_, Option<String>>(6)?.map(Box::from),
            response_prefix: response.unwrap_or_default().into(),
        },
    })
}

/// Returns the subscriptions that have a name, by number.
pub(in crate::store) fn names(
    connection: &Connection,
) -> Result<Vec<(SubscriptionNumber, SubscriptionName)>> {
    let mut names = connection.prepare_cached(
        "SELECT number, name FROM subscriptions WHERE name IS NOT NULL ORDER BY number",
    )?;
    let rows = names.query_map([], |row| {
        let number = SubscriptionNumber(row.get(0)?);
        Ok(query::name(row, 1)?.map(|name| (number, name)))
    })?;
    let known = rows.filter_map(Result::transpose);
    known.collect()
}

/// Returns the segments that have tables, in order.
pub(super) fn segments(connection: &Connection) -> Result<Vec<u32>> {
    let mut numbers = connection.prepare_cached("SELECT segment FROM segments ORDER BY segment")?;
    let rows = numbers.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Whether a segment gets no more rows, and so has its indexes.
pub(super) fn is_sealed(connection: &Connection, segment: u32) -> Result<bool> {
    let growing: u32 = connection
        .prepare_cached("SELECT segment FROM head")?
        .query_row([], |row| row.get(0))?;
    Ok(segment < growing)
}

/// Reads a value that is stored as a code; `None` for NULL, an error for an unknown code.
pub(super) fn coded<T>(
    row: &Row<'_>,
    column: usize,
    read: impl Fn(u8) -> Option<T>,
) -> Result<Option<T>> {
    let Some(code) = row.get::<_, Option<u8>>(column)? else {
        return Ok(None);
    };
    match read(code) {
        Some(value) => Ok(Some(value)),
        None => Err(rusqlite::Error::IntegralValueOutOfRange(
            column,
            code.into(),
        )),
    }
}

fn label(row: &Row<'_>, column: usize) -> Result<Label> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}
