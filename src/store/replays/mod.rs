//! Bulk replay: makes many deliveries pending again, a chunk at a time.
//!
//! A job goes through the deliveries of a subscription that are in one state, oldest first, up to the event that was the last
//! when it began. Each chunk has a turn of its own, as any verb, and is one batch of the journal: the deliveries
//! requeued together with how far the job is and when it goes on. So a job outlives a restart, and a crash repeats
//! nothing and keeps the pace. While its subscription is disabled it waits.
//!
//! [`job`] has the bytes of a job, `run` the runner.

mod job;
mod run;

use std::collections::BTreeMap;
use std::ops::Range;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;
use tokio::sync::Notify;
use tracing::warn;

use job::Job;
pub use job::{ReplayRequest, ReplaysState};

use crate::domain::{EventSeq, Timestamp};
use crate::store::book::ended::{EndedWanted, ended};
use crate::store::book::find;
use crate::store::book::reach::reach;
use crate::store::book::rows::Span;
use crate::store::record::Record;
use crate::store::{Inner, Store, VerbError};

/// Bulk replays that are kept, finished ones included.
const KEPT_MAX: usize = 16;

/// The number of a bulk replay, from 1; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplayId(pub u64);

/// How far a bulk replay is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Which.
    pub id: ReplayId,
    /// What was asked for.
    pub request: ReplayRequest,
    /// When.
    pub begun_at: Timestamp,
    /// Whether it still goes on.
    pub state: ReplaysState,
    /// Deliveries that fitted when it began.
    pub matched: u64,
    /// Those that were replayed.
    pub replayed: u64,
    /// Those that were not because they had changed since: final when it is done.
    pub skipped: u64,
}

/// The bulk replays that are known.
#[derive(Debug, Default)]
pub(super) struct Replays {
    jobs: Mutex<BTreeMap<u64, Known>>,
    /// A job was begun.
    begun: Notify,
    /// Something about a job changed.
    changed: Notify,
}

/// A bulk replay: who has the turn goes by `job`, who looks sees what is durable.
#[derive(Debug)]
struct Known {
    job: Job,
    /// How many times it was set.
    version: u64,
    durable: Option<(u64, Job)>,
}

impl Replays {
    /// Those that the book has.
    pub(super) fn new(kept: Vec<(u64, Vec<u8>)>) -> Self {
        let mut jobs = BTreeMap::new();
        for (id, bytes) in kept {
            match Job::decode(&bytes) {
                Some(job) => {
                    let known = Known {
                        durable: Some((0, job.clone())),
                        job,
                        version: 0,
                    };
                    jobs.insert(id, known);
                }
                None => warn!(id, "a bulk replay cannot be read, and does not go on"),
            }
        }
        Self {
            jobs: Mutex::new(jobs),
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.jobs.lock()
    }

    fn get(&self, id: u64) -> Option<Job> {
        self.lock().get(&id).map(|known| known.job.clone())
    }

    /// Sets a job to what is about to be recorded, in the turn of who does; answers its version.
    fn set(&self, id: u64, job: Job) -> u64 {
        let mut jobs = self.lock();
        let known = jobs.entry(id).or_insert_with(|| Known {
            job: job.clone(),
            version: 0,
            durable: None,
        });
        known.job = job;
        known.version += 1;
        known.version
    }

    /// That version is recorded, or was not: then it is taken back unless another followed.
    fn settle(&self, id: u64, version: u64, job: Job, is_recorded: bool) {
        let mut jobs = self.lock();
        let Some(known) = jobs.get_mut(&id) else {
            return;
        };
        if is_recorded {
            // The turn ends before those who wait for the record are told, so another may have come first.
            if known
                .durable
                .as_ref()
                .is_none_or(|(seen, _)| *seen < version)
            {
                known.durable = Some((version, job));
            }
        } else if known.version == version {
            match &known.durable {
                Some((_, job)) => known.job = job.clone(),
                None => drop(jobs.remove(&id)),
            }
        }
        drop(jobs);
        self.changed.notify_waiters();
    }

    /// The records that tell of all of them again; to be made in a turn.
    pub(super) fn records(&self) -> Vec<Record> {
        let jobs = self.lock();
        jobs.iter()
            .map(|(id, known)| record(*id, &known.job))
            .collect()
    }

    /// What is durable of those that are known.
    fn progress(&self) -> Vec<ReplayProgress> {
        let jobs = self.lock();
        let durable = jobs.iter().filter_map(|(id, known)| {
            let (_, job) = known.durable.as_ref()?;
            Some(progress(*id, job))
        });
        durable.collect()
    }
}

impl Store {
    /// Begins to replay deliveries in bulk; answers which bulk replay that is and how many deliveries fit now. Resolves when it
    /// is durable.
    ///
    /// # Errors
    /// [`VerbError`]; nothing was begun then.
    ///
    /// # Cancel safety
    /// Dropped, it may still begin.
    pub async fn begin_replays(
        &self,
        request: ReplayRequest,
    ) -> Result<(ReplayId, u64), VerbError> {
        self.0.begin_replays(request).await
    }

    /// How many deliveries a bulk replay would find now.
    ///
    /// # Errors
    /// [`VerbError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn count_replays(&self, request: &ReplayRequest) -> Result<u64, VerbError> {
        let counted = self.0.count_replays(request).await?;
        Ok(counted.matched)
    }

    /// The bulk replays that are known, newest first: 16 at most.
    #[must_use]
    pub fn replays(&self) -> Vec<ReplayProgress> {
        let mut all = self.0.replays.progress();
        all.reverse();
        all
    }

    /// How far a bulk replay is; none if it is not known, or no longer.
    #[must_use]
    pub fn replay_progress(&self, id: ReplayId) -> Option<ReplayProgress> {
        let all = self.0.replays.progress();
        all.into_iter().find(|progress| progress.id == id)
    }

    /// Stops a bulk replay; what it has replayed stays so. One that has ended stays as it is. Resolves when that is durable.
    ///
    /// # Errors
    /// [`VerbError`]; it goes on then.
    ///
    /// # Cancel safety
    /// Dropped, it may still be stopped.
    pub async fn stop_replays(&self, id: ReplayId) -> Result<ReplayProgress, VerbError> {
        self.0.stop_replays(id).await
    }
}

fn progress(id: u64, job: &Job) -> ReplayProgress {
    ReplayProgress {
        id: ReplayId(id),
        request: job.request.clone(),
        begun_at: job.begun_at,
        state: job.state,
        matched: job.matched,
        replayed: job.replayed,
        skipped: job.skipped,
    }
}

fn record(id: u64, job: &Job) -> Record {
    Record::Job {
        id,
        state: job.encode(),
    }
}

/// What a bulk replay goes through.
struct Counted {
    matched: u64,
    /// It begins behind this event …
    from: EventSeq,
    /// … and ends with this one.
    upto: EventSeq,
}

fn span(request: &ReplayRequest) -> Span {
    Span {
        since: request.since,
        until: request.until,
    }
}

impl Inner {
    async fn begin_replays(&self, request: ReplayRequest) -> Result<(ReplayId, u64), VerbError> {
        if self.is_held(&request.subscription) {
            return Err(VerbError::Disabled);
        }
        let Counted {
            matched,
            from,
            upto,
        } = self.count_replays(&request).await?;
        let turn = self.turn().await;
        let now = self.hub.clock.steady();
        let job = Job {
            request,
            state: ReplaysState::Running,
            after: from,
            upto,
            matched,
            replayed: 0,
            skipped: 0,
            begun_at: now,
            next_at: now,
        };
        let (id, forgotten) = {
            let jobs = self.replays.lock();
            let id = jobs.keys().last().map_or(1, |last| last + 1);
            let finished = jobs
                .iter()
                .find(|(_, known)| known.job.state != ReplaysState::Running);
            match finished {
                Some((oldest, _)) if jobs.len() >= KEPT_MAX => (id, Some(*oldest)),
                None if jobs.len() >= KEPT_MAX => return Err(VerbError::TooManyReplays),
                _ => (id, None),
            }
        };
        let mut records = vec![record(id, &job)];
        records.extend(forgotten.map(|id| Record::Job {
            id,
            state: Vec::new(),
        }));
        let version = self.replays.set(id, job.clone());
        let begun = self.carry_out(turn, records, Vec::new(), Vec::new()).await;
        self.replays.settle(id, version, job, begun.is_ok());
        begun?;
        if let Some(forgotten) = forgotten {
            self.replays.lock().remove(&forgotten);
        }
        self.replays.begun.notify_one();
        Ok((ReplayId(id), matched))
    }

    /// How many deliveries fit, and where they are.
    async fn count_replays(&self, request: &ReplayRequest) -> Result<Counted, VerbError> {
        self.queue_of(&request.subscription)?;
        let span = span(request);
        let look = move |book: &Connection| {
            let Range { start, end } = reach(book, span)?;
            let last = find::last_seq(book)?.0.min(end.0.saturating_sub(1));
            Ok((EventSeq(start.0.saturating_sub(1)), EventSeq(last)))
        };
        let (from, last) = self.ask(look).await?;
        let wanted = self.wanted(request, last)?;
        let (mut after, mut matched) = (from, 0);
        while after < last {
            let wanted = wanted.clone();
            let found = self
                .ask(move |book| ended(book, &wanted, after, usize::MAX))
                .await?;
            matched += u64::try_from(found.entries.len()).unwrap_or(u64::MAX);
            after = found.upto;
        }
        Ok(Counted {
            matched,
            from,
            upto: last,
        })
    }

    fn wanted(&self, request: &ReplayRequest, upto: EventSeq) -> Result<EndedWanted, VerbError> {
        Ok(EndedWanted {
            number: self.queue_of(&request.subscription)?.number,
            state: request.state,
            span: span(request),
            event_type: request.event_type.clone(),
            upto,
        })
    }

    async fn stop_replays(&self, id: ReplayId) -> Result<ReplayProgress, VerbError> {
        let turn = self.turn().await;
        let before = self.replays.get(id.0);
        let before = before.ok_or(VerbError::Unknown)?;
        if before.state != ReplaysState::Running {
            return Ok(progress(id.0, &before));
        }
        let stopped = Job {
            state: ReplaysState::Stopped,
            ..before
        };
        let version = self.replays.set(id.0, stopped.clone());
        let records = vec![record(id.0, &stopped)];
        let recorded = self.carry_out(turn, records, Vec::new(), Vec::new()).await;
        let stopped_progress = progress(id.0, &stopped);
        self.replays
            .settle(id.0, version, stopped, recorded.is_ok());
        recorded.map(|()| stopped_progress)
    }
}

#[cfg(test)]
mod tests;
