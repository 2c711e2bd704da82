//! Errors of the index.

use std::io;

use rusqlite::{ErrorCode, ffi};

use super::schema;
use crate::store::journal::JournalError;

/// The reason why the index could not be read, written or made.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum IndexError {
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file could not be made, checked, set aside or removed.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The tables are not those of this version.
    #[error("the index is of version {0}: expected {expected}", expected = schema::VERSION)]
    Version(i64),
    /// Its rows do not match its counters.
    #[error("the index does not agree with itself")]
    Unsound,
    /// It has events that the journal does not have.
    #[error("the index is not of this journal")]
    Foreign,
}

impl IndexError {
    /// Whether the index must be rebuilt: its contents are wrong, as opposed to being unavailable for now.
    pub(in crate::store) fn is_damage(&self) -> bool {
        match self {
            Self::Version(_) | Self::Unsound | Self::Foreign => true,
            Self::Journal(_) | Self::File(_) => false,
            Self::Sqlite(error) => !matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::CannotOpen
                        | ErrorCode::PermissionDenied
                        | ErrorCode::ReadOnly
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::OutOfMemory
                        | ErrorCode::OperationInterrupted
                )
            ),
        }
    }

    /// Whether the disk is full, so that waiting for room is enough.
    pub(super) fn is_full(&self) -> bool {
        let Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) = self else {
            return false;
        };
        // SQLite's shared-memory file (`-shm`) has an error code of its own for a full disk.
        error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    }
}
