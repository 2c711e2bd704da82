//! The bulk replays that are known, and what of them is durable.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tracing::warn;

use super::job::{Job, ReplayProgress};
use crate::store::record::Record;

/// The bulk replays that are known.
#[derive(Debug, Default)]
pub(in crate::store) struct Jobs {
    jobs: Mutex<BTreeMap<u64, Known>>,
    /// Something about a job changed.
    pub(super) changed: Notify,
}

/// A bulk replay: who has the turn goes by `job`, who looks sees what is durable.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) job: Job,
    /// How many times it was set.
    version: u64,
    durable: Option<(u64, Job)>,
}

impl Jobs {
    /// Those that the index has.
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

    /// Sets a job to what is about to be recorded, in the turn of who does; answers its version.
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

    /// That version is recorded, or was not: then it is taken back unless another followed.
    pub(super) fn settle(&self, id: u64, version: u64, job: Job, is_recorded: bool) {
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
            .map(|(id, known)| known.job.record(*id))
            .collect()
    }

    /// What is durable of those that are known.
    pub(super) fn progress(&self) -> Vec<ReplayProgress> {
        let jobs = self.lock();
        let durable = jobs.iter().filter_map(|(id, known)| {
            let (_, job) = known.durable.as_ref()?;
            Some(job.progress(*id))
        });
        durable.collect()
    }
}
