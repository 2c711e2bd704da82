//! Why a request is refused, and the problem document for it.

use std::fmt::Display;

use bytes::Bytes;
use http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::http_server::Problem;
use crate::ingest::format::{EVENTS_MAX, Format};
use crate::metrics::IngestMetrics;
use crate::store::AcceptError;

/// Field errors of one request at most: the first ones are enough.
const ERRORS_MAX: usize = 100;

/// Why a request is refused. Nothing of it is in the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is nothing at this path: events are posted to /events or /events/{{type}}")]
    NoSuchPath,
    #[error("events are posted: expected the method POST")]
    Method,
    #[error("expected a % in the path to be followed by two hexadecimal digits")]
    PercentEncoding,
    #[error("expected a Host header")]
    NoHost,
    #[error("expected the header {0} once, found it several times")]
    RepeatedHeader(HeaderName),
    #[error("expected a Content-Type of at most 1024 visible ASCII characters")]
    ContentType,
    #[error("more than 64 headers would be kept with the event")]
    TooManyHeaders,
    #[error("requests with an Origin header are refused: web pages must not post events")]
    Origin,
    #[error("requests from other sites are refused: web pages must not post events")]
    CrossSite,
    #[error("expected the Host localhost, 127.0.0.1 or [::1] on this listener")]
    ForeignHost,
    #[error("expected Authorization: Bearer with one of the configured tokens")]
    Token,
    #[error("content codings are not supported: send the body as it is")]
    ContentCoding,
    #[error("batches of this type are not supported: expected application/x-ndjson")]
    BatchType,
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the body took too long")]
    Slow,
    #[error("the body ended before its announced end, or is not encoded as announced")]
    Cut,
    #[error("too many large bodies are being read, try again")]
    NoMemory,
    #[error("the filters of subscriptions take too long, try again, with fewer events in a batch")]
    Filters,
    #[error("the event is not valid, see errors")]
    Invalid(FieldErrors),
    #[error("not every line is JSON, see errors")]
    MalformedBatch(FieldErrors),
    #[error("the headers of a batch cannot give an id or key: its lines do")]
    NamedBatch,
    #[error("a batch has at most {EVENTS_MAX} events")]
    TooManyEvents,
    /// The store refused this many events; the position of a conflict counts in a batch only.
    #[error("{}", store_detail(error))]
    Store {
        error: AcceptError,
        events: u64,
        format: Format,
    },
    #[error("the system has no randomness to give")]
    NoRandomness(#[source] getrandom::Error),
}

/// Messages by field, for people and programs.
#[derive(Debug, Default)]
pub(super) struct FieldErrors {
    prefix: String,
    messages: Vec<(String, String)>,
}

impl FieldErrors {
    /// Sets the prefix of the fields added from now on.
    pub(super) fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// Adds a message; beyond a bound it is left out.
    pub(super) fn add(&mut self, field: &str, message: impl Display) {
        if self.messages.len() < ERRORS_MAX {
            let path = format!("{}{field}", self.prefix);
            self.messages.push((path, message.to_string()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

impl Refusal {
    /// One field that is not as it must be.
    pub(super) fn invalid(field: &str, message: impl Display) -> Self {
        let mut errors = FieldErrors::default();
        errors.add(field, message);
        Self::Invalid(errors)
    }

    /// Counts what was refused: each event that the store could not take for now, otherwise the request.
    pub(super) fn count(&self, metrics: &IngestMetrics) {
        match self {
            Self::Store {
                error:
                    AcceptError::Full
                    | AcceptError::Pending
                    | AcceptError::Overloaded
                    | AcceptError::Failed(_),
                events,
                ..
            } => metrics.overloaded.increment(*events),
            Self::NoMemory | Self::Filters | Self::NoRandomness(_) => {
                metrics.overloaded.increment(1)
            }
            _ => metrics.rejected.increment(1),
        }
    }

    /// The answer. Causes inside sidehook go to the log.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        self.log();
        let (status, code) = self.status_and_code();
        let retry_after = self.retry_after();
        let detail = self.to_string();
        let mut response = Problem::new(status, code, detail)
            .with_errors(self.into_errors())
            .into_response();
        let extra = match status {
            StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, HeaderValue::from_static("POST"))),
            StatusCode::UNAUTHORIZED => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, retry_after)),
            _ => None,
        };
        response.headers_mut().extend(extra);
        response
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::PercentEncoding => (StatusCode::BAD_REQUEST, "malformed_path"),
            Self::NoHost => (StatusCode::BAD_REQUEST, "missing_host"),
            Self::RepeatedHeader(_) => (StatusCode::BAD_REQUEST, "repeated_header"),
            Self::ContentType => (StatusCode::BAD_REQUEST, "malformed_content_type"),
            Self::TooManyHeaders => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "too_many_headers",
            ),
            Self::Origin | Self::CrossSite => (StatusCode::FORBIDDEN, "cross_site"),
            Self::ForeignHost => (StatusCode::FORBIDDEN, "foreign_host"),
            Self::Token => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::ContentCoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_coding"),
            Self::BatchType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "batch_type"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::TooManyEvents => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_events"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "slow_request"),
            Self::Cut => (StatusCode::BAD_REQUEST, "malformed_body"),
            Self::MalformedBatch(_) => (StatusCode::BAD_REQUEST, "malformed_batch"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_event"),
            Self::NamedBatch => (StatusCode::UNPROCESSABLE_ENTITY, "named_batch"),
            Self::NoMemory | Self::Filters => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::NoRandomness(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_failed"),
            Self::Store { error, .. } => match error {
                AcceptError::Conflict(_) => (StatusCode::UNPROCESSABLE_ENTITY, "given_id_conflict"),
                AcceptError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
                AcceptError::Full => (StatusCode::SERVICE_UNAVAILABLE, "store_full"),
                AcceptError::Pending => (StatusCode::SERVICE_UNAVAILABLE, "too_much_pending"),
                AcceptError::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
                AcceptError::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_failed"),
            },
        }
    }

    /// Seconds after which posting again may work: a full disk takes longer than a burst.
    fn retry_after(&self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Store {
                error: AcceptError::Full,
                ..
            } => "30",
            Self::Store {
                error: AcceptError::Failed(_),
                ..
            } => "5",
            _ => "1",
        })
    }

    fn into_errors(self) -> Vec<(String, String)> {
        match self {
            Self::Invalid(errors) | Self::MalformedBatch(errors) => errors.messages,
            Self::Store {
                error: AcceptError::Conflict(position),
                format,
                ..
            } => {
                let path = match format {
                    Format::Event => "id".to_owned(),
                    Format::Batch => format!("events.{position}.id"),
                };
                let message = "an earlier event with this id has another type or body";
                vec![(path, message.to_owned())]
            }
            _ => Vec::new(),
        }
    }

    fn log(&self) {
        match self {
            Self::Store {
                error: AcceptError::Failed(error),
                ..
            } => tracing::error!(%error, "events were refused because the store has failed"),
            Self::NoRandomness(error) => {
                tracing::error!(%error, "events were refused because the system has no randomness");
            }
            _ => {}
        }
    }
}

/// The part of a store's error that a client may see.
fn store_detail(error: &AcceptError) -> &'static str {
    match error {
        AcceptError::Conflict(_) => {
            "the given id belongs to an earlier event with another type or body"
        }
        AcceptError::TooLarge => "the store has no place for events of this size",
        AcceptError::Full => "there is no room left for events, try again later",
        AcceptError::Pending => {
            "as many bytes are pending as store.max_pending allows, try again later"
        }
        AcceptError::Overloaded => "events come in faster than they can be stored, try again",
        AcceptError::Failed(_) => "the store has failed, try again later",
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::*;
    use crate::metrics::Metrics;
    use crate::store::StoreError;

    fn of_store(error: AcceptError, format: Format) -> Refusal {
        Refusal::Store {
            error,
            events: 3,
            format,
        }
    }

    async fn answered(refusal: Refusal) -> (u16, Option<HeaderValue>, Value) {
        let response = refusal.into_response();
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, retry_after, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn what_the_store_cannot_take_now_may_be_posted_again_later() {
        for (error, code, seconds) in [
            (AcceptError::Full, "store_full", "30"),
            (AcceptError::Overloaded, "overloaded", "1"),
            (AcceptError::Failed(StoreError::Closed), "store_failed", "5"),
        ] {
            let (status, retry_after, problem) = answered(of_store(error, Format::Event)).await;
            assert_eq!((status, &problem["code"]), (503, &Value::from(code)));
            assert_eq!(retry_after.unwrap(), seconds);
        }
        let (status, retry_after, _) =
            answered(of_store(AcceptError::TooLarge, Format::Batch)).await;
        assert_eq!((status, retry_after), (413, None));
    }

    #[tokio::test]
    async fn a_conflict_names_the_event_of_a_batch_by_its_position() {
        for (format, path) in [(Format::Event, "id"), (Format::Batch, "events.2.id")] {
            let (status, _, problem) = answered(of_store(AcceptError::Conflict(2), format)).await;
            assert_eq!(
                (status, &problem["code"]),
                (422, &"given_id_conflict".into())
            );
            assert!(problem["errors"][path].is_array(), "{problem}");
        }
    }

    #[test]
    fn overload_counts_events_and_everything_else_the_request() {
        let metrics = Metrics::new();
        let ingest = metrics.ingest();
        of_store(AcceptError::Overloaded, Format::Batch).count(&ingest);
        of_store(AcceptError::Conflict(0), Format::Batch).count(&ingest);
        Refusal::Origin.count(&ingest);
        let text = metrics.render();
        for line in [
            "sidehook_events_received_total{outcome=\"overloaded\"} 3",
            "sidehook_events_received_total{outcome=\"rejected\"} 2",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn errors_of_one_request_are_bounded() {
        let mut errors = FieldErrors::default();
        for _ in 0..=ERRORS_MAX {
            errors.add("type", "missing");
        }
        assert_eq!(errors.messages.len(), ERRORS_MAX);
    }
}
