//! The list of deliveries.
//!
//! Pending, dead and cancelled deliveries have rows of their own, by subscription: those are merged. Delivered ones
//! have none, so they are found by their events.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use super::behind::Behind;
use super::cursor;
use super::delivery::{summary, with_row};
use super::thread::{ReadError, Reading};
use super::types::{DeliveryFilter, DeliverySummary, Listing, Page, QueryError, limit, span};
use crate::domain::{DeliveryState, EventSeq, SubscriptionName, SubscriptionNumber};
use crate::store::index::find;
use crate::store::index::reach::reach;
use crate::store::index::rows::{self, EventRow, EventsWanted};
use crate::store::subscriptions::Orders;

/// The letter of this list's cursors.
const LIST: char = 'd';

/// The place of a delivery in the list, which is in descending order.
type Place = (EventSeq, SubscriptionNumber);

/// A request for a page.
pub(super) struct List {
    filter: DeliveryFilter,
    below: Place,
    limit: usize,
}

/// The part of the page that was found so far.
struct Found<'r> {
    behind: Behind<'r>,
    items: Vec<DeliverySummary>,
    last: Option<Place>,
    limit: usize,
    /// Number of deliveries that may still be read.
    budget: u64,
}

impl Found<'_> {
    /// Whether the page is full: further deliveries are on the next page.
    fn is_full(&self) -> bool {
        self.items.len() >= self.limit
    }

    fn add(&mut self, place: Place, item: DeliverySummary) {
        self.items.push(item);
        self.last = Some(place);
    }

    fn listing(self, next: Option<Place>) -> Listing<DeliverySummary> {
        Listing {
            items: self.items,
            next: next.map(|(seq, number)| cursor::write(LIST, &[seq.0, number.0.into()])),
        }
    }
}

impl List {
    pub(super) fn new(filter: DeliveryFilter, page: &Page) -> Result<Self, QueryError> {
        let below = match cursor::read(LIST, page.cursor.as_deref())? {
            None => (EventSeq(u64::MAX), SubscriptionNumber(0)),
            Some([seq, number]) => {
                let number = u32::try_from(number).map_err(|_| QueryError::Cursor)?;
                (EventSeq(seq), SubscriptionNumber(number))
            }
        };
        Ok(Self {
            filter,
            below,
            limit: limit(page)?,
        })
    }

    pub(super) fn read(
        &self,
        reading: &Reading<'_>,
        orders: &Orders,
    ) -> Result<Listing<DeliverySummary>, ReadError> {
        let mut names = rows::names(reading.index)?;
        if let Some(wanted) = &self.filter.subscription {
            names.retain(|(_, name)| name == wanted);
        }
        let found = Found {
            behind: Behind::new(reading, orders),
            items: Vec::new(),
            last: None,
            limit: self.limit,
            budget: reading.rows_max(),
        };
        match self.filter.state {
            Some(DeliveryState::Delivered) | None => self.by_event(reading, &names, found),
            Some(state) => self.by_row(reading, state, &names, found),
        }
    }

    /// Merges the rows of a state over all subscriptions.
    fn by_row(
        &self,
        reading: &Reading<'_>,
        state: DeliveryState,
        names: &[(SubscriptionNumber, SubscriptionName)],
        mut found: Found<'_>,
    ) -> Result<Listing<DeliverySummary>, ReadError> {
        let span = span(self.filter.since, self.filter.until);
        let mut budget = reading
            .rows_max()
            .saturating_sub(u64::try_from(names.len()).unwrap_or(u64::MAX));
        let reach = reach(reading.index, span)?;
        let (seq, before) = self.below.min((reach.end, SubscriptionNumber(0)));
        // The next delivery of each subscription.
        let mut heads = BinaryHeap::new();
        for (number, _) in names {
            let bound = if *number < before {
                seq.0.saturating_add(1)
            } else {
                seq.0
            };
            let head = rows::delivery_before(reading.index, state, *number, EventSeq(bound))?;
            let head = head.filter(|row| row.entry.seq >= reach.start);
            heads.extend(head.map(|row| (row.entry.seq, *number)));
        }
        while let Some((seq, number)) = heads.pop() {
            let row = rows::delivery_in(reading.index, state, number, seq)?;
            if let Some(row) = row.filter(|row| span.has(row.entry.accepted_at)) {
                if found.is_full() {
                    let next = found.last;
                    return Ok(found.listing(next));
                }
                let name = name_of(names, number);
                let event = find::event_row(reading.index, seq)?;
                if let (Some(name), Some(event)) = (name, event) {
                    let item = with_row(
                        summary(&event, name.clone()),
                        &row,
                        number,
                        &mut found.behind,
                    )?;
                    found.add((seq, number), item);
                }
            }
            let next = rows::delivery_before(reading.index, state, number, seq)?;
            let next = next.filter(|row| row.entry.seq >= reach.start);
            heads.extend(next.map(|row| (row.entry.seq, number)));
            budget = budget.saturating_sub(1);
            if (budget == 0 || reading.is_late()) && !heads.is_empty() {
                return Ok(found.listing(Some((seq, number))));
            }
        }
        Ok(found.listing(None))
    }

    /// Visits events and looks up the states of their deliveries.
    fn by_event(
        &self,
        reading: &Reading<'_>,
        names: &[(SubscriptionNumber, SubscriptionName)],
        mut found: Found<'_>,
    ) -> Result<Listing<DeliverySummary>, ReadError> {
        let wanted = EventsWanted {
            event_type: None,
            given: None,
            span: span(self.filter.since, self.filter.until),
        };
        // The event of the cursor is read again only if some of its deliveries are left.
        let (EventSeq(seq), SubscriptionNumber(number)) = self.below;
        let mut below = EventSeq(seq.saturating_add(u64::from(number > 0)));
        let mut budget = reading.rows_max();
        loop {
            let mut end = None;
            let walked = rows::events(reading.index, below, budget, &wanted, &mut |event| {
                end = self.of_event(reading, names, &event, &mut found)?;
                Ok(match end {
                    Some(_) => ControlFlow::Break(()),
                    None => ControlFlow::Continue(()),
                })
            })?;
            let Some(walked) = walked else {
                return Ok(found.listing(None));
            };
            if end.is_some() {
                return Ok(found.listing(end));
            }
            below = walked.next;
            budget = budget.saturating_sub(walked.rows);
            if budget == 0 {
                return Ok(found.listing(Some((below, SubscriptionNumber(0)))));
            }
        }
    }

    /// Adds the deliveries of an event. If the page ends here, returns the place before which the next page goes on.
    fn of_event(
        &self,
        reading: &Reading<'_>,
        names: &[(SubscriptionNumber, SubscriptionName)],
        event: &EventRow,
        found: &mut Found<'_>,
    ) -> rusqlite::Result<Option<Place>> {
        for number in event.subscriptions().into_iter().rev() {
            let place = (event.seq, number);
            let name = name_of(names, number);
            let Some(name) = name.filter(|_| place < self.below) else {
                continue;
            };
            let row = rows::delivery_row(reading.index, number, event.seq)?;
            found.budget = found.budget.saturating_sub(1);
            if self.filter.state.is_none() || row.is_none() {
                if found.is_full() {
                    return Ok(found.last);
                }
                let plain = summary(event, name.clone());
                let item = match row {
                    Some(row) => with_row(plain, &row, number, &mut found.behind)?,
                    None => plain,
                };
                found.add(place, item);
            }
            if found.budget == 0 || reading.is_late() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }
}

/// Returns the name with this number; `names` are in the order of their numbers.
fn name_of(
    names: &[(SubscriptionNumber, SubscriptionName)],
    number: SubscriptionNumber,
) -> Option<&SubscriptionName> {
    let place = names.binary_search_by_key(&number, |(known, _)| *known);
    place.ok().and_then(|place| Some(&names.get(place)?.1))
}
