//! The accept loop: as many connections as the limit allows, each a task of this loop, until it is stopped.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::descriptors::Client;
use crate::http_server::body::RequestBody;
use crate::http_server::connection::{self, Closing};
use crate::http_server::limits::Limits;
use crate::http_server::listener::Listener;
use crate::http_server::places::{Caller, Place, Places};
use crate::http_server::progress::Progress;
use crate::http_server::watched::Stream;

/// How long nothing is accepted after an error that the next connection would meet too.
const PAUSE: Duration = Duration::from_millis(250);

/// How often it is tried to find a place for a waiting connection, when nothing else happens.
const RETRY: Duration = Duration::from_millis(5);

/// Serves the listener until `stop`, then drains.
pub(super) async fn run<S, B>(
    listener: Listener,
    service: S,
    limits: Limits,
    stop: CancellationToken,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    S: Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let serve = |stream, progress, leave| {
        let (service, stop) = (service.clone(), stop.clone());
        let closing = Closing { leave, stop };
        connection::serve(stream, service, limits, progress, closing)
    };
    let mut crowd = Crowd {
        serve,
        limit: limits.connections,
        stop: stop.clone(),
        tasks: JoinSet::new(),
        places: Places::default(),
        waiting: None,
    };
    crowd.accept_until_stopped(&listener).await;
    crowd.accept_backlog(listener);
    drain(crowd.tasks, limits.drain_timeout).await;
}

/// Where connections come from; a seam for errors that a real socket gives only to a process out of resources.
trait Accept {
    async fn accept(&self) -> io::Result<(Stream, Caller)>;
}

impl Accept for Listener {
    async fn accept(&self) -> io::Result<(Stream, Caller)> {
        self.accept().await
    }
}

/// The connections of a listener, and the one that waits for a place.
struct Crowd<F> {
    /// Makes the task of a connection.
    serve: F,
    limit: usize,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    places: Places,
    waiting: Option<(Stream, Caller)>,
}

impl<F, T> Crowd<F>
where
    F: Fn(Stream, Arc<Progress>, CancellationToken) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    async fn accept_until_stopped(&mut self, listener: &impl Accept) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
                () = tokio::time::sleep(RETRY), if self.waiting.is_some() => self.seat(),
                accepted = listener.accept(), if self.waiting.is_none() => match accepted {
                    Ok(accepted) => {
                        self.waiting = Some(accepted);
                        self.seat();
                    }
                    Err(error) if is_of_one_connection(&error) => {
                        tracing::debug!(%error, "a connection was gone before it was accepted");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections, trying again");
                        self.places.make_room();
                        pause(&self.stop).await;
                    }
                },
            }
        }
    }

    /// Serves the connections that were made before the end.
    fn accept_backlog(&mut self, listener: Listener) {
        let waiting = self.waiting.take();
        for (stream, caller) in waiting.into_iter().chain(listener.into_backlog()) {
            self.spawn(stream, caller);
        }
    }

    /// Gives the waiting connection a place, or makes room for it.
    fn seat(&mut self) {
        if self.tasks.len() >= self.limit {
            self.places.make_room();
        } else if let Some((stream, caller)) = self.waiting.take() {
            self.spawn(stream, caller);
        }
    }

    fn spawn(&mut self, stream: Stream, caller: Caller) {
        let (progress, leave) = (Arc::new(Progress::new()), self.stop.child_token());
        let task = (self.serve)(stream, Arc::clone(&progress), leave.clone());
        let client = Client::new();
        let counted = async move {
            task.await;
            drop(client);
        };
        let id = self.tasks.spawn(counted).id();
        self.places.add(id, Place::new(caller, progress, leave));
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        match &ended {
            Ok((id, ())) => self.places.remove(*id),
            Err(error) => self.places.remove(error.id()),
        }
        report(ended);
        self.seat();
    }
}

/// Whether only the connection that would have been next is concerned.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(PAUSE) => {}
    }
}

/// Waits for the connections, which have heard of the stop themselves; cuts those that take too long.
async fn drain(mut connections: JoinSet<()>, drain_timeout: Duration) {
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(drain_timeout, all_ended)
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "connections were cut: their requests took longer than the grace period"
        );
        connections.shutdown().await;
    }
}

fn report<T>(ended: Result<T, JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("the task of a connection panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Fails in turn with the errors of its list, then stops the loop.
    struct Failing {
        errors: Vec<i32>,
        next: Cell<usize>,
        stop: CancellationToken,
    }

    impl Accept for Failing {
        async fn accept(&self) -> io::Result<(Stream, Caller)> {
            let next = self.next.replace(self.next.get() + 1);
            match self.errors.get(next) {
                Some(code) => Err(io::Error::from_raw_os_error(*code)),
                None => {
                    self.stop.cancel();
                    std::future::pending().await
                }
            }
        }
    }

    async fn time_to_get_past(errors: &[i32]) -> Duration {
        let stop = CancellationToken::new();
        let listener = Failing {
            errors: errors.to_vec(),
            next: Cell::new(0),
            stop: stop.clone(),
        };
        let started = tokio::time::Instant::now();
        let mut crowd = Crowd {
            serve: |_, _, _| async {},
            limit: 8,
            stop,
            tasks: JoinSet::new(),
            places: Places::default(),
            waiting: None,
        };
        crowd.accept_until_stopped(&listener).await;
        assert_eq!(listener.next.get(), errors.len() + 1);
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn running_out_of_descriptors_pauses_the_loop_and_does_not_end_it() {
        const EMFILE: i32 = 24;
        const ENFILE: i32 = 23;
        const ENOMEM: i32 = 12;
        let time = time_to_get_past(&[EMFILE, ENFILE, ENOMEM]).await;
        assert!(time >= 3 * PAUSE && time < 4 * PAUSE, "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_gone_already_delays_nobody() {
        const ECONNABORTED: i32 = 103;
        const ECONNRESET: i32 = 104;
        let time = time_to_get_past(&[ECONNABORTED, ECONNRESET]).await;
        assert_eq!(time, Duration::ZERO);
    }
}
