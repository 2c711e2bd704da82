//! The names of an event: its type, given id and key, each from the first place that has it.

use std::borrow::Cow;

use bytes::Bytes;

use crate::domain::Label;
use crate::ingest::head::RequestHead;
use crate::ingest::refusal::{FieldErrors, Refusal};
use crate::ingest::routes::{Pointers, Routes};
use crate::matching::pointer;

/// The names of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) event_type: Label,
    pub(super) given_id: Option<Label>,
    pub(super) key: Option<Label>,
}

/// The names in a path and headers; the others are looked for in the body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) event_type: Option<&'a [u8]>,
    pub(super) given_id: Option<&'a [u8]>,
    pub(super) key: Option<&'a [u8]>,
}

impl<'a> Said<'a> {
    /// The path goes before the headers.
    pub(super) fn new(head: &RequestHead<'a>, path_type: Option<&'a str>) -> Self {
        Self {
            event_type: path_type.map(str::as_bytes).or_else(|| head.event_type()),
            given_id: head.given_id(),
            key: head.key(),
        }
    }
}

/// Names the one event of a request. A body that is not JSON gives no names.
///
/// # Errors
/// A name is missing or invalid (422).
pub(super) fn single(said: Said<'_>, routes: &Routes, body: &Bytes) -> Result<Names, Refusal> {
    let pointers = wanted(said, routes.pointers());
    let found = if pointers.iter().any(Option::is_some) {
        pointer::find(body, pointers).unwrap_or_default()
    } else {
        Default::default()
    };
    let mut errors = FieldErrors::default();
    resolve(said, found, routes, &mut errors).ok_or(Refusal::Invalid(errors))
}

/// The pointers that have to be followed because the path and headers do not give the name.
pub(super) fn wanted<'p>(
    said: Said<'_>,
    pointers: &'p Pointers,
) -> [Option<&'p pointer::Pointer>; 3] {
    let unless = |said: Option<&[u8]>, pointer: &'p Option<pointer::Pointer>| match said {
        Some(_) => None,
        None => pointer.as_ref(),
    };
    [
        unless(said.event_type, &pointers.event_type),
        unless(said.given_id, &pointers.given_id),
        unless(said.key, &pointers.key),
    ]
}

/// Makes names of given and found texts; `None` if `errors` got one, as for a type that may not be posted.
pub(super) fn resolve(
    said: Said<'_>,
    [event_type, given_id, key]: [Option<Cow<'_, str>>; 3],
    routes: &Routes,
    errors: &mut FieldErrors,
) -> Option<Names> {
    let event_type = name("type", said.event_type, event_type, errors);
    let given_id = name("id", said.given_id, given_id, errors);
    let key = name("key", said.key, key, errors);
    let event_type = match event_type {
        Ok(None) => {
            let missing = "expected a type: in the path, a header, or the body";
            errors.add("type", missing);
            None
        }
        Ok(Some(posted)) if !is_known(&posted, routes) => {
            errors.add("type", format!("{posted} is none of event_types"));
            None
        }
        Ok(known) => known,
        Err(()) => None,
    };
    Some(Names {
        event_type: event_type?,
        given_id: given_id.ok()?,
        key: key.ok()?,
    })
}

fn is_known(event_type: &Label, routes: &Routes) -> bool {
    let known = routes.event_types();
    known.is_none_or(|types| types.contains(event_type))
}

/// The error is in `errors`.
fn name(
    field: &'static str,
    said: Option<&[u8]>,
    found: Option<Cow<'_, str>>,
    errors: &mut FieldErrors,
) -> Result<Option<Label>, ()> {
    let text = match (said, &found) {
        (Some(said), _) => String::from_utf8_lossy(said),
        (None, Some(found)) => Cow::Borrowed(&**found),
        (None, None) => return Ok(None),
    };
    text.parse()
        .map(Some)
        .map_err(|error| errors.add(field, error))
}
