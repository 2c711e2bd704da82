//! The thread on which subscriptions are found whose expressions take long, so that nothing else waits for it.
//!
//! One event at a time, in the order in which they come, so that a batch takes turns with everything else. How many wait
//! is bounded, and how long: a request whose turn does not come is refused, and nothing of it is stored. The thread is
//! started when it is first needed and ends with its [`Filtering`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::domain::EventHead;
use crate::ingest::refusal::Refusal;
use crate::ingest::routes::{Addressed, Routes};
use crate::matching::Facts;
use crate::store::NewDelivery;

/// Events that wait at most.
const WAITING_MAX: usize = 64;

/// From the first event of a request that waits to the last one that was done.
pub(super) const TIME_MAX: Duration = Duration::from_secs(10);

/// An event and where it goes.
pub(super) type Found = (EventHead, Addressed, Vec<NewDelivery>);

/// Hands events to the thread.
#[derive(Debug, Default)]
pub(super) struct Filtering {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

struct Job {
    routes: Arc<Routes>,
    head: EventHead,
    body: Bytes,
    reply: oneshot::Sender<Found>,
}

impl Filtering {
    /// Finds the subscriptions of an event.
    ///
    /// # Errors
    /// [`Refusal::Filters`] when its turn does not come by the deadline, or the thread is not there.
    ///
    /// # Cancel safety
    /// An event that still waits is passed over.
    pub(super) async fn find(
        &self,
        routes: &Arc<Routes>,
        head: EventHead,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Found, Refusal> {
        let jobs = self.jobs().ok_or(Refusal::Filters)?;
        let (reply, found) = oneshot::channel();
        let job = Job {
            routes: Arc::clone(routes),
            head,
            body,
            reply,
        };
        let done = timeout_at(deadline, async {
            jobs.send(job).await.ok()?;
            found.await.ok()
        });
        done.await.ok().flatten().ok_or(Refusal::Filters)
    }

    /// The channel to the thread, restarted if there is none: a panic over one event is not the end of all others.
    fn jobs(&self) -> Option<mpsc::Sender<Job>> {
        let mut known = self.jobs.lock();
        if let Some(jobs) = known.as_ref().filter(|jobs| !jobs.is_closed()) {
            return Some(jobs.clone());
        }
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("filters".to_owned());
        let started = thread.spawn(move || run(waiting));
        if let Err(error) = started {
            tracing::error!(%error, "the thread of filters cannot be started");
            return None;
        }
        *known = Some(jobs.clone());
        Some(jobs)
    }
}

fn run(mut waiting: mpsc::Receiver<Job>) {
    while let Some(job) = waiting.blocking_recv() {
        if job.reply.is_closed() {
            continue;
        }
        let (addressed, deliveries) = job.routes.address(&Facts::of(&job.head, &job.body));
        // The caller may have gone away.
        job.reply.send((job.head, addressed, deliveries)).ok();
    }
}
