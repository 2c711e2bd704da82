//! A compiled expression: names resolved, macros turned into loops, patterns compiled.

use crate::matching::cel::names::{Function, LoopKind, Variable};
use crate::matching::cel::pattern::Pattern;
use crate::matching::cel::value::Type;

/// One node.
#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    Variable(Variable),
    /// A variable of a macro, by how many macros around it have one.
    Local(usize),
    /// `a.b`
    Select(Box<Node>, Box<str>),
    /// `has(a.b)`
    Has(Box<Node>, Box<str>),
    /// `a[b]`
    Index(Box<[Node; 2]>),
    /// `a ? b : c`
    Conditional(Box<[Node; 3]>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Operator, Box<[Node; 2]>),
    List(Box<[Node]>),
    Map(Box<[[Node; 2]]>),
    Call(Function, Box<[Node]>),
    Matches(Box<Node>, Box<Pattern>),
    Loop(Box<Loop>),
}

impl Node {
    /// Whether its value is never true or false, for any event.
    pub(super) fn is_never_bool(&self) -> bool {
        match self {
            Self::Literal(literal) => !matches!(literal, Literal::Bool(_)),
            Self::Variable(variable) => *variable != Variable::Data,
            Self::Binary(operator, _) => operator.is_arithmetic(),
            Self::Call(function, _) => function.is_never_bool(),
            Self::Loop(of) => matches!(of.kind, LoopKind::Map | LoopKind::Filter),
            Self::Negate(_) | Self::List(_) | Self::Map(_) => true,
            Self::Local(_)
            | Self::Select(..)
            | Self::Has(..)
            | Self::Index(_)
            | Self::Conditional(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Not(_)
            | Self::Matches(..) => false,
        }
    }
}

/// A literal, or the name of a type.
#[derive(Debug, Clone)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Box<str>),
    Type(Type),
}

/// An operator of two operands, both of which are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Operator {
    /// By the name that the parser gives it.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "_==_" => Self::Equal,
            "_!=_" => Self::NotEqual,
            "_<_" => Self::Less,
            "_<=_" => Self::LessOrEqual,
            "_>_" => Self::Greater,
            "_>=_" => Self::GreaterOrEqual,
            "@in" => Self::In,
            "_+_" => Self::Add,
            "_-_" => Self::Subtract,
            "_*_" => Self::Multiply,
            "_/_" => Self::Divide,
            "_%_" => Self::Modulo,
            _ => return None,
        })
    }

    /// Whether it computes a value from two, rather than comparing them.
    const fn is_arithmetic(self) -> bool {
        match self {
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Modulo => true,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::In => false,
        }
    }

    /// Its sign in an expression.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        }
    }
}

/// A macro that goes over the elements of a list, or the keys of a map.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) range: Node,
    /// The expression evaluated for each element.
    pub(super) body: Node,
    /// Of `map` with three arguments: the filter of the elements.
    pub(super) guard: Option<Node>,
}
