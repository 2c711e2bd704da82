//! The results of functions.

use crate::matching::cel::error::EvaluationError::{self, Conversion, NoOverload};
use crate::matching::cel::fuel::{Fuel, MADE};
use crate::matching::cel::names::Function;
use crate::matching::cel::pattern::Pattern;
use crate::matching::cel::value::{Evaluated, Text, Value, nearest, truncated};

/// Bytes of a text that are searched in one step.
const SEARCHED_BYTES_A_STEP: usize = 16;

/// Digits that are read in one step.
const DIGITS_A_STEP: usize = 4;

/// Whether a pattern is found in a text.
pub(super) fn matches<'a>(
    operand: &Value<'a>,
    pattern: &Pattern,
    fuel: &mut Fuel,
) -> Evaluated<'a> {
    match operand {
        Value::String(text) => pattern.is_in(text.as_str(), fuel).map(Value::Bool),
        _ => Err(NoOverload("matches")),
    }
}

/// Calls a function.
pub(super) fn call<'a>(
    function: Function,
    arguments: &[Value<'a>],
    fuel: &mut Fuel,
) -> Evaluated<'a> {
    match (function, arguments) {
        (Function::Size, [operand]) => size(operand, fuel),
        (Function::Contains, [text, part]) => {
            let (text, part) = texts(text, part, "contains")?;
            // A search looks at each byte, a comparison at many at once.
            let bytes = text.len().saturating_add(part.len());
            fuel.take_many(bytes / SEARCHED_BYTES_A_STEP)?;
            Ok(Value::Bool(text.contains(part)))
        }
        (Function::StartsWith, [text, part]) => {
            let (text, part) = texts(text, part, "startsWith")?;
            fuel.take_bytes(part.len())?;
            Ok(Value::Bool(text.starts_with(part)))
        }
        (Function::EndsWith, [text, part]) => {
            let (text, part) = texts(text, part, "endsWith")?;
            fuel.take_bytes(part.len())?;
            Ok(Value::Bool(text.ends_with(part)))
        }
        (Function::Int, [operand]) => int(operand, fuel),
        (Function::Uint, [operand]) => uint(operand, fuel),
        (Function::Double, [operand]) => double(operand, fuel),
        (Function::String, [operand]) => string(operand, fuel),
        (Function::Bool, [operand]) => boolean(operand),
        (Function::Dyn, [operand]) => Ok(operand.clone()),
        (Function::Type, [operand]) => Ok(Value::Type(operand.type_of())),
        // The number of arguments is checked when the expression is compiled.
        _ => Err(NoOverload("a function")),
    }
}

fn size<'a>(operand: &Value<'a>, fuel: &mut Fuel) -> Evaluated<'a> {
    let size = match operand {
        Value::String(text) => {
            fuel.take_bytes(text.as_str().len())?;
            text.as_str().chars().count()
        }
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(fuel)?,
        _ => return Err(NoOverload("size")),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn texts<'t>(
    text: &'t Value<'_>,
    part: &'t Value<'_>,
    name: &'static str,
) -> Result<(&'t str, &'t str), EvaluationError> {
    match (text, part) {
        (Value::String(text), Value::String(part)) => Ok((text.as_str(), part.as_str())),
        _ => Err(NoOverload(name)),
    }
}

/// Takes the steps for reading a text as a number: its digits are read one by one.
fn take_digits(operand: &Value<'_>, fuel: &mut Fuel) -> Result<(), EvaluationError> {
    match operand {
        Value::String(text) => fuel.take_many(text.as_str().len() / DIGITS_A_STEP),
        _ => Ok(()),
    }
}

fn int<'a>(operand: &Value<'a>, fuel: &mut Fuel) -> Evaluated<'a> {
    take_digits(operand, fuel)?;
    let value = match operand {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        Value::Double(value) => whole(*value).and_then(|whole| i64::try_from(whole).ok()),
        Value::String(text) => text.as_str().parse().ok(),
        _ => return Err(NoOverload("int")),
    };
    value.map(Value::Int).ok_or(Conversion("an int"))
}

fn uint<'a>(operand: &Value<'a>, fuel: &mut Fuel) -> Evaluated<'a> {
    take_digits(operand, fuel)?;
    let value = match operand {
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::Uint(value) => Some(*value),
        Value::Double(value) => whole(*value).and_then(|whole| u64::try_from(whole).ok()),
        Value::String(text) => text.as_str().parse().ok(),
        _ => return Err(NoOverload("uint")),
    };
    value.map(Value::Uint).ok_or(Conversion("a uint"))
}

/// The whole part of a double, if it may fit.
fn whole(value: f64) -> Option<i128> {
    (value.abs() < 1e20).then(|| truncated(value))
}

fn double<'a>(operand: &Value<'a>, fuel: &mut Fuel) -> Evaluated<'a> {
    take_digits(operand, fuel)?;
    let value = match operand {
        Value::Int(value) => Some(nearest((*value).into())),
        Value::Uint(value) => Some(nearest((*value).into())),
        Value::Double(value) => Some(*value),
        Value::String(text) => text.as_str().parse().ok(),
        _ => return Err(NoOverload("double")),
    };
    value.map(Value::Double).ok_or(Conversion("a double"))
}

fn string<'a>(operand: &Value<'a>, fuel: &mut Fuel) -> Evaluated<'a> {
    fuel.take(MADE)?;
    let text = match operand {
        Value::String(_) => return Ok(operand.clone()),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => return Err(NoOverload("string")),
    };
    Ok(Value::String(Text::Made(text.into())))
}

fn boolean<'a>(operand: &Value<'a>) -> Evaluated<'a> {
    match operand {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(Conversion("a bool")),
        },
        _ => Err(NoOverload("bool")),
    }
}
