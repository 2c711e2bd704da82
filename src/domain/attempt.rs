//! How attempts end, and what that means for their delivery.

use std::time::Duration;

use bytes::Bytes;

use crate::domain::Timestamp;

/// Defines an enum of fixed labels with its text form in one place.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $code:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)* }

        impl $name {
            /// Every value, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The label in metrics, logs and answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The number that stands for it on disk. Never reused.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The value with this number on disk, if there is one.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

pub(super) use labels;

labels! {
    /// How an attempt ended.
    AttemptStatus {
        /// The endpoint answered 2xx.
        Success = 0 "success",
        /// Anything else that is not a timeout.
        Failed = 1 "failed",
        /// No response head within `timeout`.
        Timeout = 2 "timeout",
    }
}

labels! {
    /// Why an attempt failed.
    FailureReason {
        /// The host name could not be resolved.
        Dns = 0 "dns",
        /// The address guard refused every address of the endpoint.
        Blocked = 1 "blocked",
        /// No connection could be made.
        Connect = 2 "connect",
        /// The TLS handshake failed.
        Tls = 3 "tls",
        /// No credentials could be had for the endpoint.
        Auth = 4 "auth",
        /// The proxy refused or failed.
        Proxy = 5 "proxy",
        /// No response head in time.
        Timeout = 6 "timeout",
        /// The connection was closed or reset before the response head.
        Reset = 7 "reset",
        /// The answer was not HTTP.
        Protocol = 8 "protocol",
        /// A template could not be rendered.
        Template = 9 "template",
        /// 1xx or 3xx.
        Http3xx = 10 "http_3xx",
        /// 4xx but 410 and 429.
        Http4xx = 11 "http_4xx",
        /// 410 Gone.
        Http410 = 12 "http_410",
        /// 429 Too Many Requests.
        Http429 = 13 "http_429",
        /// 5xx and above.
        Http5xx = 14 "http_5xx",
    }
}

impl FailureReason {
    /// The reason for a response with this status code; `None` for 2xx.
    #[must_use]
    pub const fn of_status(code: u16) -> Option<Self> {
        match code {
            200..=299 => None,
            410 => Some(Self::Http410),
            429 => Some(Self::Http429),
            400..=499 => Some(Self::Http4xx),
            500.. => Some(Self::Http5xx),
            _ => Some(Self::Http3xx),
        }
    }

    /// Whether the endpoint is to blame: only these count towards `consecutive_failures`, disabling and probing.
    #[must_use]
    pub const fn is_the_endpoints(self) -> bool {
        !matches!(
            self,
            Self::Template | Self::Auth | Self::Proxy | Self::Blocked
        )
    }
}

labels! {
    /// Why a delivery was given up.
    DeadReason {
        /// The schedule or `max_attempts` is used up.
        Exhausted = 0 "exhausted",
        /// It is older than `max_age`.
        Expired = 1 "expired",
        /// The status is one of `give_up_on`.
        GaveUp = 2 "gave_up",
        /// The endpoint asked with `webhook-delivery: abort-message`.
        Aborted = 3 "aborted",
        /// More than the subscription's `max_pending` was waiting.
        Overflow = 4 "overflow",
        /// A template could not be rendered.
        Template = 5 "template",
        /// The event is damaged on the disk and cannot be read.
        Unreadable = 6 "unreadable",
    }
}

/// How one attempt ended: data, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// When the attempt began, by the wall clock.
    pub started_at: Timestamp,
    /// From dialling to the end of the response as far as it was read.
    pub duration: Duration,
    /// How it ended.
    pub status: AttemptStatus,
    /// Why it failed; `None` if it succeeded.
    pub reason: Option<FailureReason>,
    /// The status code, if a response head came.
    pub response_code: Option<u16>,
    /// A description of the failure, or the standard phrase of a received status. At most 256 bytes, no secrets.
    pub error_message: Option<Box<str>>,
    /// The beginning of the response body: at most 4 KiB of a failure, 256 bytes of a success.
    pub response_prefix: Bytes,
}

/// The state of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Final: it arrived.
    Delivered,
    /// Final until replayed: given up.
    Dead(DeadReason),
    /// Pending: to be attempted again.
    Due {
        /// Not before this time, by [`Clock::steady`](crate::domain::Clock::steady).
        at: Timestamp,
        /// The pause that led there. After a restart nothing waits longer than this.
        pause: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_on_disk_lead_back_to_their_labels() {
        for reason in FailureReason::ALL {
            assert_eq!(FailureReason::from_code(reason.code()), Some(*reason));
        }
        for reason in DeadReason::ALL {
            assert_eq!(DeadReason::from_code(reason.code()), Some(*reason));
        }
        for status in AttemptStatus::ALL {
            assert_eq!(AttemptStatus::from_code(status.code()), Some(*status));
        }
        assert_eq!(AttemptStatus::from_code(200), None);
    }

    #[test]
    fn only_2xx_is_a_success() {
        assert_eq!(FailureReason::of_status(200), None);
        assert_eq!(FailureReason::of_status(299), None);
        assert_eq!(FailureReason::of_status(101), Some(FailureReason::Http3xx));
        assert_eq!(FailureReason::of_status(304), Some(FailureReason::Http3xx));
        assert_eq!(FailureReason::of_status(404), Some(FailureReason::Http4xx));
        assert_eq!(FailureReason::of_status(410), Some(FailureReason::Http410));
        assert_eq!(FailureReason::of_status(429), Some(FailureReason::Http429));
        assert_eq!(FailureReason::of_status(503), Some(FailureReason::Http5xx));
        assert_eq!(FailureReason::of_status(999), Some(FailureReason::Http5xx));
    }

    #[test]
    fn failures_of_our_side_are_not_the_endpoints() {
        let ours: Vec<_> = FailureReason::ALL
            .iter()
            .filter(|reason| !reason.is_the_endpoints())
            .collect();
        use FailureReason::{Auth, Blocked, Proxy, Template};
        assert_eq!(ours, [&Blocked, &Auth, &Proxy, &Template]);
    }
}
