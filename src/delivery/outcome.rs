//! How an attempt ended, from what came back of it: the one place that classifies answers and failures.
//!
//! Leaves to `retry` what follows from it. Pure.

use std::time::Duration;

use bytes::Bytes;

use crate::domain::{AttemptStatus, FailureReason, Outcome, Timestamp};
use crate::egress::{Answer, SendError};
use crate::mail::{MailFailure, Mailed};

/// Bytes of a failure's response that are kept.
const FAILURE_PREFIX_MAX: usize = 4096;
/// Bytes of a success's response that are kept.
const SUCCESS_PREFIX_MAX: usize = 256;

/// When an attempt began, and how long it took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// By the wall clock.
    pub(super) started_at: Timestamp,
    /// From dialling to the end of the response as far as it was read.
    pub(super) duration: Duration,
}

/// The outcome of an attempt that was answered.
pub(super) fn answered(answer: Answer, span: Span) -> Outcome {
    let code = answer.status.as_u16();
    let reason = FailureReason::of_status(code);
    let (status, prefix_max) = match reason {
        None => (AttemptStatus::Success, SUCCESS_PREFIX_MAX),
        Some(_) => (AttemptStatus::Failed, FAILURE_PREFIX_MAX),
    };
    let mut response_prefix = answer.body_prefix;
    response_prefix.truncate(prefix_max);
    Outcome {
        started_at: span.started_at,
        duration: span.duration,
        status,
        reason,
        response_code: Some(code),
        error_message: reason.and(answer.status.canonical_reason()).map(Box::from),
        response_prefix,
    }
}

/// The outcome of an attempt that got no response head.
pub(super) fn unanswered(error: SendError, span: Span) -> Outcome {
    let status = match error.reason {
        FailureReason::Timeout => AttemptStatus::Timeout,
        _ => AttemptStatus::Failed,
    };
    Outcome {
        started_at: span.started_at,
        duration: span.duration,
        status,
        reason: Some(error.reason),
        response_code: None,
        error_message: Some(error.message.into_boxed_str()),
        response_prefix: Bytes::new(),
    }
}

/// The outcome of an attempt that handed an e-mail over, or failed to.
pub(super) fn mailed(sent: Result<Mailed, MailFailure>, span: Span) -> Outcome {
    let failure = match sent {
        Ok(Mailed { code, reply }) => {
            return Outcome {
                started_at: span.started_at,
                duration: span.duration,
                status: AttemptStatus::Success,
                reason: None,
                response_code: code,
                error_message: None,
                response_prefix: reply.into_bytes().into(),
            };
        }
        Err(failure) => failure,
    };
    let error = SendError {
        reason: failure.reason,
        message: failure.message,
        is_own_lack: false,
    };
    Outcome {
        response_code: failure.code,
        ..unanswered(error, span)
    }
}

/// The outcome of an attempt in which sidehook itself went wrong.
pub(super) fn broken(span: Span) -> Outcome {
    let error = SendError {
        reason: FailureReason::Protocol,
        message: "internal error of sidehook during the attempt".to_owned(),
        is_own_lack: false,
    };
    unanswered(error, span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};

    const SPAN: Span = Span {
        started_at: Timestamp::from_millis(1_700_000_000_000),
        duration: Duration::from_millis(12),
    };

    fn answer(status: u16, body_bytes: usize) -> Outcome {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body_prefix: Bytes::from(vec![b'x'; body_bytes]),
        };
        answered(answer, SPAN)
    }

    fn error(reason: FailureReason, message: &str) -> Outcome {
        let message = message.to_owned();
        let is_own_lack = false;
        let error = SendError {
            reason,
            message,
            is_own_lack,
        };
        unanswered(error, SPAN)
    }

    #[test]
    fn an_answer_of_2xx_is_a_success_without_message() {
        let outcome = answer(204, 0);
        assert_eq!(outcome.status, AttemptStatus::Success);
        assert_eq!(outcome.reason, None);
        assert_eq!(outcome.response_code, Some(204));
        assert_eq!(outcome.error_message, None);
        assert_eq!(
            (outcome.started_at, outcome.duration),
            (SPAN.started_at, SPAN.duration)
        );
    }

    #[test]
    fn any_other_answer_is_a_failure_with_the_standard_phrase() {
        for (status, reason, phrase) in [
            (302, FailureReason::Http3xx, Some("Found")),
            (404, FailureReason::Http4xx, Some("Not Found")),
            (410, FailureReason::Http410, Some("Gone")),
            (429, FailureReason::Http429, Some("Too Many Requests")),
            (503, FailureReason::Http5xx, Some("Service Unavailable")),
            (599, FailureReason::Http5xx, None),
        ] {
            let outcome = answer(status, 0);
            assert_eq!(outcome.status, AttemptStatus::Failed, "{status}");
            assert_eq!(outcome.reason, Some(reason), "{status}");
            assert_eq!(outcome.error_message.as_deref(), phrase, "{status}");
        }
    }

    #[test]
    fn more_is_kept_of_the_response_of_a_failure() {
        assert_eq!(answer(200, 10_000).response_prefix.len(), 256);
        assert_eq!(answer(500, 10_000).response_prefix.len(), 4096);
        assert_eq!(answer(500, 10).response_prefix.len(), 10);
    }

    #[test]
    fn only_a_timeout_has_the_status_timeout() {
        for reason in FailureReason::ALL {
            let outcome = error(*reason, "why");
            let is_timeout = outcome.status == AttemptStatus::Timeout;
            assert_eq!(is_timeout, *reason == FailureReason::Timeout);
            assert_eq!(outcome.reason, Some(*reason));
            assert_eq!(outcome.error_message.as_deref(), Some("why"));
            assert_eq!(outcome.response_code, None);
        }
    }

    #[test]
    fn an_e_mail_that_was_taken_is_a_success_with_the_reply() {
        let mailed = mailed(
            Ok(Mailed {
                code: Some(250),
                reply: "queued as 1".to_owned(),
            }),
            SPAN,
        );
        assert_eq!(mailed.status, AttemptStatus::Success);
        assert_eq!((mailed.reason, mailed.response_code), (None, Some(250)));
        assert_eq!(mailed.response_prefix, "queued as 1");
    }

    #[test]
    fn an_e_mail_that_was_refused_is_a_failure_with_the_code() {
        let refused = |reason, code| {
            let message = "why".to_owned();
            let failure = MailFailure {
                reason,
                code,
                message,
            };
            mailed(Err(failure), SPAN)
        };
        let busy = refused(FailureReason::Protocol, Some(451));
        assert_eq!(busy.status, AttemptStatus::Failed);
        assert_eq!(busy.reason, Some(FailureReason::Protocol));
        assert_eq!(busy.response_code, Some(451));
        assert_eq!(busy.error_message.as_deref(), Some("why"));
        let late = refused(FailureReason::Timeout, None);
        assert_eq!(late.status, AttemptStatus::Timeout);
    }

    #[test]
    fn an_error_of_our_own_is_a_failed_attempt() {
        let outcome = broken(SPAN);
        assert_eq!(outcome.status, AttemptStatus::Failed);
        assert_eq!(outcome.reason, Some(FailureReason::Protocol));
    }
}
