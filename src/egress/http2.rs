//! One HTTP/2 connection, shared by the requests of a client.
//!
//! Its driver is a task, because many requests use it at once; the task ends with the last handle. How many streams
//! are open at once is the endpoint's to say: hyper makes further requests wait.

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, Uri, uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::AbortOnDropHandle;

use crate::egress::dial::Stream;
use crate::egress::origin::Origin;

/// Bytes of one response that may come before they are read.
const STREAM_WINDOW: u32 = 32 * 1024;
/// Bytes of all responses that may come before they are read.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a response head, at most, as HTTP/2 counts them.
const HEADER_LIST_MAX: u32 = 32 * 1024;

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Reads and writes until the connection is dropped.
    driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Exchanges the prefaces and starts the driver.
    pub(super) async fn open(stream: Stream) -> hyper::Result<Self> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_LIST_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Its error has gone to the requests that it failed.
            let _ended = connection.await;
        });
        Ok(Self {
            sender,
            driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Sends a request and reads the response head.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        origin: &Origin,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        // `:authority` takes the place of Host (RFC 9113 section 8.3.1).
        request.headers_mut().remove(HOST);
        let mut parts = uri::Parts::default();
        parts.scheme = Some(origin.scheme.clone());
        parts.authority = Some(origin.authority.clone());
        parts.path_and_query = request.uri().path_and_query().cloned();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        self.sender.clone().try_send_request(request).await
    }

    /// Whether another request may be sent.
    pub(super) fn is_reusable(&self) -> bool {
        !self.driver.is_finished() && !self.sender.is_closed()
    }
}
