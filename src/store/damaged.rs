//! Deliveries whose event was found damaged on the disk, to be looked at again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::{EventSeq, SubscriptionNumber, Timestamp};

/// The pause between the first look and the second.
const PAUSE: Duration = Duration::from_secs(60);
/// How many deliveries are remembered at most; others are found again when they are next read.
const FOUND_MAX: usize = 10_000;

type Key = (SubscriptionNumber, EventSeq);

/// Deliveries whose event was found damaged, with the time.
#[derive(Debug, Default)]
pub(super) struct Damaged(Mutex<HashMap<Key, Timestamp>>);

impl Damaged {
    /// Notes that the event of a delivery is damaged.
    pub(super) fn found(&self, key: Key, now: Timestamp) {
        let mut found = self.0.lock();
        if found.len() < FOUND_MAX {
            found.entry(key).or_insert(now);
        }
    }

    /// Takes those that were found long enough ago.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Key> {
        let mut found = self.0.lock();
        let due = found.extract_if(|_, at| now.since(*at) >= PAUSE);
        due.map(|(key, _)| key).collect()
    }
}
