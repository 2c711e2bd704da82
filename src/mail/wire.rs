//! The lines exchanged with a mail server. All that it can make us keep is bounded: the length of a line, the lines of
//! a reply, the bytes of all its replies on one connection. The caller limits the time.
//!
//! Source: RFC 5321, sections 4.2 (replies) and 4.5.3.1 (sizes).

use std::fmt::{self, Display};
use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Longest line of a reply, bytes with its end. RFC 5321 has 512.
const LINE_MAX: u64 = 2048;
/// Most lines of a reply.
const LINES_MAX: usize = 128;
/// Most bytes of all replies on one connection.
const REPLIES_MAX: usize = 64 * 1024;
/// Size of the read buffer, bytes.
const BUFFER: usize = 1024;

/// A byte stream to and from the server.
pub(super) trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Channel for T {}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The connection broke.
    #[error("{}", .0.kind())]
    Io(#[from] io::Error),
    /// The server closed it.
    #[error("the connection was closed before an answer")]
    Closed,
    /// The received line does not begin with a code.
    #[error("the answer is not SMTP")]
    NotSmtp,
    /// A line exceeds `LINE_MAX`.
    #[error("a line of the answer is longer than {LINE_MAX} bytes")]
    LineTooLong,
    /// A reply exceeds `LINES_MAX`.
    #[error("the answer has more than {LINES_MAX} lines")]
    TooManyLines,
    /// The replies exceed `REPLIES_MAX`.
    #[error("the answers have more than {} KiB", REPLIES_MAX / 1024)]
    TooMuch,
    /// The server sent unencrypted data beyond its reply, before TLS began: it could be forged.
    #[error("the server went on without TLS after it agreed to begin it")]
    BeforeTls,
}

/// A reply: its code, and the text of each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// 2xx and 3xx.
    pub(super) fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// 5xx.
    pub(super) fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
}

impl Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" "))
    }
}

/// A connection to a mail server.
pub(super) struct Wire {
    stream: BufReader<Box<dyn Channel>>,
    reply_bytes: usize,
}

impl Wire {
    pub(super) fn new(stream: impl Channel + 'static) -> Self {
        Self {
            stream: BufReader::with_capacity(BUFFER, Box::new(stream)),
            reply_bytes: 0,
        }
    }

    /// The bare connection, to go on with TLS.
    ///
    /// # Errors
    /// The server has sent more than was read. Source: CVE-2021-38371 and similar.
    pub(super) fn into_bare(self) -> Result<Box<dyn Channel>, WireError> {
        if !self.stream.buffer().is_empty() {
            return Err(WireError::BeforeTls);
        }
        Ok(self.stream.into_inner())
    }

    /// Sends a line, and reads the reply to it.
    ///
    /// # Errors
    /// [`WireError`]; a refusal is a reply.
    pub(super) async fn command(&mut self, line: &str) -> Result<Reply, WireError> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Sends the text of a letter, and reads the reply to it. Lines end with CRLF.
    ///
    /// # Errors
    /// [`WireError`]; a refusal is a reply.
    pub(super) async fn text(&mut self, text: &[u8]) -> Result<Reply, WireError> {
        self.write(&stuffed(text)).await?;
        self.reply().await
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// [`WireError`].
    pub(super) async fn reply(&mut self) -> Result<Reply, WireError> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let (code, is_last, text) = parsed(&line).ok_or(WireError::NotSmtp)?;
            lines.push(text);
            if is_last {
                return Ok(Reply { code, lines });
            }
            if lines.len() >= LINES_MAX {
                return Err(WireError::TooManyLines);
            }
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, WireError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(LINE_MAX);
        bounded.read_until(b'\n', &mut line).await?;
        let is_at_bound = bounded.limit() == 0;
        self.reply_bytes = self.reply_bytes.saturating_add(line.len());
        if !line.ends_with(b"\n") {
            return Err(match is_at_bound {
                true => WireError::LineTooLong,
                false => WireError::Closed,
            });
        }
        if self.reply_bytes > REPLIES_MAX {
            return Err(WireError::TooMuch);
        }
        Ok(line)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }
}

/// The code of a line, whether it is the last of its reply, and its text.
fn parsed(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = line.trim_ascii_end();
    let (code, rest) = line.split_at_checked(3)?;
    let is_code = code.iter().all(u8::is_ascii_digit);
    let code: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
    let (is_last, text) = match rest {
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        _ => return None,
    };
    let text = String::from_utf8_lossy(text).into_owned();
    (is_code && (200..600).contains(&code)).then_some((code, is_last, text))
}

/// A letter as it goes over the wire: a dot before each line that begins with one, and the line with a dot that ends it.
/// Source: RFC 5321, section 4.5.2.
fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a reply from a server that sends these bytes and then nothing more.
    async fn said(bytes: &[u8]) -> Result<Reply, WireError> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        Wire::new(ours).reply().await
    }

    #[tokio::test]
    async fn a_reply_has_a_code_and_lines() {
        let reply = said(b"250-mail.example\r\n250-SIZE 1\n250 AUTH PLAIN\r\n").await;
        let reply = reply.unwrap();
        assert_eq!(reply.code, 250);
        assert_eq!(reply.lines, ["mail.example", "SIZE 1", "AUTH PLAIN"]);
        assert_eq!(said(b"354\r\n").await.unwrap().lines, [""]);
    }

    #[tokio::test]
    async fn what_is_no_reply_is_refused() {
        for wrong in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\r\n",
            b"25\r\n",
            b"250x\r\n",
            b"+25 x\r\n",
            b"999 x\r\n",
            b"\xff\xfe\xfd\r\n",
        ] {
            assert!(matches!(said(wrong).await, Err(WireError::NotSmtp)));
        }
        assert!(matches!(said(b"").await, Err(WireError::Closed)));
        assert!(matches!(
            said(b"250-one\r\n250 tw").await,
            Err(WireError::Closed)
        ));
    }

    #[tokio::test]
    async fn every_way_to_go_on_for_ever_has_an_end() {
        let digits = [b"220".as_slice(), &[b'7'; 100_000]].concat();
        assert!(matches!(said(&digits).await, Err(WireError::LineTooLong)));
        let lines = b"250-x\r\n".repeat(10_000);
        assert!(matches!(said(&lines).await, Err(WireError::TooManyLines)));
        let long = [b"250-".as_slice(), &[b'x'; 2000], b"\r\n"]
            .concat()
            .repeat(100);
        assert!(matches!(said(&long).await, Err(WireError::TooMuch)));
    }

    #[tokio::test]
    async fn replies_are_bounded_together_too() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let reply = [b"250 ".as_slice(), &[b'x'; 1000], b"\r\n"].concat();
        theirs.write_all(&reply.repeat(100)).await.unwrap();
        let mut wire = Wire::new(ours);
        let mut count = 0;
        while wire.reply().await.is_ok() {
            count += 1;
        }
        assert!((60..70).contains(&count), "{count} replies");
    }

    #[tokio::test]
    async fn nothing_unencrypted_is_taken_over_into_tls() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        theirs
            .write_all(b"220 go on\r\n250 injected\r\n")
            .await
            .unwrap();
        let mut wire = Wire::new(ours);
        wire.reply().await.unwrap();
        assert!(matches!(wire.into_bare(), Err(WireError::BeforeTls)));
    }

    #[test]
    fn a_line_that_begins_with_a_dot_ends_nothing() {
        assert_eq!(
            stuffed(b"a\r\n.b\r\n..\r\n"),
            b"a\r\n..b\r\n...\r\n.\r\n".to_vec()
        );
        assert_eq!(stuffed(b"a"), b"a\r\n.\r\n".to_vec());
    }
}
