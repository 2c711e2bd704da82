//! Appends to the journal, and wakes its thread once for all that is added in one turn of the runtime.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::store::completions::Token;
use crate::store::failure::Failure;
use crate::store::journal::{AppendError, Durability, WriteJournal};
use crate::store::record::Record;

/// Whether writes work: `store_healthy`, `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Healthy,
    /// It works, but the disk is full: no new events.
    Full,
    /// A write or sync failed.
    Failed,
}

/// The journal, for appends from tasks.
#[derive(Debug)]
pub(super) struct Appender {
    pub(super) journal: Arc<dyn WriteJournal<Token>>,
    pub(super) failure: Arc<Failure>,
    /// Notified when something was added while the journal's thread sleeps.
    added: Notify,
}

impl Appender {
    pub(super) fn new(journal: Arc<dyn WriteJournal<Token>>, failure: Arc<Failure>) -> Arc<Self> {
        Arc::new(Self {
            journal,
            failure,
            added: Notify::new(),
        })
    }

    /// Whether writes work.
    pub(super) fn health(&self) -> Health {
        if self.failure.is_set() {
            Health::Failed
        } else if self.journal.is_full() {
            Health::Full
        } else {
            Health::Healthy
        }
    }

    /// Appends a batch; its token comes back when it is committed.
    ///
    /// # Errors
    /// Those of [`WriteJournal::append`].
    pub(super) fn append(
        &self,
        records: &[Record],
        durability: Durability,
        token: Token,
    ) -> Result<(), AppendError> {
        if self.journal.append(records, durability, token)? {
            self.added.notify_one();
        }
        Ok(())
    }

    /// Wakes the journal's thread after all other ready tasks have run: what they add is then in the same group.
    pub(super) async fn wake_journal(&self) -> Infallible {
        loop {
            self.added.notified().await;
            tokio::task::yield_now().await;
            self.journal.wake();
        }
    }
}
