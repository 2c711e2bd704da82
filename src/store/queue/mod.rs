//! The pending deliveries of each subscription: what may be attempted now, what is due later, who holds a lease.
//!
//! A queue is a window over the book: it keeps so many entries and so many bodies in memory, and asks for the rest
//! when it comes to them. [`state`] has the rules, [`window`] and [`due`] its two parts, [`refill`] what is asked of
//! others. This file joins them with a lock, counters and wake-ups.
//!
//! Invariants: a delivery has at most one lease; what is pending is ready, due at a time, in flight, or in the book
//! where a refill finds it; no queue waits for another queue.

mod counters;
mod counts;
mod due;
mod lease;
mod line;
mod order;
mod outlook;
mod refill;
mod state;
mod verbs;
mod window;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub(super) use counters::Counters;
pub use counts::QueueCounts;
pub(super) use due::DueKey;
pub use lease::Lease;
pub(super) use order::{Followers, FollowersWanted};
pub(super) use refill::{DueRefilled, Load, Refilled};
pub(super) use state::QueueState;

use crate::domain::{EventSeq, Flow, Next, Order, SubscriptionNumber, Timestamp, WhenStuck};
use crate::store::book::Command;
use crate::store::budget::StoredEvent;
use crate::store::dedup::DedupKey;
use crate::store::hub::Hub;
use crate::store::journal::Place;
use crate::store::reader::ReadJob;
use crate::store::record::Accepted;

/// What an entry of a queue costs in memory, roughly: its 56 bytes, a key where it waits for its time, and what maps and
/// deques leave free.
const ENTRY_BYTES: usize = 112;

/// How many that follow in a line are asked of the book at a time.
const FOLLOWERS_MAX: usize = 64;

/// How much of a queue is kept in memory. Small in tests, so that everything spills.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Deliveries never attempted.
    pub(super) window: usize,
    /// Those asked of the book at a time.
    pub(super) refill: usize,
    /// Commits that are remembered while a refill is under way.
    pub(super) tail: usize,
    /// Deliveries that wait for their next attempt.
    pub(super) dues: usize,
    /// Keys that may be stuck; with more the queue waits.
    pub(super) lines: usize,
    /// What each queue may keep when memory is used up.
    pub(super) granted: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            window: 16_384,
            refill: 4_096,
            tail: 4_096,
            dues: 10_000,
            lines: 10_000,
            granted: 16,
        }
    }
}

/// An event in memory.
pub(super) type Body = Arc<StoredEvent>;

/// A pending delivery as queues know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: EventSeq,
    /// Where its event is in the journal.
    pub(super) place: Place,
    pub(super) body_bytes: u32,
    pub(super) accepted_at: Timestamp,
    /// When its schedule began: when it was accepted, or replayed.
    pub(super) since: Timestamp,
    /// A hash of the event's key, 0 if it has none or was accepted when keys did not matter.
    pub(super) key: u64,
    /// Attempts made.
    pub(super) attempts: u32,
    /// Attempts made since the schedule began.
    pub(super) schedule_attempts: u32,
}

impl Entry {
    /// The entry of the deliveries of an event that was just accepted, with its key: see [`Entry::of`].
    pub(super) fn accepted(accepted: &Accepted, place: Place, key: DedupKey) -> Self {
        let head = &accepted.event.head;
        Self {
            seq: accepted.seq,
            place,
            body_bytes: u32::try_from(accepted.event.body.len()).unwrap_or(u32::MAX),
            accepted_at: head.accepted_at,
            since: head.accepted_at,
            key: key.order(head),
            attempts: 0,
            schedule_attempts: 0,
        }
    }

    /// The same for this subscription: without the key unless it is ordered by it.
    pub(super) fn of(self, accepted: &Accepted, subscription: SubscriptionNumber) -> Self {
        let keyed = accepted.keyed.contains(&subscription);
        let key = if keyed { self.key } else { 0 };
        Self { key, ..self }
    }

    /// What the row of this delivery adds to the checksum that the book keeps.
    pub(super) fn checksum(&self) -> i64 {
        let seq = i64::try_from(self.seq.0 % 1_048_576).unwrap_or(0);
        let Place {
            segment,
            offset,
            length,
        } = self.place;
        seq + i64::from(segment) * 31
            + i64::from(offset)
            + i64::from(length) * 7
            + i64::from(self.body_bytes) * 3
            + (self.key.cast_signed() % 8191).abs()
    }

    fn body_len(&self) -> usize {
        usize::try_from(self.body_bytes).unwrap_or(usize::MAX)
    }

    /// The same delivery with one more attempt made.
    fn attempted(self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(1),
            schedule_attempts: self.schedule_attempts.saturating_add(1),
            ..self
        }
    }
}

/// An entry, with its event if that is in memory.
#[derive(Debug)]
struct Slot {
    entry: Entry,
    body: Option<Body>,
}

impl Slot {
    fn unloaded(entry: Entry) -> Self {
        Self { entry, body: None }
    }
}

/// The pending deliveries of one subscription: a cheap handle, meant for one lane.
#[derive(Debug, Clone)]
pub struct Queue(pub(super) Arc<QueueShared>);

impl Queue {
    /// Takes up to `credit` deliveries that are ready, due retries first, else in order of acceptance. Never blocks;
    /// gives nothing once the store has failed. Deliveries whose events are on the disk are fetched ahead, about
    /// twice as many as `credit`.
    pub fn take(&self, credit: usize, leases: &mut Vec<Lease>) {
        if self.0.hub.failure.is_set() {
            return;
        }
        let now = self.0.hub.clock.steady();
        let wants = {
            let mut locked = self.0.lock();
            locked.state.take(now, credit, |entry, body| {
                leases.push(Lease {
                    queue: Arc::clone(&self.0),
                    entry,
                    body,
                    open: true,
                });
            });
            locked.state.wants()
        };
        self.0.ask(wants);
    }

    /// Resolves when `take` would give something; never once the store has failed.
    ///
    /// # Cancel safety
    /// Cancel safe. Of several that wait for one queue only one is woken at a time.
    pub async fn ready(&self) {
        loop {
            if self.0.hub.failure.is_set() {
                return std::future::pending().await;
            }
            let (ready, due, wants) = {
                let now = self.0.hub.clock.steady();
                let mut locked = self.0.lock();
                let ready = locked.state.is_ready(now);
                locked.waiting = !ready;
                let due = locked.state.next_due().map(|at| at.since(now));
                (ready, due, locked.state.wants())
            };
            self.0.ask(wants);
            if ready {
                return;
            }
            match due {
                None => self.0.changed.notified().await,
                Some(pause) => {
                    tokio::select! {
                        () = self.0.changed.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// Whether its deliveries are held, as the state says that was last set.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.held.load(Ordering::Relaxed)
    }

    /// What its lane does with deliveries that are due; [`Flow::Held`] by the state that was last set.
    #[must_use]
    pub fn flow(&self) -> Flow {
        match self.is_held() {
            true => Flow::Held,
            false => *self.0.flow(),
        }
    }

    /// Sets how deliveries wait for each other. Another order than before takes effect once what is in flight has ended;
    /// nothing is taken until then. By key are ordered those that are accepted from then on.
    pub fn set_order(&self, order: Order, when_stuck: WhenStuck) {
        self.0.keyed.store(order == Order::Key, Ordering::Relaxed);
        self.0.step(|state| state.set_order(order, when_stuck));
    }

    /// Says what the lane does with deliveries that are due, and whether it attempts nothing for now, so that nobody waits
    /// for it in vain. To be called by the lane before it takes anything.
    pub fn set_flow(&self, flow: Flow, stalled: bool) {
        *self.0.flow() = flow;
        if self.0.stalled.load(Ordering::Relaxed) == stalled {
            return;
        }
        self.0.stalled.store(stalled, Ordering::Release);
        if stalled {
            let locked = self.0.lock();
            let in_flight = |seq| locked.state.is_in_flight(seq);
            self.0.hub.watchers.stalled(self.0.number, in_flight);
        }
    }
}

/// What all handles of a queue share.
pub(super) struct QueueShared {
    pub(super) number: SubscriptionNumber,
    pub(super) counters: Counters,
    hub: Arc<Hub>,
    locked: Mutex<Locked>,
    changed: Notify,
    /// What its lane does with deliveries that are due.
    flow: Mutex<Flow>,
    /// Its lane attempts nothing for now.
    stalled: AtomicBool,
    /// Its deliveries are held.
    held: AtomicBool,
    /// It is ordered by key.
    keyed: AtomicBool,
}

struct Locked {
    state: QueueState,
    /// A lane waits in [`Queue::ready`].
    waiting: bool,
}

impl QueueShared {
    /// A queue; `in_book` is when the oldest of its deliveries in the book was accepted, if there are any.
    pub(super) fn new(
        number: SubscriptionNumber,
        hub: &Arc<Hub>,
        counters: Counters,
        in_book: Option<Timestamp>,
    ) -> Arc<Self> {
        let state = QueueState::new(hub.bounds, Arc::clone(&hub.budget), in_book);
        let queue = Arc::new(Self {
            number,
            counters,
            hub: Arc::clone(hub),
            locked: Mutex::new(Locked {
                state,
                waiting: false,
            }),
            changed: Notify::new(),
            flow: Mutex::default(),
            stalled: AtomicBool::new(false),
            held: AtomicBool::new(false),
            keyed: AtomicBool::new(false),
        });
        let mut queues = hub.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.push(Arc::downgrade(&queue));
        drop(queues);
        queue
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one step, wakes a lane that waits, and gives what the step gives.
    pub(super) fn step<T>(&self, step: impl FnOnce(&mut QueueState) -> T) -> T {
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

    fn ask(self: &Arc<Self>, wants: refill::Wants) {
        if let Some((after, limit)) = wants.refill {
            let queue = Arc::clone(self);
            self.hub.book.command(Command::Refill {
                queue,
                after,
                limit,
            });
        }
        if let Some((after, limit)) = wants.due_refill {
            let queue = Arc::clone(self);
            self.hub.book.command(Command::DueRefill {
                queue,
                after,
                limit,
            });
        }
        for wanted in wants.followers {
            let queue = Arc::clone(self);
            self.hub.book.command(Command::Followers {
                queue,
                wanted,
                limit: self.hub.bounds.refill.min(FOLLOWERS_MAX),
            });
        }
        if let Some(limit) = wants.blockers {
            let queue = Arc::clone(self);
            self.hub.book.command(Command::Blockers { queue, limit });
        }
        if !wants.loads.is_empty() {
            let jobs = wants.loads.into_iter().map(|load| ReadJob::Load {
                queue: Arc::clone(self),
                load,
            });
            self.hub.reader.submit(jobs);
        }
    }

    /// Takes a delivery that was committed.
    pub(super) fn commit(&self, entry: Entry, body: impl FnOnce() -> Body) {
        self.step(|state| state.commit(entry, body));
    }

    /// Takes an outcome that is written; `entry` is the delivery before the attempt.
    pub(super) fn settle(&self, entry: Entry, next: Next) {
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

    /// Takes an event that was read back, or that it could not be read.
    pub(super) fn loaded(&self, seq: EventSeq, body: Option<Body>) {
        let now = self.hub.clock.steady();
        self.step(|state| state.loaded(seq, body, now));
    }

    pub(super) fn refilled(&self, answer: Refilled) {
        self.step(|state| state.refilled(answer));
    }

    pub(super) fn due_refilled(&self, answer: DueRefilled) {
        self.step(|state| state.due_refilled(answer));
    }

    /// Tells whoever waits for the first attempt of a delivery that there is none for now.
    pub(super) fn is_held_back(&self, seq: EventSeq) {
        self.hub.watchers.cannot_be_attempted(self.number, seq);
    }

    /// Notes whether its deliveries are held.
    pub(super) fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Whether its lane attempts nothing for now.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    pub(super) fn followers(&self, answer: Followers) {
        self.step(|state| state.followers(answer));
    }

    pub(super) fn blockers(&self, dead: &[(EventSeq, u64)], complete: bool) {
        self.step(|state| state.blockers(dead, complete));
    }

    /// Whether the keys of its deliveries matter.
    pub(super) fn is_keyed(&self) -> bool {
        self.keyed.load(Ordering::Relaxed)
    }

    /// Whether deliveries of this key wait for each other.
    pub(super) fn is_ordered(&self, key: u64) -> bool {
        self.lock().state.is_ordered(key)
    }

    /// Whether a delivery of this key that dies blocks what follows it.
    pub(super) fn blocks(&self, key: u64) -> bool {
        self.lock().state.blocks(key)
    }

    /// How its deliveries wait for each other.
    pub(super) fn order(&self) -> (Order, WhenStuck) {
        self.lock().state.order()
    }

    /// How many deliveries are pending.
    pub(super) fn pending(&self) -> u64 {
        self.counters.pending.load(Ordering::Relaxed)
    }

    /// Whether the book has to be asked for the oldest pending delivery.
    pub(super) fn is_partial(&self) -> bool {
        self.lock().state.is_partial()
    }

    pub(super) fn set_book_oldest(&self, accepted_at: Option<Timestamp>) {
        self.lock().state.set_book_oldest(accepted_at);
    }
}

impl fmt::Debug for QueueShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("subscription", &self.number)
            .finish_non_exhaustive()
    }
}
