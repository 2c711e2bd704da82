//! Failed exchanges with an endpoint, named: a class for metrics and schedules, a sentence for people.
//!
//! Classes are decided on error types, never on text. Messages carry no part of the URL but host and port, and
//! nothing that the endpoint wrote.

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::domain::FailureReason;
use crate::egress::guard::Denied;
use crate::egress::tls_error;

/// Longest message, bytes.
const MESSAGE_MAX: usize = 256;

/// Why no response head came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// The class of failure; `Timeout` for a total timeout.
    pub reason: FailureReason,
    /// For people; no secrets, no path or query of the URL. At most 256 bytes.
    pub message: String,
    /// This machine lacked something (descriptors, memory, ports, threads): the endpoint has no part in it.
    pub is_own_lack: bool,
}

impl SendError {
    /// A failure with a message, which is cut to its limit.
    pub(super) fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_MAX));
        Self {
            reason,
            message,
            is_own_lack: false,
        }
    }

    /// A failure by an error of the system, which may be a lack of our own.
    pub(super) fn of_system(
        reason: FailureReason,
        message: impl Into<String>,
        error: &io::Error,
    ) -> Self {
        Self {
            is_own_lack: is_own_lack(error),
            ..Self::new(reason, message)
        }
    }

    /// The total time is over.
    pub(super) fn timeout(limit: Duration) -> Self {
        let message = format!("no response head within {limit:?}");
        Self::new(FailureReason::Timeout, message)
    }

    /// The guard refused every address.
    pub(super) fn blocked(denied: Denied) -> Self {
        Self::new(FailureReason::Blocked, denied.to_string())
    }

    /// An exchange on an open connection ended without a response head.
    pub(super) fn exchange(error: &hyper::Error) -> Self {
        if let Some(error) = source_of::<rustls::Error>(error) {
            return Self::new(FailureReason::Tls, tls_error::failure_name(error));
        }
        if error.is_parse_too_large() {
            return head_too_large();
        }
        if error.is_parse() {
            return Self::new(FailureReason::Protocol, "the answer is not HTTP");
        }
        if let Some(error) = source_of::<io::Error>(error) {
            return Self::broken(error);
        }
        let message = "the endpoint closed the connection before a response head";
        Self::new(FailureReason::Reset, message)
    }

    /// Reading or writing an open connection failed.
    pub(super) fn broken(error: &io::Error) -> Self {
        if let Some(error) = source_of::<rustls::Error>(error) {
            return Self::new(FailureReason::Tls, tls_error::failure_name(error));
        }
        let message = format!(
            "the connection broke before a response head: {}",
            error.kind()
        );
        Self::of_system(FailureReason::Reset, message, error)
    }
}

/// Whether an error means that this machine lacks descriptors, memory, buffers, local ports or threads.
pub(super) fn is_own_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| {
        [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
            Errno::NOMEM,
            Errno::AGAIN,
        ]
        .contains(&errno)
    })
}

/// The response head is beyond 32 KiB, without a status line.
fn head_too_large() -> SendError {
    let message = "the response head is larger than 32 KiB";
    SendError::new(FailureReason::Protocol, message)
}

/// The first error of type `E` in the chain of causes. An `io::Error` hides the error inside it from the chain.
pub(crate) fn source_of<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_between_characters() {
        let error = SendError::new(FailureReason::Dns, "é".repeat(200));
        assert_eq!(error.message.len(), 256);
        let error = SendError::new(FailureReason::Dns, format!("a{}", "é".repeat(200)));
        assert_eq!(error.message.len(), 255);
    }

    #[test]
    fn what_this_machine_lacks_is_not_the_endpoints() {
        use rustix::io::Errno;
        let failed = |errno: Errno| {
            SendError::of_system(FailureReason::Connect, "", &errno.into()).is_own_lack
        };
        for own in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
            Errno::NOMEM,
            Errno::AGAIN,
        ] {
            assert!(failed(own), "{own}");
        }
        for theirs in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::HOSTUNREACH] {
            assert!(!failed(theirs), "{theirs}");
        }
    }

    #[test]
    fn an_error_inside_an_io_error_is_found() {
        let inner = rustls::Error::NoApplicationProtocol;
        let outer = io::Error::other(io::Error::other(inner.clone()));
        assert_eq!(source_of::<rustls::Error>(&outer), Some(&inner));
        assert_eq!(source_of::<hyper::Error>(&outer).map(|_| ()), None);
    }
}
