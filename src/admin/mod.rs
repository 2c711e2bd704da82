//! The service of the admin and metrics listeners: `GET` and `HEAD` of
//!
//! | path | answer |
//! | --- | --- |
//! | `/healthz` | 200 while the process lives and its store works, else 503 |
//! | `/readyz` | 200 once events are accepted, also while the store is full, else 503 |
//! | `/metrics` | Prometheus text format 0.0.4 |
//!
//! Anything else is 404, any other method 405. The three paths need no token and no known `Host`: they say nothing secret
//! and change nothing. Listening and connection limits are the concern of `http_server`.

mod control;
mod exporter;

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_service::Service;

use crate::feed::Feed;
use crate::http_server::Problem;
use crate::store::{Health, Store};

pub use control::{Command, Control, EditDone, EditRefusal, EditRequest, TestAttempt};
pub use exporter::Exporter;

/// An answer that takes longer is cut with 503.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The media type of Prometheus text. Source: Prometheus exposition formats, text format 0.0.4.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether events are accepted: off at first, on once the listeners accept, off again when stopping. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether events are accepted from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the service answers from. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    /// What `/metrics` shows.
    pub exporter: Exporter,
    /// Whose health is asked for.
    pub store: Store,
    /// Whether events are accepted.
    pub readiness: Readiness,
    /// Whom to ask for what only the owner of the relay can do.
    pub control: Control,
    /// What happens.
    pub feed: Feed,
}

impl Admin {
    /// The service with its layers: a time limit, caught panics, and headers that keep browsers from guessing and caching.
    #[must_use]
    pub fn into_service<B: Send + 'static>(
        self,
    ) -> impl Service<
        Request<B>,
        Response = Response<
            impl Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
        >,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static {
        ServiceBuilder::new()
            .layer(header_layer(X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .layer(header_layer(CACHE_CONTROL, "no-store"))
            .layer(CatchPanicLayer::new())
            .layer(TimeoutLayer::with_status_code(
                StatusCode::SERVICE_UNAVAILABLE,
                ANSWER_TIMEOUT,
            ))
            .service(service_fn(move |request: Request<B>| {
                let admin = self.clone();
                let (head, _) = request.into_parts();
                async move { Ok::<_, Infallible>(admin.answer(&head.method, head.uri.path()).await) }
            }))
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
            return Problem::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "expected /healthz, /readyz or /metrics",
            )
            .into_response();
        }
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "expected GET or HEAD",
            )
            .into_response();
            refusal
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match path {
            "/healthz" => self.healthz(),
            "/readyz" => self.readyz(),
            _ => self.metrics().await,
        }
    }

    fn healthz(&self) -> Response<Full<Bytes>> {
        match self.store.health() {
            Health::Healthy | Health::Full => text(StatusCode::OK, "ok\n"),
            Health::Failed => text(StatusCode::SERVICE_UNAVAILABLE, "the store has failed\n"),
        }
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        if !self.readiness.is_ready() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n");
        }
        match self.store.health() {
            Health::Healthy => text(StatusCode::OK, "ok\n"),
            Health::Full => text(StatusCode::OK, "ok, but the store is full\n"),
            Health::Failed => text(StatusCode::SERVICE_UNAVAILABLE, "the store has failed\n"),
        }
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        self.control.refreshed().await;
        match self.exporter.text().await {
            Some(text) => respond(StatusCode::OK, METRICS_TYPE, text),
            None => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many scrapes at once",
            )
            .into_response(),
        }
    }
}

fn header_layer(
    name: http::HeaderName,
    value: &'static str,
) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
