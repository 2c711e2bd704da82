//! One connection: hyper with our limits around it, and an end that the other side can read.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::body::UnsyncBoxBody;
use tower_http::catch_panic::CatchPanic;
use tower_service::Service;

use crate::http_server::watched::{Phase, Progress, Stream, Watched};
use crate::http_server::{Limits, Problem};

/// Bytes that hyper holds of one connection at most.
const BUFFER_BYTES: usize = 64 << 10;

/// How long the last answer may take to be written, and what the other side still sends is thrown away. Closing at once
/// would reset the connection, and with it the answer on its way to somebody who is still sending.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes thrown away at most while lingering.
const LINGER_BYTES: u64 = 16 << 20;

type BoxError = Box<dyn Error + Send + Sync>;

/// Serves one connection to its end.
pub(super) async fn serve<S, B>(stream: Stream, service: S, limits: Limits, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let progress = Arc::new(Progress::new());
    let socket = TokioIo::new(Watched::new(stream, Arc::clone(&progress)));
    let handler = {
        let progress = Arc::clone(&progress);
        let service = CatchPanic::custom(service, answer_panic);
        service_fn(move |request| {
            progress.enter(Phase::Request);
            let answer = service.clone().oneshot(request);
            let progress = Arc::clone(&progress);
            async move {
                let answer = answer.await;
                progress.enter(Phase::Answer);
                answer.map(|answer| answer.map(|body| AnswerBody { body, progress }))
            }
        })
    };
    let mut connection = http(&limits).serve_connection(socket, handler);

    let first_check = Instant::now() + limits.head_timeout.min(limits.idle_timeout);
    let mut check = std::pin::pin!(tokio::time::sleep_until(first_check));
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut connection => break ended.map_err(End::of_error),
            () = check.as_mut() => match next_check(&progress, &limits) {
                Some(next) => check.as_mut().reset(next),
                None => break Err(End::of_timeout(progress.phase())),
            },
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let watched = connection.into_parts().io.into_inner();
    finish(watched, ended.err(), stopping).await;
}

fn http(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The head's time is limited here, by one timer for all requests of the connection.
    builder
        .header_read_timeout(None)
        .max_header_size(limits.head_bytes)
        .max_buf_size(BUFFER_BYTES)
        .half_close(true);
    builder
}

/// When to look at the connection again; none if its time is up. Never later than a head could be overdue that begins
/// right now.
fn next_check(progress: &Progress, limits: &Limits) -> Option<Instant> {
    let now = Instant::now();
    let latest = now + limits.head_timeout;
    match progress.deadline(limits) {
        Some(deadline) if deadline <= now => None,
        Some(deadline) => Some(deadline.min(latest)),
        None => Some(latest),
    }
}

/// Why a connection ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// What came was no request head.
    Malformed,
    /// A request head did not come to its end in time.
    SlowHead,
    /// Nothing is to be said: it was idle, or broke.
    Silent,
}

impl End {
    fn of_error(error: hyper::Error) -> Self {
        tracing::debug!(%error, "connection ended with an error");
        if error.is_parse() || error.is_incomplete_message() {
            Self::Malformed
        } else {
            Self::Silent
        }
    }

    fn of_timeout(phase: Phase) -> Self {
        if phase == Phase::Head {
            Self::SlowHead
        } else {
            Self::Silent
        }
    }

    /// What is sent before closing; `refused` is the status that hyper chose.
    fn problem(self, refused: Option<StatusCode>) -> Option<Problem> {
        let status = match self {
            Self::Malformed => refused.unwrap_or(StatusCode::BAD_REQUEST),
            Self::SlowHead => StatusCode::REQUEST_TIMEOUT,
            Self::Silent => return None,
        };
        let (code, detail) = match status {
            StatusCode::REQUEST_TIMEOUT => ("slow_request", "the request head took too long"),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                ("head_too_large", "the request head is too large")
            }
            StatusCode::URI_TOO_LONG => ("uri_too_long", "the request target is too long"),
            _ => ("malformed_request", "expected a valid HTTP/1.1 request"),
        };
        Some(Problem::new(status, code, detail))
    }
}

/// Ends a connection: a last answer if one is due, the end of our side, and a moment for the other side to take it.
async fn finish(watched: Watched, end: Option<End>, stopping: bool) {
    let problem = end.and_then(|end| end.problem(watched.refused()));
    let lingers = !watched.at_end() && !stopping;
    let mut stream = watched.into_stream();
    let closing = async {
        if let Some(problem) = problem {
            stream.write_all(&problem.to_http()).await?;
        }
        stream.shutdown().await?;
        if lingers {
            let mut rest = stream.take(LINGER_BYTES);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(LINGER, closing).await {
        tracing::debug!(%error, "connection broke while it was closed");
    }
}

/// The answer in place of a handler's that panicked. The panic itself is reported by the panic hook.
fn answer_panic(_panic: Box<dyn Any + Send>) -> Response<Full<Bytes>> {
    tracing::error!("the handler of a request panicked");
    Problem::internal().into_response()
}

/// An answer's body that says when all of it was taken.
struct AnswerBody {
    body: UnsyncBoxBody<Bytes, BoxError>,
    progress: Arc<Progress>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.progress.enter_timed(Phase::Sent);
    }
}
