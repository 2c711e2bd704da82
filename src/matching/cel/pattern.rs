//! Patterns of `matches`, whose cost is known before a text is looked at.
//!
//! A pattern whose automaton is small takes one step for a fixed number of bytes. Any other costs up
//! to its size for each byte, and is charged that before it runs: a lazily built automaton would be as slow in the worst
//! case, and keep megabytes.

use std::fmt;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures, pikevm::PikeVM};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use crate::matching::cel::error::EvaluationError;
use crate::matching::cel::fuel::Fuel;

/// Bytes of a compiled pattern at most.
const PROGRAM_BYTES_MAX: usize = 64 << 10;

/// Bytes of its automaton at most; without one it is slower.
const AUTOMATON_BYTES_MAX: usize = 32 << 10;

/// Bytes of the text that a pattern is looked for in at most.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Bytes that an automaton looks at in one step.
const BYTES_A_STEP: usize = 16;

/// Bytes times states of the program that are looked at in one step.
const STATES_A_STEP: usize = 4;

/// A compiled pattern.
pub(super) struct Pattern {
    automaton: Option<dense::DFA<Vec<u32>>>,
    program: PikeVM,
}

impl Pattern {
    /// Compiles a pattern, in the syntax of the crate `regex`.
    ///
    /// # Errors
    /// Why it is not valid.
    pub(super) fn compile(written: &str) -> Result<Self, String> {
        let syntax = syntax::Config::new().nest_limit(64);
        // The last line is the error, those before show its place.
        let parsed = syntax::parse_with(written, &syntax).map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        })?;
        let bounds = thompson::Config::new()
            .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
            .which_captures(WhichCaptures::None);
        let program = thompson::Compiler::new()
            .configure(bounds)
            .build_from_hir(&parsed)
            .map_err(|error| match error.size_limit() {
                Some(_) => format!(
                    "too large, expected at most {PROGRAM_BYTES_MAX} bytes when compiled (\\w and \\d in Unicode are large: [0-9A-Za-z_] is not)"
                ),
                None => error.to_string(),
            })?;
        let bounds = dense::Config::new()
            .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
            .determinize_size_limit(Some(2 * AUTOMATON_BYTES_MAX))
            .start_kind(StartKind::Unanchored)
            .unicode_word_boundary(true);
        let automaton = dense::Builder::new()
            .configure(bounds)
            .build_from_nfa(&program);
        Ok(Self {
            automaton: automaton.ok(),
            program: PikeVM::new_from_nfa(program).map_err(|error| error.to_string())?,
        })
    }

    /// Whether it is found in a text.
    ///
    /// # Errors
    /// [`EvaluationError::TooCostly`], before the text is looked at.
    pub(super) fn is_in(&self, text: &str, fuel: &mut Fuel) -> Result<bool, EvaluationError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(EvaluationError::TooCostly);
        }
        if let Some(automaton) = &self.automaton {
            fuel.take_many(text.len() / BYTES_A_STEP)?;
            let input = Input::new(text).anchored(Anchored::No).earliest(true);
            // It stops where a Unicode word boundary is next to letters outside ASCII.
            if let Ok(found) = automaton.try_search_fwd(&input) {
                return Ok(found.is_some());
            }
        }
        let states = self.program.get_nfa().states().len();
        fuel.take_many(text.len().saturating_add(8).saturating_mul(states) / STATES_A_STEP)?;
        let mut cache = self.program.create_cache();
        Ok(self.program.is_match(&mut cache, text))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern").finish_non_exhaustive()
    }
}
