//! The accept loop: as many connections as the limit allows, each a task of this loop, until told to stop.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::http_server::watched::Stream;
use crate::http_server::{Limits, Listener, connection};

/// How long nothing is accepted after an error that the next connection would meet too.
const PAUSE: Duration = Duration::from_millis(250);

/// Serves the listener until `stop`, then drains.
pub(super) async fn run<S, B>(
    listener: Listener,
    service: S,
    limits: Limits,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    S: Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    let spawn = |stream, connections: &mut JoinSet<()>| {
        connections.spawn(connection::serve(
            stream,
            service.clone(),
            limits,
            stop.clone(),
        ));
    };
    accept_until(
        &listener,
        spawn,
        &mut connections,
        limits.connections,
        &stop,
    )
    .await;
    drop(listener);
    drain(connections, limits.drain_timeout).await;
}

/// Where connections come from; a seam for errors that a real socket gives only to a process out of resources.
trait Accept {
    async fn accept(&self) -> io::Result<Stream>;
}

impl Accept for Listener {
    async fn accept(&self) -> io::Result<Stream> {
        self.accept().await
    }
}

async fn accept_until(
    listener: &impl Accept,
    mut spawn: impl FnMut(Stream, &mut JoinSet<()>),
    connections: &mut JoinSet<()>,
    limit: usize,
    stop: &CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept(), if connections.len() < limit => match accepted {
                Ok(stream) => spawn(stream, connections),
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                    pause(stop).await;
                }
            },
        }
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

fn report(ended: Result<(), JoinError>) {
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

    /// Fails in turn with the errors of its list, then tells the loop to stop.
    struct Failing {
        errors: Vec<i32>,
        next: Cell<usize>,
        stop: CancellationToken,
    }

    impl Accept for Failing {
        async fn accept(&self) -> io::Result<Stream> {
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
        accept_until(&listener, |_, _| {}, &mut JoinSet::new(), 8, &stop).await;
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
