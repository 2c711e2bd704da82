//! The bytes of one HTTP/1.1 connection on their way between hyper and the stream.
//!
//! hyper gives up at the first failed write and at the first line that it cannot parse, and reads and writes by what
//! the runtime has heard of a socket. The wire adds: what an endpoint sent before a write failed is read; the head of its
//! answer is recorded; a connection with anything to read before a request is refused; everything is bounded.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::either::Either;

use crate::egress::dial::Stream;
use crate::egress::http1::head::{Head, Progress, Status};

/// Bytes that are read after a head, whatever encodes the body.
const AFTER_HEAD_MAX: usize = 64 * 1024;
/// Bytes that are read at once where hyper has given up.
const READ_BYTES: usize = 4 * 1024;

/// The signals between the wire and the owner of its connection.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// A request is to be sent, and nothing of it is written yet.
    starting: AtomicBool,
    /// No other request may be sent.
    spent: AtomicBool,
}

impl Signals {
    /// A request follows.
    pub(super) fn start(&self) {
        self.starting.store(true, Ordering::Relaxed);
    }

    /// The connection is to be closed after the current response.
    pub(super) fn spend(&self) {
        self.spent.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }
}

/// See the module.
pub(super) struct Wire {
    stream: Stream,
    signals: Arc<Signals>,
    head: Head,
    /// Bytes read since the head of the current response.
    after_head: usize,
    /// A request was written before.
    is_used: bool,
    /// hyper waits for data that is not read before the first request is written.
    is_read_deferred: bool,
    /// The first write that failed, until it is reported. Later ones only seem to succeed.
    write_error: Option<io::Error>,
    is_broken: bool,
}

impl Wire {
    pub(super) fn new(stream: Stream, signals: Arc<Signals>) -> Self {
        Self {
            stream,
            signals,
            head: Head::default(),
            after_head: 0,
            is_used: false,
            is_read_deferred: false,
            write_error: None,
            is_broken: false,
        }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Reads on where hyper has given up, until the head of the final response is recorded or nothing more comes.
    pub(super) async fn read_head(&mut self) {
        let mut space = [0; READ_BYTES];
        while self.head.progress() == Progress::Open && self.head.status() != Status::Invalid {
            if !matches!(self.read(&mut space).await, Ok(1..)) {
                return;
            }
        }
    }

    fn is_starting(&self) -> bool {
        self.signals.starting.load(Ordering::Relaxed)
    }

    /// Whether there is anything to read, be it the end. Asks the system: the runtime may not have heard of it yet.
    fn has_unread(&self) -> bool {
        let socket = match &self.stream {
            Either::Left(plain) => plain,
            Either::Right(secured) => secured.get_ref().0,
        };
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(socket, &mut [0_u8; 1], flags);
        peeked.err() != Some(rustix::io::Errno::WOULDBLOCK)
    }

    /// Reads before a request: a used connection must have nothing, from a fresh one all belongs to the answer.
    fn poll_quiet(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_used {
            self.is_read_deferred = true;
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_pending() && self.has_unread() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        polled
    }

    /// Records what was read; too much of it is an error.
    fn hear(&mut self, read: &[u8]) -> io::Result<()> {
        if self.head.progress() == Progress::Open {
            self.head.record(read);
        } else {
            self.after_head += read.len();
        }
        if self.head.progress() == Progress::Flooded {
            return Err(io::Error::other("too many interim responses"));
        }
        Ok(())
    }

    /// To be called before each write.
    fn begin(&mut self, context: &Context<'_>) {
        if !self.is_starting() {
            return;
        }
        self.signals.starting.store(false, Ordering::Relaxed);
        self.is_used = true;
        self.head.clear();
        self.after_head = 0;
        if std::mem::take(&mut self.is_read_deferred) {
            context.waker().wake_by_ref();
        }
    }

    /// Hides that a write failed, so that hyper goes on reading: what it wanted to write, `length`, counts as written.
    fn hide<T>(&mut self, context: &Context<'_>, written: io::Result<T>, length: T) -> T {
        written.unwrap_or_else(|error| {
            self.signals.spend();
            self.is_broken = true;
            self.write_error = Some(error);
            context.waker().wake_by_ref();
            length
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.is_starting() {
            return wire.poll_quiet(context, buffer);
        }
        if wire.after_head > AFTER_HEAD_MAX {
            return Poll::Ready(Err(io::Error::other("too much after the head")));
        }
        let before = buffer.filled().len();
        let mut read = ready!(Pin::new(&mut wire.stream).poll_read(context, buffer));
        let sent = buffer.filled().get(before..).unwrap_or_default();
        if read.is_err() || sent.is_empty() {
            // That is why nothing more comes.
            read = wire.write_error.take().map_or(read, Err);
        } else {
            read = wire.hear(sent);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        wire.begin(context);
        if wire.is_broken {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut wire.stream).poll_write(context, bytes));
        Poll::Ready(Ok(wire.hide(context, written, bytes.len())))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        wire.begin(context);
        let length = parts.iter().map(|part| part.len()).sum();
        if wire.is_broken {
            return Poll::Ready(Ok(length));
        }
        let written = ready!(Pin::new(&mut wire.stream).poll_write_vectored(context, parts));
        Poll::Ready(Ok(wire.hide(context, written, length)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.is_broken {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(Pin::new(&mut wire.stream).poll_flush(context));
        wire.hide(context, flushed, ());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
