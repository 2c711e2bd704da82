//! A bulk replay: its request, its progress, and its bytes in the journal and the index.
//!
//! ```text
//! 0       version, 2
//! 1       state: 0 running, 1 done, 2 stopped
//! 2       state of the deliveries, as in the domain
//! 3..59   after, upto, matched, replayed, skipped (u64 each), begun at (i64), period of the pace in ms (u64)
//! 59..63  attempts of the pace (u32), 0: no pace
//! then    since, until: 0, or 1 and an i64; name and pattern: length (u16) and text each, an empty pattern: any;
//!         when it goes on (i64), absent in version 1
//! ```
//!
//! Numbers are little-endian, times milliseconds since the epoch.

use std::time::Duration;

use crate::domain::{DeliveryState, EventSeq, Pattern, RateLimit, SubscriptionName, Timestamp};
use crate::store::fields::Reader;
use crate::store::record::Record;

const VERSION: u8 = 2;

/// The state of a bulk replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaysState {
    /// It goes on, or waits while its subscription is disabled.
    Running,
    /// It has gone through all its deliveries.
    Done,
    /// It was stopped on request.
    Stopped,
}

impl ReplaysState {
    const ALL: [Self; 3] = [Self::Running, Self::Done, Self::Stopped];

    const fn code(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Done => 1,
            Self::Stopped => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// The deliveries to replay, and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Of this subscription.
    pub subscription: SubscriptionName,
    /// In this state; of pending ones those that wait for a retry, which then become due at once.
    pub state: DeliveryState,
    /// Of events accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Of events accepted before this time.
    pub until: Option<Timestamp>,
    /// Of events whose type this pattern matches.
    pub event_type: Option<Pattern>,
    /// This many in each period; `None`: as fast as possible.
    pub rate_limit: Option<RateLimit>,
}

/// The number of a bulk replay, from 1; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplayId(pub u64);

/// The progress of a bulk replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Its id.
    pub id: ReplayId,
    /// The request that began it.
    pub request: ReplayRequest,
    /// When it began.
    pub begun_at: Timestamp,
    /// Whether it is still running.
    pub state: ReplaysState,
    /// Deliveries that matched when it began.
    pub matched: u64,
    /// Those that were replayed.
    pub replayed: u64,
    /// Those that were not, because they had changed since; final when it is done.
    pub skipped: u64,
}

/// A bulk replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) request: ReplayRequest,
    pub(super) state: ReplaysState,
    /// It has gone through the events up to this one …
    pub(super) after: EventSeq,
    /// … and ends with this one, the last when it began.
    pub(super) upto: EventSeq,
    pub(super) matched: u64,
    pub(super) replayed: u64,
    pub(super) skipped: u64,
    pub(super) begun_at: Timestamp,
    /// When its pace lets it go on.
    pub(super) next_at: Timestamp,
}

impl Job {
    /// Its progress.
    pub(super) fn progress(&self, id: u64) -> ReplayProgress {
        ReplayProgress {
            id: ReplayId(id),
            request: self.request.clone(),
            begun_at: self.begun_at,
            state: self.state,
            matched: self.matched,
            replayed: self.replayed,
            skipped: self.skipped,
        }
    }

    /// The record of its current state.
    pub(super) fn record(&self, id: u64) -> Record {
        Record::Job {
            id,
            state: self.encode(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.state.code(), self.request.state.code()];
        let counts = [self.matched, self.replayed, self.skipped];
        for number in [self.after.0, self.upto.0].into_iter().chain(counts) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.begun_at.as_millis().to_le_bytes());
        let pace = self.request.rate_limit;
        let per = pace.map_or(0, |pace| {
            u64::try_from(pace.per.as_millis()).unwrap_or(u64::MAX)
        });
        out.extend_from_slice(&per.to_le_bytes());
        let attempts = pace.map_or(0, |pace| pace.attempts);
        out.extend_from_slice(&attempts.to_le_bytes());
        for time in [self.request.since, self.request.until] {
            out.push(u8::from(time.is_some()));
            if let Some(time) = time {
                out.extend_from_slice(&time.as_millis().to_le_bytes());
            }
        }
        let event_type = self.request.event_type.as_ref().map(Pattern::as_str);
        for text in [self.request.subscription.as_str(), event_type.unwrap_or("")] {
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(&self.next_at.as_millis().to_le_bytes());
        out
    }

    /// `None` when the bytes are invalid, or of a later version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader(bytes);
        let [version, state, from] = fields.array()?;
        if !(1..=VERSION).contains(&version) {
            return None;
        }
        let [after, upto] = [EventSeq(fields.u64()?), EventSeq(fields.u64()?)];
        let [matched, replayed, skipped] = [fields.u64()?, fields.u64()?, fields.u64()?];
        let begun_at = time(&mut fields)?;
        let per = Duration::from_millis(fields.u64()?);
        let attempts = fields.u32()?;
        let [since, until] = [optional_time(&mut fields)?, optional_time(&mut fields)?];
        let subscription = SubscriptionName::known(text(&mut fields)?).ok()?;
        let event_type = match text(&mut fields)? {
            "" => None,
            text => Some(text.parse().ok()?),
        };
        let next_at = match version {
            1 => begun_at,
            _ => time(&mut fields)?,
        };
        Some(Self {
            request: ReplayRequest {
                subscription,
                state: DeliveryState::from_code(from)?,
                since,
                until,
                event_type,
                rate_limit: (attempts > 0).then_some(RateLimit { attempts, per }),
            },
            state: ReplaysState::from_code(state)?,
            after,
            upto,
            matched,
            replayed,
            skipped,
            begun_at,
            next_at,
        })
    }
}

fn time(fields: &mut Reader<'_>) -> Option<Timestamp> {
    let millis = fields.array().map(i64::from_le_bytes)?;
    Some(Timestamp::from_millis(millis))
}

fn optional_time(fields: &mut Reader<'_>) -> Option<Option<Timestamp>> {
    match fields.byte()? {
        0 => Some(None),
        _ => time(fields).map(Some),
    }
}

fn text<'a>(fields: &mut Reader<'a>) -> Option<&'a str> {
    let length = u16::from_le_bytes(fields.array()?);
    str::from_utf8(fields.take(length.into())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_was_written_and_cut_short_it_is_none() {
        let whole = Job {
            request: ReplayRequest {
                subscription: "billing".parse().unwrap(),
                state: DeliveryState::Cancelled,
                since: Some(Timestamp::from_millis(-5)),
                until: None,
                event_type: Some("invoice.*".parse().unwrap()),
                rate_limit: Some(RateLimit {
                    attempts: 90,
                    per: Duration::from_secs(60),
                }),
            },
            state: ReplaysState::Stopped,
            after: EventSeq(7),
            upto: EventSeq(u64::MAX),
            matched: 1,
            replayed: 2,
            skipped: 3,
            begun_at: Timestamp::from_millis(1_700_000_000_000),
            next_at: Timestamp::from_millis(1_700_000_000_250),
        };
        let mut plain = whole.clone();
        plain.request.rate_limit = None;
        plain.request.event_type = None;
        plain.request.since = None;
        for job in [whole, plain] {
            let bytes = job.encode();
            let mut older = bytes[..bytes.len() - 8].to_vec();
            older[0] = 1;
            let next_at = job.begun_at;
            assert_eq!(
                Job::decode(&older),
                Some(Job {
                    next_at,
                    ..job.clone()
                })
            );
            assert_eq!(Job::decode(&bytes), Some(job));
            for length in 0..bytes.len() {
                assert_eq!(Job::decode(&bytes[..length]), None);
            }
            let mut later = bytes.clone();
            later[0] = 3;
            assert_eq!(Job::decode(&later), None);
        }
    }
}
