//! From the journal's thread back to the tasks: what was committed reaches those who wait and the queues.
//!
//! The journal's thread only lays down what it wrote and wakes one task, the pump: a wake from another thread costs a
//! system call, so there is one per group and none per event. The pump runs as a task of the application and does
//! the rest in its own thread, in the order of the journal.

use std::sync::Arc;
use std::time::Duration;

use crate::store::accept::{Accepting, undo};
use crate::store::budget::{Budget, Permit, StoredEvent};
use crate::store::completions::{Completions, Fate, Token};
use crate::store::dedup::DedupKey;
use crate::store::entry::Entry;
use crate::store::journal::Place;
use crate::store::names::Names;
use crate::store::record::{Accepted, Record};
use crate::store::{AcceptError, StoreError};

/// How long a state waits that could not be recorded.
const STATE_PAUSE: Duration = Duration::from_secs(1);

/// Hands on what is committed.
pub(super) struct Pump {
    pub(super) completions: Arc<Completions>,
    pub(super) accepting: Arc<Accepting>,
    pub(super) budget: Arc<Budget>,
    /// Hashes of keys are keyed with it.
    pub(super) key: DedupKey,
}

impl Pump {
    /// Hands on what is committed until the store is closed or has failed.
    pub(super) async fn run(&self) -> Result<(), StoreError> {
        loop {
            let changed = self.completions.changed.notified();
            let laid_down = self.completions.take();
            let idle = laid_down.fates.is_empty();
            self.hand_over(laid_down.fates);
            if let Some(error) = self.accepting.subscriptions.appender.failure.get() {
                // Whoever still waits learns of it by what is dropped here and from now on.
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
                (false, _) => {}
            }
        }
    }

    fn hand_over(&self, fates: Vec<Fate>) {
        for fate in fates {
            match fate {
                Fate::Committed(group) => self.committed(group),
                Fate::Refused(tokens) => self.refused(tokens),
            }
        }
    }

    fn committed(&self, group: Vec<(Token, Vec<Place>)>) {
        let mut batches = Vec::new();
        let mut last = None;
        let names = self.accepting.subscriptions.read();
        for (token, places) in group {
            match token {
                Token::Accepted(batch) => {
                    for (record, place) in batch.records.iter().zip(places) {
                        if let Record::Accepted(accepted) = record {
                            self.commit_event(&names, accepted, place);
                            last = Some(accepted.seq);
                        }
                    }
                    batches.push(batch);
                }
                Token::Settled(settled) => {
                    settled.queue.settle(settled.entry, settled.next);
                    if let Some(first) = settled.first {
                        self.accepting.watchers.resolve(settled.entry.seq, *first);
                    }
                    // A lane that is gone does not wait for the outcome, which stays recorded.
                    settled.reply.send(()).ok();
                }
                Token::Changed(changes) => changes.committed(&self.accepting.book, &places),
                Token::Nobody => {}
            }
        }
        // The intake is locked before the names by those who need both.
        drop(names);
        if let Some(last) = last {
            self.accepting.intake().committed(last);
        }
        for batch in batches {
            // Who asked may have gone; the events stay accepted.
            batch.reply.send(Ok(batch.receipts)).ok();
        }
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

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
