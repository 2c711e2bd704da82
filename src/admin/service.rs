//! From a request to an answer: every call takes the same way.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::time::timeout;
use tower::{ServiceBuilder, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_service::Service;

use crate::admin::answer::Answer;
use crate::admin::operation::{Call, Operation};
use crate::admin::operations::all;
use crate::admin::query::Query;
use crate::admin::refusal::Refusal;
use crate::admin::router::{self, Found};
use crate::admin::state::Admin;
use crate::admin::{access, body};
use crate::config::Scopes;
use crate::http_server::{Peer, Problem};

/// The part of the service that a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Everything.
    Whole,
    /// Only what is open to everybody: `/healthz`, `/readyz`, `/metrics`.
    Open,
}

impl Admin {
    /// The service for connections that come in by `peer`, with its layers: caught panics, and headers that keep browsers
    /// from guessing and caching.
    #[must_use]
    pub fn into_service<B>(
        self,
        surface: Surface,
        peer: Peer,
    ) -> impl Service<
        Request<B>,
        Response = Response<
            impl Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
        >,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Error + Send + 'static,
    {
        ServiceBuilder::new()
            .layer(header_layer(X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .layer(header_layer(CACHE_CONTROL, "no-store"))
            .layer(CatchPanicLayer::custom(answer_panic))
            .service(service_fn(move |request: Request<B>| {
                let admin = self.clone();
                // On the heap: handlers differ in size, and most calls need little.
                Box::pin(async move {
                    let has_body = !request.body().is_end_stream();
                    let answered = admin.answer(surface, peer, request).await;
                    let answer = answered.unwrap_or_else(|refusal| {
                        let mut answer = refusal.into_answer();
                        // An unread rest of the body ends the connection: announced, so that no client reuses it.
                        if has_body {
                            answer
                                .headers_mut()
                                .insert(CONNECTION, HeaderValue::from_static("close"));
                        }
                        answer
                    });
                    Ok::<Answer, Infallible>(answer)
                })
            }))
    }

    async fn answer<B>(
        self,
        surface: Surface,
        peer: Peer,
        request: Request<B>,
    ) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Error + 'static,
    {
        let (head, body) = request.into_parts();
        let found = router::find(&head.method, head.uri.path(), surface == Surface::Open);
        let scopes = if surface == Surface::Open || found.is_open() {
            Scopes {
                read: false,
                manage: false,
            }
        } else {
            self.admitted(&head, peer)?
        };
        match found {
            Found::Operation(operation, segments) => {
                self.perform(operation, segments, scopes, head, body).await
            }
            Found::Methods { allowed, .. } => Err(Refusal::method(&allowed)),
            Found::Nothing if surface == Surface::Open => {
                Err(Refusal::not_found("expected /healthz, /readyz or /metrics"))
            }
            Found::Nothing => Err(Refusal::not_found(
                "there is nothing here: /v1/openapi.json tells what there is",
            )),
        }
    }

    /// Lets a request in, and returns its scopes. What lies outside of /v1 is no secret.
    fn admitted(&self, head: &Parts, peer: Peer) -> Result<Scopes, Refusal> {
        let config = self.control.config();
        access::check_site(head, peer, &config.admin)?;
        access::scopes(&head.headers, peer, &self.tokens, &config.admin)
    }

    async fn perform<B>(
        self,
        operation: &'static Operation,
        segments: Vec<String>,
        scopes: Scopes,
        head: Parts,
        body: B,
    ) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Error + 'static,
    {
        if let Some(needed) = operation.scope.as_str()
            && !operation.scope.is_among(scopes)
        {
            return Err(Refusal::scope(needed));
        }
        let query = match operation.scope.as_str() {
            Some(_) => Query::parse(head.uri.query(), operation.query)?,
            // Probes and scrapers may ask with whatever parameters they have.
            None => Query::default(),
        };
        let body = match operation.body {
            Some(_) => body::read(&head.headers, body).await?,
            None => serde_json::Map::new(),
        };
        let answering = (operation.handler)(Call {
            admin: self,
            operations: all(),
            scopes,
            segments,
            query,
            headers: head.headers,
            body,
        });
        let too_slow = |_| Refusal::unavailable("too_slow", "the answer took too long", 1);
        timeout(operation.patience, answering)
            .await
            .map_err(too_slow)?
    }
}

/// The answer in place of a handler's that panicked. The panic itself is reported by the panic hook.
fn answer_panic(_panic: Box<dyn Any + Send>) -> Response<Full<Bytes>> {
    tracing::error!("the handler of a call panicked");
    Problem::internal().into_response()
}

fn header_layer(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}
