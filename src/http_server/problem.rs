//! Problem documents: the body of every refusal.
//!
//! Source: RFC 9457. `type` is left out (about:blank), so `title` is the phrase of the status; `code` is stable and for
//! programs, `detail` is for people, `errors` names fields.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// The media type of a problem document.
const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document. As JSON: `{"title", "status", "code", "detail", "errors": {path: [message]}}`; `errors` only when
/// there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<(String, String)>,
}

impl Problem {
    /// Makes a problem: `code` never changes between versions, `detail` holds no secret and no body.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// Adds what is wrong with fields, as path and message; messages of one path should stand together.
    #[must_use]
    pub(crate) fn with_errors(mut self, errors: Vec<(String, String)>) -> Self {
        self.errors = errors;
        self
    }

    /// The problem that stands for a handler that panicked.
    #[must_use]
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the request met a fault of sidehook itself, which its log describes",
        )
    }

    /// The document as JSON.
    #[must_use]
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Only texts and a number are written, to memory: there is nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The answer that carries the document.
    #[must_use]
    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.to_json())));
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response
    }

    /// The whole answer as sent, for a connection that ends with it.
    pub(super) fn to_http(&self) -> Vec<u8> {
        let body = self.to_json();
        let mut answer = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.status.as_str(),
            self.title(),
            body.len(),
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        answer
    }

    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("title", self.title())?;
        document.serialize_entry("status", &self.status.as_u16())?;
        document.serialize_entry("code", self.code)?;
        document.serialize_entry("detail", &self.detail)?;
        if !self.errors.is_empty() {
            document.serialize_entry("errors", &Errors(&self.errors))?;
        }
        document.end()
    }
}

/// Errors as a map of path to messages.
struct Errors<'a>(&'a [(String, String)]);

impl Serialize for Errors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for same_path in self.0.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((path, _)) = same_path.first() else {
                continue;
            };
            let messages: Vec<&str> = same_path.iter().map(|(_, text)| text.as_str()).collect();
            map.serialize_entry(path, &messages)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_with_its_fields_in_order() {
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "a \"b\"");
        assert_eq!(
            problem.to_json(),
            br#"{"title":"Unprocessable Entity","status":422,"code":"invalid","detail":"a \"b\""}"#
        );
    }

    #[test]
    fn errors_of_one_path_are_one_list() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "c", "d").with_errors(vec![
            ("id".into(), "one".into()),
            ("id".into(), "two".into()),
            ("type".into(), "three".into()),
        ]);
        let json = String::from_utf8(problem.to_json()).unwrap();
        assert!(
            json.ends_with(r#""errors":{"id":["one","two"],"type":["three"]}}"#),
            "{json}"
        );
    }

    #[test]
    fn an_answer_says_that_it_is_a_problem() {
        let answer = Problem::internal().into_response();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()[CONTENT_TYPE], MEDIA_TYPE);
    }
}
