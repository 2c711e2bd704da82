//! The index's file, for its one writer: opening it, following the journal, and rebuilding it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rusqlite::Connection;

use super::ahead::Ahead;
use super::apply::Round;
use super::error::IndexError;
use super::numbers::CHUNK_BYTES;
use super::start::{Remembered, Start};
use super::{audit, query, schema};
use crate::domain::{EventSeq, Timestamp};
use crate::private;
use crate::store::dedup::DedupKey;
use crate::store::journal::{Position, ReadJournal};

/// Suffixes of the files that SQLite keeps beside the index.
const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

/// The file that was the index before `index.sqlite3`.
const FORMER_FILE: &str = "book.sqlite3";

/// The index, for its one writer.
#[derive(Debug)]
pub(in crate::store) struct Index {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) cursor: Position,
    pub(super) key: DedupKey,
}

impl Index {
    /// Opens the index at `path`, or begins a new one, whose given ids are hashed with `key`. Blocks.
    pub(in crate::store) fn open(path: &Path, key: DedupKey) -> Result<Self, IndexError> {
        match Self::open_as_is(path, key) {
            Err(error) if error.is_damage() => {
                tracing::warn!(
                    %error,
                    "the index is set aside and written anew"
                );
                set_aside(path)?;
                Self::open_as_is(path, key)
            }
            result => result,
        }
    }

    pub(super) fn open_as_is(path: &Path, key: DedupKey) -> Result<Self, IndexError> {
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
            return Err(IndexError::Version(version));
        }
        let head = query::head(&connection)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            cursor: head.cursor,
            key: head.key,
        })
    }

    /// Sets the index aside and begins a new one with the same key.
    pub(super) fn begin_anew(&mut self) -> Result<(), IndexError> {
        drop(std::mem::replace(
            &mut self.connection,
            Connection::open_in_memory()?,
        ));
        set_aside(&self.path)?;
        *self = Self::open_as_is(&self.path, self.key)?;
        Ok(())
    }

    /// Applies the rest of the journal. Calls `applied` with the position and length of each record.
    pub(in crate::store) fn catch_up(
        &mut self,
        journal: &dyn ReadJournal,
        applied: &mut dyn FnMut(Position, u32),
    ) -> Result<(), IndexError> {
        self.catch_up_to(journal.end(), journal, applied)
    }

    /// Applies everything before `end`, and perhaps more.
    fn catch_up_to(
        &mut self,
        end: Position,
        journal: &dyn ReadJournal,
        applied: &mut dyn FnMut(Position, u32),
    ) -> Result<(), IndexError> {
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

    /// Applies a round of the journal, all or nothing. Calls `read` with the position and length of each record.
    /// Returns the new cursor.
    ///
    /// A round has whole groups, which may have any number of deliveries: gathered records are written whenever they
    /// are many, and committed at the end.
    fn apply_round(
        &mut self,
        journal: &dyn ReadJournal,
        end: Position,
        read: &mut dyn FnMut(Position, u32),
    ) -> Result<Position, IndexError> {
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

    /// Reads the data that memory is loaded from, including journal records that are not applied yet: their rows are
    /// written later, unless they are needed first. An index that turns out to be damaged is rebuilt.
    ///
    /// `last_seq` is the last event of the journal.
    pub(in crate::store) fn recover(
        &mut self,
        journal: &dyn ReadJournal,
        last_seq: EventSeq,
        now: Timestamp,
        remembered: Remembered,
    ) -> Result<Start, IndexError> {
        match self
            .audit()
            .and_then(|()| self.try_recover(journal, last_seq, now, remembered))
        {
            Err(error) if error.is_damage() => {
                tracing::warn!(
                    %error,
                    "the index is set aside and written anew"
                );
                self.begin_anew()?;
                self.try_recover(journal, last_seq, now, remembered)
            }
            result => result,
        }
    }

    /// Moves the contents of the write-ahead log into the index and truncates the log, as far as possible.
    pub(super) fn shrink_log(&self) {
        let shrunk = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = shrunk {
            tracing::debug!(%error, "the log of the index stays as long as it is");
        }
    }

    /// Checks that the rows match the counters.
    fn audit(&self) -> Result<(), IndexError> {
        if audit::is_sound(&self.connection)? {
            Ok(())
        } else {
            Err(IndexError::Unsound)
        }
    }

    fn try_recover(
        &mut self,
        journal: &dyn ReadJournal,
        last_seq: EventSeq,
        now: Timestamp,
        remembered: Remembered,
    ) -> Result<Start, IndexError> {
        self.join(journal, last_seq)?;
        loop {
            let behind = match Ahead::read(&self.connection, (self.key, self.cursor), journal)? {
                Err(position) => position,
                // The clock was set back: due times have to be corrected in the rows, so all must be written.
                Ok(ahead) if now < ahead.last_time => journal.end(),
                Ok(ahead) => {
                    let mut start = Start::read(&self.connection, now, remembered)?;
                    ahead.add_to(&mut start, remembered);
                    return Ok(start);
                }
            };
            self.catch_up_to(behind, journal, &mut |_, _| {})?;
        }
    }

    /// Makes sure that the index belongs to this journal and that its cursor lies in it.
    pub(super) fn join(
        &mut self,
        journal: &dyn ReadJournal,
        last_seq: EventSeq,
    ) -> Result<(), IndexError> {
        let before = query::head(&self.connection)?;
        if before.last_seq > last_seq {
            return Err(IndexError::Foreign);
        }
        if self.cursor > journal.end() {
            self.cursor = journal.end();
            query::pull_cursor(&self.connection, self.cursor)?;
        }
        Ok(())
    }
}

/// Makes the file, empty, before SQLite does: responses of endpoints are only for its owner, even if others may read
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

/// Puts the index of a former version, if there is one, in the place of the one at `path`: it was written later, by an
/// older program that ran in between. Its version then makes it set aside, as any other.
pub(in crate::store) fn adopt_former(path: &Path) -> io::Result<()> {
    let former = path.with_file_name(FORMER_FILE);
    if !former.try_exists()? {
        return Ok(());
    }
    for side_file in SIDE_FILES {
        ignore_missing(fs::remove_file(beside(path, side_file)))?;
    }
    for suffix in ["-wal", "-shm", ""] {
        ignore_missing(fs::rename(beside(&former, suffix), beside(path, suffix)))?;
    }
    ignore_missing(fs::remove_file(beside(&former, ".old")))
}

/// Renames an index to `….old`, replacing an earlier one, and removes the files that belong to it.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    for side_file in SIDE_FILES {
        ignore_missing(fs::remove_file(beside(path, side_file)))?;
    }
    ignore_missing(fs::rename(path, beside(path, ".old")))
}

/// Returns the path of the file beside the index with this suffix.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
