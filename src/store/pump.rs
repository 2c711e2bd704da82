//! From the journal's thread back to the tasks: hands commits to waiting callers and to the queues.
//!
//! The journal's thread only leaves its results and wakes one task, the pump: a wake from another thread costs a system
//! call, so there is one per group and none per event. The pump does the rest in the runtime, in the order of the
//! journal.
//!
//! Posts are answered as soon as their group is committed. Its deliveries are handed to the queues afterwards, in
//! parts, between which other tasks run and later groups are answered. So no caller waits for the millions of
//! deliveries that one batch may have.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::yield_now;

use crate::store::accept::Accepting;
use crate::store::budget::{Budget, Permit, StoredEvent};
use crate::store::changes::Changes;
use crate::store::completions::{Batch, Completions, Fate, Token};
use crate::store::draft::undo;
use crate::store::entry::Entry;
use crate::store::journal::Place;
use crate::store::names::Names;
use crate::store::record::{Accepted, Record};
use crate::store::{AcceptError, StoreError};

/// The pause before a state that could not be recorded is tried again.
const STATE_PAUSE: Duration = Duration::from_secs(1);

/// How many deliveries are handed to queues at once, some milliseconds of work: this many …
const PART: usize = 20_000;
/// … or, if more, this fraction of all that wait, so that they do not arrive faster than they are handed over.
const PART_OF: usize = 64;

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
    /// The changes of an operation.
    Changed(Box<Changes>, Vec<Place>),
}

/// Hands on what is committed.
pub(super) struct Pump {
    pub(super) completions: Arc<Completions>,
    pub(super) accepting: Arc<Accepting>,
    pub(super) budget: Arc<Budget>,
}

impl Pump {
    /// Hands on what is committed until the store is closed or has failed.
    pub(super) async fn run(&self) -> Result<(), StoreError> {
        let mut coming = Coming::new();
        loop {
            let changed = self.completions.changed.notified();
            let laid_down = self.completions.take();
            for fate in laid_down.fates {
                match fate {
                    Fate::Committed(group) => self.committed(group, &mut coming),
                    Fate::Refused(tokens) => self.refused(tokens),
                }
            }
            let idle = coming.is_empty();
            self.hand_over(&mut coming);
            if let Some(error) = self.accepting.subscriptions.appender.failure.get() {
                // Waiting callers see the failure because their senders are dropped, here and from now on.
                self.completions.close();
                drop(self.completions.take());
                self.accepting.intake().abandon();
                self.accepting.watchers.abandon();
                return Err(error);
            }
            match (idle, laid_down.closed) {
                (true, true) => return Ok(()),
                (true, false) if self.accepting.subscriptions.save_states() => {
                    tokio::select! {
                        () = changed => {}
                        _ = self.accepting.subscriptions.appender.failure.raised() => {}
                    }
                }
                (true, false) => {
                    tokio::select! {
                        () = changed => {}
                        _ = self.accepting.subscriptions.appender.failure.raised() => {}
                        () = tokio::time::sleep(STATE_PAUSE) => {}
                    }
                }
                (false, _) if coming.is_empty() => {}
                (false, _) => yield_now().await,
            }
        }
    }

    /// Answers posts and settled attempts; queues the rest for the hand-over.
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
                    last = records.last().and_then(accepted).map(|it| it.seq).or(last);
                    if receipts
                        .iter()
                        .any(|receipt| !receipt.overflowed.is_empty())
                    {
                        self.died_at_once(&records, &places);
                    }
                    // The caller may be gone; the events stay accepted.
                    reply.send(Ok(receipts)).ok();
                    let events = records.iter().filter_map(accepted);
                    let deliveries = events.map(weight).sum();
                    self.accepting
                        .coming
                        .fetch_add(deliveries, Ordering::Relaxed);
                    coming.push_back(Committing::Events {
                        records,
                        places,
                        next: 0,
                    });
                }
                Token::Settled(settled) => {
                    // Its queue already has the delivery, so the outcome need not wait for what is coming.
                    settled.queue.settle(settled.entry, settled.next);
                    if let Some(first) = settled.first {
                        self.accepting.watchers.resolve(settled.entry.seq, *first);
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
            self.accepting.intake().committed(last);
        }
    }

    /// Reports deliveries that were dead from the start and block to their queues: at once, because those behind them
    /// may already be read from the index.
    fn died_at_once(&self, records: &[Record], places: &[Place]) {
        let names = self.accepting.subscriptions.read();
        for (accepted, place) in records.iter().filter_map(accepted).zip(places) {
            let entry = Entry::accepted(accepted, *place, self.accepting.key);
            for (number, death) in &accepted.deliveries {
                let known = names.get(*number);
                if let Some(known) = known.filter(|_| death.is_some_and(|death| death.blocks)) {
                    let entry = entry.of(accepted, *number);
                    known.queue.step(|state| state.died_at_once(&entry));
                }
            }
        }
    }

    /// Hands one part of what is coming to the queues.
    fn hand_over(&self, coming: &mut Coming) {
        if coming.is_empty() {
            return;
        }
        let in_all = &self.accepting.coming;
        let part = PART.max(in_all.load(Ordering::Relaxed) / PART_OF);
        let mut done = 0;
        let names = self.accepting.subscriptions.read();
        while done < part
            && let Some(mut first) = coming.pop_front()
        {
            match first {
                Committing::Events {
                    ref records,
                    ref places,
                    ref mut next,
                } => {
                    let left = records.iter().zip(places).skip(*next);
                    for (record, place) in left {
                        if done >= part {
                            break;
                        }
                        *next += 1;
                        if let Some(accepted) = accepted(record) {
                            self.commit_event(&names, accepted, *place);
                            done += weight(accepted);
                        }
                    }
                    if *next < records.len() {
                        coming.push_front(first);
                    }
                }
                Committing::Changed(changes, places) => {
                    changes.committed(&self.accepting.index, &places);
                }
            }
        }
        in_all.fetch_sub(done, Ordering::Relaxed);
    }

    fn refused(&self, tokens: Vec<Token>) {
        self.accepting.space_wanted.notify_one();
        for token in tokens {
            let Token::Accepted(batch) = token else {
                continue;
            };
            let mut intake = self.accepting.intake();
            let names = self.accepting.subscriptions.read();
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
        let entry = Entry::accepted(accepted, place, self.accepting.key);
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
                        let permit = Permit::of_body(&self.budget, event.body.len());
                        StoredEvent::new(Arc::clone(event), permit)
                    });
                    Arc::clone(body)
                });
                let (seq, watchers) = (entry.seq, &self.accepting.watchers);
                if watchers.any() && known.queue.step(|state| state.is_behind(entry.key, seq)) {
                    watchers.cannot_be_attempted(*number, seq);
                }
            }
        }
    }
}

fn accepted(record: &Record) -> Option<&Accepted> {
    match record {
        Record::Accepted(accepted) => Some(accepted),
        _ => None,
    }
}

/// The cost of handing over an event, in deliveries.
fn weight(accepted: &Accepted) -> usize {
    accepted.deliveries.len().max(1)
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
