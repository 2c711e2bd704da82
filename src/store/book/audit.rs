//! Whether a book agrees with itself: SQLite has no checksums, and a bit that flipped on the disk could hide deliveries
//! from everybody. What is wrong here is written anew from the journal.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result};

use super::schema::CHECKSUM;

/// Whether the rows of pending and dead deliveries are those that were counted when they were written. One pass over them
/// and over each index that deliveries are found by.
pub(super) fn is_sound(connection: &Connection) -> Result<bool> {
    let pending = format!(
        "SELECT subscription, count(*), sum(body_bytes), sum({CHECKSUM}), sum(due_at IS NOT NULL), sum(key != 0)
         FROM pending NOT INDEXED GROUP BY subscription"
    );
    let mut found = BTreeMap::new();
    let (mut due, mut keyed) = (0, 0);
    let mut statement = connection.prepare(&pending)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let counted: [i64; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
        found.insert(row.get::<_, u32>(0)?, counted);
        due += row.get::<_, i64>(4)?;
        keyed += row.get::<_, i64>(5)?;
    }
    let mut dead = counts(
        connection,
        "SELECT subscription, count(*) FROM dead NOT INDEXED GROUP BY 1",
    )?;
    let mut counters = connection
        .prepare("SELECT subscription, pending, pending_bytes, checksum, dead FROM counters")?;
    let mut rows = counters.query([])?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, u32>(0)?;
        let counted: [i64; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
        let fits = found.remove(&number).unwrap_or_default() == counted
            && dead.remove(&number).unwrap_or_default() == row.get::<_, i64>(4)?;
        if !fits {
            return Ok(false);
        }
    }
    let by_due = "SELECT count(*) FROM pending INDEXED BY pending_due WHERE due_at IS NOT NULL";
    let by_key = "SELECT count(*) FROM pending INDEXED BY pending_key WHERE key != 0";
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok(found.is_empty() && dead.is_empty() && count(by_due)? == due && count(by_key)? == keyed)
}

fn counts(connection: &Connection, sql: &str) -> Result<BTreeMap<u32, i64>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
