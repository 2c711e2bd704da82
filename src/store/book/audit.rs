//! Whether a book agrees with itself: SQLite has no checksums, and a bit that flipped on the disk could hide deliveries
//! from everybody. What is wrong here is written anew from the journal.

use rusqlite::{Connection, OptionalExtension, Result};

use super::schema::CHECKSUM;

/// Whether the rows of pending and dead deliveries are those that were counted when they were written. One pass over them
/// and over the index of due times.
pub(super) fn is_sound(connection: &Connection) -> Result<bool> {
    let wrong = |sql: &str| -> Result<bool> {
        let found = connection.query_row(sql, [], |_| Ok(()));
        Ok(found.optional()?.is_some())
    };
    let pending = format!(
        "SELECT 1 FROM (
             SELECT subscription, count(*) AS n, sum(body_bytes) AS bytes, sum({CHECKSUM}) AS checksum
             FROM pending NOT INDEXED GROUP BY subscription
         ) AS found FULL JOIN counters ON counters.subscription = found.subscription
         WHERE coalesce(n, 0) != coalesce(counters.pending, 0) OR coalesce(bytes, 0) != coalesce(pending_bytes, 0)
         OR coalesce(found.checksum, 0) != coalesce(counters.checksum, 0) LIMIT 1"
    );
    let dead = "SELECT 1 FROM (SELECT subscription, count(*) AS n FROM dead NOT INDEXED GROUP BY subscription) AS found
         FULL JOIN counters ON counters.subscription = found.subscription
         WHERE coalesce(n, 0) != coalesce(counters.dead, 0) LIMIT 1";
    let due =
        "SELECT 1 WHERE (SELECT count(*) FROM pending NOT INDEXED WHERE due_at IS NOT NULL) !=
         (SELECT count(*) FROM pending INDEXED BY pending_due WHERE due_at IS NOT NULL)";
    let keyed = "SELECT 1 WHERE (SELECT count(*) FROM pending NOT INDEXED WHERE key != 0) !=
         (SELECT count(*) FROM pending INDEXED BY pending_key WHERE key != 0)";
    for sql in [pending.as_str(), dead, due, keyed] {
        if wrong(sql)? {
            return Ok(false);
        }
    }
    Ok(true)
}
