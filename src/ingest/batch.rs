//! Batches of JSON events, one on each line (`application/x-ndjson`).
//!
//! Each line that is not empty is an event whose body is the line's bytes, without the end of line. The path and the
//! headers may give the type of all of them; given ids and keys come from the lines.

use bytes::Bytes;

use crate::domain::BODY_BYTES_MAX;
use crate::ingest::format::EVENTS_MAX;
use crate::ingest::naming::{self, Names, Said};
use crate::ingest::refusal::{FieldErrors, Refusal};
use crate::ingest::routes::Routes;
use crate::matching::pointer;

/// Bytes of a batch at most, whatever `ingest.max_body` allows for one event.
pub(super) const BYTES_MAX: usize = BODY_BYTES_MAX;

/// Makes events of a batch's lines.
///
/// # Errors
/// Given id or key in a header, too many events, one that is too large, one without a type: nothing of the batch is
/// taken. A line that is no JSON makes the whole batch malformed (400).
pub(super) fn split(
    said: Said<'_>,
    routes: &Routes,
    batch: &[u8],
) -> Result<Vec<(Names, Bytes)>, Refusal> {
    if said.given_id.is_some() || said.key.is_some() {
        return Err(Refusal::NamedBatch);
    }
    let mut lines = Vec::new();
    for line in batch.split(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if lines.len() == EVENTS_MAX {
            return Err(Refusal::TooManyEvents);
        }
        lines.push(line.strip_suffix(b"\r").unwrap_or(line));
    }
    let too_large =
        |line: &&[u8]| u64::try_from(line.len()).unwrap_or(u64::MAX) > routes.max_body();
    if lines.iter().any(too_large) {
        return Err(Refusal::TooLarge(routes.max_body()));
    }
    name_all(said, routes, &lines)
}

fn name_all(
    said: Said<'_>,
    routes: &Routes,
    lines: &[&[u8]],
) -> Result<Vec<(Names, Bytes)>, Refusal> {
    let pointers = naming::wanted(said, routes.pointers());
    let mut malformed = FieldErrors::default();
    let mut invalid = FieldErrors::default();
    let mut events = Vec::with_capacity(lines.len());
    for (position, line) in lines.iter().enumerate() {
        let text = std::str::from_utf8(line).ok();
        let Some(found) = text.and_then(|_| pointer::find(line, pointers).ok()) else {
            malformed.add(&format!("events.{position}"), "expected one JSON value");
            continue;
        };
        invalid.set_prefix(format!("events.{position}."));
        if let Some(names) = naming::resolve(said, found, routes, &mut invalid) {
            // A copy of its own: the whole batch must not stay in memory as long as its slowest event.
            events.push((names, Bytes::copy_from_slice(line)));
        }
    }
    if !malformed.is_empty() {
        Err(Refusal::MalformedBatch(malformed))
    } else if !invalid.is_empty() {
        Err(Refusal::Invalid(invalid))
    } else {
        Ok(events)
    }
}
