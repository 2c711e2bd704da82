//! Arithmetic of CEL: operands of one type only, and whole numbers that do not fit are errors.

use std::rc::Rc;

use crate::matching::cel::error::EvaluationError::{self, NoOverload};
use crate::matching::cel::fuel::{Fuel, MADE};
use crate::matching::cel::node::Operator;
use crate::matching::cel::value::{Evaluated, List, Text, Value};

pub(super) fn negate<'a>(operand: &Value<'a>) -> Evaluated<'a> {
    match operand {
        Value::Int(value) => value
            .checked_neg()
            .map(Value::Int)
            .ok_or(EvaluationError::Overflow("-")),
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => Err(NoOverload("-")),
    }
}

/// Adds numbers, joins strings and lists.
pub(super) fn add<'a>(left: &Value<'a>, right: &Value<'a>, fuel: &mut Fuel) -> Evaluated<'a> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            let (left, right) = (left.as_str(), right.as_str());
            fuel.take(MADE)?;
            fuel.take_bytes(left.len().saturating_add(right.len()))?;
            let joined: Rc<str> = [left, right].concat().into();
            Ok(Value::String(Text::Made(joined)))
        }
        (Value::List(left), Value::List(right)) => {
            fuel.take(MADE)?;
            fuel.take_many(left.len().saturating_add(right.len()))?;
            let items = |list: &List<'a>| {
                let list = list.clone();
                (0..list.len()).filter_map(move |index| list.get(index))
            };
            let joined: Vec<_> = items(left).chain(items(right)).collect::<Result<_, _>>()?;
            Ok(Value::List(List::Made(joined.into())))
        }
        (Value::Int(left), Value::Int(right)) => whole(left.checked_add(*right), Value::Int, "+"),
        (Value::Uint(left), Value::Uint(right)) => {
            whole(left.checked_add(*right), Value::Uint, "+")
        }
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left + right)),
        _ => Err(NoOverload("+")),
    }
}

/// The other operators.
pub(super) fn calculate<'a>(
    operator: Operator,
    left: &Value<'a>,
    right: &Value<'a>,
) -> Evaluated<'a> {
    let name = operator.as_str();
    match (left, right) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0))
            if matches!(operator, Operator::Divide | Operator::Modulo) =>
        {
            Err(EvaluationError::DivisionByZero)
        }
        (Value::Int(left), Value::Int(right)) => {
            let result = match operator {
                Operator::Subtract => left.checked_sub(*right),
                Operator::Multiply => left.checked_mul(*right),
                Operator::Divide => left.checked_div(*right),
                Operator::Modulo => left.checked_rem(*right),
                _ => return Err(NoOverload(name)),
            };
            whole(result, Value::Int, name)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            let result = match operator {
                Operator::Subtract => left.checked_sub(*right),
                Operator::Multiply => left.checked_mul(*right),
                Operator::Divide => left.checked_div(*right),
                Operator::Modulo => left.checked_rem(*right),
                _ => return Err(NoOverload(name)),
            };
            whole(result, Value::Uint, name)
        }
        (Value::Double(left), Value::Double(right)) => match operator {
            Operator::Subtract => Ok(Value::Double(left - right)),
            Operator::Multiply => Ok(Value::Double(left * right)),
            Operator::Divide => Ok(Value::Double(left / right)),
            _ => Err(NoOverload(name)),
        },
        _ => Err(NoOverload(name)),
    }
}

fn whole<'a, N>(
    result: Option<N>,
    value: fn(N) -> Value<'a>,
    operator: &'static str,
) -> Evaluated<'a> {
    result.map(value).ok_or(EvaluationError::Overflow(operator))
}
