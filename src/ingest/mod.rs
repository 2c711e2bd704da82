//! The events listener: what the application posts becomes durable, and only then is answered 202.
//!
//! Routes: `POST /events` and `POST /events/{type}`, where the type is all the rest of the path. One request is one
//! event whose body is kept byte for byte, or a batch of them (`application/x-ndjson`) that is stored whole or not at
//! all.
//!
//! In the order of a request: `intake` makes events of it, with `guard` keeping web pages and strangers out, `target`
//! and `head` reading the request head, `body` the body within its limits, `naming` and `batch` the names; `routes` asks
//! the index of `matching` for subscriptions. Then the store makes them durable, and `answer` reports it. A refusal
//! on the way is a `Refusal` and leaves nothing in the store. With `Prefer: wait` the answer first waits for attempts
//! (`prefer`, `waiting`). Connections are `http_server`'s.
//!
//! Invariants: a request sees one [`Routes`]; JSON is parsed only when a pointer is needed; Authorization,
//! Proxy-Authorization and Cookie are never kept.

mod answer;
mod batch;
mod body;
mod filtering;
mod format;
mod guard;
mod head;
mod intake;
mod naming;
mod prefer;
mod preview;
mod random;
mod refusal;
mod routes;
mod target;
mod waiting;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::Full;
use parking_lot::RwLock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::alerts::Alerts;
use crate::domain::{Clock, DeadReason};
use crate::http_server::{Peer, identify};
use crate::ingest::answer::Accepted;
use crate::ingest::intake::{Intake, Taken};
use crate::ingest::refusal::Refusal;
use crate::ingest::routes::Addressed;
use crate::ingest::waiting::{Waiting, WaitingRoom};
use crate::metrics::IngestMetrics;
use crate::store::{Receipt, Store};

pub(crate) use preview::preview;
pub(crate) use routes::Routes;

/// The events listener, without its socket. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ingest {
    shared: Arc<Shared>,
}

struct Shared {
    routes: RwLock<Arc<Routes>>,
    intake: Intake,
    store: Store,
    metrics: IngestMetrics,
    alerts: Alerts,
    waiting_room: WaitingRoom,
}

impl Ingest {
    /// Makes the listener's side of the store; `alerts` gets deliveries dead from the start. `stop` ends waiting.
    pub(crate) fn new(
        routes: Routes,
        store: Store,
        clock: Arc<dyn Clock>,
        metrics: IngestMetrics,
        alerts: Alerts,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                routes: RwLock::new(Arc::new(routes)),
                intake: Intake::new(clock),
                store,
                metrics,
                alerts,
                waiting_room: WaitingRoom::new(stop),
            }),
        }
    }

    /// Requests that begin from now on see these routes; those under way keep theirs.
    pub(crate) fn replace(&self, routes: Routes) {
        let mut current = self.shared.routes.write();
        *current = Arc::new(routes);
    }

    /// The tower service for connections that come in by `peer`, to be given to
    /// [`serve`](crate::http_server::serve).
    pub(crate) fn service<B>(
        &self,
        peer: Peer,
    ) -> impl Service<
        Request<B>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
    > + Clone
    + Send
    + use<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Error + 'static,
    {
        let shared = Arc::clone(&self.shared);
        tower::service_fn(move |request: Request<B>| {
            let shared = Arc::clone(&shared);
            async move { Ok(shared.handle(peer, request).await) }
        })
    }
}

impl Shared {
    /// Answers one request, and counts it.
    ///
    /// # Cancel safety
    /// Events that were handed to the store stay accepted.
    async fn handle<B>(&self, peer: Peer, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Error + 'static,
    {
        let started = Instant::now();
        let asks_who = request.method() == Method::GET && request.uri().path() == "/healthz";
        let answered = self.accept(peer, request, started).await;
        self.metrics.duration.record(started.elapsed());
        match answered {
            Ok((accepted, None)) => accepted.into_response(),
            // On the heap: few requests wait, and all would be that much larger.
            Ok((accepted, Some(waiting))) => Box::pin(waiting.answer(accepted)).await,
            Err(refusal) => {
                refusal.count(&self.metrics);
                let mut response = refusal.into_response();
                // There is no such path here, but a process that finds our address taken can see by which sidehook.
                if asks_who {
                    identify(response.headers_mut(), self.store.instance());
                }
                response
            }
        }
    }

    /// Makes the events of a request durable. With it comes what the answer is to wait for, if that was asked for.
    async fn accept<B>(
        &self,
        peer: Peer,
        request: Request<B>,
        started: Instant,
    ) -> Result<(Accepted, Option<Waiting<'_>>), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Error + 'static,
    {
        let routes = self.routes();
        let taken = self.intake.take(&routes, peer, request).await?;
        let Taken {
            format,
            wait,
            events,
            addressed,
            // Held until the store has the events, and not while the answer waits.
            budget: _budget,
        } = taken;
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let place = wait.and_then(|wait| self.waiting_room.enter(wait, started));
        let stored = match place {
            Some(_) => self.store.accept_watched(events).await,
            None => self.store.accept(events).await.map(|it| (it, None)),
        };
        let (receipts, watch) = stored.map_err(|error| Refusal::Store {
            error,
            events: count,
            format,
        })?;
        self.count(&routes, &addressed, &receipts);
        let waiting = wait.map(|wait| Waiting {
            wait,
            granted: place.zip(watch),
            routes,
        });
        Ok((Accepted { format, receipts }, waiting))
    }

    fn routes(&self) -> Arc<Routes> {
        let routes = self.routes.read();
        Arc::clone(&routes)
    }

    fn count(&self, routes: &Routes, addressed: &[Addressed], receipts: &[Receipt]) {
        let now = self.intake.now();
        for (addressed, receipt) in addressed.iter().zip(receipts) {
            if receipt.duplicate {
                self.metrics.duplicate.increment(1);
                continue;
            }
            self.metrics.accepted.increment(1);
            if addressed.is_unmatched {
                self.metrics.unmatched.increment(1);
            }
            routes.count(addressed, receipt, now);
            for name in receipt.overflowed.iter().filter_map(|it| routes.name(*it)) {
                self.alerts.dead(name, receipt.id, DeadReason::Overflow);
            }
        }
    }
}

#[cfg(test)]
mod tests;
