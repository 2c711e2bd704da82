//! Evaluates a compiled expression over an event. Every node, element and stretch of text takes a step of the fuel.

use crate::matching::cel::arithmetic;
use crate::matching::cel::error::EvaluationError::{self, NoOverload};
use crate::matching::cel::fuel::{Fuel, MADE};
use crate::matching::cel::functions;
use crate::matching::cel::names::{LoopKind, Variable};
use crate::matching::cel::node::{Literal, Loop, Node, Operator};
use crate::matching::cel::value::{Evaluated, List, Map, Text, Value, known, truncated};
use crate::matching::document::Json;
use crate::matching::facts::Facts;

/// Evaluates a condition with at most this many steps; also returns how many are left.
pub(super) fn condition<'a>(
    root: &'a Node,
    facts: &'a Facts<'a>,
    data: &'a Json<'a>,
    steps: u64,
) -> (Result<bool, EvaluationError>, u64) {
    let mut evaluation = Evaluation {
        facts,
        data,
        locals: Vec::new(),
        fuel: Fuel::new(steps),
    };
    let truth = evaluation.boolean(root);
    (truth, evaluation.fuel.left())
}

struct Evaluation<'a> {
    facts: &'a Facts<'a>,
    data: &'a Json<'a>,
    /// The elements that the macros around are at, the outermost first.
    locals: Vec<Value<'a>>,
    fuel: Fuel,
}

impl<'a> Evaluation<'a> {
    fn value(&mut self, node: &'a Node) -> Evaluated<'a> {
        self.fuel.take(1)?;
        match node {
            Node::Literal(literal) => Ok(of_literal(literal)),
            Node::Variable(variable) => self.variable(*variable),
            // A macro sets its variable before its body is evaluated.
            Node::Local(depth) => Ok(self.locals.get(*depth).cloned().unwrap_or(Value::Null)),
            Node::Select(operand, field) => {
                let operand = self.value(operand)?;
                match self.field(operand, field)? {
                    Some(value) => Ok(value),
                    None => {
                        self.fuel.take(MADE)?;
                        self.fuel.take_bytes(field.len())?;
                        Err(EvaluationError::NoSuchField(field.clone()))
                    }
                }
            }
            Node::Has(operand, field) => {
                let operand = self.value(operand)?;
                // A field that is too large to be looked into exists all the same.
                match self.field(operand, field) {
                    Err(EvaluationError::DataTooLarge) => Ok(Value::Bool(true)),
                    found => Ok(Value::Bool(found?.is_some())),
                }
            }
            Node::Index(pair) => self.index(pair),
            Node::Conditional(three) => self.conditional(three),
            Node::And(pair) => self.connective(pair, false),
            Node::Or(pair) => self.connective(pair, true),
            Node::Not(operand) => match self.value(operand)? {
                Value::Bool(value) => Ok(Value::Bool(!value)),
                _ => Err(NoOverload("!")),
            },
            Node::Negate(operand) => arithmetic::negate(&self.value(operand)?),
            Node::Binary(operator, pair) => {
                let [left, right] = &**pair;
                let (left, right) = (self.value(left)?, self.value(right)?);
                self.binary(*operator, &left, &right)
            }
            Node::List(items) => {
                self.fuel.take(MADE)?;
                let items = items.iter().map(|item| self.value(item));
                let items: Vec<_> = items.collect::<Result<_, _>>()?;
                Ok(Value::List(List::Made(items.into())))
            }
            Node::Map(entries) => self.map(entries),
            Node::Call(function, arguments) => {
                let arguments = arguments.iter().map(|argument| self.value(argument));
                let arguments: Vec<_> = arguments.collect::<Result<_, _>>()?;
                functions::call(*function, &arguments, &mut self.fuel)
            }
            Node::Matches(operand, pattern) => {
                let operand = self.value(operand)?;
                functions::matches(&operand, pattern, &mut self.fuel)
            }
            Node::Loop(it) => self.run(it),
        }
    }

    fn variable(&mut self, variable: Variable) -> Evaluated<'a> {
        let facts = self.facts;
        let borrowed = |text: &'a str| Ok(Value::String(Text::Borrowed(text)));
        match variable {
            Variable::Type => borrowed(facts.event_type),
            Variable::Id => match facts.given_id {
                Some(given) => borrowed(given),
                None => {
                    self.fuel.take(MADE)?;
                    Ok(Value::String(Text::Made(facts.event_id.to_string().into())))
                }
            },
            Variable::Source => borrowed(facts.source.unwrap_or_default()),
            Variable::Subject => borrowed(facts.subject.unwrap_or_default()),
            Variable::Key => borrowed(facts.key.unwrap_or_default()),
            Variable::Headers => Ok(Value::Map(Map::Headers(facts.headers))),
            Variable::Data => known(self.data),
        }
    }

    fn field(
        &mut self,
        operand: Value<'a>,
        field: &'a str,
    ) -> Result<Option<Value<'a>>, EvaluationError> {
        match operand {
            Value::Map(map) => map.get(&Value::String(Text::Borrowed(field)), &mut self.fuel),
            _ => Err(NoOverload("a field")),
        }
    }

    fn index(&mut self, [operand, index]: &'a [Node; 2]) -> Evaluated<'a> {
        let (operand, index) = (self.value(operand)?, self.value(index)?);
        match operand {
            Value::Map(map) => map
                .get(&index, &mut self.fuel)?
                .ok_or(EvaluationError::NoSuchKey),
            Value::List(list) => {
                let place = match index {
                    Value::Int(index) => usize::try_from(index).ok(),
                    Value::Uint(index) => usize::try_from(index).ok(),
                    Value::Double(index) if index.fract() == 0.0 => {
                        usize::try_from(truncated(index)).ok()
                    }
                    _ => return Err(NoOverload("_[_]")),
                };
                let found = place.and_then(|place| list.get(place));
                found.ok_or(EvaluationError::NoSuchKey)?
            }
            _ => Err(NoOverload("_[_]")),
        }
    }

    fn conditional(&mut self, [condition, one, other]: &'a [Node; 3]) -> Evaluated<'a> {
        let chosen = if self.boolean(condition)? { one } else { other };
        self.value(chosen)
    }

    /// `&&` where false decides, `||` where true does, even if the other operand is an error.
    fn connective(&mut self, [left, right]: &'a [Node; 2], decides: bool) -> Evaluated<'a> {
        let left = match self.boolean(left) {
            Ok(value) if value == decides => return Ok(Value::Bool(decides)),
            Err(EvaluationError::TooCostly) => return Err(EvaluationError::TooCostly),
            left => left,
        };
        match self.boolean(right)? {
            right if right == decides => Ok(Value::Bool(decides)),
            right => left.map(|_| Value::Bool(right)),
        }
    }

    fn boolean(&mut self, node: &'a Node) -> Result<bool, EvaluationError> {
        match self.value(node)? {
            Value::Bool(value) => Ok(value),
            _ => Err(EvaluationError::NotBool),
        }
    }

    fn binary(&mut self, operator: Operator, left: &Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
        let fuel = &mut self.fuel;
        let ordering = |fuel: &mut Fuel| left.compare(right, operator.as_str(), fuel);
        let truth = match operator {
            Operator::Equal => left.equals(right, fuel)?,
            Operator::NotEqual => !left.equals(right, fuel)?,
            Operator::Less => ordering(fuel)?.is_some_and(std::cmp::Ordering::is_lt),
            Operator::LessOrEqual => ordering(fuel)?.is_some_and(std::cmp::Ordering::is_le),
            Operator::Greater => ordering(fuel)?.is_some_and(std::cmp::Ordering::is_gt),
            Operator::GreaterOrEqual => ordering(fuel)?.is_some_and(std::cmp::Ordering::is_ge),
            Operator::In => is_in(left, right, fuel)?,
            Operator::Add => return arithmetic::add(left, right, fuel),
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Modulo => {
                return arithmetic::calculate(operator, left, right);
            }
        };
        Ok(Value::Bool(truth))
    }

    fn map(&mut self, entries: &'a [[Node; 2]]) -> Evaluated<'a> {
        self.fuel.take(MADE)?;
        let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for [key, value] in entries {
            let key = self.value(key)?;
            if !matches!(
                key,
                Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_)
            ) {
                return Err(NoOverload("a map key"));
            }
            for (other, _) in &made {
                if other.equals(&key, &mut self.fuel)? {
                    return Err(EvaluationError::RepeatedKey);
                }
            }
            made.push((key, self.value(value)?));
        }
        Ok(Value::Map(Map::Made(made.into())))
    }

    fn run(&mut self, it: &'a Loop) -> Evaluated<'a> {
        let range = match self.value(&it.range)? {
            Value::List(list) => list,
            Value::Map(map) => List::Made(map.keys(&mut self.fuel)?.into()),
            _ => return Err(NoOverload("a macro")),
        };
        let before = self.locals.len();
        let result = self.over(it, &range);
        self.locals.truncate(before);
        result
    }

    fn over(&mut self, it: &'a Loop, range: &List<'a>) -> Evaluated<'a> {
        match it.kind {
            LoopKind::All => self.fold(it, range, false),
            LoopKind::Exists => self.fold(it, range, true),
            LoopKind::ExistsOne => {
                let mut count = 0_usize;
                for index in 0..range.len() {
                    self.enter(range, index)?;
                    count += usize::from(self.boolean(&it.body)?);
                    self.locals.pop();
                }
                Ok(Value::Bool(count == 1))
            }
            LoopKind::Map | LoopKind::Filter => self.collect(it, range),
        }
    }

    /// `all` where false decides, `exists` where true does, even if other elements give errors.
    fn fold(&mut self, it: &'a Loop, range: &List<'a>, decides: bool) -> Evaluated<'a> {
        let mut pending = None;
        for index in 0..range.len() {
            let value = match self.enter(range, index) {
                Ok(()) => {
                    let value = self.boolean(&it.body);
                    self.locals.pop();
                    value
                }
                Err(error) => Err(error),
            };
            match value {
                Ok(value) if value == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(EvaluationError::TooCostly) => return Err(EvaluationError::TooCostly),
                Err(error) => pending = Some(error),
            }
        }
        pending.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn collect(&mut self, it: &'a Loop, range: &List<'a>) -> Evaluated<'a> {
        let mut made = Vec::new();
        let condition = match it.kind {
            LoopKind::Filter => Some(&it.body),
            _ => it.guard.as_ref(),
        };
        for index in 0..range.len() {
            self.enter(range, index)?;
            let is_taken = match condition {
                Some(condition) => self.boolean(condition)?,
                None => true,
            };
            if is_taken {
                made.push(match it.kind {
                    LoopKind::Filter => self.locals.last().cloned().unwrap_or(Value::Null),
                    _ => self.value(&it.body)?,
                });
            }
            self.locals.pop();
        }
        Ok(Value::List(List::Made(made.into())))
    }

    fn enter(&mut self, range: &List<'a>, index: usize) -> Result<(), EvaluationError> {
        self.fuel.take(1)?;
        if let Some(element) = range.get(index) {
            self.locals.push(element?);
        }
        Ok(())
    }
}

fn of_literal(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Borrowed(text)),
        Literal::Type(named) => Value::Type(*named),
    }
}

fn is_in(
    value: &Value<'_>,
    container: &Value<'_>,
    fuel: &mut Fuel,
) -> Result<bool, EvaluationError> {
    match container {
        Value::List(list) => {
            for index in 0..list.len() {
                if let Some(element) = list.get(index)
                    && element?.equals(value, fuel)?
                {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => match map.get(value, fuel) {
            Err(NoOverload(_)) => Err(NoOverload("in")),
            // A field that is too large to be looked into exists all the same.
            Err(EvaluationError::DataTooLarge) => Ok(true),
            found => Ok(found?.is_some()),
        },
        _ => Err(NoOverload("in")),
    }
}
