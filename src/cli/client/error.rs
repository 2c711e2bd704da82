//! Why a call of the admin API did not give what was asked for.

use std::collections::BTreeMap;
use std::fmt;

use http::StatusCode;
use serde::Deserialize;

use crate::cli::client::trust::Stranger;
use crate::cli::client::wire::WireError;
use crate::cli::show::text::{cut, plain};
use crate::cli::target::Target;

/// The most characters of an answer that is not in the form of the contract.
const SHOWN_CHARS_MAX: usize = 200;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No sidecar answers there.
    #[error("no sidecar seems to run: {target} does not answer; another address: --admin URL")]
    NotRunning {
        /// Where.
        target: Target,
        #[source]
        source: WireError,
    },
    /// It broke off.
    #[error(transparent)]
    Wire(WireError),
    /// It takes too long.
    #[error(
        "{target} gave no answer within {seconds} s: is the process stopped (kill -STOP), or overloaded?"
    )]
    Timeout {
        /// Where.
        target: Target,
        /// How long it had.
        seconds: u64,
    },
    /// It answers more than is read.
    #[error("the answer has more than {mib} MiB")]
    TooLarge {
        /// How much is read.
        mib: usize,
    },
    /// It is no sidecar, or one of another version.
    #[error("the answer is not that of a sidecar's admin API")]
    Foreign(#[source] Option<serde_json::Error>),
    /// The listener belongs to another user, so it was not asked.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// It refuses.
    #[error("{0}")]
    Refused(Refusal),
}

impl From<WireError> for CallError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Unreachable { ref target, .. } => Self::NotRunning {
                target: target.clone(),
                source: error,
            },
            error @ WireError::Broken { .. } => Self::Wire(error),
        }
    }
}

impl CallError {
    /// The status of a refusal.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::NotRunning { .. }
            | Self::Wire(_)
            | Self::Timeout { .. }
            | Self::TooLarge { .. }
            | Self::Foreign(_)
            | Self::Stranger(_) => None,
        }
    }
}

/// A refusal, as given by its problem document. Display is a line, one more for each wrong field, and for want of
/// a token where one comes from. Source: RFC 9457.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// The content of the document.
    pub(crate) problem: Problem,
    /// The document is empty: the beginning of the body that came instead.
    beginning: String,
}

/// The parts of a problem document that are for people.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Problem {
    /// A description of the error.
    #[serde(default)]
    pub(crate) detail: String,
    /// The kind of error.
    #[serde(default)]
    pub(crate) title: String,
    /// The errors of each field.
    #[serde(default)]
    pub(crate) errors: BTreeMap<String, Vec<String>>,
}

impl Refusal {
    /// Reads an answer that is no success.
    pub(crate) fn read(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        Self {
            status,
            problem: serde_json::from_slice(body).unwrap_or_default(),
            beginning: cut(text.trim(), SHOWN_CHARS_MAX),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            detail,
            title,
            errors,
        } = &self.problem;
        let said = [detail, title].into_iter().find(|text| !text.is_empty());
        match said {
            Some(text) => f.write_str(&plain(text))?,
            None if self.beginning.is_empty() => write!(f, "refused with {}", self.status)?,
            None => write!(f, "refused with {}: {}", self.status, self.beginning)?,
        }
        for (field, messages) in errors {
            for message in messages {
                let (field, message) = (plain(field), plain(message));
                let shown = if field.is_empty() { "body" } else { &field };
                write!(f, "\n  {shown}: {message}")?;
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            f.write_str(
                "\n  the token comes from $SIDEHOOK_TOKEN, else from admin.tokens of the configuration (--config), \
                 else from admin.token in the folder of its store",
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_line_and_one_for_each_field() {
        let document = br#"{"title":"Unprocessable Content","status":422,"detail":"the definition is not valid","errors":{"url":["no\u001b","too long"],"":["expected an object"]}}"#;
        let refusal = Refusal::read(StatusCode::UNPROCESSABLE_ENTITY, document);
        assert_eq!(
            refusal.to_string(),
            "the definition is not valid\n  body: expected an object\n  url: no\\u{1b}\n  url: too long"
        );
    }

    #[test]
    fn what_is_no_problem_document_is_shown_by_its_beginning() {
        let shown = |body: &[u8]| Refusal::read(StatusCode::BAD_GATEWAY, body).to_string();
        assert_eq!(shown(b""), "refused with 502 Bad Gateway");
        assert_eq!(shown(b"<html>\n"), "refused with 502 Bad Gateway: <html>");
        let long = "a".repeat(1000);
        assert!(shown(long.as_bytes()).chars().count() < 250);
        let title = Refusal::read(StatusCode::NOT_FOUND, br#"{"title":"Not Found"}"#);
        assert_eq!(title.to_string(), "Not Found");
    }

    #[test]
    fn who_lacks_a_token_learns_where_it_comes_from() {
        let refusal = Refusal::read(
            StatusCode::UNAUTHORIZED,
            br#"{"detail":"a token is needed"}"#,
        );
        let shown = refusal.to_string();
        assert!(shown.starts_with("a token is needed\n  the token comes from $SIDEHOOK_TOKEN"));
        assert!(shown.contains("admin.token in the folder"));
    }
}
