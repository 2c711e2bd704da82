//! The data that memory is loaded from at start.

use rusqlite::{Connection, Result};

use super::query::{self, Subscription};
use crate::domain::{EventSeq, Timestamp};
use crate::store::dedup::DedupKey;

/// The range of given ids to read.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Remembered {
    /// Those of events accepted after this time.
    pub(in crate::store) since: Timestamp,
    /// At most this many, the last ones.
    pub(in crate::store) max: usize,
}

/// The data that memory is loaded from at start.
#[derive(Debug)]
pub(in crate::store) struct Start {
    /// The key that given ids are hashed with.
    pub(in crate::store) key: DedupKey,
    pub(in crate::store) subscriptions: Vec<Subscription>,
    /// The hashes of given ids with sequence and time of acceptance, oldest first.
    pub(in crate::store) given_ids: Vec<(u64, EventSeq, Timestamp)>,
    /// Bulk replays by id, as bytes.
    pub(in crate::store) jobs: Vec<(u64, Vec<u8>)>,
}

impl Start {
    /// Reads the data from the index, without the records that it has not applied.
    pub(super) fn read(
        connection: &Connection,
        now: Timestamp,
        remembered: Remembered,
    ) -> Result<Self> {
        let head = query::head(connection)?;
        if now < head.last_time {
            let moved = query::pull_due_times(connection, now)?;
            tracing::warn!(
                deliveries = moved,
                "the clock was set back: retries wait no longer than their pause from now"
            );
        }
        Ok(Self {
            key: head.key,
            subscriptions: query::subscriptions(connection)?,
            given_ids: query::given_ids(connection, remembered.since, remembered.max)?,
            jobs: query::jobs(connection)?,
        })
    }
}
