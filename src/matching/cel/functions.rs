//! The functions of CEL that are there.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use regex::{Regex, RegexBuilder};

use crate::matching::cel::compile::Compiler;
use crate::matching::cel::evaluate::Evaluated;
use crate::matching::cel::fuel::{Fuel, MADE};
use crate::matching::cel::node::{Function, Node};
use crate::matching::cel::value::{Map, Text, Value, nearest, truncated};
use crate::matching::cel::{
    EvaluationError,
    EvaluationError::{Conversion, NoOverload},
    ExpressionError, ExpressionErrorKind as Kind,
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

/// Bytes of a compiled pattern at most.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// Bytes of the text that a pattern is looked for in at most.
const MATCHED_BYTES_MAX: usize = 64 << 10;

/// Bytes that a pattern looks at in one step.
const MATCHED_BYTES_A_STEP: usize = 8;

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
            let kind = Kind::UnknownFunction(name.to_owned());
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
    let built = RegexBuilder::new(written.inner())
        .size_limit(PATTERN_BYTES_MAX)
        .nest_limit(64)
        .build();
    match built {
        Ok(regex) => Ok(Node::Matches(Box::new(compiler.node(text)?), regex)),
        Err(error) => {
            let kind = match error {
                regex::Error::CompiledTooBig(_) => Kind::Regex(format!(
                    "too large, expected at most {PATTERN_BYTES_MAX} bytes when compiled (\\w and \\d in Unicode are large: [0-9A-Za-z_] is not)"
                )),
                // The last line says what is wrong, those before show where.
                error => {
                    let text = error.to_string();
                    let last = text.lines().last().unwrap_or_default();
                    Kind::Regex(last.trim_start_matches("error: ").to_owned())
                }
            };
            Err(compiler.error(pattern, kind))
        }
    }
}

/// Whether a pattern is found in a text.
pub(super) fn matches<'a>(operand: &Value<'a>, pattern: &Regex, fuel: &mut Fuel) -> Evaluated<'a> {
    let Value::String(text) = operand else {
        return Err(NoOverload("matches"));
    };
    let text = text.as_str();
    if text.len() > MATCHED_BYTES_MAX {
        return Err(EvaluationError::TooCostly);
    }
    fuel.take_many(text.len() / MATCHED_BYTES_A_STEP)?;
    Ok(Value::Bool(pattern.is_match(text)))
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
            compare(text, part, "contains", fuel, |text, part| {
                text.contains(part)
            })
        }
        (Function::StartsWith, [text, part]) => {
            compare(text, part, "startsWith", fuel, |text, part| {
                text.starts_with(part)
            })
        }
        (Function::EndsWith, [text, part]) => {
            compare(text, part, "endsWith", fuel, |text, part| {
                text.ends_with(part)
            })
        }
        (Function::Int, [operand]) => int(operand),
        (Function::Uint, [operand]) => uint(operand),
        (Function::Double, [operand]) => double(operand),
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
        Value::Map(map) => {
            if let Map::Headers(headers) = map {
                fuel.take_many(headers.count())?;
            }
            map.len()
        }
        _ => return Err(NoOverload("size")),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn compare<'a>(
    text: &Value<'a>,
    part: &Value<'a>,
    name: &'static str,
    fuel: &mut Fuel,
    holds: impl Fn(&str, &str) -> bool,
) -> Evaluated<'a> {
    let (Value::String(text), Value::String(part)) = (text, part) else {
        return Err(NoOverload(name));
    };
    let (text, part) = (text.as_str(), part.as_str());
    fuel.take_bytes(text.len().saturating_add(part.len()))?;
    Ok(Value::Bool(holds(text, part)))
}

fn int<'a>(operand: &Value<'a>) -> Evaluated<'a> {
    let value = match operand {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        Value::Double(value) => whole(*value).and_then(|whole| i64::try_from(whole).ok()),
        Value::String(text) => text.as_str().parse().ok(),
        _ => return Err(NoOverload("int")),
    };
    value.map(Value::Int).ok_or(Conversion("an int"))
}

fn uint<'a>(operand: &Value<'a>) -> Evaluated<'a> {
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

fn double<'a>(operand: &Value<'a>) -> Evaluated<'a> {
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
