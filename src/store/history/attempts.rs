//! The list of attempts of a subscription.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::behind::Behind;
use super::cursor;
use super::delivery::{attempt, summary, with_row};
use super::thread::{ReadError, Reading};
use super::types::{
    AttemptFilter, AttemptView, DeliverySummary, Listing, Page, QueryError, limit, span,
};
use crate::domain::{EventSeq, SubscriptionName, SubscriptionNumber};
use crate::store::index::find;
use crate::store::index::rows::{self, AttemptPlace, AttemptRow};
use crate::store::subscriptions::Orders;

/// The letter of this list's cursors.
const LIST: char = 'a';

/// A request for a page.
pub(super) struct List {
    subscription: SubscriptionName,
    filter: AttemptFilter,
    below: AttemptPlace,
    limit: usize,
}

/// Attempts of a subscription, as rows.
struct Attempts {
    number: SubscriptionNumber,
    rows: Vec<AttemptRow>,
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

    pub(super) fn read(
        &self,
        reading: &Reading<'_>,
        orders: &Orders,
    ) -> Result<Listing<AttemptView>, ReadError> {
        let (found, next) = self.find(reading)?;
        let mut behind = Behind::new(reading, orders);
        let mut deliveries = HashMap::new();
        let mut items = Vec::with_capacity(found.rows.len());
        for row in found.rows {
            let delivery = match deliveries.get(&row.seq) {
                Some(known) => Option::clone(known),
                None => {
                    let known = self.delivery(reading, found.number, row.seq, &mut behind)?;
                    deliveries.insert(row.seq, known.clone());
                    known
                }
            };
            // Attempts are dropped with their event, even if they are recorded in a later segment.
            if let Some(delivery) = delivery {
                let attempt = attempt(row);
                items.push(AttemptView { delivery, attempt });
            }
        }
        Ok(Listing {
            items,
            next: next.map(|place| cursor::write(LIST, &[place.segment.into(), place.row])),
        })
    }

    /// Returns a delivery in its current state; `None` if its event is not kept.
    fn delivery(
        &self,
        reading: &Reading<'_>,
        number: SubscriptionNumber,
        seq: EventSeq,
        behind: &mut Behind<'_>,
    ) -> Result<Option<DeliverySummary>, ReadError> {
        let Some(event) = find::event_row(reading.index, seq)? else {
            return Ok(None);
        };
        let plain = summary(&event, self.subscription.clone());
        Ok(Some(
            match rows::delivery_row(reading.index, number, seq)? {
                Some(row) => with_row(plain, &row, number, behind)?,
                None => plain,
            },
        ))
    }

    /// Returns the attempts of the page, and the attempt before which the next page goes on.
    fn find(&self, reading: &Reading<'_>) -> Result<(Attempts, Option<AttemptPlace>), ReadError> {
        let names = rows::names(reading.index)?;
        let known = names.iter().find(|(_, name)| *name == self.subscription);
        let number = known.map_or(SubscriptionNumber(0), |(number, _)| *number);
        let mut found = Attempts {
            number,
            rows: Vec::new(),
        };
        if known.is_none() {
            return Ok((found, None));
        }
        let mut below = self.below;
        let mut budget = reading.rows_max();
        let wanted = (number, span(self.filter.since, self.filter.until));
        loop {
            let mut more = false;
            let walked = rows::attempts(reading.index, below, budget, wanted, &mut |row| {
                if !self.wants(&row) {
                    return Ok(ControlFlow::Continue(()));
                }
                more = found.rows.len() == self.limit;
                if more {
                    return Ok(ControlFlow::Break(()));
                }
                found.rows.push(row);
                Ok(ControlFlow::Continue(()))
            })?;
            let Some(walked) = walked else {
                return Ok((found, None));
            };
            if more {
                let last = found.rows.last().map(|row| row.place);
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
