//! The conditions of `match`: a value of the event must be equal to a text.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::HeaderName;

use crate::matching::facts::{Facts, NEVER_KEPT};
use crate::matching::pointer::{self, Pointer};

/// Where the value of a condition is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// A JSON pointer (RFC 6901) into the body: a string's text, a number as it is written, `true` or `false`.
    Body(Box<str>),
    /// A header of the application's request.
    Header(HeaderName),
}

/// Why a text is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It is neither of the two.
    #[error(
        "expected a JSON pointer (RFC 6901) such as \"/tenant_id\", or \"header:\" and a header name such as \"header:X-Region\""
    )]
    Form,
    /// The text after `header:` is not a header name (RFC 9110, section 5.1).
    #[error("expected a header name (letters, digits and !#$%&'*+-.^_`|~) after header:")]
    HeaderName,
    /// A header that no event has.
    #[error("the header {0} is never kept with an event, so nothing can match it")]
    NeverKept(HeaderName),
}

/// One entry of `match`: the value at the selector must equal this text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Where the value is.
    pub selector: Selector,
    /// The required value.
    pub value: Box<str>,
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if let Some(name) = text.strip_prefix("header:") {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| SelectorError::HeaderName)?;
            if NEVER_KEPT.contains(&name) {
                return Err(SelectorError::NeverKept(name));
            }
            Ok(Self::Header(name))
        } else if Pointer::is_valid(text) {
            Ok(Self::Body(text.into()))
        } else {
            Err(SelectorError::Form)
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(pointer) => f.write_str(pointer),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl Selector {
    /// The value of an event at this place; `None` if there is none. The index is the fast way for many.
    #[must_use]
    pub fn value<'e>(&self, facts: &Facts<'e>) -> Option<Cow<'e, str>> {
        match self {
            Self::Body(text) => {
                let pointer = Pointer::new(text);
                let mut found = [None];
                pointer::locate(facts.body, [(0, &pointer)].into_iter(), &mut found).ok()?;
                let [value] = found;
                pointer::scalar(value?)
            }
            Self::Header(name) => facts.headers.get(name.as_str()),
        }
    }
}

impl Condition {
    /// Whether it holds for an event. The index is the fast way for many, and this is what it is checked against.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        self.selector.value(facts).as_deref() == Some(&*self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_a_pointer_or_a_header() {
        for (written, shown) in [
            ("/tenant_id", "/tenant_id"),
            ("/a~0b/0", "/a~0b/0"),
            ("header:X-Region", "header:x-region"),
            ("header:Content-Type", "header:content-type"),
        ] {
            assert_eq!(written.parse::<Selector>().unwrap().to_string(), shown);
        }
        for (wrong, error) in [
            ("", SelectorError::Form),
            ("tenant_id", SelectorError::Form),
            ("/a~2", SelectorError::Form),
            ("Header:X", SelectorError::Form),
            ("header:", SelectorError::HeaderName),
            ("header: X", SelectorError::HeaderName),
            (
                "header:COOKIE",
                SelectorError::NeverKept(http::header::COOKIE),
            ),
            (
                "header:authorization",
                SelectorError::NeverKept(http::header::AUTHORIZATION),
            ),
            (
                "header:Proxy-Authorization",
                SelectorError::NeverKept(http::header::PROXY_AUTHORIZATION),
            ),
        ] {
            assert_eq!(wrong.parse::<Selector>(), Err(error), "{wrong}");
        }
    }
}
