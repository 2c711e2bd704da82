//! Questions of queues to the index: pending deliveries that they do not have in memory, and dead ones that block.
//!
//! The index applies everything committed before it answers, so an answer misses nothing that was committed
//! when it was asked for.

use rusqlite::{Connection, Result, Row, params_from_iter};

use super::numbers::{int, millis, size};
use super::query::{entry, head};
use super::schema::ENTRY;
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
    /// Deliveries of a line whose next delivery is only in the index, this many at most.
    Followers(FollowersWanted, usize),
    /// Dead deliveries that block later ones, this many at most.
    Blockers(usize),
}

/// The answer.
#[derive(Debug)]
pub(in crate::store) enum Answer {
    /// In order of acceptance, with the highest sequence that the index had applied when it answered.
    Fresh(Page, EventSeq),
    /// In the order of their due times.
    Due(Page<(DueKey, Entry)>),
    /// Of this line, in order of acceptance.
    Followers(u64, Page),
    /// Dead ones, in order of acceptance.
    Blockers(Page),
}

/// Deliveries that were found.
#[derive(Debug)]
pub(in crate::store) struct Page<T = Entry> {
    pub(in crate::store) entries: Vec<T>,
    /// Whether there was nothing more in the index.
    pub(in crate::store) complete: bool,
}

/// The part of a line that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct FollowersWanted {
    /// The hash of the key.
    pub(in crate::store) line: u64,
    pub(in crate::store) after: EventSeq,
    pub(in crate::store) upto: EventSeq,
}

/// Answers a question of a queue, with `most` deliveries at most, however many it asked for.
pub(in crate::store) fn answer(
    connection: &Connection,
    number: SubscriptionNumber,
    wanted: Wanted,
    most: usize,
) -> Result<Answer> {
    Ok(match wanted {
        Wanted::Fresh(after, limit) => {
            let page = fresh(connection, number, after, limit.min(most))?;
            Answer::Fresh(page, head(connection)?.last_seq)
        }
        Wanted::Due(after, limit) => Answer::Due(due(connection, number, after, limit.min(most))?),
        Wanted::Followers(wanted, limit) => {
            let page = followers(connection, number, wanted, limit)?;
            Answer::Followers(wanted.line, page)
        }
        Wanted::Blockers(limit) => Answer::Blockers(blockers(connection, number, limit)?),
    })
}

/// Returns the rows of `sql`, whose last parameter is `limit`.
fn page<T>(
    connection: &Connection,
    sql: &str,
    (parameters, limit): (&[i64], usize),
    read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Page<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let parameters = parameters.iter().copied().chain([size(limit)]);
    let rows = statement.query_map(params_from_iter(parameters), read)?;
    let entries = rows.collect::<Result<Vec<_>>>()?;
    Ok(Page {
        complete: entries.len() < limit,
        entries,
    })
}

/// Returns deliveries of a subscription that were never attempted and follow `after`.
fn fresh(
    connection: &Connection,
    number: SubscriptionNumber,
    after: EventSeq,
    limit: usize,
) -> Result<Page> {
    let sql = format!(
        "SELECT {ENTRY} FROM pending
         WHERE subscription = ?1 AND seq > ?2 AND due_at IS NULL ORDER BY seq LIMIT ?3"
    );
    let parameters = [number.0.into(), int(after.0)];
    page(connection, &sql, (&parameters, limit), entry)
}

/// Returns deliveries of a subscription that wait for another attempt and follow `after` in the order of due times.
fn due(
    connection: &Connection,
    number: SubscriptionNumber,
    (at, seq): DueKey,
    limit: usize,
) -> Result<Page<(DueKey, Entry)>> {
    let sql = format!(
        "SELECT {ENTRY}, due_at FROM deliveries INDEXED BY deliveries_due
         WHERE subscription = ?1 AND due_at IS NOT NULL AND (due_at, seq) > (?2, ?3)
         ORDER BY due_at, seq LIMIT ?4"
    );
    let parameters = [number.0.into(), millis(at), int(seq.0)];
    page(connection, &sql, (&parameters, limit), |row| {
        let entry = entry(row)?;
        Ok(((Timestamp::from_millis(row.get(10)?), entry.seq), entry))
    })
}

/// Returns deliveries of a line that were never attempted.
fn followers(
    connection: &Connection,
    number: SubscriptionNumber,
    wanted: FollowersWanted,
    limit: usize,
) -> Result<Page> {
    let sql = format!(
        "SELECT {ENTRY} FROM deliveries INDEXED BY deliveries_key
         WHERE state < 1 AND subscription = ?1 AND key = ?2 AND key != 0 AND seq > ?3 AND seq <= ?4
         AND due_at IS NULL ORDER BY seq LIMIT ?5"
    );
    let (after, upto) = (int(wanted.after.0), int(wanted.upto.0));
    let parameters = [number.0.into(), wanted.line.cast_signed(), after, upto];
    page(connection, &sql, (&parameters, limit), entry)
}

/// Returns the first dead deliveries of a subscription that block.
pub(in crate::store) fn blockers(
    connection: &Connection,
    number: SubscriptionNumber,
    limit: usize,
) -> Result<Page> {
    let sql = format!(
        "SELECT {ENTRY} FROM deliveries INDEXED BY deliveries_blocking
         WHERE subscription = ?1 AND blocks ORDER BY seq LIMIT ?2"
    );
    page(connection, &sql, (&[number.0.into()], limit), entry)
}
