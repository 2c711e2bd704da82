//! The view of an event that filters have.

use std::borrow::Cow;

use http::HeaderName;

use crate::domain::{EventHead, EventId, KeptHeader, Label};

/// Headers that are never kept, so no filter can look at them.
pub const NEVER_KEPT: [HeaderName; 3] = [
    http::header::AUTHORIZATION,
    http::header::PROXY_AUTHORIZATION,
    http::header::COOKIE,
];

/// An event as filters see it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'e> {
    /// The type.
    pub event_type: &'e str,
    /// The id that sidehook gave it: `id` where there is no given one.
    pub event_id: EventId,
    /// The id that the application gave it.
    pub given_id: Option<&'e str>,
    /// Where it comes from.
    pub source: Option<&'e str>,
    /// Its subject.
    pub subject: Option<&'e str>,
    /// The key that orders deliveries.
    pub key: Option<&'e str>,
    /// Its headers.
    pub headers: Headers<'e>,
    /// The body, byte for byte.
    pub body: &'e [u8],
}

impl<'e> Facts<'e> {
    /// The facts of an event.
    #[must_use]
    pub fn of(head: &'e EventHead, body: &'e [u8]) -> Self {
        Self {
            event_type: head.event_type.as_str(),
            event_id: head.id,
            given_id: head.given_id.as_ref().map(Label::as_str),
            source: head.source.as_deref(),
            subject: head.subject.as_deref(),
            key: head.key.as_ref().map(Label::as_str),
            headers: Headers {
                content_type: &head.content_type,
                kept: &head.headers,
            },
            body,
        }
    }
}

/// The headers of the application's request that are kept, Content-Type among them. Of a header that was there several
/// times the value is all of them, in order, with `, ` between (RFC 9110, section 5.3). One that is not UTF-8 is as if
/// it were not there.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'e> {
    /// That of the body.
    pub content_type: &'e str,
    /// The others, names in lower case.
    pub kept: &'e [KeptHeader],
}

impl<'e> Headers<'e> {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'e, str>> {
        if name == "content-type" {
            return Some(Cow::Borrowed(self.content_type));
        }
        let mut values = self.kept.iter().filter(|header| &*header.name == name);
        let first = Cow::Borrowed(text(values.next()?)?);
        values.try_fold(first, |joined, next| {
            let mut joined = joined.into_owned();
            joined.push_str(", ");
            joined.push_str(text(next)?);
            Some(Cow::Owned(joined))
        })
    }

    /// The names, each once.
    pub(super) fn names(&self) -> Vec<&'e str> {
        let mut names = vec!["content-type"];
        for header in self.kept {
            if !names.contains(&&*header.name) && self.get(&header.name).is_some() {
                names.push(&header.name);
            }
        }
        names
    }

    /// The most steps that looking up one costs: all lines are looked at, and their values may be joined.
    pub(super) fn cost(&self) -> usize {
        let bytes: usize = self.kept.iter().map(|header| header.value.len()).sum();
        self.kept.len() + 1 + bytes / 32
    }

    /// Steps that all names cost at most.
    pub(super) fn cost_of_names(&self) -> usize {
        (self.kept.len() + 1).saturating_mul(self.cost())
    }
}

fn text(header: &KeptHeader) -> Option<&str> {
    std::str::from_utf8(&header.value).ok()
}
