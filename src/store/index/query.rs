//! Reading the index: at start the data that memory is loaded from, later single deliveries.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::numbers::{int, millis, nat, size};
use crate::domain::{EventSeq, SubscriptionName, SubscriptionNumber, Timestamp};
use crate::store::SubscriptionState;
use crate::store::dedup::DedupKey;
use crate::store::entry::Entry;
use crate::store::journal::{Place, Position, decode_state};

/// The one row of `head`.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Head {
    pub(in crate::store) cursor: Position,
    pub(in crate::store) last_seq: EventSeq,
    pub(in crate::store) last_time: Timestamp,
    pub(in crate::store) key: DedupKey,
}

/// A subscription's rows in the index.
#[derive(Debug, PartialEq)]
pub(in crate::store) struct Subscription {
    pub(in crate::store) number: SubscriptionNumber,
    /// `None` if damage took the record that names it.
    pub(in crate::store) name: Option<SubscriptionName>,
    pub(in crate::store) state: SubscriptionState,
    pub(in crate::store) pending: u64,
    pub(in crate::store) pending_bytes: u64,
    pub(in crate::store) dead: u64,
    /// When the oldest pending delivery was accepted.
    pub(in crate::store) oldest: Option<Timestamp>,
}

pub(super) fn head(connection: &Connection) -> Result<Head> {
    let sql = "SELECT segment, offset, last_seq, last_time, dedup_key FROM head";
    connection.query_row(sql, [], |row| {
        Ok(Head {
            cursor: Position {
                segment: row.get(0)?,
                offset: row.get(1)?,
            },
            last_seq: EventSeq(nat(row.get(2)?)),
            last_time: Timestamp::from_millis(row.get(3)?),
            key: DedupKey(row.get(4)?),
        })
    })
}

/// Returns all subscriptions, including those that have only deliveries.
pub(super) fn subscriptions(connection: &Connection) -> Result<Vec<Subscription>> {
    let mut statement = connection.prepare(
        "SELECT number, name, state, coalesce(pending, 0), coalesce(pending_bytes, 0), coalesce(dead, 0)
         FROM (SELECT number FROM subscriptions UNION SELECT subscription FROM counters)
         LEFT JOIN subscriptions USING (number) LEFT JOIN counters ON subscription = number
         ORDER BY number",
    )?;
    let rows = statement.query_map([], |row| {
        let number = SubscriptionNumber(row.get(0)?);
        let pending = nat(row.get(3)?);
        let state = row.get_ref(2)?.as_blob_or_null()?;
        Ok(Subscription {
            number,
            name: name(row, 1)?,
            state: state.and_then(decode_state).unwrap_or_default(),
            pending,
            pending_bytes: nat(row.get(4)?),
            dead: nat(row.get(5)?),
            oldest: match pending {
                0 => None,
                _ => oldest(connection, number)?,
            },
        })
    })?;
    rows.collect()
}

/// Returns the bulk replays, by id, with their state as bytes.
pub(super) fn jobs(connection: &Connection) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut statement = connection.prepare("SELECT id, state FROM jobs ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok((nat(row.get(0)?), row.get(1)?)))?;
    rows.collect()
}

/// Reads the name of a subscription.
pub(super) fn name(row: &Row<'_>, column: usize) -> Result<Option<SubscriptionName>> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    let parsed = text.map(SubscriptionName::known).transpose();
    parsed.map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

/// Returns when the oldest pending delivery of a subscription was accepted; `None` if there is none.
pub(in crate::store) fn oldest(
    connection: &Connection,
    number: SubscriptionNumber,
) -> Result<Option<Timestamp>> {
    connection
        .prepare_cached(
            "SELECT accepted_at FROM pending WHERE subscription = ?1 ORDER BY seq LIMIT 1",
        )?
        .query_row([number.0], |row| row.get(0).map(Timestamp::from_millis))
        .optional()
}

/// Returns the hash of a pending delivery's key; `None` if it is not pending.
pub(in crate::store) fn pending_key(
    connection: &Connection,
    number: SubscriptionNumber,
    seq: EventSeq,
) -> Result<Option<u64>> {
    connection
        .prepare_cached("SELECT key FROM pending WHERE subscription = ?1 AND seq = ?2")?
        .query_row([i64::from(number.0), int(seq.0)], |row| {
            row.get::<_, i64>(0).map(i64::cast_unsigned)
        })
        .optional()
}

/// Returns the first pending delivery of a subscription before another, of this key if one is given.
pub(in crate::store) fn pending_before(
    connection: &Connection,
    number: SubscriptionNumber,
    seq: EventSeq,
    key: Option<u64>,
) -> Result<Option<EventSeq>> {
    let of_key = match key {
        Some(_) => "AND key = ?3 AND key != 0",
        None => "AND ?3 IS NULL",
    };
    connection
        .prepare_cached(&format!(
            "SELECT seq FROM pending WHERE subscription = ?1 AND seq < ?2 {of_key} ORDER BY seq LIMIT 1"
        ))?
        .query_row(
            params![number.0, int(seq.0), key.map(u64::cast_signed)],
            |row| row.get(0).map(nat),
        )
        .optional()
        .map(|found| found.map(EventSeq))
}

/// Reads an entry from its columns, the first ten.
pub(super) fn entry(row: &Row<'_>) -> Result<Entry> {
    Ok(Entry {
        seq: EventSeq(nat(row.get(0)?)),
        place: Place {
            segment: row.get(1)?,
            offset: row.get(2)?,
            length: row.get(3)?,
        },
        body_bytes: row.get(4)?,
        accepted_at: Timestamp::from_millis(row.get(5)?),
        since: Timestamp::from_millis(row.get(6)?),
        key: row.get::<_, i64>(7)?.cast_unsigned(),
        attempts: row.get(8)?,
        schedule_attempts: row.get(9)?,
    })
}

/// Returns the hashes of the given ids of the last `max` events accepted after `since`, oldest first.
pub(super) fn given_ids(
    connection: &Connection,
    since: Timestamp,
    max: usize,
) -> Result<Vec<(u64, EventSeq, Timestamp)>> {
    let mut segments = connection.prepare(
        "SELECT segment FROM segments WHERE first_seq IS NOT NULL ORDER BY first_seq DESC",
    )?;
    let mut found = Vec::new();
    for segment in segments.query_map([], |row| row.get::<_, u32>(0))? {
        let events = format!("events_{}", segment?);
        let mut newest_first = connection.prepare(&format!(
            "SELECT given, seq, accepted_at FROM {events} WHERE given IS NOT NULL AND accepted_at > ?1
             ORDER BY seq DESC LIMIT ?2"
        ))?;
        let room = max.saturating_sub(found.len());
        let rows = newest_first.query_map(params![millis(since), size(room)], |row| {
            let hash = row.get::<_, i64>(0)?.cast_unsigned();
            let accepted_at = Timestamp::from_millis(row.get(2)?);
            Ok((hash, EventSeq(nat(row.get(1)?)), accepted_at))
        })?;
        for row in rows {
            found.push(row?);
        }
        let first = format!("SELECT accepted_at FROM {events} ORDER BY seq LIMIT 1");
        let first: Option<i64> = connection
            .query_row(&first, [], |row| row.get(0))
            .optional()?;
        if found.len() >= max || first.is_some_and(|first| first <= millis(since)) {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// Corrects due times that are further after `now` than their pause, to that pause: the clock was set back.
pub(super) fn pull_due_times(connection: &Connection, now: Timestamp) -> Result<usize> {
    connection.execute(
        "UPDATE deliveries SET due_at = ?1 + pause_ms WHERE state = 0 AND due_at > ?1 + pause_ms",
        [millis(now)],
    )
}

/// Moves the cursor back, and syncs that at once: soon the journal will have other records after it.
pub(super) fn pull_cursor(connection: &Connection, cursor: Position) -> Result<()> {
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    connection.execute(
        "UPDATE head SET segment = ?1, offset = ?2",
        [cursor.segment, cursor.offset],
    )?;
    connection.execute_batch("PRAGMA synchronous = NORMAL")
}
