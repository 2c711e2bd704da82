//! Sends requests of one subscription over its pooled connections.
//!
//! A request goes to another connection only when the endpoint cannot have processed it: over HTTP/1.1 because nothing of
//! it was written, over HTTP/2 also because the endpoint says so. Redirects are never followed, bodies never decoded.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::domain::Timestamp;
use crate::egress::connection::{AnswerBody, Connection};
use crate::egress::dial::Dialer;
use crate::egress::failure::SendError;
use crate::egress::origin::Origin;
use crate::egress::pool::Pool;
use crate::egress::{http1, http2};

/// Bytes of a response body that are read, at most.
const BODY_READ_MAX: usize = 16 * 1024;
/// Parts of a response body that are read, at most: each costs time, however small it is.
const BODY_FRAMES_MAX: usize = 2048;
/// Bytes of a response body that are kept, at most.
const BODY_KEPT_MAX: usize = 4 * 1024;
/// How often a request that an HTTP/2 endpoint did not process is sent again within one attempt.
const RESENT_MAX: u32 = 6;
/// How often of these over a connection that other requests use. Then it has one of its own, on which it is the first.
const RESENT_SHARED_MAX: u32 = 4;
/// The longest time to wait for one answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The response, as far as it is read (16 KiB).
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The response headers, of 32 KiB at most, as far as they can be read.
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
    /// Held while a connection is opened that others wait for; with the last failure of that.
    opening: tokio::sync::Mutex<Option<(Instant, SendError)>>,
    certificate_expires: Mutex<Option<Timestamp>>,
}

impl Client {
    pub(super) fn new(dialer: Dialer, pool: Pool) -> Self {
        Self(Arc::new(Inner {
            dialer,
            pool: Arc::new(pool),
            opening: tokio::sync::Mutex::default(),
            certificate_expires: Mutex::default(),
        }))
    }

    /// Sends one request, whose URI is absolute. `timeout` (at most a day) runs from dialling to the end of the
    /// response head; connecting has 5 s of it. The body may use what is left: what goes wrong after the head is no
    /// failure.
    ///
    /// # Errors
    /// The reason why no response head came.
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

    /// When the endpoint's certificate ends, as last seen; `None` before the first TLS connection.
    #[must_use]
    pub fn certificate_expires(&self) -> Option<Timestamp> {
        *self.0.certificate_expires.lock()
    }

    /// Sends a request over a pooled connection, else a new one, and reads the response head. A request that the
    /// endpoint did not process goes to another connection at once.
    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        origin: &Arc<Origin>,
        deadline: Instant,
    ) -> Result<(Response<AnswerBody>, Connection), SendError> {
        let mut resent = 0;
        loop {
            let is_shared = resent <= RESENT_SHARED_MAX;
            let pooled = if is_shared {
                self.0.pool.take(origin)
            } else {
                None
            };
            let is_pooled = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                // Boxed: most requests find a connection, and need not carry the space for a handshake.
                None => Box::pin(self.open(origin, is_shared, deadline)).await?,
            };
            let unanswered = match connection.send(request, origin).await {
                Ok(response) => return Ok((response, connection)),
                Err(unanswered) => unanswered,
            };
            let may_send_again = match connection {
                Connection::Http1(_) => is_pooled,
                Connection::Http2(_) => {
                    resent += 1;
                    resent <= RESENT_MAX
                }
            };
            match unanswered.unprocessed {
                Some(unprocessed) if may_send_again => request = unprocessed,
                _ => return Err(unanswered.error),
            }
        }
    }

    /// Opens a connection. Where the endpoint speaks HTTP/2, one request does so for all that wait for it.
    async fn open(
        &self,
        origin: &Arc<Origin>,
        is_shared: bool,
        deadline: Instant,
    ) -> Result<Connection, SendError> {
        let pool = &self.0.pool;
        if !is_shared || !pool.expects_http2(origin) {
            return self.connect(origin, is_shared, deadline).await;
        }
        let began = Instant::now();
        let mut failure = self.0.opening.lock().await;
        if let Some(connection) = pool.take(origin) {
            return Ok(connection);
        }
        if let Some((_, error)) = failure.as_ref().filter(|(at, _)| *at > began) {
            return Err(error.clone());
        }
        let opened = self.connect(origin, true, deadline).await;
        *failure = opened
            .as_ref()
            .err()
            .map(|error| (Instant::now(), error.clone()));
        opened
    }

    async fn connect(
        &self,
        origin: &Arc<Origin>,
        is_shared: bool,
        deadline: Instant,
    ) -> Result<Connection, SendError> {
        let dialled = self.0.dialer.dial(origin, deadline).await?;
        if let Some(expires) = dialled.certificate_expires {
            *self.0.certificate_expires.lock() = Some(expires);
        }
        if dialled.is_http2 {
            let connection = Arc::new(http2::Connection::open(dialled.stream).await?);
            if is_shared {
                self.0.pool.share(origin, &connection);
            }
            return Ok(Connection::Http2(connection));
        }
        let connection = http1::Connection::open(dialled.stream)
            .await
            .map_err(|error| SendError::exchange(&error))?;
        Ok(Connection::Http1(Box::new(connection)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Reads a body up to the limit and keeps its beginning. True when it was read to its end.
async fn read(mut body: AnswerBody, prefix: &mut Vec<u8>) -> bool {
    let (mut read, mut frames) = (0, 0);
    while let Some(frame) = body.frame().await {
        frames += 1;
        let Ok(frame) = frame else { return false };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        // Copied, so that a few bytes kept do not keep the buffer they were read into.
        let kept = data.len().min(BODY_KEPT_MAX - prefix.len());
        prefix.extend_from_slice(data.get(..kept).unwrap_or_default());
        read += data.len();
        if read > BODY_READ_MAX || frames > BODY_FRAMES_MAX {
            return false;
        }
    }
    true
}
