//! Passes the requests of queues on: to the index for deliveries that are not in memory, to the reader for events.

use std::fmt;
use std::sync::Arc;

use super::limits::Limits;
use crate::domain::{Clock, SubscriptionNumber};
use crate::store::damaged::Damaged;
use crate::store::failure::Failure;
use crate::store::index::Inbox as IndexInbox;
use crate::store::index::refill::{self, Answer, Wanted};
use crate::store::reader::{Inbox as ReaderInbox, Load, Loading, ReadJob};
use crate::store::watch::Watchers;

/// The requests of a queue after a step; to be sent once the queue is unlocked.
#[derive(Debug, Default)]
pub(in crate::store) struct Wants {
    /// Questions to the index.
    pub(in crate::store) questions: Vec<Wanted>,
    /// Events to be read back.
    pub(in crate::store) loads: Vec<Load>,
}

/// A queue that asks.
pub(super) trait Asking: Loading + 'static {
    fn number(&self) -> SubscriptionNumber;
    fn answered(&self, answer: Answer);
}

/// Shared by all queues: their limits, and the parts that they send requests and reports to.
pub(in crate::store) struct Dispatcher {
    pub(in crate::store) limits: Arc<Limits>,
    pub(in crate::store) clock: Arc<dyn Clock>,
    pub(in crate::store) failure: Arc<Failure>,
    pub(in crate::store) index: Arc<IndexInbox>,
    pub(in crate::store) reader: Arc<ReaderInbox>,
    pub(in crate::store) watchers: Arc<Watchers>,
    pub(in crate::store) damaged: Arc<Damaged>,
}

impl Dispatcher {
    /// Sends the requests of a queue.
    pub(super) fn ask<Q: Asking>(&self, queue: &Arc<Q>, wants: Wants) {
        for wanted in wants.questions {
            let (queue, limits) = (Arc::clone(queue), Arc::clone(&self.limits));
            self.index.submit(move |index| {
                // Thousands of queues may have asked while there was memory for each.
                let most = match limits.budget.exhausted() {
                    true => limits.bounds.granted,
                    false => usize::MAX,
                };
                let answer = refill::answer(index, queue.number(), wanted, most)?;
                queue.answered(answer);
                Ok(())
            });
        }
        if !wants.loads.is_empty() {
            let jobs = wants.loads.into_iter().map(|load| {
                let reply: Arc<dyn Loading> = Arc::<Q>::clone(queue);
                ReadJob::Load { load, reply }
            });
            self.reader.submit(jobs);
        }
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}
