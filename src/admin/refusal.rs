//! Why a call is refused: a problem document, and headers that go with it.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http_body_util::BodyExt;

use crate::admin::answer::Answer;
use crate::domain::conceal;
use crate::http_server::Problem;
use crate::store::{OperationError, QueryError, StoreError};

/// A call that is refused. On the heap: refusals are rare, and every result would be that much larger.
#[derive(Debug)]
pub(super) struct Refusal(Box<Inner>);

#[derive(Debug)]
struct Inner {
    problem: Problem,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// Refuses with this status. `detail` holds no secret, nor more of the request than names.
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Inner {
            problem: Problem::new(status, code, detail),
            header: None,
        }))
    }

    /// Values that are wrong, by path. Messages of one path should stand together.
    pub(super) fn invalid(errors: Vec<(String, String)>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "invalid", "some values are not valid").with_errors(errors)
    }

    /// The same with what is wrong, by path.
    pub(super) fn with_errors(mut self, errors: Vec<(String, String)>) -> Self {
        // They quote what was sent.
        let concealed = |text: String| conceal(&text).into_owned();
        let errors = errors
            .into_iter()
            .map(|(path, message)| (concealed(path), concealed(message)));
        self.0.problem = self.0.problem.with_errors(errors.collect());
        self
    }

    /// One value that is wrong.
    pub(super) fn invalid_at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![(path.into(), message.into())])
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// Things do not stand so that it could be done.
    pub(super) fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// It cannot be done now, and may work in so many seconds.
    pub(super) fn unavailable(
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
        seconds: u16,
    ) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, code, detail).with_header(RETRY_AFTER, seconds.into())
    }

    /// The relay is stopping.
    pub(super) fn stopping() -> Self {
        Self::unavailable("stopping", "the relay is stopping", 1)
    }

    /// The path has other methods: `allowed`, as in `Allow`.
    pub(super) fn method(allowed: &str) -> Self {
        let refusal = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("expected {allowed}"),
        );
        match HeaderValue::from_str(allowed) {
            Ok(value) => refusal.with_header(ALLOW, value),
            Err(_) => refusal,
        }
    }

    /// The token is missing or wrong.
    pub(super) fn token() -> Self {
        let detail = "expected Authorization: Bearer with a token of admin.tokens, or that of <store path>/admin.token";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// The token does not allow it.
    pub(super) fn scope(needed: &'static str) -> Self {
        let detail = format!("the token has not the scope {needed}");
        // Source: RFC 6750, section 3.1.
        let challenge = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
        Self::new(StatusCode::FORBIDDEN, "missing_scope", detail)
            .with_header(WWW_AUTHENTICATE, challenge)
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// Returns the answer with the problem document.
    pub(super) fn into_answer(self) -> Answer {
        let Inner { problem, header } = *self.0;
        let mut answer: Answer = problem.into_response().map(BodyExt::boxed_unsync);
        answer.headers_mut().extend(header);
        answer
    }

    /// The status of the answer, for tests.
    #[cfg(test)]
    pub(super) fn status(self) -> StatusCode {
        self.into_answer().status()
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Limit(_) => Self::invalid_at("limit", error.to_string()),
            QueryError::Cursor => Self::invalid_at("cursor", error.to_string()),
            QueryError::Overloaded => Self::unavailable("overloaded", error.to_string(), 1),
            QueryError::TooSlow => Self::unavailable("too_slow", error.to_string(), 1),
            QueryError::Unreadable => {
                tracing::error!("an event that the index knows cannot be read from the journal");
                Self::unavailable("unreadable", error.to_string(), 5)
            }
            QueryError::Index(source) => {
                tracing::error!(error = %source, "the index cannot be read for a query");
                Self::unavailable("index_failed", "the index cannot be read just now", 5)
            }
            QueryError::Failed(error) => store_failed(&error),
        }
    }
}

impl From<OperationError> for Refusal {
    fn from(error: OperationError) -> Self {
        let text = error.to_string();
        match error {
            OperationError::Unknown => Self::not_found(text),
            OperationError::InFlight => Self::conflict("in_flight", text),
            OperationError::Disabled => Self::conflict("disabled", text),
            OperationError::Delivered => Self::conflict("delivered", text),
            OperationError::TooManyReplays => Self::conflict("too_many_replays", text),
            OperationError::Overloaded => Self::unavailable("overloaded", text, 1),
            OperationError::Failed(error) => store_failed(&error),
        }
    }
}

fn store_failed(error: &StoreError) -> Refusal {
    match error {
        StoreError::Closed => Refusal::stopping(),
        error => {
            tracing::error!(%error, "a call was refused because the store has failed");
            Refusal::unavailable("store_failed", "the store has failed, try again later", 5)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_work_later_says_when() {
        for error in [
            QueryError::Overloaded,
            QueryError::Failed(StoreError::Closed),
        ] {
            let answer = Refusal::from(error).into_answer();
            assert_eq!(answer.status(), 503);
            assert_eq!(answer.headers()[RETRY_AFTER], "1");
        }
        let answer = Refusal::from(QueryError::TooSlow).into_answer();
        assert!(answer.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn errors_of_the_store_have_a_status_each() {
        let operation = |error: OperationError| Refusal::from(error).status().as_u16();
        assert_eq!(operation(OperationError::Unknown), 404);
        assert_eq!(operation(OperationError::InFlight), 409);
        assert_eq!(operation(OperationError::Disabled), 409);
        assert_eq!(operation(OperationError::Delivered), 409);
        assert_eq!(operation(OperationError::TooManyReplays), 409);
        assert_eq!(operation(OperationError::Overloaded), 503);
        assert_eq!(operation(OperationError::Failed(StoreError::Closed)), 503);
        let query = |error: QueryError| Refusal::from(error).status().as_u16();
        assert_eq!(query(QueryError::Limit(0)), 422);
        assert_eq!(query(QueryError::Cursor), 422);
        assert_eq!(query(QueryError::Unreadable), 503);
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let answer = Refusal::method("GET, HEAD").into_answer();
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.headers()[ALLOW], "GET, HEAD");
    }
}
