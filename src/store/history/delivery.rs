//! One delivery with its attempts.

use super::behind::Behind;
use super::thread::{ReadError, Reading};
use super::types::{Attempt, DeliverySummary, DeliveryView};
use crate::domain::{DeliveryId, DeliveryState, SubscriptionName, SubscriptionNumber};
use crate::store::index::rows::{AttemptRow, DeliveryRow, EventRow};
use crate::store::index::{find, rows};
use crate::store::subscriptions::Orders;

/// Attempts that are shown of one delivery, at most: the last ones.
const ATTEMPTS_MAX: usize = 200;

/// Returns the delivery; `None` if its event is not kept, or is not for this subscription.
pub(super) fn view(
    reading: &Reading<'_>,
    orders: &Orders,
    id: &DeliveryId,
) -> Result<Option<DeliveryView>, ReadError> {
    let names = rows::names(reading.index)?;
    let known = names.iter().find(|(_, name)| *name == id.subscription);
    let Some(number) = known.map(|(number, _)| *number) else {
        return Ok(None);
    };
    let Some(seq) = find::seq_of(reading.index, id.event)? else {
        return Ok(None);
    };
    let Some(event) = find::event_row(reading.index, seq)? else {
        return Ok(None);
    };
    if !event.subscriptions().contains(&number) {
        return Ok(None);
    }
    let attempts = rows::attempts_of(reading.index, number, seq, ATTEMPTS_MAX)?;
    let plain = summary(&event, id.subscription.clone());
    let summary = match rows::delivery_row(reading.index, number, seq)? {
        Some(row) => with_row(plain, &row, number, &mut Behind::new(reading, orders))?,
        None => DeliverySummary {
            attempts: Some(attempts.first().map_or(0, |last| last.attempt)),
            ended_at: attempts
                .first()
                .map(|last| last.outcome.started_at.plus(last.outcome.duration)),
            ..plain
        },
    };
    Ok(Some(DeliveryView {
        summary,
        attempts: attempts.into_iter().map(attempt).collect(),
    }))
}

/// Makes the summary of a delivery from its event only: it was delivered, unless it has a row.
pub(super) fn summary(event: &EventRow, subscription: SubscriptionName) -> DeliverySummary {
    DeliverySummary {
        id: DeliveryId {
            event: event.id,
            subscription,
        },
        event_type: event.event_type.clone(),
        state: DeliveryState::Delivered,
        dead_reason: None,
        accepted_at: event.accepted_at,
        due_at: None,
        ended_at: None,
        attempts: None,
        behind: None,
    }
}

/// Completes the summary of a delivery that has a row.
pub(super) fn with_row(
    plain: DeliverySummary,
    row: &DeliveryRow,
    number: SubscriptionNumber,
    behind: &mut Behind<'_>,
) -> rusqlite::Result<DeliverySummary> {
    let behind = match row.state {
        DeliveryState::Pending => behind.of(number, row.entry.seq)?,
        DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Cancelled => None,
    };
    Ok(DeliverySummary {
        state: row.state,
        dead_reason: row.reason,
        due_at: row.due_at,
        ended_at: row.ended_at,
        attempts: Some(row.entry.attempts),
        behind,
        ..plain
    })
}

/// Converts a row to an attempt as it is shown.
pub(super) fn attempt(row: AttemptRow) -> Attempt {
    let outcome = row.outcome;
    Attempt {
        number: row.attempt,
        status: outcome.status,
        reason: outcome.reason,
        response_code: outcome.response_code,
        error_message: outcome.error_message,
        duration: outcome.duration,
        started_at: outcome.started_at,
        response_prefix: outcome.response_prefix,
        next_attempt_at: row.due_at,
    }
}
