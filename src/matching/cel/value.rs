//! The values that an expression computes with, borrowed from the event and the expression where possible.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use crate::matching::cel::error::EvaluationError::{self, NoOverload};
use crate::matching::cel::fuel::Fuel;
use crate::matching::document::Json;
use crate::matching::facts::Headers;

/// A value. Cheap to clone: the data is borrowed or shared.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    List(List<'a>),
    Map(Map<'a>),
    Type(Type),
}

pub(super) type Evaluated<'a> = Result<Value<'a>, EvaluationError>;

/// A string.
#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Made(Rc<str>),
}

/// A list: of the body, or made by the expression.
#[derive(Debug, Clone)]
pub(super) enum List<'a> {
    Json(&'a [Json<'a>]),
    Made(Rc<[Value<'a>]>),
}

/// A map: of the body, the headers, or made by the expression.
#[derive(Debug, Clone)]
pub(super) enum Map<'a> {
    Json(&'a [(Cow<'a, str>, Json<'a>)]),
    Headers(Headers<'a>),
    Made(Rc<[(Value<'a>, Value<'a>)]>),
}

/// The result of `type(x)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    List,
    Map,
    Meta,
}

impl Type {
    /// All that an expression can name. `type` itself is the variable.
    pub(super) const NAMED: [(&'static str, Self); 8] = [
        ("null_type", Self::Null),
        ("bool", Self::Bool),
        ("int", Self::Int),
        ("uint", Self::Uint),
        ("double", Self::Double),
        ("string", Self::String),
        ("list", Self::List),
        ("map", Self::Map),
    ];
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// A value of the body; one that was too large to be looked into is an error.
pub(super) fn known<'a>(json: &'a Json<'a>) -> Result<Value<'a>, EvaluationError> {
    Ok(match json {
        Json::TooLarge => return Err(EvaluationError::DataTooLarge),
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Int(value) => Value::Int(*value),
        Json::Uint(value) => Value::Uint(*value),
        Json::Double(value) => Value::Double(*value),
        Json::String(text) => Value::String(Text::Borrowed(text)),
        Json::List(items) => Value::List(List::Json(items)),
        Json::Map(entries) => Value::Map(Map::Json(entries)),
    })
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Result<Value<'a>, EvaluationError>> {
        match self {
            Self::Json(items) => items.get(index).map(known),
            Self::Made(items) => items.get(index).cloned().map(Ok),
        }
    }
}

impl<'a> Map<'a> {
    pub(super) fn len(&self, fuel: &mut Fuel) -> Result<usize, EvaluationError> {
        Ok(match self {
            Self::Json(entries) => entries.len(),
            Self::Headers(headers) => {
                fuel.take_many(headers.cost_of_names())?;
                headers.names().len()
            }
            Self::Made(entries) => entries.len(),
        })
    }

    /// The value of a key; equal numbers are the same key, regardless of their types.
    pub(super) fn get(
        &self,
        key: &Value<'_>,
        fuel: &mut Fuel,
    ) -> Result<Option<Value<'a>>, EvaluationError> {
        if !key.is_key() {
            return Err(NoOverload("_[_]"));
        }
        match self {
            Self::Json(entries) => {
                let Value::String(text) = key else {
                    return Ok(None);
                };
                let halvings = 1 + entries.len().checked_ilog2().unwrap_or_default();
                // Names may begin alike.
                let each = 1 + text.as_str().len() / 64;
                fuel.take(u64::from(halvings).saturating_mul(count(each)))?;
                let found = entries.binary_search_by(|(name, _)| (**name).cmp(text.as_str()));
                let entry = found.ok().and_then(|place| entries.get(place));
                entry.map(|(_, json)| known(json)).transpose()
            }
            Self::Headers(headers) => {
                let Value::String(text) = key else {
                    return Ok(None);
                };
                fuel.take_many(headers.cost())?;
                Ok(headers.get(text.as_str()).map(Value::from))
            }
            Self::Made(entries) => {
                for (name, value) in entries.iter() {
                    if name.equals(key, fuel)? {
                        return Ok(Some(value.clone()));
                    }
                }
                Ok(None)
            }
        }
    }

    /// The keys, as a list.
    pub(super) fn keys(&self, fuel: &mut Fuel) -> Result<Vec<Value<'a>>, EvaluationError> {
        let count = self.len(fuel)?;
        fuel.take_many(count)?;
        Ok(match self {
            Self::Json(entries) => {
                let keys = entries.iter();
                keys.map(|(name, _)| Value::String(Text::Borrowed(name)))
                    .collect()
            }
            Self::Headers(headers) => {
                let names = headers.names().into_iter();
                names
                    .map(|name| Value::String(Text::Borrowed(name)))
                    .collect()
            }
            Self::Made(entries) => entries.iter().map(|(name, _)| name.clone()).collect(),
        })
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::String(match text {
            Cow::Borrowed(text) => Text::Borrowed(text),
            Cow::Owned(text) => Text::Made(text.into()),
        })
    }
}

impl Value<'_> {
    pub(super) fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::List(_) => Type::List,
            Self::Map(_) => Type::Map,
            Self::Type(_) => Type::Meta,
        }
    }

    /// Whether it may be looked up in a map.
    fn is_key(&self) -> bool {
        matches!(
            self,
            Self::Bool(_) | Self::Int(_) | Self::Uint(_) | Self::Double(_) | Self::String(_)
        )
    }

    /// Equality of CEL: numbers by value, regardless of their types; other values of different types are not equal.
    pub(super) fn equals(
        &self,
        other: &Value<'_>,
        fuel: &mut Fuel,
    ) -> Result<bool, EvaluationError> {
        fuel.take(1)?;
        match (self, other) {
            (Self::Null, Value::Null) => Ok(true),
            (Self::Bool(left), Value::Bool(right)) => Ok(left == right),
            (Self::Type(left), Value::Type(right)) => Ok(left == right),
            (Self::String(left), Value::String(right)) => {
                let (left, right) = (left.as_str(), right.as_str());
                if left.len() == right.len() {
                    fuel.take_bytes(left.len())?;
                }
                Ok(left == right)
            }
            (Self::List(left), Value::List(right)) => lists_equal(left, right, fuel),
            (Self::Map(left), Value::Map(right)) => maps_equal(left, right, fuel),
            _ => Ok(compare_numbers(self, other) == Some(Some(Ordering::Equal))),
        }
    }

    /// Ordering of CEL, for `<` and similar; `None` with NaN, which is neither less nor greater.
    pub(super) fn compare(
        &self,
        other: &Value<'_>,
        operator: &'static str,
        fuel: &mut Fuel,
    ) -> Result<Option<Ordering>, EvaluationError> {
        match (self, other) {
            (Self::Bool(left), Value::Bool(right)) => Ok(Some(left.cmp(right))),
            (Self::String(left), Value::String(right)) => {
                let (left, right) = (left.as_str(), right.as_str());
                fuel.take_bytes(left.len().min(right.len()))?;
                Ok(Some(left.cmp(right)))
            }
            _ => compare_numbers(self, other).ok_or(NoOverload(operator)),
        }
    }
}

fn lists_equal(
    left: &List<'_>,
    right: &List<'_>,
    fuel: &mut Fuel,
) -> Result<bool, EvaluationError> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for index in 0..left.len() {
        if let (Some(left), Some(right)) = (left.get(index), right.get(index))
            && !left?.equals(&right?, fuel)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps_equal(left: &Map<'_>, right: &Map<'_>, fuel: &mut Fuel) -> Result<bool, EvaluationError> {
    if left.len(fuel)? != right.len(fuel)? {
        return Ok(false);
    }
    for key in left.keys(fuel)? {
        let (Some(one), other) = (left.get(&key, fuel)?, right.get(&key, fuel)?) else {
            return Ok(false);
        };
        match other {
            Some(other) if one.equals(&other, fuel)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// `None` if one of them is not a number; `Some(None)` with NaN.
fn compare_numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Option<Ordering>> {
    Some(match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Uint(left), Value::Uint(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Uint(right)) => Some(i128::from(*left).cmp(&(*right).into())),
        (Value::Uint(left), Value::Int(right)) => Some(i128::from(*left).cmp(&(*right).into())),
        (Value::Int(left), Value::Double(right)) => compare_with_double((*left).into(), *right),
        (Value::Uint(left), Value::Double(right)) => compare_with_double((*left).into(), *right),
        (Value::Double(left), Value::Int(right)) => {
            compare_with_double((*right).into(), *left).map(Ordering::reverse)
        }
        (Value::Double(left), Value::Uint(right)) => {
            compare_with_double((*right).into(), *left).map(Ordering::reverse)
        }
        _ => return None,
    })
}

/// Compares exactly, not by making a double of the whole number, which could round it.
fn compare_with_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Beyond every int and uint, and a cast saturates.
    if double.abs() >= 1e20 {
        let is_above = double > 0.0;
        return Some(if is_above {
            Ordering::Less
        } else {
            Ordering::Greater
        });
    }
    let by_whole = whole.cmp(&truncated(double));
    Some(by_whole.then_with(|| {
        let fraction = double.fract();
        0.0_f64.partial_cmp(&fraction).unwrap_or(Ordering::Equal)
    }))
}

/// The whole part of a finite double of less than 1e38.
#[expect(
    clippy::as_conversions,
    reason = "there is no other way from a double to a whole number; the range is checked before"
)]
pub(super) fn truncated(double: f64) -> i128 {
    double as i128
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The double nearest to a whole number.
#[expect(
    clippy::as_conversions,
    reason = "there is no other way from a whole number of 64 bits to a double"
)]
pub(super) fn nearest(whole: i128) -> f64 {
    whole as f64
}
