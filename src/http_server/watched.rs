//! A connection's socket, and how far its request has come.
//!
//! [`Progress`] is what the parts of one connection know of each other: the socket sees bytes, the service sees
//! requests, and the connection's timer asks whether something takes too long. All of them belong to one task.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::http_server::Limits;

/// The socket of a connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How far the current request of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No byte of a request has come.
    Idle,
    /// Part of a request head has come.
    Head,
    /// The service has the request.
    Request,
    /// The service has answered; its body is being taken.
    Answer,
    /// The whole answer waits to be written.
    Sent,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::Idle,
        Self::Head,
        Self::Request,
        Self::Answer,
        Self::Sent,
    ];

    const fn number(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Head => 1,
            Self::Request => 2,
            Self::Answer => 3,
            Self::Sent => 4,
        }
    }
}

/// How far a connection has come, shared by its parts. Atomics only because it travels with its task between threads.
#[derive(Debug)]
pub(super) struct Progress {
    opened: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds since `opened`; kept for phases that have a limit.
    since_ms: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            phase: AtomicU8::new(Phase::Idle.number()),
            since_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        let number = self.phase.load(Ordering::Relaxed);
        *Phase::ALL.get(usize::from(number)).unwrap_or(&Phase::Idle)
    }

    /// A phase without limit begins.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase.number(), Ordering::Relaxed);
    }

    /// A phase begins whose time is limited.
    pub(super) fn enter_timed(&self, phase: Phase) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(since, Ordering::Relaxed);
        self.enter(phase);
    }

    /// When the phase has taken too long; none if it has no limit.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let limit = match self.phase() {
            Phase::Idle | Phase::Sent => limits.idle_timeout,
            Phase::Head => limits.head_timeout,
            Phase::Request | Phase::Answer => return None,
        };
        let since = Duration::from_millis(self.since_ms.load(Ordering::Relaxed));
        Some(self.opened + since + limit)
    }
}

/// A socket that reports to [`Progress`], and keeps back the bare refusals that hyper writes by itself when it cannot
/// read a request head, so that a problem document can be sent instead.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    progress: Arc<Progress>,
    refused: Option<StatusCode>,
    at_end: bool,
}

impl Watched {
    pub(super) fn new(stream: Stream, progress: Arc<Progress>) -> Self {
        Self {
            stream,
            progress,
            refused: None,
            at_end: false,
        }
    }

    /// The status with which hyper wanted to refuse the request head, if it did.
    pub(super) fn refused(&self) -> Option<StatusCode> {
        self.refused
    }

    /// Whether the other side has said that it sends nothing more.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// The socket alone.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Nothing but a refusal can be written while no request is under way.
    fn keeps_back(&self) -> bool {
        matches!(self.progress.phase(), Phase::Idle | Phase::Head)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() == before {
            self.at_end = true;
        } else if self.progress.phase() == Phase::Idle {
            self.progress.enter_timed(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.keeps_back() {
            self.refused.get_or_insert(status_of(bytes));
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.progress.phase() == Phase::Sent {
            self.progress.enter(Phase::Idle);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Does nothing: the connection ends the socket itself, after a last answer.
    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The status of an answer that begins with `HTTP/1.1 nnn`.
fn status_of(answer: &[u8]) -> StatusCode {
    answer
        .get(9..12)
        .and_then(|digits| StatusCode::from_bytes(digits).ok())
        .unwrap_or(StatusCode::BAD_REQUEST)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
