//! A delivery as it arrived at a local receiver: whether its signature verifies, and how it is shown to people and
//! programs. Control characters of a request never reach the terminal.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::domain::{Secret, Timestamp};
use crate::signing::{Scheme, VerifyError, verify};

/// How far a timestamp may be from our clock, seconds. Source: Standard Webhooks, "Verifying webhook authenticity".
const TOLERANCE_SECS: i64 = 300;
/// At most so many characters of a body are shown to people; programs get it whole.
const SHOWN_CHARS_MAX: usize = 1000;
/// Headers that describe the transport of a request, not its content.
const UNINTERESTING: [&str; 6] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "user-agent",
];
/// Headers whose value is confidential.
const CONFIDENTIAL: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// The result of checking a request's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There was no secret to verify with.
    Unchecked,
    /// One of the secrets signed it, by the scheme of this name.
    Verified(&'static str),
    /// It does not verify.
    Refused(VerifyError),
}

impl Verdict {
    /// Judges a request that came to `origin` (`https://host:port`) at the time `at`.
    pub(crate) fn of(
        scheme: &Scheme,
        secrets: &[Secret],
        head: &Parts,
        body: &[u8],
        origin: &str,
        at: Timestamp,
    ) -> Self {
        if secrets.is_empty() {
            return Self::Unchecked;
        }
        let url = format!("{origin}{}", head.uri);
        match verify(
            scheme,
            secrets,
            &head.headers,
            body,
            &url,
            at,
            TOLERANCE_SECS,
        ) {
            Ok(()) => Self::Verified(scheme.name()),
            Err(error) => Self::Refused(error),
        }
    }

    /// Whether the signature is right.
    pub(crate) fn is_verified(&self) -> bool {
        matches!(self, Self::Verified(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchecked => f.write_str("signature not checked"),
            Self::Verified(scheme) => write!(f, "{scheme} signature verified"),
            Self::Refused(error) => write!(f, "signature refused: {error}"),
        }
    }
}

/// A delivery that arrived.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    /// When.
    pub(crate) at: Timestamp,
    /// Method, path and headers.
    pub(crate) head: &'a Parts,
    /// The body.
    pub(crate) body: &'a Bytes,
    /// The result of checking its signature.
    pub(crate) verdict: Verdict,
    /// How it is answered.
    pub(crate) status: StatusCode,
}

impl Arrival<'_> {
    /// One JSON object: `at`, `method`, `path`, `headers`, `verified` (null: not checked), `problem`, `status`, `body`
    /// (null where it is not UTF-8), `body_base64` (null where it is).
    pub(crate) fn to_json(&self) -> Value {
        let (verified, problem) = match &self.verdict {
            Verdict::Unchecked => (None, None),
            Verdict::Verified(_) => (Some(true), None),
            Verdict::Refused(error) => (Some(false), Some(error.to_string())),
        };
        let headers: Map<_, _> = self
            .headers()
            .map(|(name, value)| (name.to_string(), Value::String(value)))
            .collect();
        let (text, base64) = match str::from_utf8(self.body) {
            Ok(text) => (Some(text), None),
            Err(_) => (None, Some(BASE64_STANDARD.encode(self.body))),
        };
        json!({
            "at": self.at.to_string(),
            "method": self.head.method.as_str(),
            "path": self.head.uri.to_string(),
            "headers": headers,
            "verified": verified,
            "problem": problem,
            "status": self.status.as_u16(),
            "body": text,
            "body_base64": base64,
        })
    }

    /// The informative headers, confidential values left out.
    fn headers(&self) -> impl Iterator<Item = (&HeaderName, String)> {
        let headers = self.head.headers.iter();
        headers
            .filter(|(name, _)| !UNINTERESTING.contains(&name.as_str()))
            .map(|(name, value)| (name, header_text(name, value)))
    }
}

/// For people: a line about the request, one for each informative header, and the beginning of the body.
impl fmt::Display for Arrival<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { method, uri, .. } = self.head;
        let (at, status) = (self.at, self.status.as_u16());
        writeln!(f, "{at}  {method} {uri}  {status}  {}", self.verdict)?;
        for (name, value) in self.headers() {
            writeln!(f, "    {name}: {}", printable(&value, usize::MAX))?;
        }
        let body = match str::from_utf8(self.body) {
            Ok("") => return writeln!(f),
            Ok(text) => printable(text, SHOWN_CHARS_MAX),
            Err(_) => format!("({} bytes that are not text)", self.body.len()),
        };
        writeln!(f, "    {body}\n")
    }
}

fn header_text(name: &HeaderName, value: &HeaderValue) -> String {
    if CONFIDENTIAL.contains(&name.as_str()) {
        return "(not shown)".to_owned();
    }
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The text without control characters, cut after `max` characters.
fn printable(text: &str, max: usize) -> String {
    let mut shown = String::new();
    for (position, character) in text.chars().enumerate() {
        if position == max {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head() -> Parts {
        Request::post("/hooks?a=1")
            .header("host", "127.0.0.1")
            .header("authorization", "Bearer hunter2")
            .header("webhook-id", "evt_1")
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    fn arrival<'a>(head: &'a Parts, body: &'a Bytes) -> Arrival<'a> {
        Arrival {
            at: Timestamp::from_millis(0),
            head,
            body,
            verdict: Verdict::Unchecked,
            status: StatusCode::OK,
        }
    }

    #[test]
    fn people_see_request_headers_and_body() {
        let (head, body) = (head(), Bytes::from("{}"));
        assert_eq!(
            arrival(&head, &body).to_string(),
            "1970-01-01T00:00:00.000Z  POST /hooks?a=1  200  signature not checked\n    \
             authorization: (not shown)\n    webhook-id: evt_1\n    {}\n\n"
        );
    }

    #[test]
    fn programs_get_one_object_with_the_whole_body() {
        let (head, body) = (head(), Bytes::from("é".repeat(2000)));
        let shown = arrival(&head, &body).to_json();
        assert_eq!(shown["path"], "/hooks?a=1");
        assert_eq!(shown["verified"], Value::Null);
        assert_eq!(shown["headers"]["webhook-id"], "evt_1");
        assert_eq!(shown["body"].as_str().unwrap().len(), 4000);
    }

    #[test]
    fn bytes_that_are_not_text_are_base64_for_programs() {
        let (head, body) = (head(), Bytes::from_static(b"\xff"));
        let shown = arrival(&head, &body).to_json();
        assert_eq!(shown["body_base64"], "/w==");
        assert_eq!(shown["body"], Value::Null);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[2J\r\n\u{9b}b", 100),
            "a\\u{1b}[2J\\r\\n\\u{9b}b"
        );
    }

    #[test]
    fn long_bodies_are_cut_between_characters() {
        assert_eq!(printable("ééé", 2), "éé…");
        assert_eq!(printable("éé", 2), "éé");
    }
}
