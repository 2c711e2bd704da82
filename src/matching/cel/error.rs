//! The errors of an expression, when it is compiled and when it is evaluated.

use crate::matching::cel::limits::{DEPTH_MAX, EXPRESSION_BYTES_MAX, STEPS_MAX};
use crate::matching::cel::names::{Signature, Variable};
use crate::matching::document;

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ExpressionError {
    /// The byte of the text where it goes wrong, from 0.
    pub offset: usize,
    /// The problem there.
    pub kind: ExpressionErrorKind,
}

/// The problems that an expression can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionErrorKind {
    /// It is too long.
    #[error("expected an expression of at most {EXPRESSION_BYTES_MAX} bytes")]
    TooLong,
    /// The syntax; carries the parser's message.
    #[error("not a CEL expression: {0}")]
    Syntax(String),
    /// Deeper than the bound.
    #[error("nested too deeply, expected at most {DEPTH_MAX} levels")]
    TooDeep,
    /// Syntax of another language, or something not closed; carries the correction.
    #[error("{0}")]
    Foreign(String),
    /// A name that is none of the variables; carries a hint at the right one.
    #[error("unknown variable {0}{1} expected {known}, or one of a macro", known = Variable::NAMES.join(", "))]
    UnknownVariable(String, String),
    /// A name that is none of the functions; carries a hint at the right one.
    #[error("unknown function {0}{1} expected one of {known}", known = Signature::names().join(", "))]
    UnknownFunction(String, String),
    /// `in` with something else than a list or map.
    #[error(
        "in looks into a list, such as data.plan in ['pro', 'team']; for texts there is text.contains('part')"
    )]
    NoList,
    /// A value that is never a bool, for any event.
    #[error("expected a condition that is true or false, such as type == 'invoice.paid'")]
    NoCondition,
    /// A function that is called in a wrong way; carries its name and how it is called.
    #[error("{0} is called as {1}")]
    Call(&'static str, &'static str),
    /// Part of CEL that is not supported; carries which.
    #[error("{0} are not supported")]
    Unsupported(&'static str),
    /// The pattern of `matches` is not valid; carries the reason.
    #[error("not a regular expression: {0}")]
    Regex(String),
    /// A header name with other than lower-case letters.
    #[error("header names are in lower case here, expected {0}")]
    HeaderCase(String),
    /// A header that no event has.
    #[error("the header {0} is never kept with an event")]
    NeverKept(String),
    /// Not a header name.
    #[error("expected a header name (letters, digits and !#$%&'*+-.^_`|~), found {0:?}")]
    HeaderName(String),
}

/// Why an evaluation gave neither true nor false. Contains nothing of the event, only names from the expression itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// A value of a type that an operator or function does not take; carries its name.
    #[error("no such overload: {0} does not take values of these types")]
    NoOverload(&'static str),
    /// A field that is not there.
    #[error("no such key: {0}")]
    NoSuchField(Box<str>),
    /// A key that is not there, or an index out of bounds.
    #[error("no such key or index")]
    NoSuchKey,
    /// A map literal that repeats a key.
    #[error("a map with the same key twice")]
    RepeatedKey,
    /// Whole numbers that become too large.
    #[error("{0} overflows")]
    Overflow(&'static str),
    /// A division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A value that cannot be made one of the type; carries the type.
    #[error("the value cannot be made {0}")]
    Conversion(&'static str),
    /// A condition that is not a bool.
    #[error("expected true or false")]
    NotBool,
    /// More steps than an evaluation may take.
    #[error("the evaluation takes too long, expected at most {STEPS_MAX} steps")]
    TooCostly,
    /// A part of `data` that is too large to be looked into.
    #[error(
        "the part of data that is looked at is too large, expected at most {} values, nested at most {} deep",
        document::VALUES_MAX,
        document::DEPTH_MAX
    )]
    DataTooLarge,
}
