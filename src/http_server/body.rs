//! Bodies of requests and answers, which notify [`Progress`] when the other side keeps them waiting.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower_http::body::UnsyncBoxBody;

use crate::http_server::progress::{Phase, Progress};

/// Bytes of an answer that are handed to hyper at once. It copies them before it waits for the other side,
/// so this bounds the cost of an answer that is not read.
const PIECE_BYTES: usize = 32 << 10;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// A request's body.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: Incoming,
    progress: Arc<Progress>,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, progress: Arc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Pending => self.progress.stall(),
            Poll::Ready(Some(Ok(frame))) if !self.body.is_end_stream() => {
                self.progress
                    .advance(frame.data_ref().map_or(0, Bytes::len));
            }
            Poll::Ready(_) => self.progress.resume(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.progress.resume();
    }
}

/// An answer's body: goes out in pieces, and reports when all of it was taken.
pub(super) struct AnswerBody {
    body: UnsyncBoxBody<Bytes, BoxError>,
    rest: Bytes,
    progress: Arc<Progress>,
}

impl AnswerBody {
    pub(super) fn new(body: UnsyncBoxBody<Bytes, BoxError>, progress: Arc<Progress>) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            progress,
        }
    }

    fn next_piece(&mut self) -> Frame<Bytes> {
        let length = self.rest.len().min(PIECE_BYTES);
        Frame::data(self.rest.split_to(length))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_piece())));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else {
            return polled;
        };
        let frame = match frame.into_data() {
            Ok(data) if data.len() > PIECE_BYTES => {
                self.rest = data;
                self.next_piece()
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let mut hint = self.body.size_hint();
        // The upper bound first: it may not lie below the lower one.
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.progress.enter_timed(Phase::Sent);
    }
}
