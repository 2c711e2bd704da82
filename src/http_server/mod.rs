//! Listening for HTTP/1.1: sockets, the accept loop, and the rules for every connection whatever is served on it.
//!
//! A connection that is silent, slow, malformed or too many is dealt with here, so that a service only ever sees whole
//! request heads; what a request means is the service's. Every refusal has a body that is a problem document
//! (RFC 9457), those of hyper included, and so does the panic of a handler.
//!
//! Invariants: the accept loop ends only when it is stopped; a connection costs at most [`Limits::head_bytes`] and a
//! read buffer before a request is complete; every connection task belongs to the future that [`serve`] returns.

mod accept;
mod body;
mod connection;
mod framing;
mod holder;
mod limits;
mod listener;
mod places;
mod problem;
mod progress;
mod watched;

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

pub(crate) use body::RequestBody;
pub(crate) use holder::identify;
pub(crate) use holder::listening_users;
pub(crate) use limits::{Limits, Peer};
pub(crate) use listener::{BindError, Listener, check_tcp, check_unix, resolve};
pub(crate) use problem::Problem;

/// Serves connections until `stop` is cancelled, by a service made for the listener's kind of connection.
///
/// Once stopping, only earlier connections are accepted; requests under way, and those that arrive within half a
/// second, are answered with `Connection: close`; then connections without a request are closed. All of it takes
/// [`Limits::drain_timeout`] at most.
///
/// # Cancel safety
/// Dropping the future cuts every connection.
pub(crate) async fn serve<S, B>(
    listener: Listener,
    make_service: impl Fn(Peer) -> S,
    limits: Limits,
    stop: CancellationToken,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    S: Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let service = make_service(listener.peer());
    accept::run(listener, service, limits, stop).await;
}

#[cfg(test)]
mod closing_tests;
#[cfg(test)]
mod listener_tests;
#[cfg(test)]
mod tests;
