//! The events of one batch before they are accepted, and the counting of their deliveries.
//!
//! A delivery is counted as pending, or as dead if its subscription would have too much pending. A batch with many
//! deliveries is counted in parts between which other tasks run: one request of 16 KiB can lead to millions of them.
//!
//! Invariant: an event that leaves the offer is counted; what is left in it when it is dropped is not.

use std::collections::VecDeque;
use std::mem;

use tokio::task::yield_now;

use crate::domain::{Event, SubscriptionNumber};
use crate::store::NewEvent;
use crate::store::dedup::DedupKey;
use crate::store::error::AcceptError;
use crate::store::names::{Known, Names};
use crate::store::record::{Death, Record};
use crate::store::subscriptions::Subscriptions;

/// Deliveries that are counted at one go: some milliseconds.
const PART: usize = 20_000;

/// Events of one batch.
pub(super) struct Offer<'s> {
    subscriptions: &'s Subscriptions,
    /// Hashes of keys are keyed with it.
    key: DedupKey,
    events: VecDeque<NewEvent>,
    /// Of the first of them, or of none: the deliveries that were counted, which the event has no more.
    counted: VecDeque<Counted>,
}

/// The deliveries of an event, counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Each pending, or dead.
    pub(super) deliveries: Vec<(SubscriptionNumber, Option<Death>)>,
    /// Subscriptions ordered by a key that the event has.
    pub(super) keyed: Vec<SubscriptionNumber>,
}

impl<'s> Offer<'s> {
    pub(super) fn new(
        subscriptions: &'s Subscriptions,
        key: DedupKey,
        events: Vec<NewEvent>,
    ) -> Self {
        Self {
            subscriptions,
            key,
            events: events.into(),
            counted: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(|new| &new.event)
    }

    pub(super) fn event(&self, position: usize) -> Option<&Event> {
        self.events.get(position).map(|new| &new.event)
    }

    /// How many deliveries the event at this position has.
    pub(super) fn deliveries(&self, position: usize) -> usize {
        let counted = self.counted.get(position).map(|it| it.deliveries.len());
        let uncounted = self.events.get(position).map(|new| new.deliveries.len());
        counted.unwrap_or_default() + uncounted.unwrap_or_default()
    }

    /// Whether the events that `is_new` says, in order, have more deliveries to count than are counted at one go.
    pub(super) fn is_wide(&self, is_new: impl Iterator<Item = bool>) -> bool {
        let left = self.events.iter().zip(is_new).filter(|(_, new)| *new);
        left.map(|(event, _)| event.deliveries.len()).sum::<usize>() > PART
    }

    /// Counts the deliveries of the events that `is_new` says, in order.
    ///
    /// # Cancel safety
    /// What was counted is taken back when the offer is dropped.
    pub(super) async fn count_in_parts(
        &mut self,
        is_new: impl Iterator<Item = bool>,
    ) -> Result<(), AcceptError> {
        let by = (self.subscriptions, self.key);
        self.counted
            .resize_with(self.events.len(), Counted::default);
        let mut in_part = 0;
        let counted = self.events.iter_mut().zip(&mut self.counted);
        for ((new, counted), _) in counted.zip(is_new).filter(|(_, new)| *new) {
            in_part += new.deliveries.len();
            count(by, new, counted)?;
            if in_part >= PART {
                in_part = 0;
                yield_now().await;
            }
        }
        Ok(())
    }

    /// Takes the first event out, with its deliveries counted.
    ///
    /// # Errors
    /// Its subscriptions could not be named: it is still the first then.
    pub(super) fn accept(&mut self) -> Result<Option<(Event, Counted)>, AcceptError> {
        let Some(new) = self.events.front_mut() else {
            return Ok(None);
        };
        if self.counted.is_empty() {
            self.counted.push_front(Counted::default());
        }
        if let Some(counted) = self.counted.front_mut() {
            count((self.subscriptions, self.key), new, counted)?;
        }
        let event = self.events.pop_front().map(|new| new.event);
        Ok(event.zip(self.counted.pop_front()))
    }

    /// Takes the first event out, and takes back that it was counted.
    pub(super) fn decline(&mut self) {
        if let (Some(new), Some(counted)) = (self.events.pop_front(), self.counted.pop_front()) {
            let names = self.subscriptions.read();
            take_back(&names, &new.event, &counted.deliveries);
        }
    }
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        if self.counted.is_empty() {
            return;
        }
        let names = self.subscriptions.read();
        for (new, counted) in self.events.iter().zip(&self.counted) {
            take_back(&names, &new.event, &counted.deliveries);
        }
    }
}

/// Counts the deliveries of an event that are not yet counted.
fn count(
    (subscriptions, key): (&Subscriptions, DedupKey),
    new: &mut NewEvent,
    counted: &mut Counted,
) -> Result<(), AcceptError> {
    let deliveries = mem::take(&mut new.deliveries);
    if deliveries.is_empty() {
        return Ok(());
    }
    let key = key.order(&new.event.head);
    let bytes = body_bytes(&new.event);
    let mut unnamed = Vec::new();
    let names = subscriptions.read();
    counted.deliveries.reserve_exact(deliveries.len());
    for delivery in deliveries {
        let number = delivery.subscription;
        let known = names.get(number);
        if known.is_some_and(|known| !known.named) {
            unnamed.push(number);
        }
        if key != 0 && known.is_some_and(|known| known.queue.is_keyed()) {
            counted.keyed.push(number);
        }
        let dead = known.and_then(|known| reserve(known, delivery.max_pending, bytes, key));
        counted.deliveries.push((number, dead));
    }
    drop(names);
    if unnamed.is_empty() {
        return Ok(());
    }
    subscriptions
        .name(&unnamed)
        .map_err(|error| AcceptError::of_append(&error))
}

/// Counts a delivery as pending, or as dead if that would be more than its subscription may have.
fn reserve(known: &Known, max_pending: u64, bytes: u64, key: u64) -> Option<Death> {
    let queue = &known.queue;
    let reason = queue.counters.reserve(bytes, max_pending)?;
    Some(Death {
        reason,
        blocks: queue.blocks(key),
    })
}

/// Takes back what was counted for a batch that was refused.
pub(super) fn undo(names: &Names, records: &[Record]) {
    for record in records {
        if let Record::Accepted(accepted) = record {
            take_back(names, &accepted.event, &accepted.deliveries);
        }
    }
}

fn take_back(names: &Names, event: &Event, deliveries: &[(SubscriptionNumber, Option<Death>)]) {
    for (number, dead) in deliveries {
        if let Some(known) = names.get(*number) {
            let counters = &known.queue.counters;
            counters.undo(body_bytes(event), dead.is_some());
        }
    }
}

fn body_bytes(event: &Event) -> u64 {
    u64::try_from(event.body.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
