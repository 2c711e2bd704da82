//! A queue: its state under a lock, its counters, and the wake-ups of its lane.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::counters::Counters;
use super::dispatcher::{Asking, Dispatcher, Wants};
use super::state::QueueState;
use crate::domain::{EventSeq, Flow, Next, Order, SubscriptionNumber, Timestamp, WhenStuck};
use crate::store::budget::Body;
use crate::store::entry::Entry;
use crate::store::index::refill::Answer;
use crate::store::reader::{Loaded, Loading};

/// The part of a queue that its handles share.
pub(in crate::store) struct QueueShared {
    pub(in crate::store) number: SubscriptionNumber,
    pub(in crate::store) counters: Counters,
    pub(super) dispatcher: Arc<Dispatcher>,
    locked: Mutex<Locked>,
    pub(super) changed: Notify,
    /// How its lane treats deliveries that are due.
    flow: Mutex<Flow>,
    /// Its lane attempts nothing for now.
    pub(super) stalled: AtomicBool,
    /// Its deliveries are held.
    pub(super) held: AtomicBool,
    /// It is ordered by key.
    pub(super) keyed: AtomicBool,
}

pub(super) struct Locked {
    pub(super) state: QueueState,
    /// A lane waits in [`Queue::ready`](super::Queue::ready).
    pub(super) waiting: bool,
}

impl QueueShared {
    /// Makes a queue; `in_index` is when the oldest of its deliveries in the index was accepted, if there are any.
    pub(in crate::store) fn new(
        number: SubscriptionNumber,
        dispatcher: &Arc<Dispatcher>,
        counters: Counters,
        in_index: Option<Timestamp>,
    ) -> Arc<Self> {
        let state = QueueState::new(Arc::clone(&dispatcher.limits), in_index);
        Arc::new(Self {
            number,
            counters,
            dispatcher: Arc::clone(dispatcher),
            locked: Mutex::new(Locked {
                state,
                waiting: false,
            }),
            changed: Notify::new(),
            flow: Mutex::default(),
            stalled: AtomicBool::new(false),
            held: AtomicBool::new(false),
            keyed: AtomicBool::new(false),
        })
    }

    pub(super) fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock()
    }

    /// Does one step, wakes a lane that waits, and returns the step's result.
    pub(in crate::store) fn step<T>(&self, step: impl FnOnce(&mut QueueState) -> T) -> T {
        let (result, wake) = {
            let mut locked = self.lock();
            let result = step(&mut locked.state);
            (result, std::mem::take(&mut locked.waiting))
        };
        if wake {
            self.changed.notify_one();
        }
        result
    }

    /// Sends the requests of a step.
    pub(super) fn ask(self: &Arc<Self>, wants: Wants) {
        self.dispatcher.ask(self, wants);
    }

    /// Takes a delivery that was committed.
    pub(in crate::store) fn commit(&self, entry: Entry, body: impl FnOnce() -> Body) {
        self.step(|state| state.commit(entry, body));
    }

    /// Takes an outcome that is written; `entry` is the delivery before the attempt.
    pub(in crate::store) fn settle(&self, entry: Entry, next: Next) {
        let bytes = u64::from(entry.body_bytes);
        match next {
            Next::Delivered => self.counters.end(bytes),
            Next::Dead(_) => {
                self.counters.end(bytes);
                self.counters.dead.fetch_add(1, Ordering::Relaxed);
            }
            Next::Due { .. } => {}
        }
        self.step(|state| state.settle(entry, next));
    }

    /// Reports to a request that waits for the first attempt of a delivery that there is none for now.
    pub(in crate::store) fn is_held_back(&self, seq: EventSeq) {
        self.dispatcher
            .watchers
            .cannot_be_attempted(self.number, seq);
    }

    /// Notes whether its deliveries are held.
    pub(in crate::store) fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Whether its lane attempts nothing for now.
    pub(in crate::store) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Whether it is ordered by key.
    pub(in crate::store) fn is_keyed(&self) -> bool {
        self.keyed.load(Ordering::Relaxed)
    }

    /// Whether deliveries of this key wait for each other.
    pub(in crate::store) fn is_ordered(&self, key: u64) -> bool {
        self.lock().state.is_ordered(key)
    }

    /// Whether a delivery of this key that dies blocks those that follow it.
    pub(in crate::store) fn blocks(&self, key: u64) -> bool {
        self.lock().state.blocks(key)
    }

    /// How its deliveries wait for each other.
    pub(in crate::store) fn order(&self) -> (Order, WhenStuck) {
        self.lock().state.order()
    }

    /// How many deliveries are pending.
    pub(in crate::store) fn pending(&self) -> u64 {
        self.counters.pending.load(Ordering::Relaxed)
    }

    /// Whether some deliveries may be only in the index, so that it must be asked for the oldest.
    pub(in crate::store) fn is_partial(&self) -> bool {
        self.lock().state.is_partial()
    }

    pub(in crate::store) fn set_index_oldest(&self, accepted_at: Option<Timestamp>) {
        self.lock().state.set_index_oldest(accepted_at);
    }
}

impl Asking for QueueShared {
    fn number(&self) -> SubscriptionNumber {
        self.number
    }

    fn answered(&self, answer: Answer) {
        self.step(|state| state.answered(answer));
    }
}

impl Loading for QueueShared {
    fn loaded(&self, seq: EventSeq, loaded: Loaded) {
        let now = self.dispatcher.clock.steady();
        let body = match loaded {
            Loaded::Event(body) => Some(body),
            Loaded::Damaged => {
                self.dispatcher.damaged.found((self.number, seq), now);
                None
            }
            Loaded::Unreadable => None,
        };
        self.step(|state| state.loaded(seq, body, now));
    }
}

impl fmt::Debug for QueueShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("subscription", &self.number)
            .finish_non_exhaustive()
    }
}
