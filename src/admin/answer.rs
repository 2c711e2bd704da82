//! Answers: JSON, texts, and bodies that go on.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;

/// An answer of the API.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// An answer with this body.
pub(super) fn respond(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// 200 with a thing as JSON.
pub(super) fn json(thing: &impl Serialize) -> Answer {
    json_with(StatusCode::OK, thing)
}

/// A thing as JSON, with this status.
pub(super) fn json_with(status: StatusCode, thing: &impl Serialize) -> Answer {
    // Views have texts as keys and are written to memory: there is nothing that could fail.
    let body = serde_json::to_vec(thing).unwrap_or_default();
    respond(status, "application/json", body)
}

/// A plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    respond(status, "text/plain; charset=utf-8", body)
}
