//! One HTTP/1.1 connection, driven by whoever uses it.
//!
//! hyper splits a connection into a handle that takes requests and a driver that reads and writes. Usually the
//! driver is a task of its own; here whoever sends polls both, so there is no task to own, dropping the sending future
//! closes the connection, and an idle connection costs nothing but its socket and buffer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::egress::dial::Stream;
use crate::egress::origin::Origin;

/// Bytes of a response head, at most.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// An open connection on which at most one request is under way.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// None once the connection has ended: hyper gives a request back only when its driver is dropped.
    driver: Option<http1::Connection<TokioIo<Stream>, Full<Bytes>>>,
    /// When it was opened.
    pub(super) opened: Instant,
}

impl Connection {
    /// Makes ready to speak HTTP/1.1; nothing is sent yet.
    pub(super) async fn open(stream: Stream) -> hyper::Result<Self> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            sender,
            driver: Some(driver),
            opened: Instant::now(),
        })
    }

    /// Sends a request and reads the response head.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
        origin: &Origin,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        if let Some(path) = request.uri().path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        let headers = request.headers_mut();
        headers
            .entry(HOST)
            .or_insert_with(|| origin.host_header.clone());
        let response = self.sender.try_send_request(request);
        self.drive(response).await
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
        self.driver.is_some() && self.sender.is_ready()
    }

    fn poll_driver(&mut self, context: &mut Context<'_>) {
        let ended = match &mut self.driver {
            // Its error has gone to the request that it failed.
            Some(driver) => Pin::new(driver).poll(context).is_ready(),
            None => false,
        };
        if ended {
            self.driver = None;
        }
    }
}
