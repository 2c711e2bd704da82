//! Answers that wait for first attempts: `Prefer: wait=N`.
//!
//! 200 with results when every delivery of what was new had its first attempt or cannot be attempted now; 202 as usual
//! when N seconds since the request's head pass first, or the relay stops. Nothing is waited for, and so no preference
//! applied, where every event was a duplicate (the first request's answer reported the results), in an empty
//! batch, and when too many wait already.
//!
//! Invariant: waiting never takes the connections that others need to post.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::ingest::Routes;
use crate::ingest::answer::{self, Accepted};
use crate::ingest::prefer::Wait;
use crate::store::{FirstAttempt, Watch};

/// Requests that wait at the same time: half of the connections of a listener.
const REQUESTS_MAX: usize = 512;

/// Which requests may wait, and how long at most.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    places: Semaphore,
    stop: CancellationToken,
}

/// A place to wait in.
#[derive(Debug)]
pub(super) struct Place<'a> {
    until: Instant,
    stop: &'a CancellationToken,
    _permit: SemaphorePermit<'a>,
}

impl WaitingRoom {
    /// Once `stop` is cancelled no request waits any more.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self {
            places: Semaphore::new(REQUESTS_MAX),
            stop,
        }
    }

    /// Takes a place for a request that began at `started`; `None` if there is none left.
    pub(super) fn enter(&self, wait: Wait, started: Instant) -> Option<Place<'_>> {
        Some(Place {
            until: started + wait.duration(),
            stop: &self.stop,
            _permit: self.places.try_acquire().ok()?,
        })
    }
}

impl Place<'_> {
    /// Waits for first attempts; `None` if they take too long or there is no more waiting.
    async fn wait_for(self, watch: Watch) -> Option<Vec<Vec<FirstAttempt>>> {
        tokio::select! {
            biased;
            finished = timeout_at(self.until, watch.finished()) => finished.ok().flatten(),
            () = self.stop.cancelled() => None,
        }
    }
}

/// The things that an answer is to wait for.
pub(super) struct Waiting<'a> {
    pub(super) wait: Wait,
    /// None if nothing is waited for.
    pub(super) granted: Option<(Place<'a>, Watch)>,
    /// Those that the request saw.
    pub(super) routes: Arc<Routes>,
}

impl Waiting<'_> {
    /// Waits, and makes the answer.
    ///
    /// # Cancel safety
    /// Dropped, waiting ends; the events stay accepted.
    pub(super) async fn answer(self, accepted: Accepted) -> Response<Full<Bytes>> {
        let Some((place, watch)) = self.granted else {
            let mut response = accepted.into_response();
            answer::vary(&mut response);
            return response;
        };
        let mut response = match place.wait_for(watch).await {
            Some(results) => accepted.into_response_with(&results, &self.routes),
            None => accepted.into_response(),
        };
        answer::vary(&mut response);
        answer::applied(&mut response, self.wait);
        response
    }
}
