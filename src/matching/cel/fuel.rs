//! The cost of an evaluation, counted in steps and limited, so that no expression and no body makes one take long.
//!
//! A step is a node of the expression, an element that is looked at, or up to [`BYTES_A_STEP`] bytes of a text that are.
//! It takes at most 40 ns. Each new list, map or text takes [`MADE`] more.

use crate::matching::cel::error::EvaluationError;

/// Steps for making a list, map or text, beside those for what is in it.
pub(super) const MADE: u64 = 8;

/// Bytes of a text that one step reads or writes.
const BYTES_A_STEP: usize = 64;

/// The steps that are left.
#[derive(Debug)]
pub(super) struct Fuel(u64);

impl Fuel {
    pub(super) const fn new(steps: u64) -> Self {
        Self(steps)
    }

    pub(super) const fn left(&self) -> u64 {
        self.0
    }

    /// Takes steps. Once there are too few, none are left for anything else either.
    pub(super) fn take(&mut self, steps: u64) -> Result<(), EvaluationError> {
        match self.0.checked_sub(steps) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => {
                self.0 = 0;
                Err(EvaluationError::TooCostly)
            }
        }
    }

    pub(super) fn take_many(&mut self, steps: usize) -> Result<(), EvaluationError> {
        self.take(u64::try_from(steps).unwrap_or(u64::MAX))
    }

    /// Takes the steps for this number of bytes of a text.
    pub(super) fn take_bytes(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.take_many(bytes / BYTES_A_STEP)
    }
}
