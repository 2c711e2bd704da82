//! The bulk replays that are kept, with their durable state.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tracing::warn;

use super::job::{Job, ReplayProgress};
use crate::store::record::Record;

/// The bulk replays that are kept.
#[derive(Debug, Default)]
pub(in crate::store) struct Jobs {
    jobs: Mutex<BTreeMap<u64, Known>>,
    /// Notified when a job has changed.
    pub(super) changed: Notify,
}

/// A bulk replay: the operation that has the turn uses `job`, readers see the durable state.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) job: Job,
    /// How many times it was set.
    version: u64,
    durable: Option<(u64, Job)>,
}

impl Jobs {
    /// Loads the bulk replays that the index has.
    pub(in crate::store) fn new(kept: Vec<(u64, Vec<u8>)>) -> Self {
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

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.jobs.lock()
    }

    pub(super) fn get(&self, id: u64) -> Option<Job> {
        self.lock().get(&id).map(|known| known.job.clone())
    }

    /// Sets a job to the state that is about to be recorded, in the turn of that operation; returns its version.
    pub(super) fn set(&self, id: u64, job: Job) -> u64 {
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

    /// Settles a version: it is recorded, or it is reverted unless another version followed.
    pub(super) fn settle(&self, id: u64, version: u64, job: Job, is_recorded: bool) {
        let mut jobs = self.lock();
        let Some(known) = jobs.get_mut(&id) else {
            return;
        };
        if is_recorded {
            // The turn ends before the waiting caller is notified, so another version may have come first.
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

    /// The records of all bulk replays, to be written again; must be made in a turn.
    pub(super) fn records(&self) -> Vec<Record> {
        let jobs = self.lock();
        jobs.iter()
            .map(|(id, known)| known.job.record(*id))
            .collect()
    }

    /// The durable progress of all.
    pub(super) fn progress(&self) -> Vec<ReplayProgress> {
        let jobs = self.lock();
        let durable = jobs.iter().filter_map(|(id, known)| {
            let (_, job) = known.durable.as_ref()?;
            Some(job.progress(*id))
        });
        durable.collect()
    }
}
