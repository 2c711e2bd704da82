//! The statements of operations, which change existing rows.
//!
//! An operation whose delivery is not where it should be changes nothing: the journal may be read again from an earlier
//! place, and then the rows that an operation changed the first time are gone.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::net::{DeliveryKey, Due, EventRow, RowOperation, RowState, Tally};
use super::numbers::{int, millis};
use super::schema::ENTRY;
use super::schema::create_segment;
use super::write::{insert, take};
use super::{find, query};
use crate::domain::{DeliveryState, EventSeq, SubscriptionNumber, Timestamp};
use crate::store::entry::Entry;
use crate::store::record::{Death, Moved, Progress};

impl RowOperation {
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

/// Writes the new place of an event, also into its deliveries. Where a delivery has no row, the segment with its
/// records is gone, and the copy that came with the event is the only source.
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
                tally.moved(&from, &to, dead);
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

/// Writes a delivery's new place. Returns its former entry; `None` if there is no such delivery.
fn replace(
    connection: &Connection,
    number: SubscriptionNumber,
    row: &EventRow,
    dead: bool,
) -> Result<Option<Entry>> {
    let state = if dead {
        DeliveryState::Dead
    } else {
        DeliveryState::Pending
    };
    let key = (state.code(), number.0, int(row.seq.0));
    let from = connection
        .prepare_cached(&format!(
            "SELECT {} FROM deliveries WHERE state = ?1 AND subscription = ?2 AND seq = ?3",
            ENTRY
        ))?
        .query_row(key, query::entry)
        .optional()?;
    let place = row.place;
    connection
        .prepare_cached(
            "UPDATE deliveries SET segment = ?4, offset = ?5, length = ?6
             WHERE state = ?1 AND subscription = ?2 AND seq = ?3",
        )?
        .execute(params![
            key.0,
            key.1,
            key.2,
            place.segment,
            place.offset,
            place.length
        ])?;
    Ok(from)
}

/// Writes the row of a delivery of which only the copy is left.
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
        let state = RowState::Dead(death, progress.ended_at);
        return insert(connection, number, &entry, state);
    }
    tally.began(number, &entry);
    let due = progress.due.map(|(at, pause_ms)| Due { at, pause_ms });
    insert(connection, number, &entry, RowState::Pending(due))
}

/// Makes a pending delivery due now. Returns whether it is pending.
fn hasten(connection: &Connection, delivery: DeliveryKey, at: Timestamp) -> Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE deliveries SET due_at = ?3, pause_ms = 0 WHERE state = 0 AND subscription = ?1 AND seq = ?2",
        )?
        .execute(params![delivery.0.0, int(delivery.1.0), millis(at)])?;
    Ok(changed > 0)
}

/// Makes a delivery that had ended pending again, due now, with a fresh schedule.
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
    let found = match take(connection, DeliveryState::Dead, delivery)? {
        Some(entry) => {
            tally.dead(number, &entry, -1, at);
            Some(entry)
        }
        None => match take(connection, DeliveryState::Cancelled, delivery)? {
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
    insert(connection, number, &entry, RowState::Pending(due))
}

fn cancel(
    connection: &Connection,
    tally: &mut Tally,
    delivery: DeliveryKey,
    at: Timestamp,
) -> Result<()> {
    let (number, _) = delivery;
    let entry = match take(connection, DeliveryState::Pending, delivery)? {
        Some(entry) => {
            tally.ended(number, &entry, at);
            entry
        }
        None => match take(connection, DeliveryState::Dead, delivery)? {
            Some(entry) => {
                tally.dead(number, &entry, -1, at);
                entry
            }
            None => return Ok(()),
        },
    };
    insert(connection, number, &entry, RowState::Cancelled(at))
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
        ENTRY
    ))?;
    for entry in pending.query_map(rows, query::entry)? {
        let entry = entry?;
        tally.ended(number, &entry, at);
        insert(connection, number, &entry, RowState::Cancelled(at))?;
    }
    connection.execute(
        "DELETE FROM deliveries WHERE state = 0 AND subscription = ?1 AND seq <= ?2",
        rows,
    )?;
    Ok(())
}
