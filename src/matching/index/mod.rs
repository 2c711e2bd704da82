//! The index over the filters of all subscriptions.

mod members;
mod sets;

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::Patterns;
use crate::matching::cel::{EvaluationError, Expression, STEPS_AT_ONCE, STEPS_MAX};
use crate::matching::condition::Condition;
use crate::matching::document::{self, Json, Wanted};
use crate::matching::facts::Facts;
use crate::matching::index::members::Members;
use crate::matching::index::sets::Sets;
use crate::matching::patterns::sort_and_deduplicate;

/// The filter of a subscription.
#[derive(Debug, Clone, Copy)]
pub struct Filter<'s> {
    /// `events`
    pub events: &'s Patterns,
    /// `match`: all must hold; each selector once.
    pub matches: &'s [Condition],
    /// `when`
    pub when: Option<&'s Expression>,
    /// `when_error`
    pub when_error: WhenError,
}

/// `when_error`: the result if evaluating `when` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenError {
    /// The event is not for the subscription.
    Skip,
    /// The event is for the subscription.
    Deliver,
}

/// An index over the filters of all subscriptions. Immutable; a subscription is identified by its position.
#[derive(Debug, Default)]
pub struct FilterIndex {
    /// Those without conditions.
    plain: Members,
    /// Those with conditions.
    sets: Sets,
    /// By position; empty when no subscription has an expression.
    when: Vec<Option<(usize, WhenError)>>,
    /// Each text once.
    expressions: Vec<Expression>,
    /// The parts of the body needed by the expressions that do not look at all of it.
    parts: Wanted,
}

/// The subscriptions that an event is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Their positions, ascending.
    pub positions: Vec<usize>,
    /// Expressions that gave neither true nor false, each of another subscription.
    pub failures: Vec<Failure>,
}

/// An expression that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The subscription.
    pub position: usize,
    /// The reason; shared if several subscriptions have the expression.
    pub error: Arc<EvaluationError>,
}

impl FilterIndex {
    /// Builds the index; a subscription is identified by its position in the iteration.
    pub fn new<'a>(filters: impl IntoIterator<Item = Filter<'a>>) -> Self {
        let mut index = Self::default();
        let mut plain = Vec::new();
        let mut sets = sets::Builder::default();
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (position, filter) in filters.into_iter().enumerate() {
            if filter.matches.is_empty() {
                plain.push((position, filter.events));
            } else {
                sets.add(position, filter.events, filter.matches);
            }
            index.when.push(filter.when.map(|expression| {
                let number = *known.entry(expression.text()).or_insert_with(|| {
                    index.expressions.push(expression.clone());
                    index.expressions.len() - 1
                });
                (number, filter.when_error)
            }));
        }
        if index.expressions.is_empty() {
            index.when.clear();
        }
        for wanted in index.expressions.iter().filter_map(Expression::wanted) {
            if *wanted != Wanted::All {
                index.parts.merge(wanted.clone());
            }
        }
        index.plain = Members::new(&plain);
        index.sets = sets.build();
        index
    }

    /// Finds the subscriptions that an event is for. With expressions this may take long: up to 2 ms for each of the
    /// first `LONG_MAX` that do, 0.1 ms for any other.
    #[must_use]
    pub fn find(&self, facts: &Facts<'_>) -> Found {
        let allowance = Allowance {
            together: STEPS_MAX * LONG_MAX,
            each: STEPS_AT_ONCE,
        };
        self.find_within(facts, allowance).0
    }

    /// As [`FilterIndex::find`], if that takes no longer than some 100 µs.
    #[must_use]
    pub fn find_at_once(&self, facts: &Facts<'_>) -> Option<Found> {
        let allowance = Allowance {
            together: STEPS_AT_ONCE,
            each: 0,
        };
        let (found, is_whole) = self.find_within(facts, allowance);
        is_whole.then_some(found)
    }

    /// Also returns whether the allowance was enough.
    fn find_within(&self, facts: &Facts<'_>, allowance: Allowance) -> (Found, bool) {
        let mut found = Found::default();
        let positions = &mut found.positions;
        self.plain.find(facts.event_type, positions);
        let of_plain = positions.len();
        self.sets.find(facts, positions);
        if positions.len() > of_plain {
            sort_and_deduplicate(positions, 0);
        }
        let is_whole = self.when.is_empty() || self.ask(facts, allowance, &mut found);
        (found, is_whole)
    }

    /// Keeps those whose expression is true; false if an expression had fewer steps than it may take, and needed more.
    fn ask(&self, facts: &Facts<'_>, allowance: Allowance, found: &mut Found) -> bool {
        let mut answers = Answers {
            index: self,
            facts,
            allowance,
            is_whole: true,
            known: vec![None; self.expressions.len()],
            parts: None,
            whole: None,
        };
        let Found {
            positions,
            failures,
        } = found;
        positions.retain(|position| {
            if !answers.is_whole && allowance.each == 0 {
                return false;
            }
            let Some((number, when_error)) = self.when.get(*position).copied().flatten() else {
                return true;
            };
            match answers.of(number) {
                Ok(answer) => answer,
                Err(error) => {
                    failures.push(Failure {
                        position: *position,
                        error,
                    });
                    when_error == WhenError::Deliver
                }
            }
        });
        answers.is_whole
    }
}

/// Expressions of an event that may take as long as one may; those after them have a share each.
const LONG_MAX: u64 = 250;

/// Bytes of a body that are read in the time of one step.
const READ_BYTES_A_STEP: usize = 8;

/// Steps that the expressions of an event may take.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    together: u64,
    /// The share of each expression after those are used up, so that none fails because of others.
    each: u64,
}

type Answer = Result<bool, Arc<EvaluationError>>;

/// The result of each expression for one event. Each is evaluated once, and the body is read at most twice: the parts
/// that some look at, and all of it if one looks at all.
struct Answers<'i, 'e> {
    index: &'i FilterIndex,
    facts: &'i Facts<'e>,
    allowance: Allowance,
    is_whole: bool,
    /// By the number of the expression.
    known: Vec<Option<Answer>>,
    parts: Option<Json<'e>>,
    whole: Option<Json<'e>>,
}

impl Answers<'_, '_> {
    fn of(&mut self, number: usize) -> Answer {
        if let Some(Some(answer)) = self.known.get(number) {
            return answer.clone();
        }
        let answer = self.ask(number);
        if let Some(place) = self.known.get_mut(number) {
            *place = Some(answer.clone());
        }
        answer
    }

    fn ask(&mut self, number: usize) -> Answer {
        let Some(expression) = self.index.expressions.get(number) else {
            return Ok(true);
        };
        let body = self.facts.body;
        let is_read = match expression.wanted() {
            None => true,
            Some(Wanted::All) => self.whole.is_some(),
            Some(Wanted::Keys(_)) => self.parts.is_some(),
        };
        if !is_read {
            let steps = u64::try_from(body.len() / READ_BYTES_A_STEP).unwrap_or(u64::MAX);
            if self.allowance.each == 0 && steps > self.allowance.together {
                self.is_whole = false;
                return Ok(false);
            }
            self.allowance.together = self.allowance.together.saturating_sub(steps);
        }
        let read = |wanted| move || document::read(body, wanted).unwrap_or(Json::Null);
        let data = match expression.wanted() {
            None => &Json::Null,
            Some(Wanted::All) => &*self.whole.get_or_insert_with(read(&Wanted::All)),
            Some(Wanted::Keys(_)) => &*self.parts.get_or_insert_with(read(&self.index.parts)),
        };
        let steps = STEPS_MAX.min(self.allowance.together.max(self.allowance.each));
        let (answer, left) = expression.evaluate_with(self.facts, data, steps);
        self.allowance.together = self.allowance.together.saturating_sub(steps - left);
        if steps < STEPS_MAX && answer == Err(EvaluationError::TooCostly) {
            self.is_whole = false;
        }
        answer.map_err(Arc::new)
    }
}

#[cfg(test)]
mod tests;
