//! Reads events back from the journal, in a thread of its own: for deliveries whose event left memory, and to compare
//! an event with an earlier one of the same given id.
//!
//! What has gathered while the last batch was read is read in the order of its places, and an event wanted by several
//! queues is read once. The inbox is bounded by those who fill it: queues stage a bounded number of deliveries, and
//! each acceptance under way asks for one event at a time.

use std::mem;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tracing::error;

use crate::store::budget::StoredEvent;
use crate::store::hub::Hub;
use crate::store::journal::{Damage, Journal, JournalError, Place};
use crate::store::queue::{Load, QueueShared};
use crate::store::record::Accepted;

/// Something to read.
#[derive(Debug)]
pub(super) enum ReadJob {
    /// The event of a delivery that is about to be attempted.
    Load {
        /// Who wants it.
        queue: Arc<QueueShared>,
        /// Which.
        load: Load,
    },
    /// An event for somebody else.
    Read {
        /// Where it is.
        place: Place,
        /// Who wants it.
        reply: oneshot::Sender<Result<Accepted, JournalError>>,
    },
    /// Where a segment is damaged.
    Examine {
        /// Which.
        segment: u32,
        /// Who wants to know.
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

    /// Ends the reader after the batch under way.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.jobs.clear();
        self.changed.notify_one();
    }

    /// Waits for jobs; none when the reader is to end.
    fn next(&self) -> Option<Vec<ReadJob>> {
        let mut state = self.state.lock();
        let is_idle = |state: &mut Waiting| state.jobs.is_empty() && !state.stopped;
        self.changed.wait_while(&mut state, is_idle);
        (!state.stopped).then(|| mem::take(&mut state.jobs))
    }
}

/// The reader's thread: until [`Inbox::stop`].
pub(super) fn run<T: Send + 'static>(journal: &Journal<T>, hub: &Hub) {
    while let Some(mut jobs) = hub.reader.next() {
        jobs.sort_by_key(ReadJob::place);
        let mut last: Option<(Place, Arc<StoredEvent>)> = None;
        for job in jobs {
            match job {
                ReadJob::Load { queue, load } => {
                    let shared = last.as_ref().filter(|(place, _)| *place == load.place);
                    let body = match shared {
                        Some((_, body)) => Some(Arc::clone(body)),
                        None => {
                            let read = read(journal, load.place);
                            if read.as_ref().is_err_and(JournalError::is_damage) {
                                hub.damaged
                                    .found((queue.number, load.seq), hub.clock.steady());
                            }
                            read.ok()
                                .filter(|accepted| accepted.seq == load.seq)
                                .map(|accepted| StoredEvent::new(accepted.event, load.permit))
                        }
                    };
                    last = body.clone().map(|body| (load.place, body));
                    queue.loaded(load.seq, body);
                }
                ReadJob::Read { place, reply } => {
                    // Who asked may have gone: nobody is waiting then, and nothing is to be done.
                    reply.send(read(journal, place)).ok();
                }
                ReadJob::Examine { segment, reply } => {
                    reply.send(journal.damages(segment)).ok();
                }
            }
        }
    }
}

fn read<T: Send + 'static>(journal: &Journal<T>, place: Place) -> Result<Accepted, JournalError> {
    journal.read(place).inspect_err(|error| {
        error!(
            %error,
            segment = place.segment,
            offset = place.offset,
            "an event cannot be read back"
        );
    })
}
