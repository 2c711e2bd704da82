//! Posting an event to a sidecar over HTTP/1.1, by TCP or unix socket: what `send` and `demo` share.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::cli::client::wire::begin;
use crate::cli::target::Target;

/// Connecting and the whole answer have this long, beyond what the sidecar is asked to wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// At most this much of an answer is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The characters of a type that need no escape in a path. Source: RFC 3986, section 2.3.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/');

/// The answer of a sidecar to an event that it accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Receipt {
    /// The event id.
    pub(crate) id: String,
    /// How many deliveries the event has.
    pub(crate) deliveries: usize,
    /// It was accepted before.
    pub(crate) duplicate: bool,
    /// How the first attempts went, if the sidecar waited for them.
    pub(crate) results: Option<Vec<FirstAttempt>>,
}

/// The state of a delivery after its first attempt, in the words of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct FirstAttempt {
    /// For which subscription.
    pub(crate) subscription: String,
    /// The present state of the delivery.
    pub(crate) state: String,
    /// How the attempt ended; `None` if there was none.
    pub(crate) status: Option<String>,
    /// The status code of the response, if there was one.
    pub(crate) response_code: Option<u16>,
    /// The error, if there was one.
    pub(crate) error_message: Option<String>,
}

/// An event to post.
#[derive(Debug, Clone)]
pub(crate) struct Posting {
    /// Its type.
    pub(crate) event_type: String,
    /// The headers of the request, Content-Type included.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
    /// How long the sidecar is asked to wait for first attempts.
    pub(crate) wait: Option<u8>,
}

impl Posting {
    /// A JSON event of a type.
    pub(crate) fn json(event_type: &str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self {
            event_type: event_type.to_owned(),
            headers,
            body: body.into(),
            wait: None,
        }
    }
}

/// Posts an event and returns the answer, whatever it is.
///
/// # Errors
/// When the sidecar cannot be reached, or gives no HTTP answer within 30 s and the time that it is asked to wait.
pub(crate) async fn post(target: &Target, posting: Posting) -> anyhow::Result<(StatusCode, Bytes)> {
    let patience = TIMEOUT + Duration::from_secs(posting.wait.unwrap_or(0).into());
    let exchange = async {
        let response = begin(target, request(posting)?).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut answer = Vec::new();
        while let Some(bytes) = body.next().await? {
            ensure!(
                answer.len() + bytes.len() <= ANSWER_BYTES_MAX,
                "the answer is too long"
            );
            answer.extend_from_slice(&bytes);
        }
        Ok((status, answer.into()))
    };
    tokio::time::timeout(patience, exchange)
        .await
        .with_context(|| format!("no answer within {} s", patience.as_secs()))?
}

fn request(posting: Posting) -> anyhow::Result<Request<Full<Bytes>>> {
    let path = utf8_percent_encode(&posting.event_type, PATH);
    let mut request = Request::new(Full::new(posting.body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("/events/{path}").parse()?;
    *request.headers_mut() = posting.headers;
    if let Some(seconds) = posting.wait {
        let wait = HeaderValue::try_from(format!("wait={seconds}"))?;
        request.headers_mut().insert("prefer", wait);
    }
    Ok(request)
}
