//! The query string: each parameter at most once, known, and valid.

use percent_encoding::percent_decode_str;

use crate::admin::refusal::Refusal;
use crate::domain::{Label, LabelError, NameError, SubscriptionName, Timestamp};
use crate::store::{PAGE_MAX, Page};

/// The default number of entries on a page.
const LIMIT_DEFAULT: usize = 50;

/// The kind of a parameter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// `limit`: 1 to 200.
    Limit,
    /// `cursor`: where a page ended.
    Cursor,
    /// A point in time, RFC 3339.
    Time,
    /// A subscription's name.
    Name,
    /// 1 to 256 visible ASCII characters.
    Label,
    /// One of these.
    OneOf(fn() -> Vec<&'static str>),
}

/// A parameter that an operation takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) about: &'static str,
}

pub(super) const LIMIT: Parameter = Parameter {
    name: "limit",
    kind: Kind::Limit,
    about: "How many at most",
};

pub(super) const CURSOR: Parameter = Parameter {
    name: "cursor",
    kind: Kind::Cursor,
    about: "Where the page before ended: its next_cursor",
};

pub(super) const SINCE: Parameter = Parameter {
    name: "since",
    kind: Kind::Time,
    about: "At this time or later",
};

pub(super) const UNTIL: Parameter = Parameter {
    name: "until",
    kind: Kind::Time,
    about: "Before this time",
};

/// The parameters of a call, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query of a call that takes these parameters. A `+` is a plus, as in the offset of a time: no value has
    /// spaces.
    ///
    /// # Errors
    /// 422 by name: unknown, repeated, or no UTF-8.
    pub(super) fn parse(text: Option<&str>, known: &[Parameter]) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut errors = Vec::new();
        let parts = text.unwrap_or("").split('&');
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
            let message = if known.iter().all(|parameter| parameter.name != name) {
                unknown(known)
            } else if pairs.iter().any(|(other, _)| *other == name) {
                "expected once".to_owned()
            } else if let Ok(value) = percent_decode_str(value).decode_utf8() {
                pairs.push((name, value.into_owned()));
                continue;
            } else {
                "expected UTF-8, percent-encoded".to_owned()
            };
            if !errors.iter().any(|(path, _)| *path == name) {
                errors.push((name, message));
            }
        }
        if errors.is_empty() {
            Ok(Self(pairs))
        } else {
            Err(Refusal::invalid(errors))
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        let (_, value) = pairs.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// `limit` and `cursor`.
    pub(super) fn page(&self) -> Result<Page, Refusal> {
        let limit = match self.get("limit") {
            None => Some(LIMIT_DEFAULT),
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            Some(_) => None,
        };
        let limit = limit.filter(|limit| (1..=PAGE_MAX).contains(limit));
        let expected = || format!("expected a number from 1 to {PAGE_MAX}");
        Ok(Page {
            limit: limit.ok_or_else(|| Refusal::invalid_at("limit", expected()))?,
            cursor: self.get("cursor").map(str::to_owned),
        })
    }

    /// A point in time.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match time(text) {
            Some(time) => Ok(Some(time)),
            None => Err(Refusal::invalid_at(name, TIME_EXPECTED)),
        }
    }

    /// A subscription's name, one of our own included.
    pub(super) fn name(&self, name: &str) -> Result<Option<SubscriptionName>, Refusal> {
        let parsed = self.get(name).map(SubscriptionName::known).transpose();
        parsed.map_err(|error: NameError| Refusal::invalid_at(name, error.to_string()))
    }

    /// A type, or a given id.
    pub(super) fn label(&self, name: &str) -> Result<Option<Label>, Refusal> {
        let parsed = self.get(name).map(str::parse).transpose();
        parsed.map_err(|error: LabelError| Refusal::invalid_at(name, error.to_string()))
    }

    /// One of these values.
    pub(super) fn one_of<T: Copy>(
        &self,
        name: &str,
        all: &[T],
        text_of: fn(T) -> &'static str,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match all.iter().find(|value| text_of(**value) == text) {
            Some(value) => Ok(Some(*value)),
            None => {
                let all: Vec<_> = all.iter().map(|value| text_of(*value)).collect();
                let expected = format!("expected one of {}", all.join(", "));
                Err(Refusal::invalid_at(name, expected))
            }
        }
    }
}

/// The error for an invalid time.
pub(super) const TIME_EXPECTED: &str = "expected RFC 3339, such as 2026-01-31T12:00:00Z";

/// Reads RFC 3339 (section 5.6), to the millisecond.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let (local, rest) = bytes.split_at_checked(SHAPE.len())?;
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        shape => byte.eq_ignore_ascii_case(shape),
    };
    if !local.iter().zip(SHAPE).all(fits) {
        return None;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(rest) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.split_at_checked(digits).filter(|_| digits > 0)?.1
        }
        None => rest,
    };
    let is_offset = match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    let time: jiff::Timestamp = is_offset.then_some(text)?.parse().ok()?;
    Some(Timestamp::from_millis(time.as_millisecond()))
}

fn unknown(known: &[Parameter]) -> String {
    if known.is_empty() {
        return "there are no parameters here".to_owned();
    }
    let names: Vec<_> = known.iter().map(|parameter| parameter.name).collect();
    format!("unknown parameter: expected {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AttemptStatus;

    const KNOWN: &[Parameter] = &[
        parameter("limit", Kind::Limit),
        parameter("cursor", Kind::Cursor),
        parameter("since", Kind::Time),
        parameter("type", Kind::Label),
        parameter("subscription", Kind::Name),
        parameter("status", Kind::OneOf(|| vec!["success"])),
    ];

    const fn parameter(name: &'static str, kind: Kind) -> Parameter {
        Parameter {
            name,
            kind,
            about: "",
        }
    }

    fn query(text: &str) -> Query {
        Query::parse(Some(text), KNOWN).unwrap()
    }

    #[test]
    fn parameters_are_decoded() {
        let query = query("type=a%3Ab&limit=7&cursor=e1-2&subscription=billing&status=timeout&");
        assert_eq!(query.label("type").unwrap().unwrap().as_str(), "a:b");
        let page = query.page().unwrap();
        assert_eq!((page.limit, page.cursor.as_deref()), (7, Some("e1-2")));
        assert_eq!(
            query.name("subscription").unwrap().unwrap().as_str(),
            "billing"
        );
        let status = query.one_of("status", AttemptStatus::ALL, AttemptStatus::as_str);
        assert_eq!(status.unwrap(), Some(AttemptStatus::Timeout));
        assert_eq!(query.time("since").unwrap(), None);
        assert_eq!(Query::parse(None, KNOWN).unwrap().page().unwrap().limit, 50);
    }

    #[test]
    fn what_is_unknown_or_repeated_is_named() {
        for (text, name) in [
            ("x=1", "x"),
            ("limit=1&limit=1", "limit"),
            ("type=%ff", "type"),
            ("Limit=1", "Limit"),
        ] {
            let refusal = Query::parse(Some(text), KNOWN).unwrap_err();
            let shown = format!("{refusal:?}");
            assert!(shown.contains(&format!("(\"{name}\"")), "{shown}");
        }
    }

    #[test]
    fn values_outside_their_range_are_invalid() {
        for limit in [
            "0",
            "201",
            "",
            "-1",
            "+1",
            "1.0",
            "x",
            "99999999999999999999",
        ] {
            let refused = query(&format!("limit={limit}")).page().unwrap_err();
            assert_eq!(refused.status(), 422, "{limit}");
        }
        assert_eq!(query("limit=200").page().unwrap().limit, 200);
        assert_eq!(query("type=").label("type").unwrap_err().status(), 422);
        assert_eq!(
            query("subscription=_x")
                .name("subscription")
                .unwrap_err()
                .status(),
            422
        );
        let status =
            query("status=Failed").one_of("status", AttemptStatus::ALL, AttemptStatus::as_str);
        assert_eq!(status.unwrap_err().status(), 422);
    }

    #[test]
    fn times_are_rfc_3339_and_nothing_else() {
        let millis = |text: &str| time(text).map(Timestamp::as_millis);
        assert_eq!(millis("1970-01-01T00:00:01.5Z"), Some(1500));
        assert_eq!(millis("1970-01-01t01:00:00+01:00"), Some(0));
        assert_eq!(millis("1970-01-01T00:00:00.123456789z"), Some(123));
        for wrong in [
            "",
            "1970-01-01",
            "1970-01-01 00:00:00Z",
            "1970-01-01T00:00:00",
            "1970-13-01T00:00:00Z",
            "1970-01-01T00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00Z[UTC]",
            "0",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
        assert_eq!(
            query("since=1970-01-01T01:00:00+01:00")
                .time("since")
                .unwrap(),
            Some(Timestamp::from_millis(0))
        );
    }
}
