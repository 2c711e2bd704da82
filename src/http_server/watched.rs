//! A connection's socket, which reports bytes to [`Progress`] and keeps ambiguous requests from hyper.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::http_server::framing::Framing;
use crate::http_server::holder::is_near;
use crate::http_server::progress::{Phase, Progress};

/// The socket of a connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Whether the caller is on this machine.
    pub(super) fn is_near(&self) -> bool {
        match self {
            Self::Tcp(stream) => match (stream.peer_addr(), stream.local_addr()) {
                (Ok(peer), Ok(local)) => is_near(peer, local),
                _ => false,
            },
            Self::Unix(_) => true,
        }
    }

    /// Whether bytes have arrived unread: asks the system, as the runtime may not have noticed yet.
    fn has_unread(&self) -> bool {
        let (mut byte, flags) = ([0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        let peeked = match self {
            Self::Tcp(stream) => recv(stream, &mut byte, flags),
            Self::Unix(stream) => recv(stream, &mut byte, flags),
        };
        peeked.is_ok_and(|(_, length)| length > 0)
    }
}

/// A socket that reports to [`Progress`], and keeps back the bare refusals that hyper writes by itself when it cannot
/// read a request head, so that a problem document can be sent instead. An ambiguous request is the end for hyper, which
/// answers those before it.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    progress: Arc<Progress>,
    framing: Framing,
    refused: Option<StatusCode>,
    is_ambiguous: bool,
    at_end: bool,
}

impl Watched {
    pub(super) fn new(stream: Stream, progress: Arc<Progress>) -> Self {
        Self {
            stream,
            progress,
            framing: Framing::default(),
            refused: None,
            is_ambiguous: false,
            at_end: false,
        }
    }

    /// The status with which hyper wanted to refuse the request head, if it did.
    pub(super) fn refused(&self) -> Option<StatusCode> {
        self.refused
    }

    /// Whether the last request can be read in more than one way; it was kept from hyper.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// Whether the other side has announced that it sends nothing more.
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
        if self.is_ambiguous {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_pending() && self.progress.closes_after_answer() {
            self.progress.set_unread(self.stream.has_unread());
        }
        ready!(polled)?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        if read.is_empty() {
            self.at_end = true;
            return Poll::Ready(Ok(()));
        }
        if self.progress.phase() == Phase::Idle {
            self.progress.enter_timed(Phase::Head);
        }
        if let Some(good) = self.framing.follow(read) {
            self.is_ambiguous = true;
            buffer.set_filled(before + good);
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
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        match &polled {
            Poll::Ready(Ok(length)) => self.progress.advance(*length),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.progress.stall(),
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.progress.phase() == Phase::Sent {
            self.progress.enter(Phase::Idle);
            self.progress.resume();
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
