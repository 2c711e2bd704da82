//! An open connection, of either version of HTTP, while it carries a request.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use crate::egress::origin::Origin;
use crate::egress::{http1, http2};

/// A request that failed, handed back if nothing of it was written.
pub(super) type Unsent = TrySendError<Request<Full<Bytes>>>;

/// A connection that carries a request.
pub(super) enum Connection {
    /// It carries this request alone.
    Http1(Box<http1::Connection>),
    /// It may carry others at the same time.
    Http2(Arc<http2::Connection>),
}

impl Connection {
    /// Sends a request and reads the response head.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        origin: &Origin,
    ) -> Result<Response<Incoming>, Unsent> {
        match self {
            Self::Http1(connection) => connection.send(request, origin).await,
            Self::Http2(connection) => connection.send(request, origin).await,
        }
    }

    /// Runs `work`, which waits for this connection.
    pub(super) async fn drive<F: Future>(&mut self, work: F) -> F::Output {
        match self {
            Self::Http1(connection) => connection.drive(work).await,
            Self::Http2(_) => work.await,
        }
    }
}
