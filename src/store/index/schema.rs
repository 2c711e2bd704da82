//! The index's tables. Version 7.
//!
//! | table | key | holds |
//! |---|---|---|
//! | `head` | one row | the cursor into the journal, the last sequence and time applied, the key of hashes |
//! | `subscriptions` | number | name, run-time state as the journal writes it |
//! | `counters` | subscription | pending deliveries, bytes of their bodies, dead letters |
//! | `deliveries` | state, subscription, seq | a delivery that is pending (0), dead (2) or cancelled (3): place of its event, attempts; when it is due again; why it is dead, and whether what follows it in order waits for it; a checksum of all these |
//! | `moved` | seq | an event whose first segment is gone, or is about to go |
//! | `jobs` | id | a bulk replay, as `replays/job.rs` writes it |
//! | `tallies` | subscription | the results of its attempts, in the format of [`tallies`](super::tallies) |
//! | `segments` | segment | the first and last sequence of its events, how many of their deliveries are pending and dead, when the last ended, when the first and last of its events were accepted, and of its attempts began |
//! | `events_<segment>` | seq | an event of that segment; `subscriptions`: 4-byte little-endian numbers |
//! | `attempts_<segment>` | rowid | an attempt recorded in that segment, in order; `due_at`: when its delivery was due again after it |
//!
//! The views `pending`, `dead` and `cancelled` show the deliveries of one state; delivered ones have no row. Times
//! are milliseconds since the Unix epoch. `key` is a hash of the event's key, 0 if it has none. The tables with a
//! segment's number get their indexes when the segment is sealed, and are dropped with it.

use rusqlite::{Connection, Result};

use crate::domain::DeliveryState;

/// The version of these tables, as `user_version`. An index of another version is rebuilt.
pub(super) const VERSION: i64 = 7;

// The states in the statements of this folder; a delivery is due only while it is pending, and blocks only while it is
// dead.
const _: () = assert!(
    DeliveryState::Pending.code() == 0
        && DeliveryState::Dead.code() == 2
        && DeliveryState::Cancelled.code() == 3
);

/// The tables; `{checksum}` is that of a row. The index of keys has no `state = 0`, as SQLite would then take the state of its
/// entries as known and not read it, damaged or not.
const TABLES: &str = "
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    segment INTEGER NOT NULL, offset INTEGER NOT NULL,
    last_seq INTEGER NOT NULL, last_time INTEGER NOT NULL, dedup_key BLOB NOT NULL
);
CREATE TABLE subscriptions (number INTEGER PRIMARY KEY, name TEXT, state BLOB);
CREATE TABLE counters (
    subscription INTEGER PRIMARY KEY,
    pending INTEGER NOT NULL, pending_bytes INTEGER NOT NULL, dead INTEGER NOT NULL
);
CREATE TABLE deliveries (
    state INTEGER NOT NULL, subscription INTEGER NOT NULL, seq INTEGER NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL, accepted_at INTEGER NOT NULL, since INTEGER NOT NULL, key INTEGER NOT NULL,
    attempts INTEGER NOT NULL, schedule_attempts INTEGER NOT NULL,
    due_at INTEGER, pause_ms INTEGER, reason INTEGER, blocks INTEGER NOT NULL, ended_at INTEGER,
    checksum INTEGER NOT NULL GENERATED ALWAYS AS ({checksum}) STORED,
    PRIMARY KEY (state, subscription, seq)
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (subscription, due_at, seq) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_segment ON deliveries (state, segment);
CREATE INDEX deliveries_key ON deliveries (subscription, key, seq) WHERE state < 1 AND key != 0;
CREATE INDEX deliveries_blocking ON deliveries (subscription, seq) WHERE blocks;
CREATE VIEW pending AS SELECT * FROM deliveries WHERE state = 0;
CREATE VIEW dead AS SELECT * FROM deliveries WHERE state = 2;
CREATE VIEW cancelled AS SELECT * FROM deliveries WHERE state = 3;
CREATE TABLE moved (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL, given INTEGER, type TEXT NOT NULL, key INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL, subscriptions BLOB NOT NULL
);
CREATE INDEX moved_id ON moved (id);
CREATE INDEX moved_segment ON moved (segment);
CREATE TABLE jobs (id INTEGER PRIMARY KEY, state BLOB NOT NULL);
CREATE TABLE tallies (
    subscription INTEGER PRIMARY KEY, recent BLOB NOT NULL, day BLOB NOT NULL, last_success_at INTEGER,
    failed_at INTEGER, failed_status INTEGER, failed_reason INTEGER, failed_code INTEGER, failed_error TEXT,
    failed_event BLOB, failed_attempt INTEGER
);
CREATE TABLE segments (
    segment INTEGER PRIMARY KEY, first_seq INTEGER, last_seq INTEGER,
    pending INTEGER NOT NULL, dead INTEGER NOT NULL, ended_at INTEGER NOT NULL,
    accepted_from INTEGER, accepted_to INTEGER, began_from INTEGER, began_to INTEGER
);
CREATE INDEX segments_first_seq ON segments (first_seq);
";

/// The checksum of a row of `deliveries`: no flipped bit of a column leaves it as it is. Only a key may have all 64 bits, and
/// would overflow; no power of two is a multiple of its prime.
macro_rules! checksum {
    () => {
        "state + subscription * 2 + seq * 3 + segment * 4 + offset * 5 + length * 6 + body_bytes * 7 + accepted_at * 8 \
         + since * 9 + key % 1073741789 * 10 + attempts * 11 + schedule_attempts * 12 + coalesce(due_at, -1) * 13 \
         + coalesce(pause_ms, -1) * 14 + coalesce(reason, -1) * 15 + blocks * 16 + coalesce(ended_at, -1) * 17"
    };
}

/// The columns of an entry, first of all the sequence: null if the row is damaged, which no reader takes.
pub(super) const ENTRY: &str = concat!(
    "iif(checksum = ",
    checksum!(),
    ", seq, NULL), segment, offset, length, body_bytes, accepted_at, since, key, attempts, schedule_attempts"
);

/// Makes the tables of a new index.
pub(super) fn create(connection: &Connection, dedup_key: [u8; 16]) -> Result<()> {
    connection.execute_batch(&TABLES.replace("{checksum}", checksum!()))?;
    connection.execute(
        "INSERT INTO head VALUES (0, 0, 0, 0, 0, ?1)",
        [dedup_key.as_slice()],
    )?;
    connection.pragma_update(None, "user_version", VERSION)
}

/// Makes the tables of a segment unless they are there.
pub(super) fn create_segment(connection: &Connection, segment: u32) -> Result<()> {
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS events_{segment} (
            seq INTEGER PRIMARY KEY, id BLOB NOT NULL, given INTEGER, type TEXT NOT NULL, key INTEGER NOT NULL,
            accepted_at INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, body_bytes INTEGER NOT NULL,
            subscriptions BLOB NOT NULL
        );
        CREATE TABLE IF NOT EXISTS attempts_{segment} (
            seq INTEGER NOT NULL, subscription INTEGER NOT NULL, n INTEGER NOT NULL,
            status INTEGER NOT NULL, reason INTEGER, code INTEGER, error TEXT,
            duration_ms INTEGER NOT NULL, started_at INTEGER NOT NULL, response BLOB, due_at INTEGER
        );"
    ))
}

/// Makes the indexes of a segment that gets no more rows: sorting once costs less than keeping them in order.
pub(super) fn seal_segment(connection: &Connection, segment: u32) -> Result<()> {
    create_segment(connection, segment)?;
    connection.execute_batch(&format!(
        "CREATE INDEX IF NOT EXISTS events_{segment}_id ON events_{segment} (id);
         CREATE INDEX IF NOT EXISTS events_{segment}_given ON events_{segment} (given) WHERE given IS NOT NULL;
         CREATE INDEX IF NOT EXISTS attempts_{segment}_delivery ON attempts_{segment} (seq, subscription);
         CREATE INDEX IF NOT EXISTS attempts_{segment}_subscription ON attempts_{segment} (subscription);"
    ))
}

/// Sets a connection up: readers run beside the writer, and only checkpoints sync, since rows that a power cut takes
/// are read from the journal again.
pub(super) fn configure(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000;
         PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}
