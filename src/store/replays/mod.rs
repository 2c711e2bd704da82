//! Bulk replay: makes many deliveries pending again, a chunk at a time.
//!
//! A job goes through the deliveries of a subscription that are in one state, oldest first, up to the event that was
//! the last when it began. Each chunk has a turn of its own, as any operation, and is one batch of the journal: the
//! deliveries requeued together with how far the job is and when it goes on. So a job outlives a restart, and a crash
//! repeats nothing and keeps the pace. While its subscription is disabled it waits.
//!
//! [`job`] has the bytes of a job, `begin` what is asked of bulk replays, `run` the runner.

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
