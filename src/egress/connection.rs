//! An open connection, of either version of HTTP, while it carries a request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::Full;

use crate::egress::http1::{self, Unanswered};
use crate::egress::http2;
use crate::egress::origin::Origin;

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
    ) -> Result<Response<AnswerBody>, Unanswered> {
        match self {
            Self::Http1(connection) => {
                let response = connection.send(request, origin).await?;
                Ok(response.map(AnswerBody::Http1))
            }
            Self::Http2(connection) => match connection.send(&request, origin).await {
                Ok(response) => Ok(response.map(AnswerBody::Http2)),
                Err(http2::Unanswered::NotProcessed(error)) => Err(Unanswered {
                    error,
                    unprocessed: Some(request),
                }),
                Err(http2::Unanswered::Failed(error)) => Err(Unanswered {
                    error,
                    unprocessed: None,
                }),
            },
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

/// The body of a response.
pub(super) enum AnswerBody {
    Http1(http1::Body),
    Http2(http2::Body),
}

/// A body broke. Why does not matter: its head has come.
#[derive(Debug)]
pub(super) struct BodyBroke;

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyBroke;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroke>>> {
        match &mut *self {
            Self::Http1(body) => Pin::new(body).poll_frame(context).map_err(|_| BodyBroke),
            Self::Http2(body) => Pin::new(body).poll_frame(context).map_err(|_| BodyBroke),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }
}
