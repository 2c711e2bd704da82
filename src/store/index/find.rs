//! Lookups of one event or delivery in the index.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::numbers::{int, nat};
use super::query::{entry, head};
use super::rows::{self, DeliveryRow, EventRow, segments};
use crate::domain::{DeliveryState, EventId, EventIdRange, EventSeq, SubscriptionNumber};
use crate::store::entry::Entry;
use crate::store::journal::Place;

/// Returns a delivery in its current state; `None` if the event is not kept, or not for this subscription.
pub(in crate::store) fn delivery(
    connection: &Connection,
    number: SubscriptionNumber,
    seq: EventSeq,
) -> Result<Option<DeliveryRow>> {
    match rows::delivery_row(connection, number, seq)? {
        None => delivered(connection, number, seq),
        found => Ok(found),
    }
}

/// Returns a delivery that has no row of its own: it was delivered, if its event was for this subscription.
fn delivered(
    connection: &Connection,
    number: SubscriptionNumber,
    seq: EventSeq,
) -> Result<Option<DeliveryRow>> {
    let row = event_row(connection, seq)?;
    if !row.is_some_and(|row| row.subscriptions().contains(&number)) {
        return Ok(None);
    }
    let Some(mut entry) = event(connection, seq)? else {
        return Ok(None);
    };
    entry.attempts = attempts_made(connection, number, seq, entry.place.segment)?;
    Ok(Some(DeliveryRow {
        entry,
        state: DeliveryState::Delivered,
        due_at: None,
        reason: None,
        ended_at: None,
    }))
}

/// Returns the number of a delivery's last attempt. Attempts are in its event's segment and in later ones.
fn attempts_made(
    connection: &Connection,
    number: SubscriptionNumber,
    seq: EventSeq,
    from: u32,
) -> Result<u32> {
    let mut made = 0;
    for segment in segments(connection)? {
        if segment < from {
            continue;
        }
        let last: Option<u32> = connection
            .prepare_cached(&format!(
                "SELECT max(n) FROM attempts_{segment} WHERE seq = ?1 AND subscription = ?2"
            ))?
            .query_row(params![int(seq.0), number.0], |row| row.get(0))?;
        made = made.max(last.unwrap_or(0));
    }
    Ok(made)
}

/// Returns the sequence of an event; `None` if it is not kept.
pub(in crate::store) fn seq_of(connection: &Connection, id: EventId) -> Result<Option<EventSeq>> {
    for segment in segments(connection)?.into_iter().rev() {
        let found = connection
            .prepare_cached(&format!("SELECT seq FROM events_{segment} WHERE id = ?1"))?
            .query_row([id.as_bytes()], |row| row.get(0).map(nat))
            .optional()?;
        if let Some(seq) = found {
            return Ok(Some(EventSeq(seq)));
        }
    }
    let moved = connection
        .prepare_cached("SELECT seq FROM moved WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0).map(nat))
        .optional()?;
    Ok(moved.map(EventSeq))
}

/// Returns `most` ids of events within a range at most.
pub(in crate::store) fn ids_within(
    connection: &Connection,
    range: EventIdRange,
    most: usize,
) -> Result<BTreeSet<EventId>> {
    let mut found = BTreeSet::new();
    let segments = segments(connection)?.into_iter().rev();
    let tables = segments.map(|segment| format!("events_{segment}"));
    for table in tables.chain(["moved".to_owned()]) {
        let mut ids = connection.prepare_cached(&format!(
            "SELECT id FROM {table} WHERE id BETWEEN ?1 AND ?2 LIMIT ?3"
        ))?;
        let key = params![
            range.first.as_bytes(),
            range.last.as_bytes(),
            i64::try_from(most).unwrap_or(i64::MAX)
        ];
        for id in ids.query_map(key, |row| row.get(0).map(EventId::from_bytes))? {
            found.insert(id?);
        }
        while found.len() > most {
            found.pop_last();
        }
        if found.len() == most {
            break;
        }
    }
    Ok(found)
}

/// Returns the last sequence, and the number and body bytes of a subscription's pending deliveries.
pub(in crate::store) fn pending_of(
    connection: &Connection,
    number: SubscriptionNumber,
) -> Result<(EventSeq, u64, u64)> {
    let last = head(connection)?.last_seq;
    let sql = "SELECT count(*), coalesce(sum(body_bytes), 0) FROM pending WHERE subscription = ?1 AND seq <= ?2";
    connection.query_row(sql, params![number.0, int(last.0)], |row| {
        Ok((last, nat(row.get(0)?), nat(row.get(1)?)))
    })
}

/// Returns the last sequence that was applied.
pub(in crate::store) fn last_seq(connection: &Connection) -> Result<EventSeq> {
    Ok(head(connection)?.last_seq)
}

/// Returns the place of an event in the journal; `None` if it is not kept.
pub(in crate::store) fn place(connection: &Connection, seq: EventSeq) -> Result<Option<Place>> {
    Ok(event(connection, seq)?.map(|entry| entry.place))
}

/// Returns an event, as an entry without attempts; `None` if it is not kept.
pub(super) fn event(connection: &Connection, seq: EventSeq) -> Result<Option<Entry>> {
    let segment: Option<u32> = connection
        .prepare_cached(
            "SELECT segment FROM segments WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1",
        )?
        .query_row([int(seq.0)], |row| row.get(0))
        .optional()?;
    if let Some(segment) = segment {
        let sql = format!(
            "SELECT seq, {segment}, offset, length, body_bytes, accepted_at, accepted_at, key, 0, 0
             FROM events_{segment} WHERE seq = ?1"
        );
        let found = connection.prepare_cached(&sql)?;
        let found = { found }.query_row([int(seq.0)], entry).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    connection
        .prepare_cached(
            "SELECT seq, segment, offset, length, body_bytes, accepted_at, accepted_at, key, 0, 0
             FROM moved WHERE seq = ?1",
        )?
        .query_row([int(seq.0)], entry)
        .optional()
}

/// Returns an event as lists show it; `None` if it is not kept.
pub(in crate::store) fn event_row(
    connection: &Connection,
    seq: EventSeq,
) -> Result<Option<EventRow>> {
    let Some(Place { segment, .. }) = place(connection, seq)? else {
        return Ok(None);
    };
    connection
        .prepare_cached(&format!(
            "SELECT {columns} FROM events_{segment} WHERE seq = ?1
             UNION ALL SELECT {columns} FROM moved WHERE seq = ?1 LIMIT 1",
            columns = rows::event_columns(segment)
        ))?
        .query_row([int(seq.0)], rows::event_row)
        .optional()
}

/// Returns the number of the last attempt of each delivery of an event; absent if there was none.
pub(in crate::store) fn attempts_by_delivery(
    connection: &Connection,
    seq: EventSeq,
) -> Result<HashMap<SubscriptionNumber, u32>> {
    let mut made = HashMap::new();
    for segment in segments(connection)? {
        let mut last = connection.prepare_cached(&format!(
            "SELECT subscription, max(n) FROM attempts_{segment} WHERE seq = ?1 GROUP BY subscription"
        ))?;
        let rows = last.query_map([int(seq.0)], |row| {
            Ok((SubscriptionNumber(row.get(0)?), row.get::<_, u32>(1)?))
        })?;
        for row in rows {
            let (number, last) = row?;
            let made = made.entry(number).or_insert(0);
            *made = last.max(*made);
        }
    }
    Ok(made)
}
