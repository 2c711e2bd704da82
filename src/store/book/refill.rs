//! What queues ask of the book: pending deliveries that they do not have in memory.
//!
//! The book applies everything the journal has before it answers, so an answer misses nothing that was committed
//! when it was asked for.

use rusqlite::{Connection, Result, params};

use super::numbers::{int, millis, nat, size};
use super::query::{ENTRY, entry, head};
use crate::domain::{EventSeq, SubscriptionNumber, Timestamp};
use crate::store::entry::Entry;

/// Orders deliveries by due time, then by acceptance.
pub(in crate::store) type DueKey = (Timestamp, EventSeq);

/// A question of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Wanted {
    /// Deliveries never attempted that follow this sequence, this many at most.
    Fresh(EventSeq, usize),
    /// Deliveries to be attempted again that follow this key, this many at most.
    Due(DueKey, usize),
    /// What follows in a line whose next delivery is only in the book, this many at most.
    Followers(FollowersWanted, usize),
    /// Dead deliveries that block what follows them, this many at most.
    Blockers(usize),
}

/// The answer.
#[derive(Debug)]
pub(in crate::store) enum Answer {
    Fresh(Refilled),
    Due(DueRefilled),
    Followers(Followers),
    Blockers(Blockers),
}

/// Deliveries never attempted, in order of acceptance.
#[derive(Debug)]
pub(in crate::store) struct Refilled {
    pub(in crate::store) entries: Vec<Entry>,
    /// There was nothing more in the book.
    pub(in crate::store) complete: bool,
    /// The highest sequence that the book knew when it answered.
    pub(in crate::store) upto: EventSeq,
}

/// Deliveries to be attempted again, in the order of their due times.
#[derive(Debug)]
pub(in crate::store) struct DueRefilled {
    pub(in crate::store) entries: Vec<(DueKey, Entry)>,
    /// There was nothing more in the book.
    pub(in crate::store) complete: bool,
}

/// Which part of a line is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct FollowersWanted {
    /// The hash of the key.
    pub(in crate::store) line: u64,
    pub(in crate::store) after: EventSeq,
    pub(in crate::store) upto: EventSeq,
}

/// What follows in a line.
#[derive(Debug)]
pub(in crate::store) struct Followers {
    pub(in crate::store) line: u64,
    pub(in crate::store) entries: Vec<Entry>,
    /// There was nothing more up to where was asked.
    pub(in crate::store) complete: bool,
}

/// The first dead deliveries that block.
#[derive(Debug)]
pub(in crate::store) struct Blockers {
    /// In order of acceptance, with the hashes of their keys.
    pub(in crate::store) dead: Vec<(EventSeq, u64)>,
    /// There were no more.
    pub(in crate::store) complete: bool,
}

/// Answers a queue; with `most` refilled deliveries at most, however many it asked for.
pub(in crate::store) fn answer(
    connection: &Connection,
    number: SubscriptionNumber,
    wanted: Wanted,
    most: usize,
) -> Result<Answer> {
    Ok(match wanted {
        Wanted::Fresh(after, limit) => {
            Answer::Fresh(fresh(connection, number, after, limit.min(most))?)
        }
        Wanted::Due(after, limit) => Answer::Due(due(connection, number, after, limit.min(most))?),
        Wanted::Followers(wanted, limit) => {
            Answer::Followers(followers(connection, number, wanted, limit)?)
        }
        Wanted::Blockers(limit) => {
            let dead = blockers(connection, number, limit)?;
            let complete = dead.len() < limit;
            Answer::Blockers(Blockers { dead, complete })
        }
    })
}

/// Deliveries of a subscription that were never attempted and follow `after`.
pub(super) fn fresh(
    connection: &Connection,
    number: SubscriptionNumber,
    after: EventSeq,
    limit: usize,
) -> Result<Refilled> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {ENTRY} FROM pending
         WHERE subscription = ?1 AND seq > ?2 AND due_at IS NULL ORDER BY seq LIMIT ?3"
    ))?;
    let rows = statement.query_map(params![number.0, int(after.0), size(limit)], entry)?;
    let entries = rows.collect::<Result<Vec<_>>>()?;
    Ok(Refilled {
        complete: entries.len() < limit,
        upto: head(connection)?.last_seq,
        entries,
    })
}

/// Deliveries of a subscription that wait for another attempt and are due after `after`.
pub(super) fn due(
    connection: &Connection,
    number: SubscriptionNumber,
    after: DueKey,
    limit: usize,
) -> Result<DueRefilled> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {ENTRY}, due_at FROM deliveries INDEXED BY deliveries_due
         WHERE subscription = ?1 AND due_at IS NOT NULL AND (due_at, seq) > (?2, ?3)
         ORDER BY due_at, seq LIMIT ?4"
    ))?;
    let (at, seq) = after;
    let parameters = params![number.0, millis(at), int(seq.0), size(limit)];
    let rows = statement.query_map(parameters, |row| {
        let entry = entry(row)?;
        Ok(((Timestamp::from_millis(row.get(10)?), entry.seq), entry))
    })?;
    let entries = rows.collect::<Result<Vec<_>>>()?;
    Ok(DueRefilled {
        complete: entries.len() < limit,
        entries,
    })
}

/// What follows in a line of deliveries that were never attempted.
fn followers(
    connection: &Connection,
    number: SubscriptionNumber,
    wanted: FollowersWanted,
    limit: usize,
) -> Result<Followers> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {ENTRY} FROM deliveries INDEXED BY deliveries_key
         WHERE state = 0 AND subscription = ?1 AND key = ?2 AND key != 0 AND seq > ?3 AND seq <= ?4 AND due_at IS NULL
         ORDER BY seq LIMIT ?5"
    ))?;
    let (after, upto) = (int(wanted.after.0), int(wanted.upto.0));
    let key = wanted.line.cast_signed();
    let parameters = params![number.0, key, after, upto, size(limit)];
    let rows = statement.query_map(parameters, entry)?;
    let entries = rows.collect::<Result<Vec<_>>>()?;
    Ok(Followers {
        line: wanted.line,
        complete: entries.len() < limit,
        entries,
    })
}

/// The first dead deliveries of a subscription that block, with their keys.
pub(in crate::store) fn blockers(
    connection: &Connection,
    number: SubscriptionNumber,
    limit: usize,
) -> Result<Vec<(EventSeq, u64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, key FROM deliveries INDEXED BY deliveries_blocking
         WHERE subscription = ?1 AND blocks ORDER BY seq LIMIT ?2",
    )?;
    let rows = statement.query_map(params![number.0, size(limit)], |row| {
        let key: i64 = row.get(1)?;
        Ok((EventSeq(nat(row.get(0)?)), key.cast_unsigned()))
    })?;
    rows.collect()
}
