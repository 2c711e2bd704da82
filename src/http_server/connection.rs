//! One connection: hyper with our limits around it, and an end that the other side can read.

use std::any::Any;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
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

use crate::http_server::body::{AnswerBody, BoxError, RequestBody};
use crate::http_server::holder::conceal;
use crate::http_server::limits::Limits;
use crate::http_server::problem::Problem;
use crate::http_server::progress::{Phase, Progress};
use crate::http_server::watched::{Stream, Watched};

/// Bytes that hyper holds of one connection at most.
const BUFFER_BYTES: usize = 64 << 10;

/// How long the last answer may take to be written, and what the other side still sends is thrown away. Closing at once
/// would reset the connection, and with it the answer on its way to a client that is still sending.
const LINGER: Duration = Duration::from_secs(1);

/// The same when the listener stops: clients may keep their side of an idle connection open for long.
const STOP_LINGER: Duration = Duration::from_millis(250);

/// How long a connection stays open for requests once the listener stops: those that are on their way, and those of
/// clients that cannot have noticed yet. Each is answered, and its answer announces that it is the last one.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// How often a connection that is about to end is looked at.
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// Bytes thrown away at most while lingering.
const LINGER_BYTES: u64 = 16 << 20;

/// The signals that end a connection.
pub(super) struct Closing {
    /// When its place is wanted by another, and when `stop` is.
    pub(super) leave: CancellationToken,
    /// When the listener stops.
    pub(super) stop: CancellationToken,
}

/// Serves one connection to its end.
pub(super) async fn serve<S, B>(
    stream: Stream,
    service: S,
    limits: Limits,
    progress: Arc<Progress>,
    closing: Closing,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let opened = Instant::now();
    let is_near = stream.is_near();
    let socket = TokioIo::new(Watched::new(stream, Arc::clone(&progress)));
    let handler = {
        let progress = Arc::clone(&progress);
        let service = CatchPanic::custom(service, answer_panic);
        service_fn(move |request: Request<Incoming>| {
            progress.enter(Phase::Request);
            let request = request.map(|body| RequestBody::new(body, Arc::clone(&progress)));
            let answer = service.clone().oneshot(request);
            let progress = Arc::clone(&progress);
            async move {
                let mut answer = answer.await?;
                if !is_near {
                    conceal(answer.headers_mut());
                }
                Ok::<_, Infallible>(watch(answer, progress))
            }
        })
    };
    let mut connection = http(&limits).serve_connection(socket, handler);
    let first_check = opened + limits.head_timeout.min(limits.idle_timeout);
    let mut check = pin!(tokio::time::sleep_until(first_check));
    let mut ending = Ending::Open;
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut connection => break ended.map_err(End::of_error),
            () = check.as_mut() => match ending.next_check(&progress, &limits) {
                Ok(next) => check.as_mut().reset(next),
                Err(end) => break Err(end),
            },
            () = closing.leave.cancelled(), if ending == Ending::Open => {
                progress.close_after_answer();
                ending = Ending::begin(closing.stop.is_cancelled(), &limits);
                // At once, but after another look at what has arrived.
                check.as_mut().reset(opened);
            }
        }
    };
    let watched = connection.into_parts().io.into_inner();
    let mut finishing = pin!(finish(watched, ended.err(), ending.linger()));
    tokio::select! {
        biased;
        () = &mut finishing => return,
        () = closing.leave.cancelled(), if ending == Ending::Open => {}
    }
    // A client that needs the place does not wait for last bytes; a stop does.
    if closing.stop.is_cancelled() {
        finishing.await;
    }
}

/// Follows an answer from now on, and marks it if it is the last one.
fn watch(
    mut answer: Response<UnsyncBoxBody<Bytes, BoxError>>,
    progress: Arc<Progress>,
) -> Response<AnswerBody> {
    progress.enter(Phase::Answer);
    if progress.closes_after_answer() {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    answer.map(|body| AnswerBody::new(body, progress))
}

/// Whether a connection is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is not.
    Open,
    /// The listener stops: the connection ends when it is idle from `idle_from` on, or kept waiting from `any_from` on.
    Stopping {
        idle_from: Instant,
        any_from: Instant,
    },
    /// Its place is wanted: it ends when it is idle or kept waiting.
    Leaving,
}

impl Ending {
    fn begin(is_stop: bool, limits: &Limits) -> Self {
        let now = Instant::now();
        if is_stop {
            Self::Stopping {
                idle_from: now + STOP_GRACE.min(limits.drain_timeout / 2),
                any_from: now + limits.drain_timeout / 4 * 3,
            }
        } else {
            Self::Leaving
        }
    }

    /// When to look at the connection again, or how it ends if its time is up. Never later than a head could be overdue
    /// that begins right now.
    fn next_check(self, progress: &Progress, limits: &Limits) -> Result<Instant, End> {
        let now = Instant::now();
        let (idle_from, any_from, pause) = match self {
            Self::Open => (None, None, limits.head_timeout),
            Self::Stopping {
                idle_from,
                any_from,
            } => (Some(idle_from), Some(any_from), LAST_PAUSE),
            Self::Leaving => (Some(now), Some(now), LAST_PAUSE),
        };
        let is_over = |from: Option<Instant>| from.is_some_and(|from| from <= now);
        let deadline = progress.deadline(limits);
        let phase = progress.phase();
        let ends = match phase {
            Phase::Idle => is_over(idle_from) && progress.is_idle(),
            _ => is_over(any_from) && progress.waited(now).is_some(),
        };
        if ends || is_over(deadline) {
            return Err(End::of_wait(phase));
        }
        let latest = now + pause;
        Ok(deadline.map_or(latest, |deadline| deadline.min(latest)))
    }

    /// How long the end of the connection may take.
    fn linger(self) -> Duration {
        match self {
            Self::Open => LINGER,
            Self::Stopping { .. } => STOP_LINGER,
            Self::Leaving => Duration::ZERO,
        }
    }
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

/// Why a connection ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The bytes received were no request head.
    Malformed,
    /// A request did not come to its end in time.
    Slow,
    /// No answer: it was idle, or broke.
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

    /// The other side was waited for too long.
    fn of_wait(phase: Phase) -> Self {
        match phase {
            Phase::Head | Phase::Request => Self::Slow,
            Phase::Idle | Phase::Answer | Phase::Sent => Self::Silent,
        }
    }

    /// The problem to send before closing; `refused` is the status that hyper chose.
    fn problem(self, refused: Option<StatusCode>) -> Option<Problem> {
        let status = match self {
            Self::Malformed => refused.unwrap_or(StatusCode::BAD_REQUEST),
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Silent => return None,
        };
        let (code, detail) = match status {
            StatusCode::REQUEST_TIMEOUT => ("slow_request", "the request took too long to arrive"),
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
async fn finish(watched: Watched, end: Option<End>, linger: Duration) {
    let end = end.or(watched.is_ambiguous().then_some(End::Malformed));
    let problem = end.and_then(|end| end.problem(watched.refused()));
    let lingers = !watched.at_end() && !linger.is_zero();
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
    if let Ok(Err(error)) = tokio::time::timeout(linger, closing).await {
        tracing::debug!(%error, "connection broke while it was closed");
    }
}

/// The answer in place of a handler's that panicked. The panic itself is reported by the panic hook.
fn answer_panic(_panic: Box<dyn Any + Send>) -> Response<Full<Bytes>> {
    tracing::error!("the handler of a request panicked");
    Problem::internal().into_response()
}
