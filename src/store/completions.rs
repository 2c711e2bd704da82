//! Results that the journal's thread leaves for the pump: the fate of each batch, with the token appended with it.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::domain::Next;
use crate::metrics::StoreMetrics;
use crate::store::changes::Changes;
use crate::store::entry::Entry;
use crate::store::failure::Failure;
use crate::store::index::Inbox as IndexInbox;
use crate::store::journal::{Committed, Group, JournalError, Place};
use crate::store::queue::QueueShared;
use crate::store::record::Record;
use crate::store::watch::FirstAttempt;
use crate::store::{AcceptError, Receipt, StoreError};

/// A value that the journal gives back with each batch it has written.
#[derive(Debug)]
pub(super) enum Token {
    /// Events were accepted.
    Accepted(Box<Batch>),
    /// An attempt was recorded.
    Settled(Settled),
    /// An operation changed deliveries.
    Changed(Box<Changes>),
    /// Nothing waits for it.
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
    /// The report for the request that waits for it, if one does.
    pub(super) first: Option<Box<FirstAttempt>>,
    pub(super) reply: oneshot::Sender<()>,
}

/// The result of writing batches.
#[derive(Debug)]
pub(super) enum Fate {
    /// A group was committed: its batches, each with the places of its records.
    Committed(Vec<(Token, Vec<Place>)>),
    /// There was no space for these batches of events.
    Refused(Vec<Token>),
}

/// Results that the journal's thread has left and the pump has not yet picked up.
#[derive(Debug, Default)]
pub(super) struct Completions {
    laid_down: Mutex<LaidDown>,
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct LaidDown {
    pub(super) fates: Vec<Fate>,
    pub(super) closed: bool,
}

impl Completions {
    pub(super) fn push(&self, fate: Fate) {
        {
            let mut laid_down = self.lock();
            if laid_down.closed {
                return;
            }
            laid_down.fates.push(fate);
        }
        self.changed.notify_one();
    }

    /// Marks that nothing more will come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn take(&self) -> LaidDown {
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

/// The journal's side of the completions.
pub(super) struct Sink {
    pub(super) completions: Arc<Completions>,
    pub(super) index: Arc<IndexInbox>,
    pub(super) failure: Arc<Failure>,
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
        self.completions.push(Fate::Committed(batches));
        self.index.committed(records, bytes);
    }

    fn refused(&mut self, batches: Vec<Token>) {
        self.completions.push(Fate::Refused(batches));
    }

    fn failed(&mut self, error: &JournalError, waiting: Vec<Token>) {
        self.failure.set(StoreError::of_journal(error));
        drop(waiting);
    }
}
