//! Whether the index still agrees with itself: damage that SQLite does not notice would otherwise hide or double
//! deliveries.
//!
//! Here the rows are counted and compared with the SQL indexes over them: the columns by which a row is found are right.
//! The others are checked whenever an entry is read, by [`ENTRY`](super::schema::ENTRY): at a start, that would take
//! longer than all else.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result};

use crate::domain::DeliveryState;

/// The SQL indexes of `deliveries`: their names, the rows that they have, and the sum of an entry, which is small, so that
/// many millions can be added up, and which a flipped bit changes: no power of two is a multiple of the prime, and the empty blob that it makes of a 0 is above
/// all numbers.
pub(super) const INDEXES: [(&str, &str, &str); 4] = [
    (
        "deliveries_due",
        "due_at IS NOT NULL",
        "(state + (state >= '') + subscription * 2 + seq * 3 + due_at * 4) % 1073741789",
    ),
    (
        "deliveries_segment",
        "1",
        "(state + (state >= '') + subscription * 2 + seq * 3 + segment * 4) % 1073741789",
    ),
    (
        "deliveries_key",
        "state < 1 AND key != 0",
        "(state + (state >= '') + subscription * 2 + seq * 3 + key % 1073741789 * 4) % 1073741789",
    ),
    (
        "deliveries_blocking",
        "blocks",
        "(state + (state >= '') + subscription * 2 + seq * 3) % 1073741789",
    ),
];

/// Whether the rows of deliveries match the counters that were kept as they were written, and the SQL indexes the rows.
/// Makes one pass over the rows and over each of these indexes.
pub(super) fn is_sound(connection: &Connection) -> Result<bool> {
    let sums: String = INDEXES
        .iter()
        .map(|(_, rows, sum)| format!(", sum(iif({rows}, {sum}, 0))"))
        .collect();
    let rows = format!(
        "SELECT state, subscription, count(*), sum(body_bytes) {sums}
         FROM deliveries NOT INDEXED GROUP BY state, subscription"
    );
    let (mut pending, mut dead) = (BTreeMap::new(), BTreeMap::new());
    let mut expected = [0_i64; INDEXES.len()];
    let mut statement = connection.prepare(&rows)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, u32>(1)?;
        match DeliveryState::from_code(row.get(0)?) {
            Some(DeliveryState::Pending) => {
                pending.insert(number, [row.get::<_, i64>(2)?, row.get(3)?]);
            }
            Some(DeliveryState::Dead) => drop(dead.insert(number, row.get::<_, i64>(2)?)),
            Some(DeliveryState::Cancelled) => {}
            Some(DeliveryState::Delivered) | None => return Ok(false),
        }
        for (sum, column) in expected.iter_mut().zip(4..) {
            *sum = sum.wrapping_add(row.get(column)?);
        }
    }
    let mut counters =
        connection.prepare("SELECT subscription, pending, pending_bytes, dead FROM counters")?;
    let mut rows = counters.query([])?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, u32>(0)?;
        let counted = [row.get::<_, i64>(1)?, row.get(2)?];
        let fits = pending.remove(&number).unwrap_or_default() == counted
            && dead.remove(&number).unwrap_or_default() == row.get::<_, i64>(3)?;
        if !fits {
            return Ok(false);
        }
    }
    if !pending.is_empty() || !dead.is_empty() {
        return Ok(false);
    }
    for ((index, rows, sum), expected) in INDEXES.iter().zip(expected) {
        let sum = format!(
            "SELECT coalesce(sum({sum}), 0) FROM deliveries INDEXED BY {index} WHERE {rows}"
        );
        if connection.query_row(&sum, [], |row| row.get::<_, i64>(0))? != expected {
            return Ok(false);
        }
    }
    Ok(true)
}
