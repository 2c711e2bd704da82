//! The head of a response, recorded as it passes to hyper: its status counts although hyper cannot parse the rest.
//!
//! Interim (1xx) heads are counted and forgotten. Invariant: at most [`HEAD_BYTES_MAX`] are recorded, and only up to the
//! end of the final head.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};

/// Bytes of a response head, at most.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Interim responses before the final one, at most.
const INTERIM_MAX: u32 = 100;
/// Bytes of all interim responses before the final one, at most.
const INTERIM_BYTES_MAX: usize = 32 * 1024;
/// Bytes that are kept allocated for the next response.
const KEPT_BYTES_MAX: usize = 2 * 1024;

/// The known part of the response to the current request.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// From the first byte of the current head.
    bytes: Vec<u8>,
    /// Where its current line begins.
    line: usize,
    interim: u32,
    interim_bytes: usize,
    progress: Progress,
}

/// How far the final head has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Progress {
    /// More is expected.
    #[default]
    Open,
    /// It has ended, or as much of it is recorded as there is room for.
    Recorded,
    /// There were too many interim responses before it.
    Flooded,
}

/// The status of what is recorded so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// This decides.
    Final(StatusCode),
    /// The final response is still to come.
    Awaited,
    /// It is not HTTP/1.
    Invalid,
}

impl Head {
    /// Forgets the last response.
    pub(super) fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.shrink_to(KEPT_BYTES_MAX);
        *self = Self {
            bytes,
            ..Self::default()
        };
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// Records what the endpoint sent.
    pub(super) fn record(&mut self, mut sent: &[u8]) {
        while self.progress == Progress::Open && !sent.is_empty() {
            let end = sent.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(sent.len(), |end| end + 1);
            let room = HEAD_BYTES_MAX - self.bytes.len();
            let (line, rest) = sent.split_at(length.min(room));
            self.bytes.extend_from_slice(line);
            sent = rest;
            if self.bytes.len() == HEAD_BYTES_MAX {
                self.progress = Progress::Recorded;
            } else if end.is_some() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = self.bytes.get(self.line..).unwrap_or_default();
        let is_blank = line.trim_ascii_end().is_empty() && !line.starts_with(b" ");
        if !is_blank {
            self.line = self.bytes.len();
        } else if self.line == 0 {
            // Empty lines before the status line are skipped (RFC 9112 section 2.2).
            self.bytes.clear();
        } else if status_code(&self.bytes).is_some_and(is_interim) {
            self.interim += 1;
            self.interim_bytes += self.bytes.len();
            self.bytes.clear();
            self.line = 0;
            if self.interim > INTERIM_MAX || self.interim_bytes > INTERIM_BYTES_MAX {
                self.progress = Progress::Flooded;
            }
        } else {
            self.progress = Progress::Recorded;
        }
    }

    /// Reads the recorded part of the head. A status line counts once it has ended, or there is no room for more.
    pub(super) fn status(&self) -> Status {
        if self.bytes.is_empty() && self.interim > 0 {
            return Status::Awaited;
        }
        let has_line = self.progress == Progress::Recorded || self.bytes.iter().any(is_line_end);
        match status_code(&self.bytes) {
            Some(code) if is_interim(code) => Status::Awaited,
            Some(code) if has_line => Status::Final(code),
            _ => Status::Invalid,
        }
    }

    /// The head of a response with this status, and every header that can be read. Folded lines are joined, space before
    /// a colon is ignored, and so is a line that is no header or has not ended.
    pub(super) fn parse(&self, status: StatusCode) -> response::Parts {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = status;
        let end = self.bytes.iter().rposition(is_line_end).unwrap_or(0);
        let bytes = self.bytes.get(..end).unwrap_or_default();
        let mut lines = bytes.split(is_line_end).filter(|line| !line.is_empty());
        // The status line.
        lines.next();
        let mut current: Option<(HeaderName, Vec<u8>)> = None;
        for line in lines {
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                if let Some((_, value)) = &mut current {
                    if !value.is_empty() {
                        value.push(b' ');
                    }
                    value.extend_from_slice(line.trim_ascii());
                }
            } else if let Some((name, value)) = std::mem::replace(&mut current, header(line)) {
                append(&mut parts.headers, name, &value);
            }
        }
        if let Some((name, value)) = current {
            append(&mut parts.headers, name, &value);
        }
        parts
    }
}

/// 101 ends the exchange: nothing follows it in HTTP.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// The code of a status line: `HTTP/1.`, a digit, space, three digits, then space or the end of the line.
fn status_code(bytes: &[u8]) -> Option<StatusCode> {
    const VERSION: &[u8] = b"HTTP/1.";
    let (version, rest) = bytes.split_at_checked(VERSION.len())?;
    let (minor, rest) = rest.split_first()?;
    if !version.eq_ignore_ascii_case(VERSION) || !minor.is_ascii_digit() {
        return None;
    }
    let code = rest.trim_ascii_start();
    let (code, after) = code.split_at_checked(3)?;
    let is_spaced = matches!(rest.first(), Some(b' ' | b'\t'));
    let has_ended = matches!(after.first(), Some(b' ' | b'\t' | b'\r' | b'\n'));
    (is_spaced && has_ended)
        .then(|| StatusCode::from_bytes(code).ok())
        .flatten()
}

fn header(line: &[u8]) -> Option<(HeaderName, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let name = HeaderName::from_bytes(name.trim_ascii_end()).ok()?;
    Some((name, value.get(1..)?.trim_ascii().to_vec()))
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        // It takes more than fit into a head.
        let _is_full = headers.try_append(name, value);
    }
}
