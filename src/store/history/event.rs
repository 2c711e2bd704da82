//! One event with its deliveries.

use super::behind::Behind;
use super::delivery::{summary, with_row};
use super::thread::{ReadError, Reading};
use super::types::{DeliverySummary, EventView};
use crate::domain::EventId;
use crate::store::index::{find, rows};
use crate::store::subscriptions::Orders;

/// Returns the event; `None` if it is not kept.
pub(super) fn view(
    reading: &Reading<'_>,
    orders: &Orders,
    id: EventId,
) -> Result<Option<EventView>, ReadError> {
    let Some(seq) = find::seq_of(reading.index, id)? else {
        return Ok(None);
    };
    let Some(row) = find::event_row(reading.index, seq)? else {
        return Ok(None);
    };
    let event = reading.event(row.place)?;
    let names = rows::names(reading.index)?;
    let mut behind = Behind::new(reading, orders);
    let mut delivered = None;
    let mut deliveries = Vec::new();
    for number in row.subscriptions() {
        let Some((_, name)) = names.iter().find(|(known, _)| *known == number) else {
            continue;
        };
        let plain = summary(&row, name.clone());
        let found = rows::delivery_row(reading.index, number, seq)?;
        deliveries.push(match found {
            Some(found) => with_row(plain, &found, number, &mut behind)?,
            None => {
                let made = match &mut delivered {
                    Some(made) => made,
                    None => delivered.insert(find::attempts_by_delivery(reading.index, seq)?),
                };
                DeliverySummary {
                    attempts: Some(made.get(&number).copied().unwrap_or(0)),
                    ..plain
                }
            }
        });
    }
    Ok(Some(EventView { event, deliveries }))
}
