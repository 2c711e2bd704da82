//! Bulk replay: makes many deliveries pending again, a chunk at a time.
//!
//! A job goes through the deliveries of a subscription that are in one state, oldest first, up to the event that was
//! the last when it began. Each chunk has a turn of its own, like any operation, and is one batch of the journal: the
//! requeued deliveries together with the progress of the job and when it goes on. So a job survives a restart, and
//! after a crash nothing is repeated and the pace is kept. While its subscription is disabled it waits.
//!
//! [`job`] has a job and its bytes, `begin` the calls of users, `run` the runner.

mod begin;
mod job;
mod jobs;
mod run;

pub use begin::Replays;
pub use job::{ReplayId, ReplayProgress, ReplayRequest, ReplaysState};
pub(super) use jobs::Jobs;
pub(super) use run::run;

#[cfg(test)]
mod tests;
