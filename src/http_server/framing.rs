//! Where each request on a connection begins and ends, and whether its head is unambiguous.
//!
//! hyper takes some heads that two parties can read differently: it drops a second `Content-Length`, prefers
//! `Transfer-Encoding`, and passes on codings before `chunked`. [`Framing`] reads the same bytes on their way to hyper and
//! finds the first head that is ambiguous. Plainly malformed heads are left to hyper.
//!
//! Source: RFC 9112, sections 2.2, 3.2, 5.1, 5.2, 6.1 to 6.3 and 7.1.

use memchr::memchr;

/// Bytes of a head that are looked at when it comes in parts; a longer one is over the limit of every listener.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    /// The head so far, when it comes in parts.
    head: Vec<u8>,
}

#[derive(Debug, Default)]
enum State {
    /// In a head, or before one.
    #[default]
    Head,
    /// In a body of so many further bytes.
    Sized(u64),
    /// In a chunked body.
    Chunked(Chunk),
    /// hyper refuses what came, and ends the connection.
    Unfollowed,
}

/// A place in a chunked body.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// In the digits of a size.
    Size(u64),
    /// Between the digits and the end of their line.
    Extension(u64),
    /// In data, with so many bytes to go.
    Data(u64),
    /// In the line end behind data.
    DataEnd,
    /// In the trailers: how many bytes their last line has so far.
    Trailer(usize),
}

/// How long a body is.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    Sized(u64),
    Chunked,
}

/// Why a head is not followed.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// Two parties can read it differently.
    Ambiguous,
    /// hyper refuses it.
    Malformed,
}

impl Framing {
    /// Takes the next bytes of the connection; returns how many lie before the first ambiguous head, if there is one.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = bytes.len() - rest.len();
            rest = match &mut self.state {
                State::Unfollowed => return None,
                State::Sized(length) => {
                    let (left, taken) = subtract(*length, rest.len());
                    *length = left;
                    if left == 0 {
                        self.state = State::Head;
                    }
                    after(rest, taken)
                }
                State::Chunked(chunk) => {
                    let (next, taken) = chunk.step(rest);
                    self.state = next;
                    after(rest, taken)
                }
                State::Head => match self.follow_head(rest) {
                    Ok(taken) => after(rest, taken),
                    Err(Fault::Ambiguous) => return Some(before),
                    Err(Fault::Malformed) => {
                        self.state = State::Unfollowed;
                        return None;
                    }
                },
            };
        }
        None
    }

    /// Takes bytes of a head; returns how many belong to it.
    fn follow_head(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        if self.head.is_empty() {
            // Empty lines before a request are nothing (RFC 9112, section 2.2).
            let blank = bytes
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'));
            let blank = blank.count();
            if blank > 0 {
                return Ok(blank);
            }
            if let Some(length) = head_length(bytes, 0) {
                self.state = read_head(bytes.get(..length).unwrap_or(bytes))?.into();
                return Ok(length);
            }
        }
        let known = self.head.len();
        self.head.extend_from_slice(bytes);
        match head_length(&self.head, known.saturating_sub(2)) {
            Some(length) => {
                let head = std::mem::take(&mut self.head);
                self.state = read_head(head.get(..length).unwrap_or(&head))?.into();
                Ok(length.saturating_sub(known))
            }
            None if self.head.len() > HEAD_BYTES_MAX => {
                self.head = Vec::new();
                Err(Fault::Malformed)
            }
            None => Ok(bytes.len()),
        }
    }
}

impl From<Body> for State {
    fn from(body: Body) -> Self {
        match body {
            Body::Sized(0) => Self::Head,
            Body::Sized(length) => Self::Sized(length),
            Body::Chunked => Self::Chunked(Chunk::Size(0)),
        }
    }
}

impl Chunk {
    /// Takes at least one of the bytes, which are not none.
    fn step(self, bytes: &[u8]) -> (State, usize) {
        let Some(byte) = bytes.first().copied() else {
            return (State::Chunked(self), 0);
        };
        let next = match self {
            Self::Size(size) => match char::from(byte).to_digit(16) {
                Some(digit) => match size.checked_mul(16) {
                    Some(size) => Self::Size(size | u64::from(digit)),
                    None => return (State::Unfollowed, 1),
                },
                None => Self::after_size(size, byte),
            },
            Self::Extension(size) => Self::after_size(size, byte),
            Self::Data(size) => {
                let (left, taken) = subtract(size, bytes.len());
                let next = match left {
                    0 => Self::DataEnd,
                    left => Self::Data(left),
                };
                return (State::Chunked(next), taken);
            }
            Self::DataEnd if byte == b'\n' => Self::Size(0),
            Self::DataEnd => Self::DataEnd,
            Self::Trailer(0) if byte == b'\n' => return (State::Head, 1),
            Self::Trailer(_) if byte == b'\n' => Self::Trailer(0),
            Self::Trailer(length) if byte == b'\r' => Self::Trailer(length),
            Self::Trailer(length) => Self::Trailer(length.saturating_add(1)),
        };
        (State::Chunked(next), 1)
    }

    fn after_size(size: u64, byte: u8) -> Self {
        match (byte, size) {
            (b'\n', 0) => Self::Trailer(0),
            (b'\n', size) => Self::Data(size),
            (_, size) => Self::Extension(size),
        }
    }
}

/// The rest of a length after some bytes, and how many of the bytes it took.
fn subtract(length: u64, bytes: usize) -> (u64, usize) {
    let taken = usize::try_from(length).map_or(bytes, |length| length.min(bytes));
    let left = length.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
    (left, taken)
}

fn after(bytes: &[u8], taken: usize) -> &[u8] {
    bytes.get(taken..).unwrap_or_default()
}

/// The length of the head that these bytes begin with, its empty line included. The search begins at `from`.
fn head_length(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr(b'\n', bytes.get(at..)?)? + 1;
        match bytes.get(at..) {
            Some([b'\n', ..]) => return Some(at + 1),
            Some([b'\r', b'\n', ..]) => return Some(at + 2),
            _ => {}
        }
    }
}

/// The facts in the fields of a head about its body and its host.
#[derive(Debug, Default)]
struct Fields {
    hosts: usize,
    lengths: usize,
    codings: usize,
    length: u64,
}

/// Reads a whole head.
fn read_head(head: &[u8]) -> Result<Body, Fault> {
    let mut lines = Lines(head);
    let request = lines.next().unwrap_or_default();
    let is_http_11 = match request {
        line if line.ends_with(b" HTTP/1.1") => true,
        line if line.ends_with(b" HTTP/1.0") => false,
        _ => return Err(Fault::Malformed),
    };
    let mut fields = Fields::default();
    for line in lines {
        fields.add(line)?;
    }
    let hosts_fit = fields.hosts == 1 || (fields.hosts == 0 && !is_http_11);
    let lengths_fit = fields.lengths + fields.codings <= 1;
    if !hosts_fit || !lengths_fit || (fields.codings > 0 && !is_http_11) {
        return Err(Fault::Ambiguous);
    }
    Ok(match fields.codings {
        0 => Body::Sized(fields.length),
        _ => Body::Chunked,
    })
}

impl Fields {
    fn add(&mut self, line: &[u8]) -> Result<(), Fault> {
        // Most fields are none of the three; a folded line begins with a space.
        if !matches!(
            line.first(),
            Some(b'C' | b'c' | b'H' | b'h' | b'T' | b't' | b' ' | b'\t')
        ) {
            return Ok(());
        }
        let colon = memchr(b':', line).ok_or(Fault::Ambiguous)?;
        let (name, value) = line.split_at(colon);
        let value = after(value, 1).trim_ascii();
        if name.trim_ascii().len() != name.len() {
            return Err(Fault::Ambiguous);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            self.length = digits(value).ok_or(Fault::Ambiguous)?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Ambiguous);
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            if !value.iter().all(|byte| is_of_host(*byte)) {
                return Err(Fault::Ambiguous);
            }
        }
        Ok(())
    }
}

/// A length: digits alone, no list, no sign.
fn digits(value: &[u8]) -> Option<u64> {
    let is_number = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

/// Bytes of a host with its port (RFC 3986, section 3.2.2), but for the comma: two hosts would be read there.
fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}

/// The lines of a head without their ends, up to the empty one.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = after(rest, 1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where the first ambiguous head begins when the bytes come in parts of this size.
    fn found(bytes: &[u8], part: usize) -> Option<usize> {
        let mut framing = Framing::default();
        let mut passed = 0;
        for part in bytes.chunks(part) {
            if let Some(length) = framing.follow(part) {
                return Some(passed + length);
            }
            passed += part.len();
        }
        None
    }

    const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const SIZED: &[u8] = b"POST / HTTP/1.1\r\nhost: [::1]:80\r\ncontent-length: 4\r\n\r\n\r\n\r\n";
    const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nHOST:\r\nTransfer-Encoding: Chunked\r\n\r\n\
        3;x=\"y\"\r\n\r\n\r\r\n0A \r\n0123456789\r\n0\r\nContent-Length: 1\r\nA: b\r\n\r\n";
    const OLD: &[u8] = b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx";

    #[test]
    fn every_ambiguous_head_is_found_wherever_it_stands_and_however_it_comes() {
        let heads = [
            "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1",
            "Host: a\r\ncontent-length: 1\r\ntransfer-encoding: identity",
            "Host: a\r\nContent-Length: 1\r\nContent-Length: 1",
            "Host: a\r\nContent-Length: 1, 1",
            "Host: a\r\nContent-Length: +1",
            "Host: a\r\nContent-Length:",
            "Host: a\r\nContent-Length: 0x1",
            "Host: a\r\nContent-Length: 99999999999999999999",
            "Host: a\r\nContent-Length : 1",
            "Host: a\r\nTransfer-Encoding: gzip, chunked",
            "Host: a\r\nTransfer-Encoding: chunked, chunked",
            "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Host: a\r\nTransfer-Encoding: xchunked",
            "Host: a\r\nTransfer-Encoding: \"chunked\"",
            "Host: a\r\nTransfer-Encoding:",
            "Host: a\r\nTransfer-Encoding\r\nX: y",
            "Host: a\r\nX: y\r\n Content-Length: 1",
            "Host: a\r\nHost: a",
            "Host: a, b",
            "Host: a b",
            "Host: user@a",
            "X: y",
        ];
        for head in heads {
            let bad = format!("POST /bad HTTP/1.1\r\n{head}\r\n\r\n");
            for before in [&b""[..], PLAIN, SIZED, CHUNKED, OLD, b"\r\n"] {
                let bytes = [before, bad.as_bytes(), PLAIN].concat();
                for part in [1, 2, 7, bytes.len()] {
                    let found = found(&bytes, part);
                    let Some(at) = found else {
                        panic!("{head:?} was not found in parts of {part}");
                    };
                    assert!(at >= before.len(), "{head:?}");
                    assert!(part < bytes.len() || at == before.len(), "{head:?}");
                }
            }
        }
        let coded = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(found(coded, coded.len()), Some(0));
    }

    #[test]
    fn what_hyper_refuses_is_left_to_it() {
        for bytes in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\x16\x03\x01\n\r\n",
            "a\n\nb",
        ] {
            assert_eq!(found(bytes.as_bytes(), 3), None, "{bytes:?}");
        }
        assert_eq!(found(&vec![b'x'; 3 * HEAD_BYTES_MAX], 1000), None);
    }

    proptest! {
        #[test]
        fn plain_requests_are_followed_in_any_order_and_parts(
            order in proptest::collection::vec(0..4_usize, 0..12), part in 1..200_usize,
        ) {
            let all = [PLAIN, SIZED, CHUNKED, OLD];
            let mut bytes: Vec<u8> = order.iter().flat_map(|which| all[*which]).copied().collect();
            prop_assert_eq!(found(&bytes, part), None);
            let good = bytes.len();
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
            prop_assert!(found(&bytes, part).is_some_and(|at| at >= good));
        }

        #[test]
        fn nothing_makes_it_fail(bytes: Vec<u8>, part in 1..50_usize) {
            found(&bytes, part);
        }
    }
}
