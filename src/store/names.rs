//! The subscriptions of the store: their numbers, queues and run-time state.
//!
//! A name gets its number when it is first asked for. It becomes durable with the first batch that needs it, because
//! the record that names it is appended before that batch. Numbers count from 1 and are never reused once durable.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{SubscriptionName, SubscriptionNumber};
use crate::store::SubscriptionState;
use crate::store::queue::QueueShared;
use crate::store::record::Record;

/// The subscriptions by name and by number.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<SubscriptionName, SubscriptionNumber>,
    /// By number; `None` for 0, and for a subscription whose name was lost by damage.
    known: Vec<Option<Known>>,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: SubscriptionName,
    pub(super) queue: Arc<QueueShared>,
    pub(super) state: SubscriptionState,
    /// The name is in the journal.
    pub(super) named: bool,
    /// The state is in the journal.
    pub(super) saved: bool,
}

impl Known {
    /// The record that names it.
    pub(super) fn naming(&self) -> Record {
        Record::SubscriptionNamed {
            number: self.queue.number,
            name: self.name.clone(),
        }
    }

    /// The record that contains its state.
    pub(super) fn standing(&self) -> Record {
        Record::SubscriptionState {
            number: self.queue.number,
            state: self.state.clone(),
        }
    }
}

impl Names {
    /// Adds a subscription under the number of its queue.
    pub(super) fn add(&mut self, known: Known) {
        let number = known.queue.number;
        let index = index(number);
        self.reserve(number);
        self.numbers.insert(known.name.clone(), number);
        if let Some(place) = self.known.get_mut(index) {
            *place = Some(known);
        }
    }

    /// Ensures that this number is never given to a new name.
    pub(super) fn reserve(&mut self, number: SubscriptionNumber) {
        let least = index(number) + 1;
        if self.known.len() < least {
            self.known.resize_with(least, || None);
        }
    }

    /// The number that the next new name gets.
    pub(super) fn next(&self) -> SubscriptionNumber {
        SubscriptionNumber(u32::try_from(self.known.len()).unwrap_or(u32::MAX).max(1))
    }

    pub(super) fn number(&self, name: &SubscriptionName) -> Option<SubscriptionNumber> {
        self.numbers.get(name).copied()
    }

    pub(super) fn get(&self, number: SubscriptionNumber) -> Option<&Known> {
        self.known.get(index(number))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: SubscriptionNumber) -> Option<&mut Known> {
        self.known.get_mut(index(number))?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.known.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Known> {
        self.known.iter_mut().flatten()
    }
}

fn index(number: SubscriptionNumber) -> usize {
    usize::try_from(number.0).unwrap_or(usize::MAX)
}
