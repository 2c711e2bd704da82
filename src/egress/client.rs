//! Sends requests of one subscription over its pooled connections.
//!
//! A request is written at most once: it goes to another connection only when hyper hands it back unwritten, because the
//! endpoint had closed an idle connection. Redirects are never followed, bodies never decoded.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::domain::Timestamp;
use crate::egress::connection::Connection;
use crate::egress::dial::Dialer;
use crate::egress::failure::{SendError, head_too_large};
use crate::egress::origin::Origin;
use crate::egress::pool::Pool;
use crate::egress::{http1, http2};

/// Headers of a response, at most.
const HEADERS_MAX: usize = 64;
/// Bytes of a response body that are read, at most.
const BODY_READ_MAX: usize = 16 * 1024;
/// Bytes of a response body that are kept, at most.
const BODY_KEPT_MAX: usize = 4 * 1024;
/// The longest time to wait for one answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What came back, as far as it is read (16 KiB).
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The response headers, at most 64.
    pub headers: HeaderMap,
    /// At most the first 4 KiB of the body.
    pub body_prefix: Bytes,
}

/// A pooled client of one subscription; a cheap handle.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    pool: Arc<Pool>,
    certificate_expires: Mutex<Option<Timestamp>>,
}

impl Client {
    pub(super) fn new(dialer: Dialer, idle_connections: usize) -> Self {
        Self(Arc::new(Inner {
            dialer,
            pool: Arc::new(Pool::new(idle_connections)),
            certificate_expires: Mutex::default(),
        }))
    }

    /// Sends one request, whose URI is absolute. `timeout` (at most a day) runs from dialling to the end of the
    /// response head; connecting has 5 s of it. The body may use what is left: what goes wrong after the head is no
    /// failure.
    ///
    /// # Errors
    /// Says why no response head came.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, or the stream of a shared one. The endpoint may have got the request.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Answer, SendError> {
        let pool = &self.0.pool;
        let deadline = Instant::now() + timeout.min(TIMEOUT_MAX);
        let origin = pool.origin(request.uri())?;
        let Ok(exchange) = timeout_at(deadline, self.exchange(request, &origin, deadline)).await
        else {
            pool.clear();
            return Err(SendError::timeout(timeout));
        };
        let (response, mut connection) = exchange?;
        let (head, body) = response.into_parts();
        if head.headers.len() > HEADERS_MAX {
            return Err(head_too_large());
        }
        let mut prefix = Vec::new();
        if body.is_end_stream()
            || matches!(
                timeout_at(deadline, connection.drive(read(body, &mut prefix))).await,
                Ok(true)
            )
        {
            pool.give_back(&origin, connection);
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body_prefix: Bytes::from(prefix),
        })
    }

    /// When the endpoint's certificate ends, as last seen; none before the first TLS connection.
    #[must_use]
    pub fn certificate_expires(&self) -> Option<Timestamp> {
        *self
            .0
            .certificate_expires
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request over a pooled connection, else a new one, and reads the response head.
    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        origin: &Arc<Origin>,
        deadline: Instant,
    ) -> Result<(Response<Incoming>, Connection), SendError> {
        while let Some(mut connection) = self.0.pool.take(origin) {
            match connection.send(request, origin).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    Some(unwritten) => request = unwritten,
                    None => return Err(SendError::exchange(error.error())),
                },
            }
        }
        // Boxed: most requests find a connection, and need not carry the space for a handshake.
        let mut connection = Box::pin(self.connect(origin, deadline)).await?;
        match connection.send(request, origin).await {
            Ok(response) => Ok((response, connection)),
            Err(error) => Err(SendError::exchange(error.error())),
        }
    }

    async fn connect(
        &self,
        origin: &Arc<Origin>,
        deadline: Instant,
    ) -> Result<Connection, SendError> {
        let dialled = self.0.dialer.dial(origin, deadline).await?;
        if let Some(expires) = dialled.certificate_expires {
            *self
                .0
                .certificate_expires
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(expires);
        }
        let failed = |error: hyper::Error| SendError::exchange(&error);
        if dialled.is_http2 {
            let connection = Arc::new(
                http2::Connection::open(dialled.stream)
                    .await
                    .map_err(failed)?,
            );
            self.0.pool.share(origin, &connection);
            return Ok(Connection::Http2(connection));
        }
        let connection = http1::Connection::open(dialled.stream)
            .await
            .map_err(failed)?;
        Ok(Connection::Http1(Box::new(connection)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Reads a body up to the limit and keeps its beginning. True when it was read to its end.
async fn read(mut body: Incoming, prefix: &mut Vec<u8>) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        // Copied, so that a few bytes kept do not keep the buffer they were read into.
        let kept = data.len().min(BODY_KEPT_MAX - prefix.len());
        prefix.extend_from_slice(data.get(..kept).unwrap_or_default());
        read += data.len();
        if read > BODY_READ_MAX {
            return false;
        }
    }
    true
}
