//! Makes the records of a batch and counts its deliveries: each is pending, or dead if its subscription would have too
//! much pending. Runs under the intake's lock, so that no other event comes between.

use std::sync::Arc;

use crate::domain::{Event, EventSeq};
use crate::store::names::Names;
use crate::store::record::{Accepted, Death, Record};
use crate::store::{NewDelivery, NewEvent, Receipt};

/// The records and receipts of a batch that is being made.
pub(super) struct Draft {
    pub(super) next_seq: EventSeq,
    pub(super) records: Vec<Record>,
    pub(super) receipts: Vec<Receipt>,
    /// Events with a given id: sequence, hash, event, deliveries.
    pub(super) given: Vec<(EventSeq, u64, Arc<Event>, usize)>,
}

impl Draft {
    pub(super) fn new(next_seq: EventSeq, events: usize) -> Self {
        Self {
            next_seq,
            records: Vec::with_capacity(events),
            receipts: Vec::with_capacity(events),
            given: Vec::new(),
        }
    }

    /// Adds an event: gives it the next sequence and counts its deliveries.
    pub(super) fn add(&mut self, names: &Names, new: NewEvent, hash: Option<u64>, key: u64) {
        let seq = self.next_seq;
        self.next_seq = EventSeq(seq.0 + 1);
        let event = Arc::new(new.event);
        let count = new.deliveries.len();
        let bytes = body_bytes(&event);
        let keyed = if key == 0 {
            Vec::new()
        } else {
            let numbers = new.deliveries.iter().map(|delivery| delivery.subscription);
            let keyed = |number: &_| names.get(*number).is_some_and(|it| it.queue.is_keyed());
            numbers.filter(keyed).collect()
        };
        let deliveries: Vec<_> = new
            .deliveries
            .into_iter()
            .map(|delivery| (delivery.subscription, reserve(names, delivery, bytes, key)))
            .collect();
        self.receipts.push(Receipt {
            id: event.head.id,
            deliveries: count,
            duplicate: false,
            overflowed: deliveries
                .iter()
                .filter_map(|(number, dead)| dead.map(|_| *number))
                .collect(),
        });
        if let Some(hash) = hash {
            self.given.push((seq, hash, Arc::clone(&event), count));
        }
        self.records.push(Record::Accepted(Accepted {
            seq,
            event,
            deliveries,
            keyed,
        }));
    }
}

/// Counts a delivery as pending, or as dead if its subscription would have too much pending.
fn reserve(names: &Names, delivery: NewDelivery, bytes: u64, key: u64) -> Option<Death> {
    let queue = &names.get(delivery.subscription)?.queue;
    let reason = queue.counters.reserve(bytes, delivery.max_pending)?;
    Some(Death {
        reason,
        blocks: queue.blocks(key),
    })
}

/// Reverts the counts that [`reserve`] made for a batch that was refused.
pub(super) fn undo(names: &Names, records: &[Record]) {
    for record in records {
        let Record::Accepted(accepted) = record else {
            continue;
        };
        for (number, dead) in &accepted.deliveries {
            if let Some(known) = names.get(*number) {
                let counters = &known.queue.counters;
                counters.undo(body_bytes(&accepted.event), dead.is_some());
            }
        }
    }
}

fn body_bytes(event: &Event) -> u64 {
    u64::try_from(event.body.len()).unwrap_or(u64::MAX)
}
