//! The events listener: what the application posts becomes durable, and only then is answered 202.
//!
//! Routes: `POST /events` and `POST /events/{type}`, where the type is all the rest of the path. One request is one
//! event whose body is kept byte for byte, or a batch of them (`application/x-ndjson`) that is stored whole or not at
//! all.
//!
//! In the order of a request: `intake` makes events of it, with `guard` keeping web pages and strangers out, `target`
//! and `head` reading the request head, `body` the body within its limits, `naming` and `batch` the names; `routes` asks
//! the index of `matching` who they are for. Then the store makes them durable, and `answer` says so. What is refused on
//! the way is a `Refusal` and leaves nothing in the store. Connections are `http_server`'s.
//!
//! Invariants: a request sees one [`Routes`]; JSON is parsed only when a pointer is needed; Authorization,
//! Proxy-Authorization and Cookie are never kept.

mod answer;
mod batch;
mod body;
mod guard;
mod head;
mod intake;
mod naming;
mod pointer;
mod random;
mod refusal;
mod routes;
mod target;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::time::Instant;
use tower_service::Service;

use crate::domain::Clock;
use crate::http_server::Peer;
use crate::ingest::head::Format;
use crate::ingest::intake::Intake;
use crate::ingest::refusal::Refusal;
use crate::ingest::routes::Addressed;
use crate::metrics::IngestMetrics;
use crate::store::{Receipt, Store};

pub use routes::Routes;

/// The events listener, without its socket. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
}

struct Shared {
    routes: RwLock<Arc<Routes>>,
    intake: Intake,
    store: Store,
    metrics: IngestMetrics,
}

impl Ingest {
    /// Makes the listener's side of the store.
    pub fn new(
        routes: Routes,
        store: Store,
        clock: Arc<dyn Clock>,
        metrics: IngestMetrics,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                routes: RwLock::new(Arc::new(routes)),
                intake: Intake::new(clock),
                store,
                metrics,
            }),
        }
    }

    /// Requests that begin from now on see these routes; those under way keep theirs.
    pub fn replace(&self, routes: Routes) {
        let mut current = self
            .shared
            .routes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(routes);
    }

    /// The tower service for connections that come in by `peer`, to be given to
    /// [`serve_each`](crate::http_server::serve_each).
    pub fn service<B>(
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
        let answer = match self.accept(peer, request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                refusal.count(&self.metrics);
                refusal.into_response()
            }
        };
        self.metrics.duration.record(started.elapsed());
        answer
    }

    async fn accept<B>(
        &self,
        peer: Peer,
        request: Request<B>,
    ) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Error + 'static,
    {
        let routes = self.routes();
        let taken = self.intake.take(&routes, peer, request).await?;
        let events = u64::try_from(taken.events.len()).unwrap_or(u64::MAX);
        let receipts = match self.store.accept(taken.events).await {
            Ok(receipts) => receipts,
            Err(error) => {
                return Err(Refusal::Store {
                    error,
                    events,
                    format: taken.format,
                });
            }
        };
        self.count(&routes, &taken.addressed, &receipts);
        Ok(match taken.format {
            Format::Event => answer::event(&receipts),
            Format::Batch => answer::batch(&receipts),
        })
    }

    fn routes(&self) -> Arc<Routes> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&routes)
    }
    fn count(&self, routes: &Routes, addressed: &[Addressed], receipts: &[Receipt]) {
        for (addressed, receipt) in addressed.iter().zip(receipts) {
            if receipt.duplicate {
                self.metrics.duplicate.increment(1);
                continue;
            }
            self.metrics.accepted.increment(1);
            if addressed.is_unmatched {
                self.metrics.unmatched.increment(1);
            }
            routes.count(addressed, &receipt.overflowed);
        }
    }
}

#[cfg(test)]
mod tests;
