//! The list of attempts of a subscription.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::cursor;
use super::delivery::attempt;
use super::thread::{ReadError, Reading};
use super::{AttemptFilter, AttemptView, Listing, Page, QueryError, limit, span};
use crate::domain::{DeliveryId, SubscriptionName};
use crate::store::book::find;
use crate::store::book::rows::{self, AttemptPlace, AttemptRow};

/// The letter of its cursors.
const LIST: char = 'a';

/// A page to be read.
pub(super) struct List {
    subscription: SubscriptionName,
    filter: AttemptFilter,
    below: AttemptPlace,
    limit: usize,
}

impl List {
    pub(super) fn new(
        subscription: SubscriptionName,
        filter: AttemptFilter,
        page: &Page,
    ) -> Result<Self, QueryError> {
        let below = match cursor::read(LIST, page.cursor.as_deref())? {
            None => AttemptPlace::END,
            Some([segment, row]) => AttemptPlace {
                segment: u32::try_from(segment).map_err(|_| QueryError::Cursor)?,
                row,
            },
        };
        Ok(Self {
            subscription,
            filter,
            below,
            limit: limit(page)?,
        })
    }

    pub(super) fn read(&self, reading: &Reading<'_>) -> Result<Listing<AttemptView>, ReadError> {
        let (found, next) = self.find(reading)?;
        let mut events = HashMap::new();
        let mut items = Vec::with_capacity(found.len());
        for row in found {
            let event = match events.get(&row.seq) {
                Some(known) => Option::clone(known),
                None => {
                    let found = find::event_row(reading.book, row.seq)?;
                    let known = found.map(|event| (event.id, event.event_type));
                    events.insert(row.seq, known.clone());
                    known
                }
            };
            // Attempts go with their event, also those that stand in a later segment.
            if let Some((event, event_type)) = event {
                items.push(AttemptView {
                    delivery: DeliveryId {
                        event,
                        subscription: self.subscription.clone(),
                    },
                    event_type,
                    attempt: attempt(row),
                });
            }
        }
        Ok(Listing {
            items,
            next: next.map(|place| cursor::write(LIST, &[place.segment.into(), place.row])),
        })
    }

    /// The attempts of the page, and before which the next one goes on.
    fn find(
        &self,
        reading: &Reading<'_>,
    ) -> Result<(Vec<AttemptRow>, Option<AttemptPlace>), ReadError> {
        let names = rows::names(reading.book)?;
        let known = names.iter().find(|(_, name)| *name == self.subscription);
        let mut found: Vec<AttemptRow> = Vec::new();
        let Some((number, _)) = known else {
            return Ok((found, None));
        };
        let mut below = self.below;
        let mut budget = reading.rows_max();
        let wanted = (*number, span(self.filter.since, self.filter.until));
        loop {
            let mut more = false;
            let walked = rows::attempts(reading.book, below, budget, wanted, &mut |row| {
                if !self.wants(&row) {
                    return Ok(ControlFlow::Continue(()));
                }
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
                let last = found.last().map(|row| row.place);
                return Ok((found, last));
            }
            below = walked.next;
            budget = budget.saturating_sub(walked.rows);
            if budget == 0 {
                return Ok((found, Some(below)));
            }
        }
    }

    fn wants(&self, row: &AttemptRow) -> bool {
        let status = self.filter.status;
        status.is_none_or(|status| status == row.outcome.status)
            && span(self.filter.since, self.filter.until).has(row.outcome.started_at)
    }
}
