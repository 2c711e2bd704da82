//! Segments of the journal in the index: whether one can be dropped, what of it is still needed, and forgetting it.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::numbers::{int, millis, nat};
use super::query::entry;
use super::schema::ENTRY;
use super::schema::create_segment;
use crate::domain::{DeadReason, EventSeq, SubscriptionNumber, Timestamp};
use crate::store::journal::Place;
use crate::store::record::{Death, Progress};

/// Deliveries that are needed although their segment is dropped: pending ones, and those that died since `?2`.
const LIVE: &str = "state IN (0, 2) AND (state = 0 OR ended_at >= ?2 AND reason != 6)";

// In the statements below: deliveries that died because their event cannot be read (reason 6) are not kept beyond
// their segment, as there is nothing to copy or to replay.
const _: () = assert!(DeadReason::Unreadable.code() == 6);

/// The state of a segment, according to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store) struct SegmentState {
    /// Pending deliveries whose event is in it.
    pub(in crate::store) pending: u64,
    /// Dead deliveries that are not old enough to be forgotten.
    pub(in crate::store) dead: u64,
    /// Bytes of the events of these two, each event once.
    pub(in crate::store) live_bytes: u64,
    /// When the last of its other deliveries ended; `None` if there never was one.
    pub(in crate::store) ended_at: Option<Timestamp>,
    /// When the last of its events was accepted.
    pub(in crate::store) accepted_at: Option<Timestamp>,
    /// When the last of its events with a given id was accepted.
    pub(in crate::store) given_at: Option<Timestamp>,
}

/// The part of a segment that is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Needed {
    pub(in crate::store) bytes: EventBytes,
    /// Number of pending and of dead deliveries when the bytes were counted.
    counts: (u64, u64),
}

/// Bytes of the events of a segment, each once. On the disk they take more, as groups may begin on blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store) struct EventBytes {
    /// Of events with a pending delivery.
    pub(in crate::store) pending: u64,
    /// Of events with a pending delivery or a dead letter.
    pub(in crate::store) live: u64,
    /// Of all events.
    pub(in crate::store) all: u64,
}

/// A delivery that is needed although its segment is dropped.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Live {
    pub(in crate::store) number: SubscriptionNumber,
    pub(in crate::store) seq: EventSeq,
    pub(in crate::store) place: Place,
    pub(in crate::store) death: Option<Death>,
    /// Whether it is ordered by its key.
    pub(in crate::store) is_keyed: bool,
    pub(in crate::store) progress: Progress,
}

/// A dead letter that was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Forgotten {
    pub(in crate::store) number: SubscriptionNumber,
    pub(in crate::store) key: u64,
    pub(in crate::store) seq: EventSeq,
}

/// Returns the state of a segment. Dead letters from before `dead_since` do not count.
pub(in crate::store) fn state(
    connection: &Connection,
    segment: u32,
    dead_since: Timestamp,
) -> Result<SegmentState> {
    let known: Option<(i64, i64)> = connection
        .prepare_cached("SELECT pending, ended_at FROM segments WHERE segment = ?1")?
        .query_row([segment], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((pending, ended_at)) = known else {
        return Ok(SegmentState::default());
    };
    let since = millis(dead_since);
    let dead: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM deliveries INDEXED BY deliveries_segment
             WHERE state = 2 AND segment = ?1 AND ended_at >= ?2 AND reason != 6",
        )?
        .query_row(params![segment, since], |row| row.get(0))?;
    let live_bytes = bytes(connection, segment, dead_since)?.live;
    let last_of = |which: &str| {
        let sql =
            format!("SELECT accepted_at FROM events_{segment} {which} ORDER BY seq DESC LIMIT 1");
        let at: Option<i64> = connection
            .query_row(&sql, [], |row| row.get(0))
            .optional()?;
        Ok::<_, rusqlite::Error>(at.map(Timestamp::from_millis))
    };
    Ok(SegmentState {
        pending: nat(pending),
        dead: nat(dead),
        live_bytes,
        ended_at: (ended_at > i64::MIN).then(|| Timestamp::from_millis(ended_at)),
        accepted_at: last_of("")?,
        given_at: last_of("WHERE given IS NOT NULL")?,
    })
}

/// Returns the needed part of each segment. A segment with as many pending and dead deliveries as in `known` is not
/// counted again, as that may take long; after replays its bytes can be slightly off.
pub(in crate::store) fn needed(
    connection: &Connection,
    known: &HashMap<u32, Needed>,
    dead_since: Timestamp,
) -> Result<HashMap<u32, Needed>> {
    let mut segments = connection.prepare_cached(
        "SELECT segment, pending, dead FROM segments WHERE pending > 0 OR dead > 0",
    )?;
    let counts = segments.query_map([], |row| {
        Ok((row.get(0)?, (nat(row.get(1)?), nat(row.get(2)?))))
    })?;
    let needed = counts.map(|found| {
        let (segment, counts) = found?;
        let known = known.get(&segment).filter(|known| known.counts == counts);
        let needed = match known {
            Some(known) => *known,
            None => {
                let bytes = bytes(connection, segment, dead_since)?;
                Needed { bytes, counts }
            }
        };
        Ok((segment, needed))
    });
    needed.collect()
}

/// Returns the bytes of a segment's events. Dead letters from before `dead_since` do not count as live.
///
/// A few events can have millions of deliveries: these are read from an SQL index only, and nothing is sorted.
fn bytes(connection: &Connection, segment: u32, dead_since: Timestamp) -> Result<EventBytes> {
    let pending: HashSet<i64> = connection
        .prepare_cached("SELECT seq FROM pending WHERE segment = ?1")?
        .query_map([segment], |row| row.get(0))?
        .collect::<Result<_>>()?;
    let dead: HashSet<i64> = connection
        .prepare_cached(
            "SELECT seq FROM deliveries INDEXED BY deliveries_segment
             WHERE state = 2 AND segment = ?1 AND ended_at >= ?2 AND reason != 6",
        )?
        .query_map(params![segment, millis(dead_since)], |row| row.get(0))?
        .collect::<Result<_>>()?;
    create_segment(connection, segment)?;
    let mut lengths = connection.prepare(&format!(
        "SELECT seq, length FROM events_{segment} UNION ALL SELECT seq, length FROM moved WHERE segment = ?1"
    ))?;
    let mut rows = lengths.query([segment])?;
    let mut bytes = EventBytes::default();
    while let Some(row) = rows.next()? {
        let (seq, length) = (row.get(0)?, nat(row.get(1)?));
        let is_pending = pending.contains(&seq);
        let is_live = is_pending || dead.contains(&seq);
        bytes.all += length;
        bytes.live += if is_live { length } else { 0 };
        bytes.pending += if is_pending { length } else { 0 };
    }
    Ok(bytes)
}

/// Returns the next `limit` deliveries of a segment that are pending or died since `dead_since`, in the order of
/// events; of the last event all of them.
pub(in crate::store) fn live(
    connection: &Connection,
    segment: u32,
    dead_since: Timestamp,
    after: EventSeq,
    limit: usize,
) -> Result<Vec<Live>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (since, after) = (millis(dead_since), int(after.0));
    // Pending deliveries, which may be millions, are read from the SQL index only.
    let rows =
        "SELECT seq FROM deliveries INDEXED BY deliveries_segment WHERE segment = ?1 AND seq > ?3";
    let upto: Option<i64> = connection
        .prepare_cached(&format!(
            "SELECT max(seq) FROM ({rows} AND state = 0
             UNION ALL {rows} AND state = 2 AND ended_at >= ?2 AND reason != 6 ORDER BY 1 LIMIT ?4)"
        ))?
        .query_row(params![segment, since, after, limit], |row| row.get(0))?;
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {ENTRY}, subscription, due_at, pause_ms, reason, blocks, coalesce(ended_at, accepted_at)
         FROM deliveries INDEXED BY deliveries_segment
         WHERE segment = ?1 AND seq > ?3 AND seq <= ?4 AND {LIVE} ORDER BY seq, subscription"
    ))?;
    let parameters = params![segment, since, after, upto.unwrap_or(after)];
    let rows = statement.query_map(parameters, live_row)?;
    rows.collect()
}

fn live_row(row: &Row<'_>) -> Result<Live> {
    let entry = entry(row)?;
    let due_at = row.get::<_, Option<i64>>(11)?.map(Timestamp::from_millis);
    let reason = row
        .get::<_, Option<u8>>(13)?
        .and_then(DeadReason::from_code);
    let blocks = row.get(14)?;
    Ok(Live {
        number: SubscriptionNumber(row.get(10)?),
        seq: entry.seq,
        place: entry.place,
        is_keyed: entry.key != 0,
        death: reason.map(|reason| Death { reason, blocks }),
        progress: Progress {
            attempts: entry.attempts,
            schedule_attempts: entry.schedule_attempts,
            since: entry.since,
            due: due_at.zip(row.get(12)?),
            ended_at: Timestamp::from_millis(row.get(15)?),
        },
    })
}

/// Forgets a segment, with the dead letters whose events are in it, unless it has pending deliveries or some that died
/// since `dead_since`: both may have appeared while others were copied. Returns the dead letters, `None` if the segment
/// has to stay.
pub(in crate::store) fn forget(
    connection: &Connection,
    segment: u32,
    dead_since: Timestamp,
) -> Result<Option<Vec<Forgotten>>> {
    let transaction = connection.unchecked_transaction()?;
    let needed = transaction
        .prepare_cached(&format!(
            "SELECT 1 FROM deliveries INDEXED BY deliveries_segment WHERE segment = ?1 AND {LIVE} LIMIT 1"
        ))?
        .exists(params![segment, millis(dead_since)])?;
    if needed {
        return Ok(None);
    }
    let forgotten = {
        let mut dead = transaction.prepare_cached(
            "DELETE FROM deliveries WHERE state = 2 AND segment = ?1 RETURNING subscription, key, seq",
        )?;
        let rows = dead.query_map([segment], |row| {
            let key: i64 = row.get(1)?;
            Ok(Forgotten {
                number: SubscriptionNumber(row.get(0)?),
                key: key.cast_unsigned(),
                seq: EventSeq(nat(row.get(2)?)),
            })
        })?;
        rows.collect::<Result<Vec<_>>>()?
    };
    for dead in &forgotten {
        transaction
            .prepare_cached("UPDATE counters SET dead = dead - 1 WHERE subscription = ?1")?
            .execute([dead.number.0])?;
    }
    for rows in [
        "deliveries WHERE state = 3 AND",
        "moved WHERE",
        "segments WHERE",
    ] {
        let sql = format!("DELETE FROM {rows} segment = ?1");
        transaction.execute(&sql, [segment])?;
    }
    transaction.execute_batch(&format!(
        "DROP TABLE IF EXISTS events_{segment}; DROP TABLE IF EXISTS attempts_{segment};"
    ))?;
    transaction.commit()?;
    Ok(Some(forgotten))
}
