//! The subscriptions of the store: their queues, and how their names and run-time state become durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::domain::{Order, SubscriptionName, SubscriptionNumber, WhenStuck};
use crate::store::SubscriptionState;
use crate::store::appender::Appender;
use crate::store::completions::Token;
use crate::store::journal::{AppendError, Durability};
use crate::store::names::{Known, Names};
use crate::store::queue::{Counters, Dispatcher, QueueShared, QueueState};
use crate::store::record::Record;

/// The subscriptions with an order, and that order.
pub(super) type Orders = HashMap<SubscriptionNumber, (Order, WhenStuck)>;

/// The subscriptions, shared by all parts that need a queue.
#[derive(Debug)]
pub(super) struct Subscriptions {
    names: RwLock<Names>,
    dispatcher: Arc<Dispatcher>,
    pub(super) appender: Arc<Appender>,
    /// Bytes of bodies pending, those of one event once for each subscription.
    pending_bytes: Arc<AtomicU64>,
    /// Whether some state is not in the journal yet.
    unsaved: AtomicBool,
}

impl Subscriptions {
    /// Holds these subscriptions, whose counters add to `pending_bytes`.
    pub(super) fn new(
        names: Names,
        (dispatcher, appender): (Arc<Dispatcher>, Arc<Appender>),
        pending_bytes: Arc<AtomicU64>,
    ) -> Arc<Self> {
        Arc::new(Self {
            names: RwLock::new(names),
            dispatcher,
            appender,
            pending_bytes,
            unsaved: AtomicBool::new(false),
        })
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write()
    }

    /// Bytes of bodies pending, those of one event once for each subscription.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    /// The number of a name; a new one becomes durable with the first event that has it.
    pub(super) fn number(&self, name: &SubscriptionName) -> SubscriptionNumber {
        let mut names = self.write();
        if let Some(number) = names.number(name) {
            return number;
        }
        let number = names.next();
        names.add(Known {
            name: name.clone(),
            queue: self.empty_queue(number),
            state: SubscriptionState::default(),
            named: false,
            saved: true,
        });
        number
    }

    /// The queue of a number; an empty one for a number that belongs to no name.
    pub(super) fn queue(&self, number: SubscriptionNumber) -> Arc<QueueShared> {
        let known = self.known_queue(number);
        known.unwrap_or_else(|| self.empty_queue(number))
    }

    /// The queue of a number that has a name.
    pub(super) fn known_queue(&self, number: SubscriptionNumber) -> Option<Arc<QueueShared>> {
        let names = self.read();
        names.get(number).map(|known| Arc::clone(&known.queue))
    }

    /// The queue of a name.
    pub(super) fn queue_of(&self, name: &SubscriptionName) -> Option<Arc<QueueShared>> {
        let names = self.read();
        let known = names.get(names.number(name)?)?;
        Some(Arc::clone(&known.queue))
    }

    fn empty_queue(&self, number: SubscriptionNumber) -> Arc<QueueShared> {
        let counters = Counters::new(0, 0, 0, &self.pending_bytes);
        QueueShared::new(number, &self.dispatcher, counters, None)
    }

    /// Whether deliveries of a subscription are held.
    pub(super) fn is_held(&self, name: &SubscriptionName) -> bool {
        let names = self.read();
        let known = names.number(name).and_then(|number| names.get(number));
        known.is_some_and(|known| known.state.held_since.is_some())
    }

    /// The orders of one subscription, or of all.
    pub(super) fn orders(&self, of: Option<&SubscriptionName>) -> Orders {
        let names = self.read();
        let wanted = names
            .iter()
            .filter(|known| of.is_none_or(|of| *of == known.name));
        let all = wanted.map(|known| (known.queue.number, known.queue.order()));
        all.filter(|(_, (order, _))| *order != Order::None)
            .collect()
    }

    /// Makes every queue read its entries in memory again: the index's answers may have been wrong.
    pub(super) fn reread(&self) {
        for known in self.read().iter() {
            known.queue.step(QueueState::reread);
        }
    }

    /// Names subscriptions whose names are not in the journal yet. Each name is a batch of its own, not refused where
    /// events would be. It comes before the batch of the events, so it is on the disk when that is.
    pub(super) fn name(&self, numbers: &[SubscriptionNumber]) -> Result<(), AppendError> {
        let mut names = self.write();
        for number in numbers {
            let Some(known) = names.get_mut(*number).filter(|known| !known.named) else {
                continue;
            };
            let records = [known.naming()];
            let journal = &self.appender.journal;
            journal.append_now(&records, Durability::Write, Token::Nobody)?;
            known.named = true;
        }
        Ok(())
    }

    /// See [`Store::set_state`](crate::store::Store::set_state).
    pub(super) fn set_state(&self, number: SubscriptionNumber, state: SubscriptionState) {
        let mut names = self.write();
        if let Some(known) = names.get_mut(number) {
            known.queue.set_held(state.held_since.is_some());
            known.state = state;
            known.saved = false;
            self.save(known);
        }
    }

    /// Records states that could not be recorded when they were set; returns whether all are recorded now.
    pub(super) fn save_states(&self) -> bool {
        if !self.unsaved.swap(false, Ordering::Relaxed) {
            return true;
        }
        let mut names = self.write();
        for known in names.iter_mut().filter(|known| !known.saved) {
            self.save(known);
        }
        !self.unsaved.load(Ordering::Relaxed)
    }

    /// Appends the state of a subscription, and its name if the journal lacks it. The names are locked, so the state
    /// written last is the current one, and a record that relies on the name is appended after it.
    fn save(&self, known: &mut Known) {
        let mut records = Vec::new();
        if !known.named {
            records.push(known.naming());
        }
        records.push(known.standing());
        let journal = &self.appender.journal;
        let appended = journal.append_now(&records, Durability::Write, Token::Nobody);
        if appended.is_ok() {
            known.named = true;
            known.saved = true;
        } else {
            self.unsaved.store(true, Ordering::Relaxed);
        }
    }

    /// Passes the records of every name and state to `append`, which must append them before it returns.
    pub(super) fn tell_all<T>(&self, append: impl FnOnce(Vec<Record>) -> T) -> T {
        let names = self.read();
        let named = names.iter().filter(|known| known.named);
        append(
            named
                .flat_map(|known| [known.naming(), known.standing()])
                .collect(),
        )
    }
}
