//! The events of one connection that h2 does not report: known to the transport below h2 and to the
//! exchanges above it.

use h2::Reason;
use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};

use crate::domain::FailureReason;
use crate::egress::failure::SendError;
use crate::egress::http2::budget::Budget;
use crate::egress::http2::frame::{FrameHead, Kind};

/// The setting that only clients may use.
const ENABLE_PUSH: [u8; 6] = [0, 2, 0, 0, 0, 1];

/// See the module.
pub(super) struct Wire(Mutex<Record>);

struct Record {
    budget: Budget,
    streams: Vec<Awaited>,
    /// The frame that h2 was given last.
    last: Option<FrameHead>,
    /// The highest stream whose HEADERS were written.
    opened: u32,
    /// The last stream that the endpoint may process, once it announced its end.
    processed: Option<u32>,
    /// Why the connection ended.
    end: Option<SendError>,
    is_retired: bool,
    is_abandoned: bool,
}

/// A stream that is open.
struct Awaited {
    stream: u32,
    /// The last frame on it.
    last: Option<Kind>,
    status: Option<u16>,
}

/// Why a stream gave no response.
pub(super) enum Verdict {
    /// It did: this status, behind which h2 refused the rest.
    Answered(StatusCode),
    /// The endpoint cannot have processed the request, or reports that it did not.
    NotProcessed(SendError),
    /// It may have.
    Failed(SendError),
}

impl Wire {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Record {
            budget: Budget::new(),
            streams: Vec::new(),
            last: None,
            opened: 0,
            processed: None,
            end: None,
            is_retired: false,
            is_abandoned: false,
        }))
    }

    /// A frame begins to come.
    ///
    /// # Errors
    /// When the endpoint may not send it: the connection is to end, with this code.
    pub(super) fn receive(&self, head: FrameHead) -> Result<(), Reason> {
        let mut record = self.lock();
        let is_first = record.last.replace(head).is_none();
        let is_preface = head.kind == Kind::SETTINGS && !head.has(FrameHead::ACK);
        if is_first && !is_preface {
            let message = format!(
                "the endpoint broke HTTP/2: PROTOCOL_ERROR ({} frame before its SETTINGS)",
                head.kind
            );
            record.end(SendError::new(FailureReason::Protocol, message));
            return Err(Reason::PROTOCOL_ERROR);
        }
        if !record.budget.receive(head.length) {
            let message = format!(
                "the endpoint broke HTTP/2: ENHANCE_YOUR_CALM (more frames than its streams need, the last: {})",
                head.kind
            );
            record.end(SendError::new(FailureReason::Protocol, message));
            return Err(Reason::ENHANCE_YOUR_CALM);
        }
        if let Some(awaited) = record.awaited(head.stream) {
            awaited.last = Some(head.kind);
        }
        Ok(())
    }

    /// A setting came, identifier and value.
    ///
    /// # Errors
    /// A server may not enable push (RFC 9113 section 6.5.2): the connection is to end, with this code.
    pub(super) fn setting(&self, setting: [u8; 6]) -> Result<(), Reason> {
        if setting != ENABLE_PUSH {
            return Ok(());
        }
        let message =
            "the endpoint broke HTTP/2: PROTOCOL_ERROR (SETTINGS frame that enables push)";
        self.broke(SendError::new(FailureReason::Protocol, message.to_owned()));
        Err(Reason::PROTOCOL_ERROR)
    }

    /// The status of a response came.
    pub(super) fn status(&self, stream: u32, status: u16) {
        if let Some(awaited) = self.lock().awaited(stream) {
            awaited.status.get_or_insert(status);
        }
    }

    /// The endpoint announces the end of the connection. Gives the last stream of those opened that it may process.
    pub(super) fn go_away(&self, last_stream: u32) -> u32 {
        let mut record = self.lock();
        record.is_retired = true;
        let known = record.processed.unwrap_or(record.opened);
        let last = last_stream.min(known);
        record.processed = Some(last);
        last
    }

    /// Bytes were written, among them the HEADERS of streams up to this one.
    pub(super) fn sent(&self, bytes: usize, opened: Option<u32>) {
        let mut record = self.lock();
        record.budget.send(bytes);
        if let Some(opened) = opened {
            record.opened = record.opened.max(opened);
        }
    }

    /// The connection broke. The first reason stays.
    pub(super) fn broke(&self, error: SendError) {
        self.lock().end(error);
    }

    /// No further request may be sent.
    pub(super) fn retire(&self) {
        self.lock().is_retired = true;
    }

    pub(super) fn is_retired(&self) -> bool {
        self.lock().is_retired
    }

    /// Whether a request was given up: what was written of it need not arrive any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().is_abandoned
    }

    /// A request is sent on this stream.
    pub(super) fn open(&self, stream: u32) {
        let mut record = self.lock();
        record.budget.open();
        record.streams.push(Awaited {
            stream,
            last: None,
            status: None,
        });
    }

    /// The stream is over; `is_abandoned` if it had no response.
    pub(super) fn close(&self, stream: u32, is_abandoned: bool) {
        let mut record = self.lock();
        record.is_abandoned |= is_abandoned;
        record.budget.close();
        let place = record.streams.iter().position(|open| open.stream == stream);
        if let Some(place) = place {
            record.streams.swap_remove(place);
        }
    }

    /// Names an error that h2 gave before there was a stream.
    pub(super) fn unsent(&self, error: &h2::Error) -> SendError {
        let mut record = self.lock();
        record.is_retired = true;
        record.failure(0, error)
    }

    /// Judges an error that h2 gave instead of a response.
    pub(super) fn judge(&self, stream: u32, error: &h2::Error) -> Verdict {
        let mut record = self.lock();
        let failure = record.failure(stream, error);
        if failure.reason == FailureReason::Protocol {
            record.is_retired = true;
            let status = record.awaited(stream).and_then(|awaited| awaited.status);
            if let Some(status) = status.and_then(|code| StatusCode::from_u16(code).ok()) {
                return Verdict::Answered(status);
            }
        }
        let is_refused =
            error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
        record.is_retired |= is_refused || !error.is_reset();
        let is_beyond = record.processed.is_some_and(|last| stream > last);
        let is_unwritten = !error.is_reset() && stream > record.opened;
        if is_refused || is_beyond || is_unwritten {
            return Verdict::NotProcessed(failure);
        }
        Verdict::Failed(failure)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock()
    }
}

impl Record {
    fn awaited(&mut self, stream: u32) -> Option<&mut Awaited> {
        self.streams.iter_mut().find(|open| open.stream == stream)
    }

    fn end(&mut self, error: SendError) {
        self.is_retired = true;
        self.end.get_or_insert(error);
    }

    fn failure(&mut self, stream: u32, error: &h2::Error) -> SendError {
        let code = error.reason().unwrap_or(Reason::NO_ERROR);
        if error.is_library() {
            let of_stream = self.awaited(stream).and_then(|awaited| awaited.last);
            let of_connection = self.last.map(|head| head.kind);
            let kind = if error.is_reset() {
                of_stream.or(of_connection)
            } else {
                of_connection
            };
            let frame = kind.map_or_else(String::new, |kind| format!(" ({kind} frame)"));
            let message = format!("the endpoint broke HTTP/2: {code:?}{frame}");
            return SendError::new(FailureReason::Protocol, message);
        }
        // The error that ended the connection may have come after the stream was reset.
        let is_of_connection = !(error.is_remote() && error.is_reset());
        if let Some(end) = self.end.as_ref().filter(|_| is_of_connection) {
            return end.clone();
        }
        let message = match (error.is_remote(), error.is_reset()) {
            (true, true) => {
                format!("the endpoint reset the stream before a response head: {code:?}")
            }
            (true, false) => {
                format!(
                    "the endpoint ended the connection before a response head: GOAWAY with {code:?}"
                )
            }
            (false, _) => "the endpoint closed the connection before a response head".to_owned(),
        };
        SendError::new(FailureReason::Reset, message)
    }
}
