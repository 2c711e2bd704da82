//! Deliveries that have ended or wait for a retry, oldest first, for bulk replays.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::find;
use super::numbers::{int, nat};
use super::query::entry;
use super::rows::{self, Span};
use super::schema::ENTRY;
use crate::domain::{DeliveryState, EventSeq, Pattern, SubscriptionNumber};
use crate::store::entry::Entry;

/// Rows that one call reads, at most: the index's thread has other work, too.
const ROWS_MAX: u32 = 5_000;

/// The filter of deliveries.
#[derive(Debug, Clone)]
pub(in crate::store) struct EndedWanted {
    pub(in crate::store) number: SubscriptionNumber,
    /// Of pending deliveries, only those that wait for a retry.
    pub(in crate::store) state: DeliveryState,
    /// When their events were accepted.
    pub(in crate::store) span: Span,
    /// Only events whose type this matches.
    pub(in crate::store) event_type: Option<Pattern>,
    /// The last event that is read.
    pub(in crate::store) upto: EventSeq,
}

/// The deliveries that were found.
#[derive(Debug)]
pub(in crate::store) struct Ended {
    pub(in crate::store) entries: Vec<Entry>,
    /// All events up to this one have been read.
    pub(in crate::store) upto: EventSeq,
}

/// Returns wanted deliveries that follow `after`, `most` at most, out of a bounded number of rows. The attempts of
/// delivered ones are not counted.
pub(in crate::store) fn ended(
    connection: &Connection,
    wanted: &EndedWanted,
    after: EventSeq,
    most: usize,
) -> Result<Ended> {
    match wanted.state {
        DeliveryState::Delivered => delivered(connection, wanted, after, most),
        DeliveryState::Pending | DeliveryState::Dead | DeliveryState::Cancelled => {
            with_rows(connection, wanted, after, most)
        }
    }
}

fn with_rows(
    connection: &Connection,
    wanted: &EndedWanted,
    after: EventSeq,
    most: usize,
) -> Result<Ended> {
    // Pending deliveries that wait for no retry count as rows, too: a backlog has millions of them.
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {ENTRY}, state != 0 OR due_at IS NOT NULL FROM deliveries
         WHERE state = ?1 AND subscription = ?2 AND seq > ?3 AND seq <= ?4 ORDER BY seq LIMIT ?5"
    ))?;
    let (after, upto) = (int(after.0), int(wanted.upto.0));
    let key = params![wanted.state.code(), wanted.number.0, after, upto, ROWS_MAX];
    let mut entries = Vec::new();
    let mut last = None;
    let mut seen = 0;
    for row in statement.query_map(key, |row| Ok((entry(row)?, row.get(10)?)))? {
        let (entry, is_wanted): (_, bool) = row?;
        seen += 1;
        last = Some(entry.seq);
        if is_wanted
            && wanted.span.has(entry.accepted_at)
            && has_type(connection, wanted, entry.seq)?
        {
            entries.push(entry);
            if entries.len() >= most {
                break;
            }
        }
    }
    let all = seen < ROWS_MAX && entries.len() < most;
    Ok(Ended {
        entries,
        upto: last.filter(|_| !all).unwrap_or(wanted.upto),
    })
}

fn has_type(connection: &Connection, wanted: &EndedWanted, seq: EventSeq) -> Result<bool> {
    let Some(event_type) = &wanted.event_type else {
        return Ok(true);
    };
    let event = find::event_row(connection, seq)?;
    Ok(event.is_some_and(|event| event_type.matches(event.event_type.as_str())))
}

/// Delivered deliveries have no rows of their own: reads the events of one segment instead.
fn delivered(
    connection: &Connection,
    wanted: &EndedWanted,
    after: EventSeq,
    most: usize,
) -> Result<Ended> {
    let segment: Option<(u32, u64)> = connection
        .prepare_cached(
            "SELECT segment, last_seq FROM segments WHERE last_seq > ?1 ORDER BY first_seq LIMIT 1",
        )?
        .query_row([int(after.0)], |row| Ok((row.get(0)?, nat(row.get(1)?))))
        .optional()?;
    let Some((segment, last)) = segment else {
        return Ok(Ended {
            entries: Vec::new(),
            upto: wanted.upto,
        });
    };
    let mut upto = EventSeq(last).min(wanted.upto);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM events_{segment} WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
        rows::event_columns(segment)
    ))?;
    let mut entries = Vec::new();
    let mut seen = 0;
    let key = params![int(after.0), int(upto.0), ROWS_MAX];
    for row in statement.query_map(key, rows::event_row)? {
        let event = row?;
        seen += 1;
        let fits = wanted.span.has(event.accepted_at)
            && wanted
                .event_type
                .as_ref()
                .is_none_or(|wanted| wanted.matches(event.event_type.as_str()))
            && event.subscriptions().contains(&wanted.number)
            && rows::delivery_row(connection, wanted.number, event.seq)?.is_none();
        if fits {
            entries.extend(find::event(connection, event.seq)?);
        }
        if entries.len() >= most || seen >= ROWS_MAX {
            upto = event.seq;
            break;
        }
    }
    Ok(Ended { entries, upto })
}

/// Sets the number of attempts of delivered deliveries, which have no row that contains it.
pub(in crate::store) fn count_attempts(
    connection: &Connection,
    number: SubscriptionNumber,
    entries: &mut [Entry],
) -> Result<()> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Ok(());
    };
    let key = params![number.0, int(first.seq.0), int(last.seq.0)];
    let mut made: HashMap<u64, u32> = HashMap::new();
    for segment in rows::segments(connection)? {
        // Without this the planner takes the index by subscription, and reads all of its attempts.
        let index = if rows::is_sealed(connection, segment)? {
            format!("INDEXED BY attempts_{segment}_delivery")
        } else {
            String::new()
        };
        let mut statement = connection.prepare_cached(&format!(
            "SELECT seq, max(n) FROM attempts_{segment} {index} WHERE subscription = ?1 AND seq BETWEEN ?2 AND ?3
             GROUP BY seq"
        ))?;
        let found = statement.query_map(key, |row| Ok((nat(row.get(0)?), row.get(1)?)))?;
        for row in found {
            let (seq, last): (u64, u32) = row?;
            let made = made.entry(seq).or_insert(0);
            *made = last.max(*made);
        }
    }
    for entry in entries {
        entry.attempts = made.get(&entry.seq.0).copied().unwrap_or(0);
    }
    Ok(())
}
