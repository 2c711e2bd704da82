//! The statements of verbs: what changes rows that exist.
//!
//! A verb whose delivery is not where it should be changes nothing: the journal may be read again from an earlier
//! place, and what a verb found then is gone.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::apply::{DeliveryKey, Due, Pending, Tally};
use super::write::{insert_cancelled, insert_pending, take_pending};
use super::{find, int, millis, query};
use crate::domain::{EventSeq, SubscriptionNumber, Timestamp};
use crate::store::queue::Entry;

/// A change of rows.
#[derive(Debug)]
pub(super) enum Verb {
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

impl Verb {
    pub(super) fn apply(self, connection: &Connection, tally: &mut Tally) -> Result<()> {
        match self {
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
