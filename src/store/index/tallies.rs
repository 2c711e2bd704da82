//! Attempt results of each subscription: of the last thousand, of a day, and the last success and failure.
//!
//! One row a subscription, read and written once a round however many attempts of it the round has. Attempts are added
//! one by one in the order of the journal, so the result is the same wherever rounds end. A row outlives the segments
//! that it came from; a rebuilt index counts from the beginning of the remaining journal.
//!
//! ```text
//! recent  place of the next (u16), how many (u16), then a bit for each of 1,000 places: it succeeded
//! day     for each slot of ten minutes, ascending: slot since the epoch, succeeded, failed (u32 each)
//! ```
//!
//! Numbers are little-endian. An attempt counts for the slot in which it began, by the wall clock.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::find;
use super::net::SegmentRows;
use super::numbers::millis;
use super::rows::coded;
use crate::domain::{
    AttemptStatus, EventId, EventSeq, FailureReason, Outcome, SubscriptionNumber, Timestamp,
};

/// Number of recent attempts that are counted.
const RECENT: u16 = 1_000;
/// Bytes of the bits for recent attempts.
const RECENT_BYTES: usize = 125;
/// Length of a slot in milliseconds.
const SLOT_MS: i64 = 600_000;
/// Slots of a day.
const DAY: u32 = 144;

/// The attempt results of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::store) struct Tally {
    recent: Recent,
    day: BTreeMap<u32, Counted>,
    /// When the last successful attempt began.
    pub(in crate::store) last_success_at: Option<Timestamp>,
    /// The last failed attempt.
    pub(in crate::store) last_failure: Option<Failure>,
}

/// Numbers of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store) struct Counted {
    pub(in crate::store) succeeded: u32,
    pub(in crate::store) failed: u32,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Failure {
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) status: AttemptStatus,
    pub(in crate::store) reason: Option<FailureReason>,
    pub(in crate::store) response_code: Option<u16>,
    pub(in crate::store) error_message: Option<Box<str>>,
    /// `None` if damage took the event.
    pub(in crate::store) event: Option<EventId>,
    pub(in crate::store) attempt: u32,
}

/// The last attempts, as bits in a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recent {
    next: u16,
    length: u16,
    bits: [u8; RECENT_BYTES],
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            next: 0,
            length: 0,
            bits: [0; RECENT_BYTES],
        }
    }
}

impl Recent {
    fn push(&mut self, succeeded: bool) {
        let mask = 1 << (self.next % 8);
        if let Some(byte) = self.bits.get_mut(usize::from(self.next / 8)) {
            *byte = if succeeded {
                *byte | mask
            } else {
                *byte & !mask
            };
        }
        self.next = (self.next + 1) % RECENT;
        self.length = (self.length + 1).min(RECENT);
    }

    fn counted(&self) -> Counted {
        let succeeded = self.bits.iter().map(|byte| byte.count_ones()).sum();
        Counted {
            succeeded,
            failed: u32::from(self.length).saturating_sub(succeeded),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECENT_BYTES + 4);
        out.extend_from_slice(&self.next.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.bits);
        out
    }

    /// Returns `None` for bytes that are not valid.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (next, rest) = bytes.split_first_chunk()?;
        let (length, bits) = rest.split_first_chunk()?;
        let (next, length) = (u16::from_le_bytes(*next), u16::from_le_bytes(*length));
        let bits = bits.try_into().ok()?;
        (next < RECENT && length <= RECENT).then_some(Self { next, length, bits })
    }
}

impl Tally {
    /// Returns the counts of the last 1,000 attempts.
    pub(in crate::store) fn last_thousand(&self) -> Counted {
        self.recent.counted()
    }

    /// Returns the counts of attempts that began in the 24 hours before `wall`, to ten minutes.
    pub(in crate::store) fn last_day(&self, wall: Timestamp) -> Counted {
        let slot = slot(wall);
        let since = slot.saturating_sub(DAY - 1);
        let slots = self.day.range(since..=slot).map(|(_, counted)| counted);
        slots.fold(Counted::default(), |sum, slot| Counted {
            succeeded: sum.succeeded.saturating_add(slot.succeeded),
            failed: sum.failed.saturating_add(slot.failed),
        })
    }

    /// Counts an attempt. Removes slots further from it than a day; some may be later, if the clock was set back.
    fn add(&mut self, began_at: Timestamp, succeeded: bool) {
        self.recent.push(succeeded);
        let slot = slot(began_at);
        let is_new = !self.day.contains_key(&slot);
        let counted = self.day.entry(slot).or_default();
        if succeeded {
            counted.succeeded = counted.succeeded.saturating_add(1);
            self.last_success_at = Some(began_at);
        } else {
            counted.failed = counted.failed.saturating_add(1);
        }
        if is_new {
            self.day.retain(|other, _| other.abs_diff(slot) <= DAY);
        }
    }

    fn encode_day(&self) -> Vec<u8> {
        let slots = self.day.iter();
        let numbers = slots.flat_map(|(slot, counted)| [*slot, counted.succeeded, counted.failed]);
        numbers.flat_map(u32::to_le_bytes).collect()
    }

    fn decode_day(bytes: &[u8]) -> BTreeMap<u32, Counted> {
        let (numbers, _) = bytes.as_chunks::<4>();
        let (slots, _) = numbers.as_chunks::<3>();
        let slots = slots.iter().map(|slot| {
            let [slot, succeeded, failed] = slot.map(u32::from_le_bytes);
            (slot, Counted { succeeded, failed })
        });
        slots.collect()
    }

    fn of_row(row: &Row<'_>, from: usize) -> Result<Self> {
        let column = |offset: usize| from + offset;
        let time = |offset| {
            let millis = row.get::<_, Option<i64>>(column(offset))?;
            Ok::<_, rusqlite::Error>(millis.map(Timestamp::from_millis))
        };
        let last_failure = match time(3)? {
            None => None,
            Some(at) => Some(Failure {
                at,
                status: coded(row, column(4), AttemptStatus::from_code)?
                    .unwrap_or(AttemptStatus::Failed),
                reason: coded(row, column(5), FailureReason::from_code)?,
                response_code: row.get(column(6))?,
                error_message: row.get::<_, Option<String>>(column(7))?.map(Box::from),
                event: row.get::<_, Option<_>>(column(8))?.map(EventId::from_bytes),
                attempt: row.get(column(9))?,
            }),
        };
        Ok(Self {
            recent: Recent::decode(row.get_ref(column(0))?.as_blob()?).unwrap_or_default(),
            day: Self::decode_day(row.get_ref(column(1))?.as_blob()?),
            last_success_at: time(2)?,
            last_failure,
        })
    }
}

/// Returns the slot of a time; times before 1970 are in the first.
fn slot(time: Timestamp) -> u32 {
    u32::try_from(time.as_millis().div_euclid(SLOT_MS).max(0)).unwrap_or(u32::MAX)
}

/// The columns that [`Tally::of_row`] reads.
const COLUMNS: &str = "recent, day, last_success_at, failed_at, failed_status, failed_reason, failed_code, \
                       failed_error, failed_event, failed_attempt";

/// Reads the attempt results of a subscription; empty if it has no attempts.
pub(in crate::store) fn tally(
    connection: &Connection,
    number: SubscriptionNumber,
) -> Result<Option<Tally>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM tallies WHERE subscription = ?1"
        ))?
        .query_row([number.0], |row| Tally::of_row(row, 0))
        .optional()
}

/// The attempts of a round, by subscription.
#[derive(Debug, Default)]
pub(super) struct Tallied(HashMap<SubscriptionNumber, Attempts>);

/// The attempts of one subscription.
#[derive(Debug, Default)]
struct Attempts {
    /// When each began and whether it succeeded, in the order of the journal.
    each: Vec<(Timestamp, bool)>,
    failed: Option<(EventSeq, u32, Outcome)>,
}

impl Tallied {
    /// Adds the attempts recorded in a segment.
    pub(super) fn gather(&mut self, rows: &SegmentRows) {
        for ((number, seq), attempt, outcome, _) in &rows.attempts {
            let attempts = self.0.entry(*number).or_default();
            let succeeded = outcome.status == AttemptStatus::Success;
            attempts.each.push((outcome.started_at, succeeded));
            if !succeeded {
                attempts.failed = Some((*seq, *attempt, outcome.clone()));
            }
        }
    }

    /// Writes the tallies. The rows of the events must be written before.
    pub(super) fn write(self, connection: &Connection) -> Result<()> {
        let mut write = connection.prepare_cached(&format!(
            "INSERT OR REPLACE INTO tallies (subscription, {COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        ))?;
        for (number, attempts) in self.0 {
            let mut tally = tally(connection, number)?.unwrap_or_default();
            for (began_at, succeeded) in attempts.each {
                tally.add(began_at, succeeded);
            }
            if let Some((seq, attempt, outcome)) = attempts.failed {
                let event = find::event_row(connection, seq)?;
                tally.last_failure = Some(Failure {
                    at: outcome.started_at,
                    status: outcome.status,
                    reason: outcome.reason,
                    response_code: outcome.response_code,
                    error_message: outcome.error_message,
                    event: event.map(|event| event.id),
                    attempt,
                });
            }
            let failure = tally.last_failure.as_ref();
            write.execute(params![
                number.0,
                tally.recent.encode(),
                tally.encode_day(),
                tally.last_success_at.map(millis),
                failure.map(|failure| millis(failure.at)),
                failure.map(|failure| failure.status.code()),
                failure.and_then(|failure| Some(failure.reason?.code())),
                failure.and_then(|failure| failure.response_code),
                failure.and_then(|failure| failure.error_message.as_deref()),
                failure.and_then(|failure| Some(*failure.event?.as_bytes())),
                failure.map(|failure| failure.attempt),
            ])?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tallies_tests.rs"]
mod tests;
