//! The runner: one task that goes through all bulk replays, chunk by chunk.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;
use tracing::{info, warn};

use super::begin::Replays;
use super::job::{Job, ReplaysState};
use crate::domain::{DeliveryState, RateLimit, Timestamp};
use crate::store::OperationError;
use crate::store::changes::{Change, Claim};
use crate::store::entry::Entry;
use crate::store::index::ended::{Ended, count_attempts, ended};
use crate::store::index::find;
use crate::store::operations::{Operations, hastened, requeued};
use crate::store::queue::QueueShared;
use crate::store::record::Record;

/// Deliveries in a chunk, at most.
const CHUNK_MAX: usize = 500;
/// The pause of a job that cannot go on: its subscription is disabled, or the store overloaded.
const WAIT: Duration = Duration::from_secs(1);

/// With this many deliveries in memory that are due now, a job makes no more due, and pauses instead. A queue counts
/// them with [`QueueState::due_at`](crate::store::queue::QueueState::due_at).
const DUE_NOW_MAX: usize = 4_000;
const DUE_NOW_PAUSE: Duration = Duration::from_millis(50);

/// The greatest delay of a chunk that later ones make up for.
const LATE_MAX: Duration = Duration::from_secs(1);

/// When each job goes on.
type Times = HashMap<u64, Instant>;

/// Runs bulk replays for as long as it is polled. Idle while there is none.
pub(in crate::store) async fn run(replays: &Replays) -> Infallible {
    Runner(replays).run().await
}

/// Runs the bulk replays, one chunk at a time.
struct Runner<'a>(&'a Replays);

impl Runner<'_> {
    async fn run(&self) -> Infallible {
        let mut times = Times::new();
        loop {
            let begun = self.0.begun.notified();
            let now = Instant::now();
            match self.next_replay(&mut times, now) {
                None => begun.await,
                Some((_, at)) if at > now => {
                    tokio::select! {
                        () = begun => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                Some((id, at)) => {
                    let next = self.replay_chunk(id, at).await.unwrap_or_else(|error| {
                        warn!(
                            %error,
                            id, "a bulk replay could not go on; it is tried again"
                        );
                        Instant::now() + WAIT
                    });
                    times.insert(id, next);
                }
            }
        }
    }

    /// The running job that goes on first, and when.
    fn next_replay(&self, times: &mut Times, now: Instant) -> Option<(u64, Instant)> {
        let jobs = self.0.jobs.lock();
        let is_running = |id: &u64| {
            let known = jobs.get(id);
            known.is_some_and(|known| known.job.state == ReplaysState::Running)
        };
        times.retain(|id, _| is_running(id));
        for (id, known) in jobs.iter().filter(|(id, _)| is_running(id)) {
            // After a restart its pace continues; a clock that was set back does not delay it.
            let pace = known.job.request.rate_limit;
            let left = known.job.next_at.since(self.0.operations.clock.steady());
            let left = left.min(pause(pace, chunk(pace)));
            times.entry(*id).or_insert(now + left);
        }
        let earliest = times.iter().min_by_key(|(_, at)| **at);
        earliest.map(|(id, at)| (*id, *at))
    }

    /// Looks up the next chunk of a job.
    async fn look(&self, job: &Job) -> Result<Ended, OperationError> {
        let wanted = self.0.wanted(&job.request, job.upto)?;
        let (after, most) = (job.after, chunk(job.request.rate_limit));
        let look = move |index: &Connection| {
            let mut found = ended(index, &wanted, after, most)?;
            if wanted.state == DeliveryState::Delivered {
                count_attempts(index, wanted.number, &mut found.entries)?;
            }
            Ok(found)
        };
        self.0.operations.ask(look).await
    }

    /// Replays the next chunk of a job, which was scheduled for `at`; returns when the job goes on.
    async fn replay_chunk(&self, id: u64, at: Instant) -> Result<Instant, OperationError> {
        let operations = &self.0.operations;
        let turn = operations.turn().await;
        let job = self.0.jobs.get(id);
        let Some(mut job) = job.filter(|job| job.state == ReplaysState::Running) else {
            return Ok(at);
        };
        let pace = job.request.rate_limit;
        if operations.subscriptions.is_held(&job.request.subscription) {
            return Ok(Instant::now() + WAIT);
        }
        let queue = operations.queue_of(&job.request.subscription)?;
        let is_pending = job.request.state == DeliveryState::Pending;
        let steady = operations.clock.steady();
        let frees_others = job.request.state == DeliveryState::Dead;
        let is_much_due = queue.step(|state| {
            // Due deliveries may wait for exactly this dead one.
            let may_wait_for_it = frees_others && state.dead_ones_block();
            !may_wait_for_it && state.due_at(steady) >= DUE_NOW_MAX
        });
        if is_much_due {
            // Due deliveries stay in memory until their turn comes.
            return Ok(Instant::now() + DUE_NOW_PAUSE);
        }
        let found = self.look(&job).await?;
        let seqs = found.entries.iter().map(|entry| entry.seq).collect();
        let claim = Claim::those_free(&queue, seqs);
        let all = found.entries.len();
        let entries = if is_pending {
            still_waiting(operations, &claim).await?
        } else {
            // Only operations change deliveries that have ended, and this one has the turn.
            let free: HashSet<_> = claim.seqs().iter().collect();
            let entries = found.entries.into_iter();
            let free = entries.filter(|entry| free.contains(&entry.seq));
            free.map(|entry| (entry, None)).collect()
        };

        job.after = found.upto;
        job.replayed += count(entries.len());
        job.skipped += count(all - entries.len());
        if job.after >= job.upto {
            job.state = ReplaysState::Done;
            job.skipped = job.matched.saturating_sub(job.replayed);
        }
        // The time that a chunk takes is made up for, but no more than a second.
        let now = Instant::now();
        let begun = now.checked_sub(LATE_MAX).map_or(at, |least| at.max(least));
        let next = begun + pause(pace, entries.len());
        let steady = operations.clock.steady();
        job.next_at = steady.plus(next.saturating_duration_since(now));
        let version = self.0.jobs.set(id, job.clone());
        if entries.is_empty() && job.state == ReplaysState::Running {
            // Nothing to record: after a crash the chunk is looked at again.
            self.0.jobs.settle(id, version, job, true);
            return Ok(next);
        }
        let was_dead = job.request.state == DeliveryState::Dead;
        let (mut records, changes) = requeue(&queue, entries, was_dead, steady);
        records.push(job.record(id));
        let recorded = self
            .0
            .operations
            .carry_out(turn, records, changes, vec![claim])
            .await;
        if recorded.is_ok() && job.state == ReplaysState::Done {
            let replayed = job.replayed;
            info!(id, replayed, "a bulk replay is done");
        }
        self.0.jobs.settle(id, version, job, recorded.is_ok());
        recorded.map(|()| next)
    }
}

/// Of claimed deliveries, those that wait for a retry, with their due times. Before the claim they could be
/// attempted, so only an answer of the index from after it is valid.
pub(super) async fn still_waiting(
    operations: &Operations,
    claim: &Claim,
) -> Result<Vec<(Entry, Option<Timestamp>)>, OperationError> {
    let (number, seqs) = (claim.queue().number, claim.seqs().to_vec());
    let now = operations.clock.steady();
    operations
        .ask(move |index| {
            let mut waiting = Vec::new();
            for seq in &seqs {
                if let Some(found) = find::delivery(index, number, *seq)?
                    && found.state == DeliveryState::Pending
                    && let Some(due) = found.due_at
                    && due > now
                {
                    waiting.push((found.entry, Some(due)));
                }
            }
            Ok(waiting)
        })
        .await
}

/// The records and changes that make deliveries pending again, or due now if they were pending and due at a time.
fn requeue(
    queue: &Arc<QueueShared>,
    entries: Vec<(Entry, Option<Timestamp>)>,
    was_dead: bool,
    now: Timestamp,
) -> (Vec<Record>, Vec<(Arc<QueueShared>, Change)>) {
    let requeued = entries.into_iter().map(|(entry, due)| {
        let (record, change) = match due {
            Some(due) => hastened(queue.number, entry, due, now),
            None => requeued(queue.number, entry, was_dead, now),
        };
        (record, (Arc::clone(queue), change))
    });
    requeued.unzip()
}

/// The number of deliveries in a chunk: as many as the pace allows in a second, at least one.
fn chunk(pace: Option<RateLimit>) -> usize {
    let Some(RateLimit { attempts, per }) = pace else {
        return CHUNK_MAX;
    };
    let per_second = u128::from(attempts) * 1000 / per.as_millis().max(1);
    usize::try_from(per_second)
        .unwrap_or(CHUNK_MAX)
        .clamp(1, CHUNK_MAX)
}

/// The time that the pace allots to this number of deliveries.
fn pause(pace: Option<RateLimit>, deliveries: usize) -> Duration {
    let Some(RateLimit { attempts, per }) = pace else {
        return Duration::ZERO;
    };
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    per.saturating_mul(deliveries) / attempts.max(1)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
