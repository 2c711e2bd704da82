//! The bytes below h2: hands it one frame at a time, and keeps what `wire` needs to know of both directions.
//!
//! So h2 is at the frame that it complains of; a flood ends within its budget, and lets other tasks have their turn; an
//! endpoint that reads nothing for long has its connection closed; and unsent bytes of a dropped connection
//! do not stay with the kernel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::either::Either;

use crate::domain::FailureReason;
use crate::egress::dial::Stream;
use crate::egress::failure::SendError;
use crate::egress::http2::frame::{
    FrameCursor, FrameHead, HEADER_LENGTH, Kind, go_away, stream_id,
};
use crate::egress::http2::status::BlockBegin;
use crate::egress::http2::wire::Wire;

/// Bytes that a client sends before its first frame.
const PREFACE_LENGTH: usize = 24;
/// How long an endpoint may take nothing of what is to be written.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Frames read before other tasks have their turn.
const FRAMES_PER_TURN: u32 = 64;
/// Bytes kept back until they are complete: a frame header, and the beginning of GOAWAY.
const HELD_MAX: usize = HEADER_LENGTH + 8;

/// See the module.
pub(super) struct Transport {
    stream: Stream,
    wire: Arc<Wire>,
    reading: Reading,
    written: FrameCursor,
    /// Runs while the endpoint takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

/// Where reading is.
struct Reading {
    held: [u8; HELD_MAX],
    held_length: usize,
    /// Held bytes that h2 has.
    given: usize,
    /// The frame whose payload comes.
    head: Option<FrameHead>,
    payload_left: usize,
    block: BlockBegin,
    /// The setting that comes: identifier and value (RFC 9113 section 6.5.1).
    setting: [u8; 6],
    setting_length: usize,
    /// Why the endpoint may not send the part that was read last.
    refused: Option<Reason>,
    frames_in_turn: u32,
}

impl Reading {
    fn new() -> Self {
        Self {
            held: [0; HELD_MAX],
            held_length: 0,
            given: 0,
            head: None,
            payload_left: 0,
            block: BlockBegin::new(),
            setting: [0; 6],
            setting_length: 0,
            refused: None,
            frames_in_turn: 0,
        }
    }

    /// How many bytes are to be held before h2 gets any.
    fn held_at_least(&self) -> usize {
        match self.head {
            Some(head) if head.kind == Kind::GOAWAY && head.length >= 8 => HELD_MAX,
            _ => HEADER_LENGTH,
        }
    }

    fn is_held_complete(&self) -> bool {
        self.head.is_some() && self.held_length >= self.held_at_least()
    }

    /// Lets h2 have what is held. True when all of it went.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let left = self
            .held
            .get(self.given..self.held_length)
            .unwrap_or_default();
        let length = left.len().min(buffer.remaining());
        buffer.put_slice(left.get(..length).unwrap_or_default());
        self.given += length;
        self.given == self.held_length
    }

    /// The payload went on by a piece; keeps the status of a response once its frame is complete, and
    /// refuses a setting that h2 lets pass.
    fn payload(&mut self, piece: &[u8], wire: &Wire) {
        self.payload_left -= piece.len();
        let Some(head) = self.head else { return };
        if head.kind == Kind::SETTINGS {
            for byte in piece {
                if let Some(place) = self.setting.get_mut(self.setting_length) {
                    *place = *byte;
                }
                self.setting_length += 1;
                if self.setting_length == self.setting.len() {
                    self.setting_length = 0;
                    self.refused = self.refused.or(wire.setting(self.setting).err());
                }
            }
        }
        if head.kind == Kind::HEADERS || head.kind == Kind::CONTINUATION {
            self.block.payload(piece);
            if self.payload_left == 0
                && let Some((stream, status)) = self.block.status()
            {
                wire.status(stream, status);
            }
        }
    }

    /// Makes ready for the next frame.
    fn end_frame(&mut self) {
        self.head = None;
        self.setting_length = 0;
        self.held_length = 0;
        self.given = 0;
        self.frames_in_turn += 1;
    }
}

impl Transport {
    pub(super) fn new(stream: Stream, wire: Arc<Wire>) -> Self {
        Self {
            stream,
            wire,
            reading: Reading::new(),
            written: FrameCursor::behind(PREFACE_LENGTH),
            stall: None,
        }
    }

    /// Reads until a frame is complete, the buffer is full, or there is no more. Fails only when nothing was read.
    fn read_frame(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(code) = self.reading.refused {
            return Poll::Ready(Err(self.end(context, code)));
        }
        let before = buffer.filled().len();
        while buffer.remaining() > 0 {
            if self.reading.is_held_complete() && !self.reading.give(buffer) {
                break;
            }
            let went_on = if !self.reading.is_held_complete() {
                ready!(self.read_held(context))?
            } else if self.reading.payload_left > 0 {
                match self.read_payload(context, buffer) {
                    Poll::Ready(Ok(went_on)) => went_on,
                    // The bytes read are h2's first; an error comes again.
                    _ if buffer.filled().len() > before => false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            } else {
                false
            };
            if self.reading.is_held_complete()
                && self.reading.payload_left == 0
                && self.reading.given == self.reading.held_length
            {
                self.reading.end_frame();
                break;
            }
            if !went_on {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads bytes that are held back. False at the end of the connection.
    fn read_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while !self.reading.is_held_complete() {
            let reading = &mut self.reading;
            let until = reading.held_at_least();
            let room = reading.held.get_mut(reading.held_length..until);
            let mut part = ReadBuf::new(room.unwrap_or_default());
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
            let length = part.filled().len();
            if length == 0 {
                return Poll::Ready(Ok(false));
            }
            reading.held_length += length;
            if reading.head.is_none() && reading.held_length == HEADER_LENGTH {
                self.begin_frame(context)?;
            }
        }
        if self.reading.held_length == HELD_MAX {
            self.announce_end();
        }
        Poll::Ready(Ok(true))
    }

    fn begin_frame(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let bytes = self
            .reading
            .held
            .first_chunk::<HEADER_LENGTH>()
            .copied()
            .unwrap_or_default();
        let head = FrameHead::parse(bytes);
        if let Err(code) = self.wire.receive(head) {
            return Err(self.end(context, code));
        }
        let reading = &mut self.reading;
        reading.head = Some(head);
        reading.block.frame_begins(&head);
        reading.payload_left = head.length - (reading.held_at_least() - HEADER_LENGTH);
        Ok(())
    }

    /// Sends the reason to the endpoint, and ends the connection.
    fn end(&mut self, context: &mut Context<'_>, code: Reason) -> io::Error {
        self.say_farewell(context, code);
        io::Error::other("the endpoint broke HTTP/2")
    }

    /// GOAWAY is held: names to h2 no stream that was not opened, so that requests which wait for one wait no longer.
    fn announce_end(&mut self) {
        let last = self.reading.held.get_mut(HEADER_LENGTH..HEADER_LENGTH + 4);
        if let Some(last) = last
            && let Ok(bytes) = <[u8; 4]>::try_from(&*last)
        {
            let processed = self.wire.go_away(stream_id(bytes));
            last.copy_from_slice(&processed.to_be_bytes());
        }
    }

    /// Reads payload straight into h2's buffer. False at the end of the connection.
    fn read_payload(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let most = self.reading.payload_left.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let piece = part.filled();
        self.reading.payload(piece, &self.wire);
        let length = piece.len();
        buffer.advance(length);
        Poll::Ready(Ok(length > 0))
    }

    /// Follows what was written, or waits for the endpoint to take something, but not forever.
    fn wrote<'a>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        slices: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        let length = match written {
            Poll::Ready(Ok(length)) => length,
            Poll::Ready(Err(error)) => {
                self.wire.broke(SendError::broken(&error));
                return Poll::Ready(Err(error));
            }
            Poll::Pending => return self.poll_stall(context).map(Err),
        };
        self.stall = None;
        let mut opened = None;
        let mut left = length;
        for slice in slices {
            let part = slice.get(..left.min(slice.len())).unwrap_or_default();
            self.written.advance(part, |head| {
                if head.kind == Kind::HEADERS {
                    opened = Some(head.stream);
                }
            });
            left -= part.len();
        }
        self.wire.sent(length, opened);
        Poll::Ready(Ok(length))
    }

    fn poll_stall(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL_MAX)));
        ready!(stall.as_mut().poll(context));
        let message = format!("the endpoint took nothing of what is sent for {STALL_MAX:?}");
        self.wire
            .broke(SendError::new(FailureReason::Timeout, message));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Notifies the endpoint why the connection ends, as far as that can be written at once.
    fn say_farewell(&mut self, context: &mut Context<'_>, code: Reason) {
        if !self.written.is_between_frames() || self.stall.is_some() {
            return;
        }
        let mut stream = Pin::new(&mut self.stream);
        let is_written = stream.as_mut().poll_write(context, &go_away(code));
        if is_written.is_ready() {
            let _at_once_or_not = stream.as_mut().poll_flush(context);
            let _at_once_or_not = stream.poll_shutdown(context);
        }
        // Whatever h2 still writes would be within or behind the end.
        self.written = FrameCursor::behind(usize::MAX);
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reading.frames_in_turn >= FRAMES_PER_TURN {
            self.reading.frames_in_turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = self.read_frame(context, buffer);
        match &read {
            Poll::Pending => self.reading.frames_in_turn = 0,
            Poll::Ready(Err(error)) => self.wire.broke(SendError::broken(error)),
            Poll::Ready(Ok(())) => {}
        }
        read
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, written, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, written, slices.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(flushed) => Poll::Ready(flushed),
            Poll::Pending => self.poll_stall(context).map(Err),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(context) {
            Poll::Ready(shut) => Poll::Ready(shut),
            Poll::Pending => self.poll_stall(context).map(Err),
        }
    }
}

impl Drop for Transport {
    /// Ends politely if nothing is given up. Else what the kernel would go on sending for minutes is dropped.
    fn drop(&mut self) {
        if self.stall.is_none() && !self.wire.is_abandoned() {
            let mut context = Context::from_waker(Waker::noop());
            self.say_farewell(&mut context, Reason::NO_ERROR);
            return;
        }
        let socket = match &self.stream {
            Either::Left(socket) => socket,
            Either::Right(secured) => secured.get_ref().0,
        };
        // If the option cannot be set, the socket is closed all the same.
        let _best_effort = socket.set_zero_linger();
    }
}
