//! Records the outcomes of attempts.
//!
//! An outcome is appended before its consequence is visible: the delivery stays in flight until its record is written.
//! If the journal has no room for it, the lane waits; the outcome is not discarded.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::{Clock, Next, Outcome};
use crate::store::StoreError;
use crate::store::appender::Appender;
use crate::store::completions::{Settled, Token};
use crate::store::journal::{AppendError, Durability};
use crate::store::queue::Lease;
use crate::store::record::{Attempted, Record};
use crate::store::watch::{FirstAttempt, Watchers};

/// The pause before the next try while the journal is overloaded.
const OVERLOADED_PAUSE: Duration = Duration::from_millis(5);
/// The pause before the next try while the disk is full.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// An outcome that is not in the journal yet.
struct Recording {
    by: Arc<Outcomes>,
    lease: Lease,
    record: Record,
    next: Next,
    /// The report for the request that waits for it, if one does.
    first: Option<Box<FirstAttempt>>,
    durability: Durability,
}

/// Records outcomes.
pub(super) struct Outcomes {
    pub(super) appender: Arc<Appender>,
    pub(super) watchers: Arc<Watchers>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Outcomes {
    /// See [`Store::settle`](crate::store::Store::settle).
    pub(super) fn settle(
        self: &Arc<Self>,
        lease: Lease,
        outcome: Outcome,
        next: Next,
        urgent: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let entry = lease.entry();
        let dead = matches!(next, Next::Dead(_));
        let key = (lease.queue().number, entry.seq);
        let first = self.watchers.of_attempt(key, &outcome, next);
        let record = Record::Attempted(Attempted {
            blocks: dead && lease.queue().blocks(entry.key),
            since: entry.since,
            seq: entry.seq,
            subscription: lease.queue().number,
            attempt: lease.attempt(),
            recorded_at: self.clock.steady(),
            outcome,
            next,
        });
        let ordered = lease.queue().is_ordered(entry.key);
        let recording = Recording {
            by: Arc::clone(self),
            lease,
            record,
            next,
            first,
            // Deliveries that follow in order must not be made before this outcome is durable.
            durability: match (ordered, urgent) {
                (true, _) => Durability::SyncOutcome,
                (false, true) => Durability::WriteNow,
                (false, false) => Durability::Write,
            },
        };
        let by = Arc::clone(self);
        let appended = recording.append();
        async move {
            let written = match appended {
                Ok(written) => written,
                Err(refused) => append_later(refused).await?,
            };
            written.await.map_err(|_| by.appender.failure.reason())
        }
    }
}

impl Recording {
    /// Appends the outcome. From then on the lease no longer gives the delivery back: its record decides.
    fn append(self) -> Result<oneshot::Receiver<()>, Box<(Self, AppendError)>> {
        let (reply, written) = oneshot::channel();
        let token = Token::Settled(Settled {
            queue: Arc::clone(self.lease.queue()),
            entry: self.lease.entry(),
            next: self.next,
            first: self.first.clone(),
            reply,
        });
        let records = std::slice::from_ref(&self.record);
        match self.by.appender.append(records, self.durability, token) {
            Ok(()) => {
                self.lease.close();
                Ok(written)
            }
            Err(error) => Err(Box::new((self, error))),
        }
    }
}

/// Retries until the journal takes the outcome or has failed. Dropped before that, it gives the delivery back.
async fn append_later(
    mut refused: Box<(Recording, AppendError)>,
) -> Result<oneshot::Receiver<()>, StoreError> {
    loop {
        let (recording, error) = *refused;
        let failure = &recording.by.appender.failure;
        let pause = match error {
            AppendError::Overloaded => OVERLOADED_PAUSE,
            AppendError::Full => FULL_PAUSE,
            AppendError::TooLarge => return Err(failure.reason()),
            AppendError::Failed(error) => return Err(StoreError::of_journal(&error)),
        };
        if failure.is_set() {
            return Err(failure.reason());
        }
        tokio::time::sleep(pause).await;
        match recording.append() {
            Ok(written) => return Ok(written),
            Err(again) => refused = again,
        }
    }
}
