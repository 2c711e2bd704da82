//! Live events of the sidecar: server-sent events. Source: WHATWG HTML, section 9.2.

use anyhow::Context;
use bytes::BytesMut;
use http::Method;
use http::header::{ACCEPT, HeaderValue};
use serde_json::Value;
use tokio::time::timeout;

use crate::cli::client::call::{Client, PATIENCE};
use crate::cli::client::error::CallError;
use crate::cli::client::wire::Body;

/// The most bytes of one event; a longer one is no answer of a sidecar.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StreamEvent {
    /// The kind of event.
    pub(crate) kind: String,
    /// Its data.
    pub(crate) data: Value,
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    body: Body,
    parser: Parser,
}

impl Client {
    /// Opens the stream.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn stream(&self) -> anyhow::Result<Stream> {
        let mut request = self.request(Method::GET, "/v1/stream", None)?;
        let media_type = HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(ACCEPT, media_type);
        let response = timeout(PATIENCE, self.begun(request)).await;
        let response = response.context("the stream does not open")??;
        Ok(Stream {
            body: response.into_body(),
            parser: Parser::default(),
        })
    }
}

impl Stream {
    /// Waits for the next event; `None` when the stream ends.
    ///
    /// # Errors
    /// The connection breaks, or what comes is no stream of a sidecar.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<StreamEvent>, CallError> {
        loop {
            if let Some(event) = self.parser.next()? {
                return Ok(Some(event));
            }
            let Some(bytes) = self.body.next().await? else {
                return Ok(None);
            };
            self.parser.unread.extend_from_slice(&bytes);
        }
    }
}

/// Puts events together from bytes.
#[derive(Debug, Default)]
struct Parser {
    unread: BytesMut,
    kind: String,
    data: String,
}

impl Parser {
    /// The next whole event.
    fn next(&mut self) -> Result<Option<StreamEvent>, CallError> {
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            // Off the front at no cost: of short lines there may be many.
            let line = self.unread.split_to(end + 1);
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(event) = self.line(line)? {
                return Ok(Some(event));
            }
        }
        if self.unread.len() + self.data.len() > EVENT_BYTES_MAX {
            return Err(CallError::Foreign(None));
        }
        Ok(None)
    }

    fn line(&mut self, line: &str) -> Result<Option<StreamEvent>, CallError> {
        if line.is_empty() {
            let kind = std::mem::take(&mut self.kind);
            let data = std::mem::take(&mut self.data);
            if data.is_empty() {
                return Ok(None);
            }
            let data = serde_json::from_str(&data);
            let data = data.map_err(|error| CallError::Foreign(Some(error)))?;
            return Ok(Some(StreamEvent { kind, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.kind = value.to_owned(),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments keep the connection open; ids and pauses are not used.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(parser: &mut Parser) -> Vec<StreamEvent> {
        std::iter::from_fn(|| parser.next().unwrap()).collect()
    }

    #[test]
    fn events_are_put_together_wherever_they_are_cut() {
        let text = ": hello\n\nevent: attempt\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nid: 7\nevent: delivery\ndata:{}\n\n";
        for size in [1, 3, 1000] {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                parser.unread.extend_from_slice(piece);
                found.extend(all(&mut parser));
            }
            let [first, second] = &found[..] else {
                panic!("{found:?}")
            };
            assert_eq!(
                (first.kind.as_str(), &first.data),
                ("attempt", &json!({"a": 1}))
            );
            assert_eq!(
                (second.kind.as_str(), &second.data),
                ("delivery", &json!({}))
            );
        }
    }

    #[test]
    fn what_is_no_stream_of_a_sidecar_is_refused() {
        let mut parser = Parser::default();
        parser.unread.extend_from_slice(b"data: x\n\n");
        assert!(parser.next().is_err());
        let mut parser = Parser {
            unread: vec![b'a'; EVENT_BYTES_MAX + 1].as_slice().into(),
            ..Parser::default()
        };
        assert!(parser.next().is_err());
    }

    #[test]
    fn many_short_lines_and_an_event_without_end_stay_within_the_bound() {
        let mut parser = Parser::default();
        for _ in 0..64 {
            parser.unread.extend_from_slice(&b"\n".repeat(256 * 1024));
            assert_eq!(parser.next().unwrap(), None);
            assert!(parser.unread.is_empty());
        }
        let line = [b"data: ".as_slice(), &[b'x'; 1000], b"\n"].concat();
        let refused = (0..10_000).find(|_| {
            parser.unread.extend_from_slice(&line);
            parser.next().is_err()
        });
        assert!(refused.is_some_and(|lines| lines < 1_100), "{refused:?}");
    }
}
