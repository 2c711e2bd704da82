//! The book: a view of the journal that can be queried, in SQLite.
//!
//! **The journal is the truth, and the book reads it.** A thread follows the journal with a cursor, the same way while
//! the store runs and after a crash, and moves the cursor in the transaction that writes what it read. No queue of
//! records leads here: a book that lags costs time, not memory. Nobody waits for it but queues that ask for deliveries
//! which are not in memory, and intake when the book lags beyond its bound.
//!
//! A book that is missing, damaged, of another version, or of another journal is set aside as `book.sqlite3.old` and
//! written anew from the journal. A power cut can take outcomes from the journal that were not synced yet while the
//! book keeps them: they did happen, so they stay, and the cursor goes back to where the journal goes on. Errors of SQLite stop no delivery: they are logged and
//! tried again; only when they last does the store fail, and not even then when the disk is full.
//!
//! The file may be read by others while the store runs (`sqlite3 -readonly`). [`schema`] has its tables.

mod ahead;
mod apply;
mod audit;
pub(super) mod ended;
mod examine;
pub(super) mod find;
mod follower;
pub(super) mod query;
pub(super) mod reach;
pub(super) mod rows;
mod schema;
pub(super) mod segments;
pub(super) mod tallies;
mod verbs;
mod wide;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, ffi};

use ahead::Ahead;
use apply::Round;
pub(super) use examine::{Examined, examine};
pub(super) use find::{Found, Standing};
pub(super) use follower::{Command, Follower, Inbox};
pub(super) use query::Subscription;

use crate::domain::{EventSeq, Timestamp};
use crate::private;
use crate::store::dedup::DedupKey;
use crate::store::journal::{Journal, JournalError, Position};

/// What SQLite has beside the book.
const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

/// Bytes of the journal that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Why the book could not be read, written or made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BookError {
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file could not be set aside.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The tables are not those of this version.
    #[error("the book is of version {0}: expected {expected}", expected = schema::VERSION)]
    Version(i64),
    /// Its rows are not those that it counted.
    #[error("the book does not agree with itself")]
    Unsound,
    /// It knows events that the journal does not have.
    #[error("the book is not of this journal")]
    Foreign,
}

impl BookError {
    /// Whether the book must be written anew: what it says is wrong, as opposed to not being had just now.
    pub(super) fn is_damage(&self) -> bool {
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

    /// Whether waiting for room on the disk is all that is to be done.
    fn is_full(&self) -> bool {
        let Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) = self else {
            return false;
        };
        // The index of the log beside the book has an error of its own for it.
        error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    }
}

/// The book, for its one writer.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    connection: Connection,
    cursor: Position,
    key: DedupKey,
}

impl Book {
    /// Opens the book at `path`, or begins a new one, whose given ids are hashed with `key`. Blocks.
    pub(super) fn open(path: &Path, key: DedupKey) -> Result<Self, BookError> {
        match Self::open_as_is(path, key) {
            Err(error) if error.is_damage() => {
                tracing::warn!(
                    %error,
                    "the book is set aside and written anew"
                );
                set_aside(path)?;
                Self::open_as_is(path, key)
            }
            result => result,
        }
    }

    fn open_as_is(path: &Path, key: DedupKey) -> Result<Self, BookError> {
        make_private(path)?;
        let mut connection = Connection::open(path)?;
        schema::configure(&connection)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            let transaction = connection.transaction()?;
            schema::create(&transaction, key.0)?;
            transaction.commit()?;
        } else if version != schema::VERSION {
            return Err(BookError::Version(version));
        }
        let head = query::head(&connection)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            cursor: head.cursor,
            key: head.key,
        })
    }

    /// Sets the book aside and begins a new one with the same key.
    fn begin_anew(&mut self) -> Result<(), BookError> {
        drop(std::mem::replace(
            &mut self.connection,
            Connection::open_in_memory()?,
        ));
        set_aside(&self.path)?;
        *self = Self::open_as_is(&self.path, self.key)?;
        Ok(())
    }

    /// Applies everything the journal has; calls `applied` with the place and length of each record.
    pub(super) fn catch_up<T: Send + 'static>(
        &mut self,
        journal: &Journal<T>,
        applied: &mut dyn FnMut(Position, u32),
    ) -> Result<(), BookError> {
        self.catch_up_to(journal.end(), journal, applied)
    }

    /// The same of what stands before `end`, and perhaps some more.
    fn catch_up_to<T: Send + 'static>(
        &mut self,
        end: Position,
        journal: &Journal<T>,
        applied: &mut dyn FnMut(Position, u32),
    ) -> Result<(), BookError> {
        while self.cursor < end {
            let mut done = Vec::new();
            let cursor = self.apply_round(journal, end, &mut |position, length| {
                done.push((position, length));
            })?;
            if cursor == self.cursor {
                break;
            }
            self.cursor = cursor;
            for (position, length) in done {
                applied(position, length);
            }
        }
        Ok(())
    }

    /// Applies a round of the journal, all or nothing; calls `read` with the place and length of each record. Where the
    /// cursor is from now on.
    ///
    /// A round has whole groups, and those may have any number of deliveries: what was gathered is written whenever it is
    /// much, and made to count at the end.
    fn apply_round<T: Send + 'static>(
        &mut self,
        journal: &Journal<T>,
        end: Position,
        read: &mut dyn FnMut(Position, u32),
    ) -> Result<Position, BookError> {
        let before = self.cursor;
        let mut cursor = before;
        let transaction = self.connection.transaction()?;
        let mut round = Round::new(self.key);
        let (mut is_flushed, mut written) = (false, Ok(()));
        while cursor < end && !is_flushed {
            let from = cursor;
            cursor = journal.scan(from, CHUNK_BYTES, &mut |record, place| {
                let position = Position {
                    segment: place.segment,
                    offset: place.offset,
                };
                read(position, place.length);
                if written.is_err() {
                    return;
                }
                round.add(record, place);
                if round.is_full() {
                    is_flushed = true;
                    written = round.flush(&transaction);
                }
            })?;
            if cursor == from {
                break;
            }
        }
        written?;
        if cursor != before {
            round.finish(&transaction, before, cursor)?;
            transaction.commit()?;
        }
        Ok(cursor)
    }

    /// Reads what memory begins with, also what the journal has that is not written here yet: that follows later, as far as
    /// it is not needed before. A book that turns out to be damaged is written anew.
    ///
    /// `last_seq` is the last event of the journal.
    pub(super) fn recover<T: Send + 'static>(
        &mut self,
        journal: &Journal<T>,
        last_seq: EventSeq,
        now: Timestamp,
        remembered: Remembered,
    ) -> Result<Start, BookError> {
        match self
            .audit()
            .and_then(|()| self.try_recover(journal, last_seq, now, remembered))
        {
            Err(error) if error.is_damage() => {
                tracing::warn!(
                    %error,
                    "the book is set aside and written anew"
                );
                self.begin_anew()?;
                self.try_recover(journal, last_seq, now, remembered)
            }
            result => result,
        }
    }

    /// Moves what the log holds into the book and gives the log's room back, as far as that goes.
    fn shrink_log(&self) {
        let shrunk = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = shrunk {
            tracing::debug!(%error, "the log of the book stays as long as it is");
        }
    }

    /// Whether what was written before is what it was.
    fn audit(&self) -> Result<(), BookError> {
        if audit::is_sound(&self.connection)? {
            Ok(())
        } else {
            Err(BookError::Unsound)
        }
    }

    fn try_recover<T: Send + 'static>(
        &mut self,
        journal: &Journal<T>,
        last_seq: EventSeq,
        now: Timestamp,
        remembered: Remembered,
    ) -> Result<Start, BookError> {
        self.join(journal, last_seq)?;
        loop {
            let behind = match Ahead::read(self, journal)? {
                Err(position) => position,
                // Due times are rows.
                Ok(ahead) if now < ahead.last_time => journal.end(),
                Ok(ahead) => {
                    let mut start = self.start(now, remembered)?;
                    ahead.add_to(&mut start, remembered);
                    return Ok(start);
                }
            };
            self.catch_up_to(behind, journal, &mut |_, _| {})?;
        }
    }

    /// Makes sure that the cursor lies in this journal.
    fn join<T: Send + 'static>(
        &mut self,
        journal: &Journal<T>,
        last_seq: EventSeq,
    ) -> Result<(), BookError> {
        let before = query::head(&self.connection)?;
        if before.last_seq > last_seq {
            return Err(BookError::Foreign);
        }
        if self.cursor > journal.end() {
            self.cursor = journal.end();
            query::pull_cursor(&self.connection, self.cursor)?;
        }
        Ok(())
    }

    /// What memory begins with, as far as it is written here.
    fn start(&self, now: Timestamp, remembered: Remembered) -> Result<Start, BookError> {
        let head = query::head(&self.connection)?;
        if now < head.last_time {
            let moved = query::pull_due_times(&self.connection, now)?;
            tracing::warn!(
                deliveries = moved,
                "the clock was set back: retries wait no longer than their pause from now"
            );
        }
        Ok(Start {
            key: head.key,
            subscriptions: query::subscriptions(&self.connection)?,
            given_ids: query::given_ids(&self.connection, remembered.since, remembered.max)?,
            jobs: query::jobs(&self.connection)?,
        })
    }
}

/// Which given ids are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remembered {
    /// Those of events accepted after this.
    pub(super) since: Timestamp,
    /// The last so many.
    pub(super) max: usize,
}

/// What memory begins with.
#[derive(Debug)]
pub(super) struct Start {
    /// What given ids are hashed with.
    pub(super) key: DedupKey,
    pub(super) subscriptions: Vec<Subscription>,
    /// The hashes of given ids with sequence and time of acceptance, oldest first.
    pub(super) given_ids: Vec<(u64, EventSeq, Timestamp)>,
    /// Bulk replays by id, as bytes.
    pub(super) jobs: Vec<(u64, Vec<u8>)>,
}

/// Makes the file, empty, before SQLite does: what endpoints answered is for its owner only, also where others may look into
/// the folder. The files beside it get its mode.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    private::open(path, &mut options)?;
    for side_file in SIDE_FILES {
        private::check(&beside(path, side_file))?;
    }
    Ok(())
}

/// Renames a book to `….old`, in the place of the one before, and removes the files that belong to it.
fn set_aside(path: &Path) -> io::Result<()> {
    for side_file in SIDE_FILES {
        ignore_missing(fs::remove_file(beside(path, side_file)))?;
    }
    ignore_missing(fs::rename(path, beside(path, ".old")))
}

/// The file beside the book with this at the end of its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A sequence or count as SQLite keeps it.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A sequence or count as it was kept.
fn nat(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn millis(time: Timestamp) -> i64 {
    time.as_millis()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
