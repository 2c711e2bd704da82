//! The index's thread: follows the journal, and answers questions.
//!
//! It sleeps while nothing is committed. After a commit it waits 100 ms for more, or until 4,000 records or a question
//! wait. It applies everything committed before it answers a question, and repeats the question until that succeeds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::error::IndexError;
use super::file::Index;
use super::inbox::{Inbox, Question};
use crate::store::StoreError;
use crate::store::failure::Failure;
use crate::store::in_place::InPlace;
use crate::store::journal::{Position, ReadJournal};
use crate::store::reserve::Room;

/// Bytes that the index takes from the reserve at a time when the disk is full.
const INDEX_ROOM: u64 = 4 << 20;
/// The pause after an error …
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// … and the number of errors in a row after which the store fails: about a minute.
const ERRORS_MAX: u32 = 60;

/// The parts of the store that the thread needs beside the index and the journal.
pub(in crate::store) struct Surroundings {
    pub(in crate::store) inbox: Arc<Inbox>,
    /// Room for the index when the disk is full.
    pub(in crate::store) reserve: Arc<dyn Room>,
    pub(in crate::store) in_place: Arc<InPlace>,
    pub(in crate::store) failure: Arc<Failure>,
    /// Called when the index was damaged and is rebuilt: earlier answers may have been wrong.
    pub(in crate::store) written_anew: Box<dyn Fn() + Send>,
}

/// The state that the thread owns.
pub(in crate::store) struct Follower {
    index: Index,
    journal: Arc<dyn ReadJournal>,
    around: Surroundings,
    questions: VecDeque<Question>,
    /// Records before it were counted as applied: they do not count again when the index is rebuilt.
    counted_upto: Position,
    errors: u32,
}

impl Follower {
    /// Takes an index from which memory was loaded: records that the journal has by now count as applied.
    pub(in crate::store) fn new(
        index: Index,
        journal: Arc<dyn ReadJournal>,
        around: Surroundings,
    ) -> Self {
        Self {
            counted_upto: journal.end(),
            index,
            journal,
            around,
            questions: VecDeque::new(),
            errors: 0,
        }
    }

    /// Runs the thread until [`Inbox::stop`].
    pub(in crate::store) fn run(mut self) {
        let mut stopped = false;
        loop {
            // A failed turn is repeated without waiting for the inbox: its commits are not announced a second time.
            while let Err(error) = self.turn() {
                let has_room = self.recover_from(error);
                if !has_room && self.around.inbox.pause(ERROR_PAUSE) {
                    return;
                }
            }
            self.errors = 0;
            if stopped {
                return;
            }
            stopped = self.around.inbox.wait(&mut self.questions);
        }
    }

    fn turn(&mut self) -> Result<(), IndexError> {
        loop {
            self.apply()?;
            let Some(mut question) = self.questions.pop_front() else {
                return Ok(());
            };
            if let Err(error) = (question.0)(&self.index.connection) {
                self.questions.push_front(question);
                return Err(error.into());
            }
        }
    }

    fn apply(&mut self) -> Result<(), IndexError> {
        let (counted_upto, inbox) = (self.counted_upto, &self.around.inbox);
        self.index
            .catch_up(&*self.journal, &mut |position, length| {
                if position >= counted_upto {
                    inbox.applied(length.into());
                }
            })?;
        self.counted_upto = self.counted_upto.max(self.index.cursor);
        Ok(())
    }

    /// Repairs damage by rebuilding the index; the store fails only after too many errors in a row. Returns whether the
    /// reserve gave room on a full disk, so that trying again at once may help: the reserve is finite.
    fn recover_from(&mut self, error: IndexError) -> bool {
        error!(
            %error,
            "the index does not work; deliveries go on without it"
        );
        if error.is_damage() {
            // The file is about to be replaced on purpose.
            self.around.in_place.release(&self.index.path);
            match self.index.begin_anew() {
                Ok(()) => {
                    // If the file is gone again by now, the next error makes the index again.
                    self.around.in_place.expect(&self.index.path).ok();
                    (self.around.written_anew)();
                }
                Err(error) => error!(
                    %error,
                    "the index cannot be written anew"
                ),
            }
        }
        if error.is_full() {
            // The reserve is kept for this: deliveries that are only in the index have to go on.
            let has_room = self.around.reserve.give(INDEX_ROOM);
            self.index.shrink_log();
            return has_room;
        }
        self.errors += 1;
        if self.errors >= ERRORS_MAX {
            let failure = StoreError::Index(Arc::new(error));
            self.around.failure.set(failure);
        }
        false
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
