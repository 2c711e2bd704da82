//! The statements of verbs: what changes rows that exist.
//!
//! A verb whose delivery is not where it should be changes nothing: the journal may be read again from an earlier
//! place, and what a verb found then is gone.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::net::{DeliveryKey, Due, EventRow, Pending, Tally, Verb};
use super::numbers::{int, millis};
use super::schema::create_segment;
use super::write::{insert_cancelled, insert_dead, insert_pending, take_pending};
use super::{find, query};
use crate::domain::{EventSeq, SubscriptionNumber, Timestamp};
use crate::store::entry::Entry;
use crate::store::record::{Death, Moved, Progress};

impl Verb {
    pub(super) fn apply(self, connection: &Connection, tally: &mut Tally) -> Result<()> {
        match self {
            Self::Move(moved) => relocate(connection, tally, &moved.0, &moved.1),
            Self::Requeue {
                delivery,
                at,
                attempts,
                fresh: true,
            } => requeue(connection, tally, delivery, at, attempts),
            Self::Requeue {
                delivery,
                at,
                fresh: false,
                ..
            } => hasten(connection, delivery, at).map(drop),
            Self::Cancel { delivery, at } => cancel(connection, tally, delivery, at),
            Self::CancelAll {
                subscription,
                upto,
                at,
            } => cancel_all(connection, tally, subscription, upto, at),
        }
    }
}

/// Writes where an event stands now, and lets its deliveries refer to it. Where there are none, the segment that told
/// of them is gone: what was copied with the event is all that is known.
fn relocate(
    connection: &Connection,
    tally: &mut Tally,
    row: &EventRow,
    moved: &Moved,
) -> Result<()> {
    create_segment(connection, row.place.segment)?;
    insert_moved(connection, row)?;
    let deliveries = moved.accepted.deliveries.iter().zip(&moved.progress);
    for ((number, death), progress) in deliveries {
        let dead = death.is_some();
        match replace(connection, *number, row, dead)? {
            None => {
                let key = if moved.accepted.keyed.contains(number) {
                    row.key
                } else {
                    0
                };
                revive(connection, tally, (*number, key), row, *death, progress)?;
            }
            Some(from) => {
                let to = Entry {
                    place: row.place,
                    ..from
                };
                tally.moved(*number, &from, &to, dead);
            }
        }
    }
    Ok(())
}

fn insert_moved(connection: &Connection, row: &EventRow) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO moved VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            int(row.seq.0),
            row.id,
            row.given.map(u64::cast_signed),
            row.event_type.as_str(),
            row.key.cast_signed(),
            millis(row.accepted_at),
            row.place.segment,
            row.place.offset,
            row.place.length,
            row.body_bytes,
            row.subscriptions,
        ])
        .map(drop)
}

/// Lets a delivery refer to another place; what it was, none if there is no such delivery.
fn replace(
    connection: &Connection,
    number: SubscriptionNumber,
    row: &EventRow,
    dead: bool,
) -> Result<Option<Entry>> {
    let (table, columns) = if dead {
        ("dead", query::ENDED_ENTRY)
    } else {
        ("pending", query::ENTRY)
    };
    let key = (number.0, int(row.seq.0));
    let from = connection
        .prepare_cached(&format!(
            "SELECT {columns} FROM {table} WHERE subscription = ?1 AND seq = ?2"
        ))?
        .query_row(key, query::entry)
        .optional()?;
    let place = row.place;
    connection
        .prepare_cached(&format!(
            "UPDATE {table} SET segment = ?3, offset = ?4, length = ?5 WHERE subscription = ?1 AND seq = ?2"
        ))?
        .execute(params![key.0, key.1, place.segment, place.offset, place.length])?;
    Ok(from)
}

/// Writes a delivery of which only the copy is left.
fn revive(
    connection: &Connection,
    tally: &mut Tally,
    (number, key): (SubscriptionNumber, u64),
    row: &EventRow,
    death: Option<Death>,
    progress: &Progress,
) -> Result<()> {
    let entry = Entry {
        seq: row.seq,
        place: row.place,
        body_bytes: row.body_bytes,
        accepted_at: row.accepted_at,
        since: progress.since,
        key,
        attempts: progress.attempts,
        schedule_attempts: progress.schedule_attempts,
    };
    if let Some(death) = death {
        tally.dead(number, &entry, 1, progress.ended_at);
        return insert_dead(connection, number, &entry, death, progress.ended_at);
    }
    tally.began(number, &entry);
    let due = progress.due.map(|(at, pause_ms)| Due { at, pause_ms });
    insert_pending(connection, number, &Pending { entry, due })
}

/// Makes a pending delivery due now; whether it is one that was attempted before.
fn hasten(connection: &Connection, delivery: DeliveryKey, at: Timestamp) -> Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE pending SET due_at = ?3, pause_ms = 0 WHERE subscription = ?1 AND seq = ?2",
        )?
        .execute(params![delivery.0.0, int(delivery.1.0), millis(at)])?;
    Ok(changed > 0)
}

/// Makes a delivery that had ended pending, due now, with a fresh schedule.
fn requeue(
    connection: &Connection,
    tally: &mut Tally,
    delivery: DeliveryKey,
    at: Timestamp,
    attempts: u32,
) -> Result<()> {
    let (number, seq) = delivery;
    if hasten(connection, delivery, at)? {
        return Ok(());
    }
    let found = match take_dead(connection, delivery)? {
        Some(entry) => {
            tally.dead(number, &entry, -1, at);
            Some(entry)
        }
        None => match take_cancelled(connection, delivery)? {
            Some(entry) => Some(entry),
            None => find::event(connection, seq)?,
        },
    };
    let Some(mut entry) = found else {
        return Ok(());
    };
    entry.since = at;
    entry.attempts = attempts;
    entry.schedule_attempts = 0;
    tally.began(number, &entry);
    let due = Some(Due { at, pause_ms: 0 });
    insert_pending(connection, number, &Pending { entry, due })
}

fn cancel(
    connection: &Connection,
    tally: &mut Tally,
    delivery: DeliveryKey,
    at: Timestamp,
) -> Result<()> {
    let (number, seq) = delivery;
    let entry = match take_pending(connection, number, seq.0)? {
        Some(entry) => {
            tally.ended(number, &entry, at);
            entry
        }
        None => match take_dead(connection, delivery)? {
            Some(entry) => {
                tally.dead(number, &entry, -1, at);
                entry
            }
            None => return Ok(()),
        },
    };
    insert_cancelled(connection, number, &entry, at)
}

fn cancel_all(
    connection: &Connection,
    tally: &mut Tally,
    number: SubscriptionNumber,
    upto: EventSeq,
    at: Timestamp,
) -> Result<()> {
    let rows = params![number.0, int(upto.0)];
    let mut pending = connection.prepare_cached(&format!(
        "SELECT {} FROM pending WHERE subscription = ?1 AND seq <= ?2",
        query::ENTRY
    ))?;
    for entry in pending.query_map(rows, query::entry)? {
        let entry = entry?;
        tally.ended(number, &entry, at);
        insert_cancelled(connection, number, &entry, at)?;
    }
    connection.execute(
        "DELETE FROM pending WHERE subscription = ?1 AND seq <= ?2",
        rows,
    )?;
    Ok(())
}

fn take_dead(connection: &Connection, delivery: DeliveryKey) -> Result<Option<Entry>> {
    take(connection, "dead", delivery)
}

fn take_cancelled(connection: &Connection, delivery: DeliveryKey) -> Result<Option<Entry>> {
    take(connection, "cancelled", delivery)
}

/// Takes the row of a delivery that had ended away.
fn take(
    connection: &Connection,
    table: &'static str,
    (number, seq): DeliveryKey,
) -> Result<Option<Entry>> {
    connection
        .prepare_cached(&format!(
            "DELETE FROM {table} WHERE subscription = ?1 AND seq = ?2 RETURNING {}",
            query::ENDED_ENTRY
        ))?
        .query_row(params![number.0, int(seq.0)], query::entry)
        .optional()
}
