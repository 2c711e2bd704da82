//! Whether and why the store has failed.

use std::sync::OnceLock;

use tokio::sync::Notify;

use crate::store::error::StoreError;

/// Whether and why the store has failed. The first reason stays.
#[derive(Debug, Default)]
pub(super) struct Failure {
    reason: OnceLock<StoreError>,
    raised: Notify,
}

impl Failure {
    /// Fails the store, unless it has failed before.
    pub(super) fn set(&self, error: StoreError) {
        if self.reason.set(error).is_ok() {
            self.raised.notify_waiters();
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.reason.get().is_some()
    }

    pub(super) fn get(&self) -> Option<StoreError> {
        self.reason.get().cloned()
    }

    /// The reason; `Closed` if the store has not failed.
    pub(super) fn reason(&self) -> StoreError {
        self.get().unwrap_or(StoreError::Closed)
    }

    /// Resolves when the store has failed.
    pub(super) async fn raised(&self) -> StoreError {
        loop {
            let raised = self.raised.notified();
            if let Some(reason) = self.get() {
                return reason;
            }
            raised.await;
        }
    }
}
