//! The range of sequences of the events in a span of time.
//!
//! Events are accepted nearly in the order of time, but not quite: a clock can be set back. So the range is taken from
//! the bounds of each segment, and from the events that were copied from dropped segments.

use std::ops::Range;

use rusqlite::{Connection, Result};

use super::numbers::nat;
use super::rows::Span;
use crate::domain::EventSeq;

/// Returns the sequences that events of a span may have; empty if there are none.
pub(in crate::store) fn reach(connection: &Connection, span: Span) -> Result<Range<EventSeq>> {
    let (since, until) = span.bounds();
    let start = match span.since {
        None => 0,
        Some(_) => {
            let sql = "SELECT min(seq) FROM (SELECT min(first_seq) AS seq FROM segments WHERE accepted_to >= ?1
                       UNION ALL SELECT min(seq) FROM moved WHERE accepted_at >= ?1)";
            let found: Option<i64> = connection.query_row(sql, [since], |row| row.get(0))?;
            found.map_or(u64::MAX, nat)
        }
    };
    let end = match span.until {
        None => u64::MAX,
        Some(_) => {
            let sql = "SELECT max(seq) FROM (SELECT max(last_seq) AS seq FROM segments WHERE accepted_from < ?1
                       UNION ALL SELECT max(seq) FROM moved WHERE accepted_at < ?1)";
            let found: Option<i64> = connection.query_row(sql, [until], |row| row.get(0))?;
            found.map_or(0, |last| nat(last).saturating_add(1))
        }
    };
    Ok(EventSeq(start)..EventSeq(end))
}
