//! The preference of a request: `Prefer: wait=N`. Source: RFC 7240.
//!
//! Several headers are one list, names are case-insensitive, and of a preference given twice the first counts, usable or
//! not. Unknown, malformed or unusable ones are ignored, as the RFC asks: no request fails because of its preferences.

use std::time::Duration;

use crate::domain::{list_elements, split_unquoted};

/// Seconds that an answer waits at most; more is taken for this.
pub(super) const SECONDS_MAX: u8 = 60;

/// How long the answer to a request may wait for first attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// At most [`SECONDS_MAX`].
    pub(super) seconds: u8,
}

impl Wait {
    pub(super) fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }
}

/// Finds the preference `wait` in the values of all Prefer headers, in their order.
pub(super) fn wait<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Wait> {
    let found = values.into_iter().find_map(first_wait)?;
    seconds(found).map(|seconds| Wait { seconds })
}

/// The value of the first `wait` in a header, empty if it has none.
fn first_wait(header: &[u8]) -> Option<&[u8]> {
    list_elements(header).find_map(|element| {
        // After the first semicolon there are parameters; `wait` has none.
        let preference = split_unquoted(element, b';').next()?;
        let (name, value) = match preference.iter().position(|byte| *byte == b'=') {
            Some(position) => (preference.get(..position)?, preference.get(position + 1..)?),
            None => (preference, &[][..]),
        };
        let is_wait = name.trim_ascii().eq_ignore_ascii_case(b"wait");
        is_wait.then(|| value.trim_ascii())
    })
}

/// Seconds as digits, bare or as a quoted string; beyond the most it is the most.
fn seconds(value: &[u8]) -> Option<u8> {
    let quoted = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    let digits = quoted.unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u8, digit: &u8| sum.saturating_mul(10).saturating_add(digit - b'0');
    Some(digits.iter().fold(0, add).min(SECONDS_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(headers: &[&str]) -> Option<u8> {
        let wait = wait(headers.iter().map(|header| header.as_bytes()));
        wait.map(|wait| wait.seconds)
    }

    #[test]
    fn seconds_are_read_as_the_grammar_has_them() {
        for (header, seconds) in [
            ("wait=10", 10),
            ("wait=0", 0),
            ("wait=060", 60),
            ("WAIT = 7", 7),
            ("wait\t=\t7", 7),
            ("wait=\"7\"", 7),
            ("wait=7; foo=bar", 7),
            ("wait=7 ;foo;bar=\"a,b\"", 7),
            ("respond-async, wait=10", 10),
            ("respond-async,wait=10,", 10),
            (" , ,wait=10", 10),
            ("note=\"a, wait=3\", wait=5", 5),
            ("note=\"a \\\", wait=3\", wait=5", 5),
            ("note=\"a;wait=3\"; wait=4, wait=5", 5),
            ("@@, =, wait=5", 5),
        ] {
            assert_eq!(found(&[header]), Some(seconds), "{header}");
        }
    }

    #[test]
    fn more_than_a_minute_is_a_minute() {
        for header in [
            "wait=61",
            "wait=256",
            "wait=316",
            "wait=99999999999999999999",
        ] {
            assert_eq!(found(&[header]), Some(60), "{header}");
        }
    }

    #[test]
    fn what_is_unknown_or_unusable_is_ignored() {
        for header in [
            "",
            "wait",
            "wait=",
            "wait=\"\"",
            "wait=ten",
            "wait=-1",
            "wait=+1",
            "wait=1.5",
            "wait=1 2",
            "wait=\"7",
            "wait=7\"",
            "waiting=5",
            "respond-async",
            "return=minimal; wait=5",
            "\"wait\"=5",
            "note=\"wait=5",
        ] {
            assert_eq!(found(&[header]), None, "{header}");
        }
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn several_headers_are_one_list_of_which_the_first_wait_counts() {
        assert_eq!(found(&["respond-async", "wait=5"]), Some(5));
        assert_eq!(found(&["wait=4, wait=9", "wait=5"]), Some(4));
        assert_eq!(found(&["wait=soon", "wait=5"]), None);
        assert_eq!(found(&["note=\"open", "wait=5"]), Some(5));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(header in proptest::collection::vec(any::<u8>(), 0..40)) {
            let wait = wait([header.as_slice()]);
            prop_assert!(wait.is_none_or(|wait| wait.seconds <= SECONDS_MAX));
        }
    }
}
