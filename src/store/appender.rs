//! Appends to the journal, and wakes its thread once for what a turn of the runtime adds.

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

/// The journal, for those who append from tasks.
#[derive(Debug)]
pub(super) struct Appender {
    pub(super) journal: Arc<dyn WriteJournal<Token>>,
    pub(super) failure: Arc<Failure>,
    /// The journal's thread sleeps, and something was added.
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

    /// Wakes the journal's thread once whatever else is ready to run has run: what that adds is in the same group.
    pub(super) async fn wake_journal(&self) -> Infallible {
        loop {
            self.added.notified().await;
            tokio::task::yield_now().await;
            self.journal.wake();
        }
    }
}
