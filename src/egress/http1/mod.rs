//! One HTTP/1.1 connection, driven by its user.
//!
//! hyper splits a connection into a handle that takes requests and a driver that reads and writes. Usually the
//! driver is a task of its own; here the sender polls both, so there is no task to own, dropping the sending future
//! closes the connection, and an idle connection costs nothing but its socket and buffer.
//!
//! The status line decides: where hyper cannot parse the rest of a head, `head` has recorded it.

mod head;
mod wire;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, Uri, response};
use http_body::Frame;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use crate::domain::FailureReason;
use crate::egress::dial::Stream;
use crate::egress::failure::SendError;
use crate::egress::origin::Origin;

use head::{HEAD_BYTES_MAX, Progress, Status};
use wire::{Signals, Wire};

/// How long the rest of a head is waited for that hyper cannot parse, but whose status is known.
const HEAD_REST: Duration = Duration::from_millis(250);

/// Why a request has no response.
pub(in crate::egress) struct Unanswered {
    pub(in crate::egress) error: SendError,
    /// The request, if the endpoint did not process it.
    pub(in crate::egress) unprocessed: Option<Request<Full<Bytes>>>,
}

/// An open connection on which at most one request is under way.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended: hyper returns a request only when its driver is dropped.
    driver: Option<Driver>,
    /// Of a connection that has ended.
    wire: Option<Wire>,
    signals: Arc<Signals>,
    /// When it was opened.
    pub(super) opened: Instant,
}

type Driver = http1::Connection<TokioIo<Wire>, Full<Bytes>>;

/// The body of a response; empty where hyper could not parse its head.
pub(super) struct Body(Option<Incoming>);

impl Connection {
    /// Makes ready to speak HTTP/1.1; nothing is sent yet.
    pub(super) async fn open(stream: Stream) -> hyper::Result<Self> {
        let signals = Arc::default();
        let wire = Wire::new(stream, Arc::clone(&signals));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let (sender, driver) = builder.handshake(TokioIo::new(wire)).await?;
        Ok(Self {
            sender,
            driver: Some(driver),
            wire: None,
            signals,
            opened: Instant::now(),
        })
    }

    /// Sends a request and reads the response head.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
        origin: &Origin,
    ) -> Result<Response<Body>, Unanswered> {
        if let Some(path) = request.uri().path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        let headers = request.headers_mut();
        headers
            .entry(HOST)
            .or_insert_with(|| origin.host_header.clone());
        self.signals.start();
        let response = self.sender.try_send_request(request);
        let mut failed = match self.drive(response).await {
            Ok(response) => {
                if is_ambiguous(response.headers()) {
                    self.signals.spend();
                }
                return Ok(response.map(|body| Body(Some(body))));
            }
            Err(failed) => failed,
        };
        let unprocessed = failed.take_message();
        let error = SendError::exchange(failed.error());
        if unprocessed.is_none() {
            // Boxed: rare, and not to be carried by every request.
            match Box::pin(self.recorded_head()).await {
                Ok(Some(head)) => return Ok(Response::from_parts(head, Body(None))),
                Ok(None) => {}
                Err(error) => return Err(Unanswered { error, unprocessed }),
            }
        }
        Err(Unanswered { error, unprocessed })
    }

    /// The head of the response as far as it can be read, although hyper could not; `None` without a status line.
    async fn recorded_head(&mut self) -> Result<Option<response::Parts>, SendError> {
        self.end();
        let Some(mut wire) = self.wire.take() else {
            return Ok(None);
        };
        if wire.head().status() == Status::Awaited {
            wire.read_head().await;
        } else {
            // The part read so far counts also when the time is over.
            let _in_time = timeout(HEAD_REST, wire.read_head()).await;
        }
        match wire.head().status() {
            _ if wire.head().progress() == Progress::Flooded => {
                let message =
                    "more than 100 interim responses, or 32 KiB of them, before an answer";
                Err(SendError::new(FailureReason::Protocol, message))
            }
            Status::Final(status) => Ok(Some(wire.head().parse(status))),
            Status::Awaited | Status::Invalid => Ok(None),
        }
    }

    /// Runs `work`, which waits for this connection, while reading and writing for it.
    pub(super) async fn drive<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            // The driver first: what it reads is what the work waits for.
            self.poll_driver(context);
            work.as_mut().poll(context)
        })
        .await
    }

    /// Whether another request may be sent: the last one is over and the endpoint keeps the connection open.
    pub(super) fn is_reusable(&mut self) -> bool {
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready() && !self.signals.is_spent()
    }

    fn poll_driver(&mut self, context: &mut Context<'_>) {
        let ended = match &mut self.driver {
            // Its error has gone to the request that it failed.
            Some(driver) => Pin::new(driver).poll(context).is_ready(),
            None => false,
        };
        if ended {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(driver) = self.driver.take() {
            self.wire = Some(driver.into_parts().io.into_inner());
        }
    }
}

/// Whether it can be doubted where the response ends (RFC 9112 section 6.3).
fn is_ambiguous(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(http_body::Body::is_end_stream)
    }
}
