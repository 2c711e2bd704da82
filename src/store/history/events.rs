//! The list of events.

use std::ops::ControlFlow;

use super::cursor;
use super::thread::{ReadError, Reading};
use super::types::{EventFilter, EventSummary, Listing, Page, QueryError, limit, span};
use crate::domain::{EventSeq, Label};
use crate::store::dedup::DedupKey;
use crate::store::index::rows::{self, EventRow, EventsWanted};

/// The letter of this list's cursors.
const LIST: char = 'e';
/// Bytes that one call reads from the journal, roughly: a page of large events is short.
const BYTES_MAX: u64 = 16 << 20;

/// A request for a page.
pub(super) struct List {
    wanted: EventsWanted,
    given_id: Option<Label>,
    below: EventSeq,
    limit: usize,
}

impl List {
    pub(super) fn new(
        filter: EventFilter,
        page: &Page,
        key: &DedupKey,
    ) -> Result<Self, QueryError> {
        let below = cursor::read(LIST, page.cursor.as_deref())?.map_or(u64::MAX, |[seq]| seq);
        Ok(Self {
            wanted: EventsWanted {
                event_type: filter.event_type,
                given: filter.given_id.as_ref().map(|given| key.hashes_of(given)),
                span: span(filter.since, filter.until),
            },
            given_id: filter.given_id,
            below: EventSeq(below),
            limit: limit(page)?,
        })
    }

    pub(super) fn read(&self, reading: &Reading<'_>) -> Result<Listing<EventSummary>, ReadError> {
        let (mut found, next) = self.find(reading)?;
        let mut items = Vec::with_capacity(found.len());
        let mut bytes = 0;
        let mut found = found.drain(..);
        let mut last = None;
        for row in found.by_ref() {
            bytes += u64::from(row.place.length);
            last = Some(row.seq);
            items.extend(self.summary(reading, row)?);
            if bytes >= BYTES_MAX || reading.is_late() {
                break;
            }
        }
        let next = match found.next() {
            Some(_) => last,
            None => next,
        };
        Ok(Listing {
            items,
            next: next.map(|seq| cursor::write(LIST, &[seq.0])),
        })
    }

    /// Returns the events of the page, and the event before which the next page goes on.
    fn find(&self, reading: &Reading<'_>) -> Result<(Vec<EventRow>, Option<EventSeq>), ReadError> {
        let mut found: Vec<EventRow> = Vec::new();
        let mut below = self.below;
        let mut budget = reading.rows_max();
        loop {
            let mut more = false;
            let walked = rows::events(reading.index, below, budget, &self.wanted, &mut |row| {
                more = found.len() == self.limit;
                if more {
                    return Ok(ControlFlow::Break(()));
                }
                found.push(row);
                Ok(ControlFlow::Continue(()))
            })?;
            let Some(walked) = walked else {
                return Ok((found, None));
            };
            if more {
                let last = found.last().map(|row| row.seq);
                return Ok((found, last));
            }
            below = walked.next;
            budget = budget.saturating_sub(walked.rows);
            if budget == 0 {
                return Ok((found, Some(below)));
            }
        }
    }

    /// Returns the summary of an event; `None` if it has another given id with the same hash.
    fn summary(
        &self,
        reading: &Reading<'_>,
        row: EventRow,
    ) -> Result<Option<EventSummary>, ReadError> {
        let event = reading.event(row.place)?;
        let head = &event.head;
        if self.given_id.is_some() && self.given_id != head.given_id {
            return Ok(None);
        }
        Ok(Some(EventSummary {
            id: row.id,
            deliveries: row.subscriptions().len(),
            event_type: row.event_type,
            given_id: head.given_id.clone(),
            key: head.key.clone(),
            accepted_at: row.accepted_at,
            body_bytes: row.body_bytes,
        }))
    }
}
