//! Recording what became of attempts, and the run-time state of subscriptions.
//!
//! An outcome is appended before its consequence is visible: the delivery stays in flight until its record is written.
//! A journal that has no room for it makes the lane wait, it does not make the attempt undone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::{Next, Outcome, SubscriptionNumber};
use crate::store::journal::{AppendError, Durability};
use crate::store::names::Known;
use crate::store::pump::{Settled, Token};
use crate::store::queue::Lease;
use crate::store::record::{Attempted, Record};
use crate::store::watch::FirstAttempt;
use crate::store::{Inner, StoreError, SubscriptionState};

/// How long an outcome waits for the forming group to be written.
const OVERLOADED_PAUSE: Duration = Duration::from_millis(5);
/// How long an outcome waits for room on the disk.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// An outcome that is not in the journal yet.
struct Recording {
    store: Arc<Inner>,
    lease: Lease,
    record: Record,
    next: Next,
    /// What somebody waits to be told of it.
    first: Option<Box<FirstAttempt>>,
    durability: Durability,
}

impl Inner {
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
        let first = self.hub.watchers.of_attempt(key, &outcome, next);
        let record = Record::Attempted(Attempted {
            blocks: dead && lease.queue().blocks(entry.key),
            since: entry.since,
            seq: entry.seq,
            subscription: lease.queue().number,
            attempt: lease.attempt(),
            recorded_at: self.hub.clock.steady(),
            outcome,
            next,
        });
        let ordered = lease.queue().is_ordered(entry.key);
        let recording = Recording {
            store: Arc::clone(self),
            lease,
            record,
            next,
            first,
            // What follows in order must not be delivered before this is sure.
            durability: match (ordered, urgent) {
                (true, _) => Durability::SyncOutcome,
                (false, true) => Durability::WriteNow,
                (false, false) => Durability::Write,
            },
        };
        let store = Arc::clone(self);
        let appended = recording.append();
        async move {
            let written = match appended {
                Ok(written) => written,
                Err(refused) => append_later(refused).await?,
            };
            written.await.map_err(|_| store.hub.failure.reason())
        }
    }

    /// See [`Store::set_state`](crate::store::Store::set_state).
    pub(super) fn set_state(&self, number: SubscriptionNumber, state: SubscriptionState) {
        // The intake's lock keeps a name before what needs it, as when events are accepted.
        let _intake = self.intake();
        let mut names = self.names.write();
        if let Some(known) = names.get_mut(number) {
            known.queue.set_held(state.held_since.is_some());
            known.state = state;
            known.saved = false;
            self.save(known);
        }
    }

    /// Records states that could not be recorded when they were set; answers whether all are recorded now.
    pub(super) fn save_states(&self) -> bool {
        if !self.unsaved_states.swap(false, Ordering::Relaxed) {
            return true;
        }
        let _intake = self.intake();
        let mut names = self.names.write();
        for known in names.iter_mut().filter(|known| !known.saved) {
            self.save(known);
        }
        !self.unsaved_states.load(Ordering::Relaxed)
    }

    /// Appends the state of a subscription, and its name if need be.
    fn save(&self, known: &mut Known) {
        let mut records = Vec::new();
        if !known.named {
            records.push(known.naming());
        }
        records.push(Record::SubscriptionState {
            number: known.queue.number,
            state: known.state.clone(),
        });
        let appended = self
            .journal
            .append_now(&records, Durability::Write, Token::Nobody);
        if appended.is_ok() {
            known.named = true;
            known.saved = true;
        } else {
            self.unsaved_states.store(true, Ordering::Relaxed);
        }
    }
}

impl Recording {
    /// Appends the outcome. From then on the delivery is given back by nobody: its record decides.
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
        match self.store.journal.append(records, self.durability, token) {
            Ok(asleep) => {
                self.store.nudge(asleep);
                self.lease.close();
                Ok(written)
            }
            Err(error) => Err(Box::new((self, error))),
        }
    }
}

/// Tries until the journal takes the outcome or has failed. Dropped before that, it gives the delivery back.
async fn append_later(
    mut refused: Box<(Recording, AppendError)>,
) -> Result<oneshot::Receiver<()>, StoreError> {
    loop {
        let (recording, error) = *refused;
        let failure = &recording.store.hub.failure;
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
