//! The functions of CEL that are there.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};

use crate::matching::cel::compile::Compiler;
use crate::matching::cel::evaluate::Evaluated;
use crate::matching::cel::fuel::{Fuel, MADE};
use crate::matching::cel::node::{Function, Node};
use crate::matching::cel::pattern::Pattern;
use crate::matching::cel::value::{Text, Value, nearest, truncated};
use crate::matching::cel::{
    EvaluationError,
    EvaluationError::{Conversion, NoOverload},
    ExpressionError, ExpressionErrorKind as Kind, hints,
};

/// All functions and macros, for a message.
pub(super) const NAMES: [&str; 18] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "dyn",
    "type",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
];

/// Bytes of a text that are searched in one step.
const SEARCHED_BYTES_A_STEP: usize = 16;

/// Digits that are read in one step.
const DIGITS_A_STEP: usize = 4;

/// Compiles a call that is neither a macro nor an operator.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    expression: &IdedExpr,
    call: &CallExpr,
) -> Result<Node, ExpressionError> {
    let (function, name, usage, is_method, is_global) = match call.func_name.as_str() {
        "matches" => return compile_matches(compiler, expression, call),
        "size" => (Function::Size, "size", "size(x) or x.size()", true, true),
        "contains" => (
            Function::Contains,
            "contains",
            "text.contains(part)",
            true,
            false,
        ),
        "startsWith" => (
            Function::StartsWith,
            "startsWith",
            "text.startsWith(part)",
            true,
            false,
        ),
        "endsWith" => (
            Function::EndsWith,
            "endsWith",
            "text.endsWith(part)",
            true,
            false,
        ),
        "int" => (Function::Int, "int", "int(x)", false, true),
        "uint" => (Function::Uint, "uint", "uint(x)", false, true),
        "double" => (Function::Double, "double", "double(x)", false, true),
        "string" => (Function::String, "string", "string(x)", false, true),
        "bool" => (Function::Bool, "bool", "bool(x)", false, true),
        "dyn" => (Function::Dyn, "dyn", "dyn(x)", false, true),
        "type" => (Function::Type, "type", "type(x)", false, true),
        name => {
            let kind = Kind::UnknownFunction(name.to_owned(), hints::function(name, &NAMES));
            return Err(compiler.error(expression, kind));
        }
    };
    let wanted = match function {
        Function::Contains | Function::StartsWith | Function::EndsWith => 2,
        _ => 1,
    };
    let is_right_form = if call.target.is_some() {
        is_method
    } else {
        is_global
    };
    let arguments: Vec<&IdedExpr> = call
        .target
        .as_deref()
        .into_iter()
        .chain(&call.args)
        .collect();
    if !is_right_form || arguments.len() != wanted {
        return Err(compiler.error(expression, Kind::Call(name, usage)));
    }
    let arguments = arguments
        .into_iter()
        .map(|argument| compiler.node(argument));
    Ok(Node::Call(function, arguments.collect::<Result<_, _>>()?))
}

fn compile_matches(
    compiler: &mut Compiler<'_>,
    expression: &IdedExpr,
    call: &CallExpr,
) -> Result<Node, ExpressionError> {
    let arguments: Vec<&IdedExpr> = call
        .target
        .as_deref()
        .into_iter()
        .chain(&call.args)
        .collect();
    let [text, pattern] = arguments.as_slice() else {
        let kind = Kind::Call("matches", "text.matches('pattern')");
        return Err(compiler.error(expression, kind));
    };
    let Expr::Literal(LiteralValue::String(written)) = &pattern.expr else {
        let kind = Kind::Call("matches", "text.matches('pattern'), with a literal pattern");
        return Err(compiler.error(pattern, kind));
    };
    match Pattern::compile(written.inner()) {
        Ok(compiled) => Ok(Node::Matches(
            Box::new(compiler.node(text)?),
            Box::new(compiled),
        )),
        Err(error) => Err(compiler.error(pattern, Kind::Regex(error))),
    }
}

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
