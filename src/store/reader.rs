//! Reads events back from the journal, in a thread of its own: for deliveries whose event left memory, and to compare
//! an event with an earlier one of the same given id.
//!
//! Jobs that gathered while the last batch was read are sorted by place, and an event that several queues need is read
//! once. The senders bound the inbox: queues stage a bounded number of deliveries, and each acceptance under way asks
//! for one event at a time.

use std::sync::Arc;
use std::{fmt, mem};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tracing::error;

use crate::domain::EventSeq;
use crate::store::budget::{Body, Permit, StoredEvent};
use crate::store::journal::{Damage, JournalError, Place, ReadJournal};
use crate::store::record::Accepted;

/// An event to be read back for a delivery that is about to be attempted.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) seq: EventSeq,
    pub(super) place: Place,
    pub(super) permit: Permit,
}

/// The result of a [`Load`].
#[derive(Debug, Clone)]
pub(super) enum Loaded {
    /// The event.
    Event(Body),
    /// The bytes read are not those that were written.
    Damaged,
    /// It cannot be read now.
    Unreadable,
}

/// Receives the results of loads.
pub(super) trait Loading: fmt::Debug + Send + Sync {
    fn loaded(&self, seq: EventSeq, loaded: Loaded);
}

/// Something to read.
#[derive(Debug)]
pub(super) enum ReadJob {
    /// The event of a delivery that is about to be attempted.
    Load {
        /// The request.
        load: Load,
        /// The queue that asks.
        reply: Arc<dyn Loading>,
    },
    /// An event for another purpose.
    Read {
        /// Where it is.
        place: Place,
        /// Receives the event.
        reply: oneshot::Sender<Result<Accepted, JournalError>>,
    },
    /// The damaged places of a segment.
    Examine {
        /// The segment.
        segment: u32,
        /// Receives the damaged places.
        reply: oneshot::Sender<Result<Vec<Damage>, JournalError>>,
    },
}

impl ReadJob {
    fn place(&self) -> Place {
        match self {
            Self::Load { load, .. } => load.place,
            Self::Read { place, .. } => *place,
            Self::Examine { segment, .. } => Place {
                segment: *segment,
                offset: 0,
                length: 0,
            },
        }
    }
}

/// Jobs that wait for the reader.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: Vec<ReadJob>,
    stopped: bool,
}

impl Inbox {
    /// Adds jobs. After [`Inbox::stop`] they are dropped.
    pub(super) fn submit(&self, jobs: impl IntoIterator<Item = ReadJob>) {
        let mut state = self.state.lock();
        if !state.stopped {
            state.jobs.extend(jobs);
            self.changed.notify_one();
        }
    }

    /// Reads an event back; `None` if the store is closing.
    pub(super) async fn read(&self, place: Place) -> Option<Result<Accepted, JournalError>> {
        let (reply, read) = oneshot::channel();
        self.submit([ReadJob::Read { place, reply }]);
        read.await.ok()
    }

    /// Finds out where a segment is damaged; `None` if the store is closing.
    pub(super) async fn examine(&self, segment: u32) -> Option<Result<Vec<Damage>, JournalError>> {
        let (reply, examined) = oneshot::channel();
        self.submit([ReadJob::Examine { segment, reply }]);
        examined.await.ok()
    }

    /// Ends the reader after the batch under way.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.jobs.clear();
        self.changed.notify_one();
    }

    /// Waits for jobs; `None` when the reader must end.
    fn next(&self) -> Option<Vec<ReadJob>> {
        let mut state = self.state.lock();
        let is_idle = |state: &mut Waiting| state.jobs.is_empty() && !state.stopped;
        self.changed.wait_while(&mut state, is_idle);
        (!state.stopped).then(|| mem::take(&mut state.jobs))
    }
}

/// The reader's thread: runs until [`Inbox::stop`].
pub(super) fn run(journal: &dyn ReadJournal, inbox: &Inbox) {
    while let Some(mut jobs) = inbox.next() {
        jobs.sort_by_key(ReadJob::place);
        let mut last: Option<(Place, Body)> = None;
        for job in jobs {
            match job {
                ReadJob::Load { load, reply } => {
                    let Load { seq, place, permit } = load;
                    let shared = last.as_ref().filter(|(known, _)| *known == place);
                    let loaded = match shared {
                        Some((_, body)) => Loaded::Event(Arc::clone(body)),
                        None => match read(journal, place) {
                            Ok(accepted) if accepted.seq == seq => {
                                Loaded::Event(StoredEvent::new(accepted.event, permit))
                            }
                            Err(error) if error.is_damage() => Loaded::Damaged,
                            Ok(_) | Err(_) => Loaded::Unreadable,
                        },
                    };
                    last = match &loaded {
                        Loaded::Event(body) => Some((place, Arc::clone(body))),
                        Loaded::Damaged | Loaded::Unreadable => None,
                    };
                    reply.loaded(seq, loaded);
                }
                ReadJob::Read { place, reply } => {
                    // The receiver may be gone: then there is nothing to do.
                    reply.send(read(journal, place)).ok();
                }
                ReadJob::Examine { segment, reply } => {
                    reply.send(journal.damages(segment)).ok();
                }
            }
        }
    }
}

fn read(journal: &dyn ReadJournal, place: Place) -> Result<Accepted, JournalError> {
    journal.read(place).inspect_err(|error| {
        error!(
            %error,
            segment = place.segment,
            offset = place.offset,
            "an event cannot be read back"
        );
    })
}
