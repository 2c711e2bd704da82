//! From the journal's thread back to the tasks: what was committed reaches those who wait and the queues.
//!
//! The journal's thread only lays down what it wrote and wakes one task, the pump: a wake from another thread costs a
//! system call, so there is one per group and none per event. The pump runs as a task of the application and does
//! the rest in its own thread, in the order of the journal.
//!
//! Who posted is answered as soon as a group is laid down; its deliveries are handed to the queues afterwards, in parts
//! between which other tasks run and later groups are answered. So nobody waits for the millions of deliveries that one
//! batch may lead to.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

use crate::domain::Next;
use crate::metrics::StoreMetrics;
use crate::store::budget::{Permit, StoredEvent};
use crate::store::changes::Changes;
use crate::store::hub::Hub;
use crate::store::journal::{Committed, Group, JournalError, Place};
use crate::store::names::Names;
use crate::store::offer::undo;
use crate::store::queue::{Entry, QueueShared};
use crate::store::record::{Accepted, Record};
use crate::store::watch::FirstAttempt;
use crate::store::{AcceptError, Inner, Receipt, StoreError};

/// How long a state waits that could not be recorded.
const STATE_PAUSE: Duration = Duration::from_secs(1);

/// Deliveries that are handed to queues at one go: some milliseconds.
const PART: usize = 20_000;

/// What the journal gives back with each batch it has written.
#[derive(Debug)]
pub(super) enum Token {
    /// Events were accepted.
    Accepted(Box<Batch>),
    /// An attempt was recorded.
    Settled(Settled),
    /// A verb changed deliveries.
    Changed(Box<Changes>),
    /// Nobody waits.
    Nobody,
}

/// A batch of events on its way.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Arc<Vec<Record>>,
    pub(super) receipts: Vec<Receipt>,
    pub(super) reply: oneshot::Sender<Result<Vec<Receipt>, AcceptError>>,
}

/// An outcome on its way.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) queue: Arc<QueueShared>,
    /// The delivery before the attempt.
    pub(super) entry: Entry,
    pub(super) next: Next,
    /// What somebody waits to be told of it.
    pub(super) first: Option<Box<FirstAttempt>>,
    pub(super) reply: oneshot::Sender<()>,
}

/// What became of batches.
#[derive(Debug)]
enum Fate {
    /// A group was committed: its batches, each with the places of its records.
    Committed(Vec<(Token, Vec<Place>)>),
    /// There was no space for these batches of events.
    Refused(Vec<Token>),
}

/// What the journal's thread has laid down and the pump has not yet picked up.
#[derive(Debug, Default)]
pub(super) struct Completions {
    laid_down: Mutex<LaidDown>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct LaidDown {
    fates: Vec<Fate>,
    closed: bool,
}

impl Completions {
    fn push(&self, fate: Fate) {
        {
            let mut laid_down = self.lock();
            if laid_down.closed {
                return;
            }
            laid_down.fates.push(fate);
        }
        self.changed.notify_one();
    }

    /// Wakes the pump to look at whether the store has failed.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Says that nothing more will come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn take(&self) -> LaidDown {
        let mut laid_down = self.lock();
        LaidDown {
            fates: mem::take(&mut laid_down.fates),
            closed: laid_down.closed,
        }
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, LaidDown> {
        self.laid_down.lock()
    }
}

/// The journal's end of it.
pub(super) struct Sink {
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: StoreMetrics,
}

impl Committed<Token> for Sink {
    fn committed(&mut self, batches: Vec<(Token, Vec<Place>)>, group: Group) {
        let (mut events, mut records, mut bytes) = (0_u32, 0, 0_u64);
        for (token, places) in &batches {
            records += places.len();
            let lengths = places.iter().map(|place| u64::from(place.length));
            bytes += lengths.sum::<u64>();
            if let Token::Accepted(batch) = token {
                events += u32::try_from(batch.records.len()).unwrap_or(u32::MAX);
            }
        }
        if events > 0 {
            self.metrics.commit_seconds.record(group.duration);
            self.metrics.commit_events.record(events);
        }
        self.hub.completions.push(Fate::Committed(batches));
        self.hub.book.committed(records, bytes);
    }

    fn refused(&mut self, batches: Vec<Token>) {
        self.hub.completions.push(Fate::Refused(batches));
    }

    fn failed(&mut self, error: &JournalError, waiting: Vec<Token>) {
        self.hub.fail(StoreError::of_journal(error));
        drop(waiting);
    }
}

/// Events and changes that are committed and not yet handed to the queues, in the order of the journal.
type Coming = VecDeque<Committing>;

/// A batch of them.
enum Committing {
    /// Events, from `next` on, with the places of all.
    Events {
        records: Arc<Vec<Record>>,
        places: Vec<Place>,
        next: usize,
    },
    /// What a verb changed.
    Changed(Box<Changes>, Vec<Place>),
}

impl Inner {
    /// Hands on what is committed until the store is closed or has failed.
    pub(super) async fn pump(&self) -> Result<(), StoreError> {
        let mut coming = Coming::new();
        loop {
            let changed = self.hub.completions.changed.notified();
            let laid_down = self.hub.completions.take();
            for fate in laid_down.fates {
                match fate {
                    Fate::Committed(group) => self.committed(group, &mut coming),
                    Fate::Refused(tokens) => self.refused(tokens),
                }
            }
            let idle = coming.is_empty();
            self.hand_over(&mut coming);
            if let Some(error) = self.hub.failure.get() {
                // Whoever still waits learns of it by what is dropped here and from now on.
                self.hub.completions.close();
                drop(self.hub.completions.take());
                self.intake().abandon();
                self.hub.watchers.abandon();
                return Err(error);
            }
            match (idle, laid_down.closed) {
                (true, true) => return Ok(()),
                (true, false) if self.save_states() => changed.await,
                (true, false) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(STATE_PAUSE) => {}
                    }
                }
                (false, _) if coming.is_empty() => {}
                (false, _) => yield_now().await,
            }
        }
    }

    /// Sees to it that the journal's thread is woken for what was added.
    pub(super) fn nudge(&self, asleep: bool) {
        if asleep {
            self.added.notify_one();
        }
    }

    /// Wakes the journal's thread once whatever else is ready to run has run: what that adds is in the same group.
    pub(super) async fn wake_journal(&self) -> Infallible {
        loop {
            self.added.notified().await;
            yield_now().await;
            self.journal.wake();
        }
    }

    /// Answers who posted and who settled; the rest is coming to the queues.
    fn committed(&self, group: Vec<(Token, Vec<Place>)>, coming: &mut Coming) {
        let mut last = None;
        for (token, places) in group {
            match token {
                Token::Accepted(batch) => {
                    let Batch {
                        records,
                        receipts,
                        reply,
                    } = *batch;
                    if let Some(Record::Accepted(accepted)) = records.last() {
                        last = Some(accepted.seq);
                    }
                    // Who asked may have gone; the events stay accepted.
                    reply.send(Ok(receipts)).ok();
                    coming.push_back(Committing::Events {
                        records,
                        places,
                        next: 0,
                    });
                }
                Token::Settled(settled) => {
                    // Its queue has had the delivery, so it has not to wait for what is coming.
                    settled.queue.settle(settled.entry, settled.next);
                    if let Some(first) = settled.first {
                        self.hub.watchers.resolve(settled.entry.seq, *first);
                    }
                    // A lane that is gone does not wait for the outcome, which stays recorded.
                    settled.reply.send(()).ok();
                }
                Token::Changed(changes) => {
                    coming.push_back(Committing::Changed(changes, places));
                }
                Token::Nobody => {}
            }
        }
        if let Some(last) = last {
            self.intake().committed(last);
        }
    }

    /// Hands about so much of what is coming to the queues as one turn may take.
    fn hand_over(&self, coming: &mut Coming) {
        let mut left = PART;
        let names = self.names.read();
        while let Some(mut first) = coming.pop_front() {
            match first {
                Committing::Events {
                    ref records,
                    ref places,
                    ref mut next,
                } => {
                    while let (Some(record), Some(place)) = (records.get(*next), places.get(*next))
                    {
                        *next += 1;
                        if let Record::Accepted(accepted) = record {
                            self.commit_event(&names, accepted, *place);
                            left = left.saturating_sub(accepted.deliveries.len().max(1));
                        }
                        if left == 0 {
                            coming.push_front(first);
                            return;
                        }
                    }
                }
                Committing::Changed(changes, places) => changes.committed(&self.hub, &places),
            }
        }
    }

    fn refused(&self, tokens: Vec<Token>) {
        self.hub.space_wanted.notify_one();
        for token in tokens {
            let Token::Accepted(batch) = token else {
                continue;
            };
            let mut intake = self.intake();
            let names = self.names.read();
            undo(&names, &batch.records);
            drop(names);
            for record in batch.records.iter() {
                if let Record::Accepted(accepted) = record {
                    intake.refused(accepted.seq);
                }
            }
            drop(intake);
            batch.reply.send(Err(AcceptError::Full)).ok();
        }
    }

    fn commit_event(&self, names: &Names, accepted: &Accepted, place: Place) {
        let event = &accepted.event;
        let entry = Entry::accepted(accepted, place, self.key);
        for (number, death) in &accepted.deliveries {
            let queue = names.get(*number).map(|known| &known.queue);
            if let Some(queue) = queue.filter(|_| death.is_some_and(|death| death.blocks)) {
                let entry = entry.of(accepted, *number);
                queue.step(|state| state.died_at_once(&entry));
            }
        }
        let mut shared: Option<Arc<StoredEvent>> = None;
        let pending = accepted
            .deliveries
            .iter()
            .filter(|(_, dead)| dead.is_none());
        for (number, _) in pending {
            if let Some(known) = names.get(*number) {
                let entry = entry.of(accepted, *number);
                known.queue.commit(entry, || {
                    let body = shared.get_or_insert_with(|| {
                        let permit = Permit::of_body(&self.hub.budget, event.body.len());
                        StoredEvent::new(Arc::clone(event), permit)
                    });
                    Arc::clone(body)
                });
                let (seq, watchers) = (entry.seq, &self.hub.watchers);
                if watchers.any() && known.queue.step(|state| state.is_behind(entry.key, seq)) {
                    watchers.cannot_be_attempted(*number, seq);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
