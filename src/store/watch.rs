//! Requests that wait for the first attempts of deliveries (`Prefer: wait`).
//!
//! A watch is registered before its events are appended, so no outcome comes before it. A delivery of it is resolved
//! when an outcome is written (`pump`), when its queue is stalled (`queue`), or when something else holds it back
//! ([`Watchers::cannot_be_attempted`]); a delivery that is dead from the start is resolved at once.
//!
//! Invariants: while nothing waits an outcome costs one relaxed load; at most [`WAITING_MAX`] deliveries are waited
//! for; a watch that is dropped leaves nothing behind; the lock here is the innermost: no other is taken under it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::domain::{AttemptStatus, DeliveryState, EventSeq, Next, Outcome, SubscriptionNumber};
use crate::store::Receipt;
use crate::store::record::{Death, Record};

/// Deliveries that are waited for at most, all requests together.
const WAITING_MAX: usize = 10_000;

/// The state of a delivery after its first attempt; without an attempt if it cannot be attempted now, or ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAttempt {
    /// For which subscription.
    pub subscription: SubscriptionNumber,
    /// The state of the delivery now.
    pub state: DeliveryState,
    /// How the attempt ended; `None` without an attempt.
    pub status: Option<AttemptStatus>,
    /// The status code, if a response head came.
    pub response_code: Option<u16>,
    /// The error of the attempt, if it failed with one.
    pub error_message: Option<Box<str>>,
}

impl FirstAttempt {
    /// A delivery in this state that was not attempted.
    fn none(subscription: SubscriptionNumber, state: DeliveryState) -> Self {
        Self {
            subscription,
            state,
            status: None,
            response_code: None,
            error_message: None,
        }
    }

    fn new(subscription: SubscriptionNumber, outcome: &Outcome, next: Next) -> Self {
        Self {
            subscription,
            state: match next {
                Next::Delivered => DeliveryState::Delivered,
                Next::Dead(_) => DeliveryState::Dead,
                Next::Due { .. } => DeliveryState::Pending,
            },
            status: Some(outcome.status),
            response_code: outcome.response_code,
            error_message: outcome.error_message.clone(),
        }
    }
}

/// A delivery that is waited for.
type Key = (SubscriptionNumber, EventSeq);

/// All waiting requests.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// How many deliveries are waited for. Changed with the map's lock held, read without it: a lane gets a delivery
    /// through locks taken after the registration, so when it settles the delivery, it sees it counted.
    count: AtomicUsize,
    waiting: Mutex<BTreeMap<Key, oneshot::Sender<FirstAttempt>>>,
}

impl Watchers {
    /// The report to send once the outcome of this attempt is written; `None` if no request waits for it.
    pub(super) fn of_attempt(
        &self,
        (number, seq): Key,
        outcome: &Outcome,
        next: Next,
    ) -> Option<Box<FirstAttempt>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let is_awaited = self.lock().contains_key(&(number, seq));
        is_awaited.then(|| Box::new(FirstAttempt::new(number, outcome, next)))
    }

    /// Whether any request waits for any delivery.
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Reports the state of a delivery to the request that waits for it, if one does.
    pub(super) fn resolve(&self, seq: EventSeq, first: FirstAttempt) {
        let mut waiting = self.lock();
        if let Some(sender) = waiting.remove(&(first.subscription, seq)) {
            self.recount(&waiting);
            // The request may just have gone.
            sender.send(first).ok();
        }
    }

    /// Reports that a delivery stays pending for now, because something other than its queue holds it back.
    pub(super) fn cannot_be_attempted(&self, number: SubscriptionNumber, seq: EventSeq) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.resolve(seq, FirstAttempt::none(number, DeliveryState::Pending));
        }
    }

    /// Reports the same of all deliveries of a queue that attempts nothing for now, except those in flight. Must be
    /// called after the queue is marked as stalled, because registration checks that mark.
    pub(super) fn stalled(&self, number: SubscriptionNumber, in_flight: impl Fn(EventSeq) -> bool) {
        let mut waiting = self.lock();
        let of_queue = (number, EventSeq(0))..=(number, EventSeq(u64::MAX));
        let held_back = waiting.extract_if(of_queue, |(_, seq), _| !in_flight(*seq));
        for (_, sender) in held_back {
            let first = FirstAttempt::none(number, DeliveryState::Pending);
            sender.send(first).ok();
        }
        self.recount(&waiting);
    }

    /// Drops all waiting requests: no outcome will come.
    pub(super) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.clear();
        self.recount(&waiting);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, oneshot::Sender<FirstAttempt>>> {
        self.waiting.lock()
    }

    fn recount(&self, waiting: &BTreeMap<Key, oneshot::Sender<FirstAttempt>>) {
        self.count.store(waiting.len(), Ordering::Relaxed);
    }
}

/// Waits for the first attempts of the events of one batch.
#[derive(Debug)]
pub struct Watch {
    watchers: Arc<Watchers>,
    /// By event, by delivery.
    events: Vec<Vec<Awaited>>,
}

#[derive(Debug)]
enum Awaited {
    Known(FirstAttempt),
    Waiting(Key, oneshot::Receiver<FirstAttempt>),
}

impl Watch {
    /// Registers a watch over the deliveries of a batch that is about to be appended; `None` if too many are waited
    /// for. Duplicates among the receipts have no record and no deliveries to wait for. `is_stalled` returns whether
    /// a subscription attempts nothing for now.
    pub(super) fn register(
        watchers: &Arc<Watchers>,
        is_stalled: impl Fn(SubscriptionNumber) -> bool,
        records: &[Record],
        receipts: &[Receipt],
    ) -> Option<Self> {
        let mut accepted = records.iter().filter_map(|record| {
            let Record::Accepted(accepted) = record else {
                return None;
            };
            Some((accepted.seq, accepted.deliveries.as_slice()))
        });
        let mut waiting = watchers.lock();
        let deliveries: usize = accepted
            .clone()
            .map(|(_, deliveries)| deliveries.len())
            .sum();
        if waiting.len() + deliveries > WAITING_MAX {
            return None;
        }
        let mut await_one = |seq, &(number, death): &(SubscriptionNumber, Option<Death>)| {
            if death.is_some() {
                Awaited::Known(FirstAttempt::none(number, DeliveryState::Dead))
            } else if is_stalled(number) {
                Awaited::Known(FirstAttempt::none(number, DeliveryState::Pending))
            } else {
                let (sender, receiver) = oneshot::channel();
                waiting.insert((number, seq), sender);
                Awaited::Waiting((number, seq), receiver)
            }
        };
        let events = receipts.iter().map(|receipt| {
            let own = if receipt.duplicate {
                None
            } else {
                accepted.next()
            };
            let (seq, deliveries) = own.unwrap_or((EventSeq(0), &[]));
            deliveries
                .iter()
                .map(|delivery| await_one(seq, delivery))
                .collect()
        });
        let events = events.collect();
        watchers.recount(&waiting);
        drop(waiting);
        Some(Self {
            watchers: Arc::clone(watchers),
            events,
        })
    }

    /// Resolves when every delivery had its first attempt or cannot be attempted now. Returns the state of each, by
    /// event of the batch, in the order of its deliveries; nothing for a duplicate. `None` when the store has failed.
    ///
    /// # Cancel safety
    /// Dropped, it waits no more; the events and deliveries are not affected.
    pub async fn finished(mut self) -> Option<Vec<Vec<FirstAttempt>>> {
        let mut finished = Vec::with_capacity(self.events.len());
        for event in &mut self.events {
            let mut deliveries = Vec::with_capacity(event.len());
            for awaited in event {
                if let Awaited::Waiting(_, receiver) = awaited {
                    *awaited = Awaited::Known(receiver.await.ok()?);
                }
                if let Awaited::Known(first) = awaited {
                    deliveries.push(first.clone());
                }
            }
            finished.push(deliveries);
        }
        Some(finished)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let keys = self
            .events
            .iter()
            .flatten()
            .filter_map(|awaited| match awaited {
                Awaited::Known(_) => None,
                Awaited::Waiting(key, _) => Some(key),
            });
        let mut keys = keys.peekable();
        if keys.peek().is_none() {
            return;
        }
        let mut waiting = self.watchers.lock();
        for key in keys {
            waiting.remove(key);
        }
        self.watchers.recount(&waiting);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
