//! Beginning, counting and stopping bulk replays.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::Notify;

use super::job::{Job, ReplayId, ReplayProgress, ReplayRequest, ReplaysState};
use super::jobs::Jobs;
use crate::domain::EventSeq;
use crate::store::OperationError;
use crate::store::index::ended::{EndedWanted, ended};
use crate::store::index::find;
use crate::store::index::reach::reach;
use crate::store::index::rows::Span;
use crate::store::operations::Operations;
use crate::store::record::Record;

/// How many bulk replays are kept, finished ones included.
const KEPT_MAX: usize = 16;

/// The deliveries that a bulk replay goes through.
struct CountedReplays {
    matched: u64,
    /// It begins after this event …
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

/// Bulk replays of a store.
pub struct Replays {
    pub(super) operations: Arc<Operations>,
    pub(super) jobs: Jobs,
    /// Notified when a job was begun.
    pub(super) begun: Notify,
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replays").finish_non_exhaustive()
    }
}

impl Replays {
    pub(in crate::store) fn new(operations: Arc<Operations>, jobs: Jobs) -> Arc<Self> {
        Arc::new(Self {
            operations,
            jobs,
            begun: Notify::new(),
        })
    }

    /// The records of all bulk replays, to be written again; must be made in a turn.
    pub(in crate::store) fn records(&self) -> Vec<Record> {
        self.jobs.records()
    }

    /// The bulk replays that are kept, newest first: 16 at most.
    #[must_use]
    pub fn all(&self) -> Vec<ReplayProgress> {
        let mut all = self.jobs.progress();
        all.reverse();
        all
    }

    /// The progress of a bulk replay; `None` if it is unknown or no longer kept.
    #[must_use]
    pub fn progress(&self, id: ReplayId) -> Option<ReplayProgress> {
        let all = self.jobs.progress();
        all.into_iter().find(|progress| progress.id == id)
    }

    /// Begins to replay deliveries in bulk; returns the id of the bulk replay and how many deliveries match now.
    /// Resolves when it is durable.
    ///
    /// # Errors
    /// [`OperationError`]; nothing was begun then.
    ///
    /// # Cancel safety
    /// Dropped, it may still begin.
    pub async fn begin(&self, request: ReplayRequest) -> Result<(ReplayId, u64), OperationError> {
        if self.operations.subscriptions.is_held(&request.subscription) {
            return Err(OperationError::Disabled);
        }
        let CountedReplays {
            matched,
            from,
            upto,
        } = self.find(&request).await?;
        let turn = self.operations.turn().await;
        let now = self.operations.clock.steady();
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
            let jobs = self.jobs.lock();
            let id = jobs.keys().last().map_or(1, |last| last + 1);
            let finished = jobs
                .iter()
                .find(|(_, known)| known.job.state != ReplaysState::Running);
            match finished {
                Some((oldest, _)) if jobs.len() >= KEPT_MAX => (id, Some(*oldest)),
                None if jobs.len() >= KEPT_MAX => return Err(OperationError::TooManyReplays),
                _ => (id, None),
            }
        };
        let mut records = vec![job.record(id)];
        records.extend(forgotten.map(|id| Record::Job {
            id,
            state: Vec::new(),
        }));
        let version = self.jobs.set(id, job.clone());
        let begun = self
            .operations
            .carry_out(turn, records, Vec::new(), Vec::new())
            .await;
        self.jobs.settle(id, version, job, begun.is_ok());
        begun?;
        if let Some(forgotten) = forgotten {
            self.jobs.lock().remove(&forgotten);
        }
        self.begun.notify_one();
        Ok((ReplayId(id), matched))
    }

    /// How many deliveries a bulk replay would find now.
    ///
    /// # Errors
    /// [`OperationError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn count(&self, request: &ReplayRequest) -> Result<u64, OperationError> {
        let counted = self.find(request).await?;
        Ok(counted.matched)
    }

    /// How many deliveries match, and between which events they are.
    async fn find(&self, request: &ReplayRequest) -> Result<CountedReplays, OperationError> {
        self.operations.queue_of(&request.subscription)?;
        let span = span(request);
        let look = move |index: &Connection| {
            let Range { start, end } = reach(index, span)?;
            let last = find::last_seq(index)?.0.min(end.0.saturating_sub(1));
            Ok((EventSeq(start.0.saturating_sub(1)), EventSeq(last)))
        };
        let (from, last) = self.operations.ask(look).await?;
        let wanted = self.wanted(request, last)?;
        let (mut after, mut matched) = (from, 0);
        while after < last {
            let wanted = wanted.clone();
            let found = self
                .operations
                .ask(move |index| ended(index, &wanted, after, usize::MAX))
                .await?;
            matched += u64::try_from(found.entries.len()).unwrap_or(u64::MAX);
            after = found.upto;
        }
        Ok(CountedReplays {
            matched,
            from,
            upto: last,
        })
    }

    pub(super) fn wanted(
        &self,
        request: &ReplayRequest,
        upto: EventSeq,
    ) -> Result<EndedWanted, OperationError> {
        Ok(EndedWanted {
            number: self.operations.queue_of(&request.subscription)?.number,
            state: request.state,
            span: span(request),
            event_type: request.event_type.clone(),
            upto,
        })
    }

    /// Stops a bulk replay; deliveries already replayed stay so. One that has ended stays as it is. Resolves when that
    /// is durable.
    ///
    /// # Errors
    /// [`OperationError`]; it goes on then.
    ///
    /// # Cancel safety
    /// Dropped, it may still be stopped.
    pub async fn stop(&self, id: ReplayId) -> Result<ReplayProgress, OperationError> {
        let turn = self.operations.turn().await;
        let before = self.jobs.get(id.0);
        let before = before.ok_or(OperationError::Unknown)?;
        if before.state != ReplaysState::Running {
            return Ok(before.progress(id.0));
        }
        let stopped = Job {
            state: ReplaysState::Stopped,
            ..before
        };
        let version = self.jobs.set(id.0, stopped.clone());
        let records = vec![stopped.record(id.0)];
        let recorded = self
            .operations
            .carry_out(turn, records, Vec::new(), Vec::new())
            .await;
        let stopped_progress = stopped.progress(id.0);
        self.jobs.settle(id.0, version, stopped, recorded.is_ok());
        recorded.map(|()| stopped_progress)
    }
}
