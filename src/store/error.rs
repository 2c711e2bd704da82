//! The errors of opening a store, of a store that has failed, of accepting events and of operations.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::store::journal::{AppendError, JournalError};

/// Why a store cannot be opened, or has failed. After a failure the process must end; the next start recovers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made, read or written.
    #[error("the store folder {} cannot be used: expected a folder that this user may write", path.display())]
    Folder {
        /// The folder or file concerned.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process has it open.
    #[error("the store folder {} is in use by {}", path.display(), told(*process))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The id of the process; `None` where the system does not show it.
        process: Option<u32>,
    },
    /// The journal cannot be opened, or a write or sync of it failed.
    #[error(transparent)]
    Journal(Arc<dyn Error + Send + Sync>),
    /// The index has not worked for a minute, or cannot be made at start.
    #[error("the index does not work: expected a usable SQLite database in the store folder")]
    Index(#[source] Arc<dyn Error + Send + Sync>),
    /// The system refused a thread or randomness.
    #[error("the system refused what the store needs to start")]
    System(#[source] Arc<io::Error>),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Converts an error of the journal.
    pub(super) fn of_journal(error: &JournalError) -> Self {
        match error {
            JournalError::Closed => Self::Closed,
            error => Self::Journal(Arc::new(error.clone())),
        }
    }
}

/// Why events were not accepted; nothing of the batch was stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcceptError {
    /// The event at this position of the batch, from 0, has the given id and source of an earlier one, but another
    /// type or body.
    #[error("event {0} has the given id of an earlier event with another type or body")]
    Conflict(usize),
    /// No space is left on the disk.
    #[error("the disk is full")]
    Full,
    /// The limit of pending bytes is reached: `store.max_pending`.
    #[error("as much is pending as store.max_pending allows")]
    Pending,
    /// The store cannot keep up: too much waits for its commit or for the index.
    #[error("the store is overloaded")]
    Overloaded,
    /// The batch does not fit into a segment.
    #[error("the batch is too large: expected one that fits into a journal segment")]
    TooLarge,
    /// The store has failed or is closed.
    #[error(transparent)]
    Failed(StoreError),
}

/// Why an operation changed nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperationError {
    /// There is no such delivery, or its event is no longer kept.
    #[error("there is no such delivery, or its event is no longer kept")]
    Unknown,
    /// An attempt of it is in flight.
    #[error("an attempt of it is in flight: try again when it has ended")]
    InFlight,
    /// Its subscription is disabled or gone from the file.
    #[error(
        "its subscription is disabled or gone from the file: deliveries are held until it is enabled or back"
    )]
    Disabled,
    /// It was delivered, which cannot be taken back.
    #[error("it was delivered")]
    Delivered,
    /// The maximum number of bulk replays is running.
    #[error("16 bulk replays are running: wait until one is done, or stop one")]
    TooManyReplays,
    /// The store cannot keep up: too much waits to be written.
    #[error("the store is overloaded")]
    Overloaded,
    /// The store has failed or is closed.
    #[error(transparent)]
    Failed(StoreError),
}

fn told(process: Option<u32>) -> String {
    process.map_or_else(
        || "another process".to_owned(),
        |id| format!("process {id}"),
    )
}

impl OperationError {
    /// Converts the error of a refused append for an operation.
    pub(super) fn of_append(error: &AppendError) -> Self {
        match error {
            AppendError::Full | AppendError::Overloaded | AppendError::TooLarge => Self::Overloaded,
            AppendError::Failed(error) => Self::Failed(StoreError::of_journal(error)),
        }
    }
}

impl AcceptError {
    /// Converts the error of a refused append for an acceptance.
    pub(super) fn of_append(error: &AppendError) -> Self {
        match error {
            AppendError::Full => Self::Full,
            AppendError::Overloaded => Self::Overloaded,
            AppendError::TooLarge => Self::TooLarge,
            AppendError::Failed(error) => Self::Failed(StoreError::of_journal(error)),
        }
    }
}
