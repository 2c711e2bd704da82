//! The book's tables. Version 1.
//!
//! | table | key | holds |
//! |---|---|---|
//! | `book` | one row | the cursor into the journal, the last sequence and time applied, the key of given-id hashes |
//! | `subscriptions` | number | name, run-time state (`stops`: pairs of 8-byte little-endian milliseconds) |
//! | `counters` | subscription | pending deliveries, bytes of their bodies, dead letters |
//! | `pending` | subscription, seq | a pending delivery: place of its event, attempts, when it is due again |
//! | `dead` | subscription, seq | a dead letter |
//! | `segments` | segment | the first and last sequence of its events |
//! | `events_<segment>` | seq | an event of that segment; `subscriptions`: 4-byte little-endian numbers |
//! | `attempts_<segment>` | rowid | an attempt recorded in that segment, in order |
//!
//! Times are milliseconds since the Unix epoch. The tables with a segment's number go as a whole when their segment
//! goes; nothing else of the book grows with history but `dead`.

use rusqlite::{Connection, Result};

/// The version of these tables, as `user_version`. A book of another version is rebuilt.
pub(super) const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE book (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    segment INTEGER NOT NULL, offset INTEGER NOT NULL,
    last_seq INTEGER NOT NULL, last_time INTEGER NOT NULL, dedup_key BLOB NOT NULL
);
CREATE TABLE subscriptions (
    number INTEGER PRIMARY KEY, name TEXT,
    consecutive_failures INTEGER NOT NULL DEFAULT 0, held_since INTEGER, stops BLOB NOT NULL DEFAULT x''
);
CREATE TABLE counters (
    subscription INTEGER PRIMARY KEY,
    pending INTEGER NOT NULL, pending_bytes INTEGER NOT NULL, dead INTEGER NOT NULL
);
CREATE TABLE pending (
    subscription INTEGER NOT NULL, seq INTEGER NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL, accepted_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL, schedule_attempts INTEGER NOT NULL,
    due_at INTEGER, pause_ms INTEGER,
    PRIMARY KEY (subscription, seq)
) WITHOUT ROWID;
CREATE INDEX pending_due ON pending (subscription, due_at, seq) WHERE due_at IS NOT NULL;
CREATE TABLE dead (
    subscription INTEGER NOT NULL, seq INTEGER NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL, accepted_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL, reason INTEGER NOT NULL, dead_at INTEGER NOT NULL,
    PRIMARY KEY (subscription, seq)
) WITHOUT ROWID;
CREATE TABLE segments (
    segment INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL
);
CREATE INDEX segments_first_seq ON segments (first_seq);
";

/// Makes the tables of a new book.
pub(super) fn create(connection: &Connection, dedup_key: [u8; 16]) -> Result<()> {
    connection.execute_batch(TABLES)?;
    connection.execute(
        "INSERT INTO book VALUES (0, 0, 0, 0, 0, ?1)",
        [dedup_key.as_slice()],
    )?;
    connection.pragma_update(None, "user_version", VERSION)
}

/// Makes the tables of a segment unless they are there.
pub(super) fn create_segment(connection: &Connection, segment: u32) -> Result<()> {
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS events_{segment} (
            seq INTEGER PRIMARY KEY, id BLOB NOT NULL, given INTEGER, type TEXT NOT NULL,
            accepted_at INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
            subscriptions BLOB NOT NULL
        );
        CREATE TABLE IF NOT EXISTS attempts_{segment} (
            seq INTEGER NOT NULL, subscription INTEGER NOT NULL, n INTEGER NOT NULL,
            status INTEGER NOT NULL, reason INTEGER, code INTEGER, error TEXT,
            duration_ms INTEGER NOT NULL, started_at INTEGER NOT NULL, response BLOB
        );"
    ))
}

/// How a connection is set up: readers beside the writer, synced by checkpoints only, since what a power cut takes
/// from the book is read from the journal again.
pub(super) fn configure(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000;
         PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}
