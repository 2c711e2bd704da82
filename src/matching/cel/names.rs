//! The names that an expression can use: variables of the event, functions and macros.

/// The variables of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Type,
    Id,
    Source,
    Subject,
    Key,
    Headers,
    Data,
}

impl Variable {
    /// All names, for messages.
    pub(super) const NAMES: [&'static str; 7] =
        ["type", "id", "source", "subject", "key", "headers", "data"];

    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Type,
            "id" => Self::Id,
            "source" => Self::Source,
            "subject" => Self::Subject,
            "key" => Self::Key,
            "headers" => Self::Headers,
            "data" => Self::Data,
            _ => return None,
        })
    }
}

/// A function; for one that is called on a value, that is the first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Int,
    Uint,
    Double,
    String,
    Bool,
    Dyn,
    Type,
}

impl Function {
    /// How many arguments it takes.
    pub(super) const fn arguments(self) -> usize {
        match self {
            Self::Contains | Self::StartsWith | Self::EndsWith => 2,
            Self::Size
            | Self::Int
            | Self::Uint
            | Self::Double
            | Self::String
            | Self::Bool
            | Self::Dyn
            | Self::Type => 1,
        }
    }

    /// Whether its result is never true or false.
    pub(super) const fn is_never_bool(self) -> bool {
        match self {
            Self::Size | Self::Int | Self::Uint | Self::Double | Self::String | Self::Type => true,
            Self::Contains | Self::StartsWith | Self::EndsWith | Self::Bool | Self::Dyn => false,
        }
    }
}

/// Which macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

/// The effect of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callee {
    Function(Function),
    Matches,
    Has,
    Loop(LoopKind),
}

impl Callee {
    /// Whether it can be called on a value, as `x.f()`, or else without one, as `f(x)`.
    pub(super) const fn allows(self, is_on_value: bool) -> bool {
        match self {
            Self::Matches | Self::Function(Function::Size) => true,
            Self::Loop(_)
            | Self::Function(Function::Contains | Function::StartsWith | Function::EndsWith) => {
                is_on_value
            }
            Self::Has
            | Self::Function(
                Function::Int
                | Function::Uint
                | Function::Double
                | Function::String
                | Function::Bool
                | Function::Dyn
                | Function::Type,
            ) => !is_on_value,
        }
    }
}

/// A function or macro, and how it is called.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) callee: Callee,
    /// An example, for messages.
    pub(super) usage: &'static str,
}

const SIGNATURES: [Signature; 18] = [
    function("size", Function::Size, "size(x) or x.size()"),
    function("contains", Function::Contains, "text.contains(part)"),
    function("startsWith", Function::StartsWith, "text.startsWith(part)"),
    function("endsWith", Function::EndsWith, "text.endsWith(part)"),
    signature("matches", Callee::Matches, "text.matches('pattern')"),
    function("int", Function::Int, "int(x)"),
    function("uint", Function::Uint, "uint(x)"),
    function("double", Function::Double, "double(x)"),
    function("string", Function::String, "string(x)"),
    function("bool", Function::Bool, "bool(x)"),
    function("dyn", Function::Dyn, "dyn(x)"),
    function("type", Function::Type, "type(x)"),
    signature("has", Callee::Has, "has(data.field)"),
    over("all", LoopKind::All, "list.all(x, condition)"),
    over("exists", LoopKind::Exists, "list.exists(x, condition)"),
    over(
        "exists_one",
        LoopKind::ExistsOne,
        "list.exists_one(x, condition)",
    ),
    over(
        "map",
        LoopKind::Map,
        "list.map(x, value) or list.map(x, condition, value)",
    ),
    over("filter", LoopKind::Filter, "list.filter(x, condition)"),
];

const fn function(name: &'static str, function: Function, usage: &'static str) -> Signature {
    signature(name, Callee::Function(function), usage)
}

const fn over(name: &'static str, kind: LoopKind, usage: &'static str) -> Signature {
    signature(name, Callee::Loop(kind), usage)
}

const fn signature(name: &'static str, callee: Callee, usage: &'static str) -> Signature {
    Signature {
        name,
        callee,
        usage,
    }
}

impl Signature {
    /// All names, for messages.
    pub(super) fn names() -> [&'static str; SIGNATURES.len()] {
        SIGNATURES.map(|signature| signature.name)
    }

    pub(super) fn named(name: &str) -> Option<&'static Self> {
        let name = if name == "existsOne" {
            "exists_one"
        } else {
            name
        };
        SIGNATURES.iter().find(|signature| signature.name == name)
    }
}
