//! The changes of operations: from the record on disk through the index to the queues.
//!
//! An operation claims its deliveries and appends its records with these changes as their token. From then on the
//! changes proceed without it, so a caller that goes away leaves nothing half done. The index's thread applies them to
//! the queues once the index has the records: all that the index answered before is in memory by then. Operations take
//! turns: the turn is kept with the changes and ends with them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedMutexGuard, oneshot};

use crate::domain::{EventId, EventSeq, Timestamp};
use crate::store::entry::Entry;
use crate::store::index::Inbox as IndexInbox;
use crate::store::journal::Place;
use crate::store::queue::QueueShared;

/// A change to deliveries of one queue.
#[derive(Debug)]
pub(super) enum Change {
    /// A pending one is cancelled.
    Cancelled(Entry),
    /// A dead one is cancelled.
    Buried(Entry),
    /// A pending one is dead without an attempt.
    Died(Entry, EventId),
    /// One that was attempted before is due now.
    Hastened {
        /// The pending delivery.
        entry: Entry,
        /// When it was due.
        due: Timestamp,
        /// The time from which it is due now, as in the index.
        at: Timestamp,
    },
    /// One that had ended is pending again.
    Requeued {
        /// The delivery as it is pending now.
        entry: Entry,
        /// When it is due.
        at: Timestamp,
        /// It was a dead letter.
        was_dead: bool,
    },
    /// All that were pending are cancelled.
    AllCancelled {
        /// How many.
        count: u64,
        /// Bytes of their bodies.
        bytes: u64,
    },
    /// Events of deliveries were copied to other places, which are known once the copies are committed.
    Relocated(HashMap<EventSeq, Place>),
}

/// A claim on deliveries of one queue, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    queue: Arc<QueueShared>,
    /// `None`: all.
    seqs: Option<Vec<EventSeq>>,
}

impl Claim {
    /// Claims a delivery; `None` while an attempt of it is in flight.
    pub(super) fn one(queue: &Arc<QueueShared>, seq: EventSeq) -> Option<Self> {
        queue.step(|state| state.claim(seq)).then(|| Self {
            queue: Arc::clone(queue),
            seqs: Some(vec![seq]),
        })
    }

    /// Claims those of these deliveries of a queue that have no attempt in flight.
    pub(super) fn those_free(queue: &Arc<QueueShared>, seqs: Vec<EventSeq>) -> Self {
        let free = queue.step(|state| {
            let seqs = seqs.into_iter();
            seqs.filter(|seq| state.claim(*seq)).collect()
        });
        Self {
            queue: Arc::clone(queue),
            seqs: Some(free),
        }
    }

    /// Claims all deliveries of a queue; `None` while an attempt of any is in flight.
    pub(super) fn all(queue: &Arc<QueueShared>) -> Option<Self> {
        queue.step(|state| state.claim_all()).then(|| Self {
            queue: Arc::clone(queue),
            seqs: None,
        })
    }

    /// The queue of the deliveries.
    pub(super) fn queue(&self) -> &Arc<QueueShared> {
        &self.queue
    }

    /// The deliveries claimed; empty if all are claimed.
    pub(super) fn seqs(&self) -> &[EventSeq] {
        self.seqs.as_deref().unwrap_or_default()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.queue.step(|state| match &self.seqs {
            Some(seqs) => seqs.iter().for_each(|seq| state.release(*seq)),
            None => state.release_all(),
        });
    }
}

/// The changes of one operation, on their way.
pub(super) struct Changes {
    pub(super) changes: Vec<(Arc<QueueShared>, Change)>,
    pub(super) claims: Vec<Claim>,
    /// The events that the records copy, in their order; empty unless they are copies.
    pub(super) moved: Vec<EventSeq>,
    pub(super) now: Timestamp,
    /// The turn of the operation.
    pub(super) turn: OwnedMutexGuard<()>,
    /// Notified when all is done.
    pub(super) reply: oneshot::Sender<()>,
}

impl Changes {
    /// Called when the records are committed in these places: counts the changes and passes them on to the index.
    pub(super) fn committed(mut self: Box<Self>, index: &IndexInbox, places: &[Place]) {
        let moved: HashMap<_, _> = self
            .moved
            .iter()
            .copied()
            .zip(places.iter().copied())
            .collect();
        for (queue, change) in &mut self.changes {
            count(queue, change);
            if let Change::Relocated(to) = change {
                to.clone_from(&moved);
            }
        }
        let mut changes = Some(self);
        index.submit(move |_| {
            if let Some(changes) = changes.take() {
                changes.tell();
            }
            Ok(())
        });
    }

    /// Called when the index has the records: changes the queues, ends the turn and notifies the waiting caller.
    fn tell(self) {
        let Self {
            changes,
            claims,
            moved: _,
            now,
            turn,
            reply,
        } = self;
        for (queue, change) in changes {
            if let Change::Cancelled(entry) | Change::Died(entry, _) = &change {
                queue.is_held_back(entry.seq);
            }
            queue.step(|state| match change {
                Change::Cancelled(entry) => state.cancelled(&entry),
                Change::Died(entry, _) => state.died(&entry),
                Change::Buried(entry) => state.revived(entry.key, entry.seq, now),
                Change::Hastened { entry, due, at } => state.hastened(entry, due, at),
                Change::Requeued { entry, at, .. } => state.requeued(entry, at),
                Change::AllCancelled { .. } => state.all_cancelled(),
                Change::Relocated(places) => state.relocated(&places),
            });
        }
        drop(claims);
        drop(turn);
        // The caller may be gone.
        reply.send(()).ok();
    }
}

/// Counts a change that is committed.
fn count(queue: &QueueShared, change: &Change) {
    let counters = &queue.counters;
    match change {
        Change::Cancelled(entry) => counters.cancel(1, entry.body_bytes.into()),
        Change::Buried(_) => counters.bury(1),
        Change::Died(entry, event) => counters.give_up(entry.body_bytes.into(), *event),
        Change::Requeued {
            entry, was_dead, ..
        } => {
            counters.begin(entry.body_bytes.into());
            if *was_dead {
                counters.bury(1);
            }
        }
        Change::AllCancelled { count, bytes } => counters.cancel(*count, *bytes),
        Change::Hastened { .. } | Change::Relocated(_) => {}
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}
