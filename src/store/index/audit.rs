//! Checks that an index is consistent in itself: SQLite has no checksums, and a bit that flipped on the disk could hide
//! deliveries. An index that fails the check is rebuilt from the journal.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result};

use super::schema::CHECKSUM;
use crate::domain::DeliveryState;

/// The term that an entry of the index of due times adds to its checksum: small, so that a sum over many millions fits.
const DUE: &str = "due_at / 1024 % 1073741824 + due_at % 1024 * 1048576 + seq % 1048576 + subscription % 1024 + 1";
/// The same for the index of keys.
const KEYED: &str = "abs(key % 1073741789) + seq % 1048576 + subscription % 1024 + 1";

/// Whether the rows of pending and dead deliveries match the counters that were kept as they were written. Makes one
/// pass over the rows and over the SQL indexes of due times and keys.
pub(super) fn is_sound(connection: &Connection) -> Result<bool> {
    let rows = format!(
        "SELECT state, subscription, count(*), sum(body_bytes), sum({CHECKSUM}),
         coalesce(sum(iif(due_at IS NULL, 0, {DUE})), 0), coalesce(sum(iif(key = 0, 0, {KEYED})), 0)
         FROM deliveries NOT INDEXED GROUP BY state, subscription"
    );
    let (mut pending, mut dead) = (BTreeMap::new(), BTreeMap::new());
    let (mut due, mut keyed) = (0_i64, 0_i64);
    let mut statement = connection.prepare(&rows)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, u32>(1)?;
        match DeliveryState::from_code(row.get(0)?) {
            Some(DeliveryState::Pending) => {
                let counted: [i64; 3] = [row.get(2)?, row.get(3)?, row.get(4)?];
                pending.insert(number, counted);
                due = due.wrapping_add(row.get(5)?);
                keyed = keyed.wrapping_add(row.get(6)?);
            }
            Some(DeliveryState::Dead) => drop(dead.insert(number, row.get::<_, i64>(2)?)),
            Some(DeliveryState::Cancelled) => {}
            Some(DeliveryState::Delivered) | None => return Ok(false),
        }
    }
    let mut counters = connection
        .prepare("SELECT subscription, pending, pending_bytes, checksum, dead FROM counters")?;
    let mut rows = counters.query([])?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, u32>(0)?;
        let counted: [i64; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
        let fits = pending.remove(&number).unwrap_or_default() == counted
            && dead.remove(&number).unwrap_or_default() == row.get::<_, i64>(4)?;
        if !fits {
            return Ok(false);
        }
    }
    let sum = |what: &str, index: &str, rows: &str| {
        let sql = format!(
            "SELECT coalesce(sum({what}), 0) FROM deliveries INDEXED BY {index} WHERE {rows}"
        );
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    Ok(pending.is_empty()
        && dead.is_empty()
        && sum(DUE, "deliveries_due", "due_at IS NOT NULL")? == due
        && sum(KEYED, "deliveries_key", "state = 0 AND key != 0")? == keyed)
}
