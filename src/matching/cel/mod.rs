//! Expressions of `when`, in CEL (the Common Expression Language, <https://cel.dev>).
//!
//! The crate `cel` parses them. They are evaluated here, because the crate does not limit the cost of an evaluation,
//! copies the collections it iterates over, and puts values into its errors. Here `fuel` limits the cost, values are
//! borrowed from the body, and errors contain nothing of an event. Tests compare both on random expressions.
//!
//! Variables: `type`, `id` (the given id, else the event id), `source`, `subject`, `key` (empty when there is none),
//! `headers` (names in lower case) and `data` (the JSON body, else null). Whole numbers of a body are `int`, or `uint` where
//! they are too large for it; others are `double`. Beside the operators there are `size`, `contains`, `startsWith`,
//! `endsWith`, `matches` (of a literal, in the syntax of the crate `regex`), `int`, `uint`, `double`, `string`, `bool`,
//! `dyn` and `type`, and the macros `has`, `all`, `exists`, `exists_one`, `map` and `filter`. There are no bytes, no
//! times, no messages and no optional values, as nothing in an event is one. NaN is neither less nor greater than anything.

mod arithmetic;
mod compile;
mod error;
mod evaluate;
mod fuel;
mod functions;
mod hints;
mod limits;
mod names;
mod node;
mod pattern;
mod value;
mod wanted;

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::HeaderName;

use crate::matching::cel::compile::Compiler;
use crate::matching::cel::error::ExpressionErrorKind;
use crate::matching::cel::node::Node;
use crate::matching::document::{self, Json, Wanted};
use crate::matching::facts::Facts;

pub(super) use error::EvaluationError;
pub use error::ExpressionError;
pub use limits::EXPRESSION_BYTES_MAX;
pub(super) use limits::{STEPS_AT_ONCE, STEPS_MAX};

/// Bytes of an expression that any thread has the stack for.
const SHORT_BYTES: usize = 512;

/// The stack for longer ones.
const STACK_BYTES: usize = 8 << 20;

/// A compiled expression. Cheap to clone; equal to another of the same text.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    root: Node,
    headers: HashSet<HeaderName>,
    wanted: Option<Wanted>,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError {
                offset: 0,
                kind: ExpressionErrorKind::TooLong,
            });
        }
        let compiled = guarded(text).unwrap_or_else(|| {
            Err(ExpressionError {
                offset: 0,
                kind: ExpressionErrorKind::Syntax("the parser failed on it".to_owned()),
            })
        });
        Ok(Self(Arc::new(compiled?)))
    }

    /// The text that was compiled.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The headers that it names.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.headers.iter()
    }

    /// The parts of the body that it looks at; `None` if it does not.
    pub(super) fn wanted(&self) -> Option<&Wanted> {
        self.0.wanted.as_ref()
    }

    /// Evaluates it, reading the parts of the body that it looks at.
    ///
    /// # Errors
    /// When it gives neither true nor false.
    pub fn evaluate(&self, facts: &Facts<'_>) -> Result<bool, EvaluationError> {
        let wanted = self.0.wanted.as_ref();
        let data = wanted.and_then(|wanted| document::read(facts.body, wanted));
        let data = data.as_ref().unwrap_or(&Json::Null);
        self.evaluate_with(facts, data, STEPS_MAX).0
    }

    /// Evaluates it with this many steps over a body that contains at least all parts it looks at; also returns how
    /// many steps are left.
    pub(super) fn evaluate_with(
        &self,
        facts: &Facts<'_>,
        data: &Json<'_>,
        steps: u64,
    ) -> (Result<bool, EvaluationError>, u64) {
        evaluate::condition(&self.0.root, facts, data, steps)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.text).finish()
    }
}

/// Compiles in a way that neither a panic nor the stack of the parser, which is generated code of others, ends the relay
/// over a configuration. The stack it takes grows with the text: some 400 bytes a byte.
fn guarded(text: &str) -> Option<Result<Compiled, ExpressionError>> {
    if text.len() <= SHORT_BYTES {
        return catch_unwind(AssertUnwindSafe(|| compile(text))).ok();
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || compile(text));
        thread.ok()?.join().ok()
    })
}

fn compile(text: &str) -> Result<Compiled, ExpressionError> {
    // Without its macros: they are compiled here, to loops that count what they do.
    let environment = cel::Env::default().with_optional_support(false);
    let program = environment.compile(text);
    let program = program.map_err(|errors| syntax_error(text, &errors))?;
    let mut compiler = Compiler::new(program.source_info());
    let root = compiler.node(program.expression());
    let root = root.map_err(|error| from_name(text, error))?;
    if root.is_never_bool() {
        let (offset, kind) = (0, ExpressionErrorKind::NoCondition);
        return Err(ExpressionError { offset, kind });
    }
    Ok(Compiled {
        text: text.into(),
        headers: compiler.into_headers(),
        wanted: wanted::of(&root),
        root,
    })
}

/// The parser reports the position of a call's bracket; this moves it to the name before.
fn from_name(text: &str, error: ExpressionError) -> ExpressionError {
    let name = match &error.kind {
        ExpressionErrorKind::UnknownFunction(name, _) => name.as_str(),
        ExpressionErrorKind::Call(name, _) => name,
        _ => return error,
    };
    let before = text.get(..error.offset).unwrap_or_default();
    let offset = match before.trim_end().strip_suffix(name) {
        Some(before) => before.len(),
        None => error.offset,
    };
    ExpressionError { offset, ..error }
}

/// The parser's message about a token, in plain words.
fn said(message: &str) -> String {
    let short = message.split(" expecting ").next().unwrap_or(message);
    let words = [
        ("extraneous input ", "unexpected "),
        ("mismatched input ", "unexpected "),
        ("no viable alternative at input ", "cannot be read at "),
        ("token recognition error at: ", "unexpected "),
    ];
    let known = words
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{ours}{}", short.strip_prefix(theirs)?)));
    let said = known.unwrap_or_else(|| short.to_owned());
    said.chars().take(120).collect()
}

/// The first error, without the list of all tokens that would be right; what is written as in another language, if anything
/// is.
fn syntax_error(text: &str, errors: &cel::ParseErrors) -> ExpressionError {
    let mut all = errors.errors.iter();
    let is_too_deep = all.any(|error| error.msg.contains("Recursion limit"));
    if let Some((offset, hint)) = hints::of(text).filter(|_| !is_too_deep) {
        let kind = ExpressionErrorKind::Foreign(hint);
        return ExpressionError { offset, kind };
    }
    let Some(first) = errors.errors.first() else {
        return ExpressionError {
            offset: 0,
            kind: ExpressionErrorKind::Syntax("it cannot be read".to_owned()),
        };
    };
    let message = first.msg.strip_prefix("Syntax error: ");
    let message = message.unwrap_or(&first.msg);
    let kind = if message.contains("Recursion limit") {
        ExpressionErrorKind::TooDeep
    } else if message.contains("input '<EOF>'") {
        ExpressionErrorKind::Syntax("it ends too early".to_owned())
    } else {
        ExpressionErrorKind::Syntax(said(message))
    };
    let (line, column) = first.pos;
    let line = usize::try_from(line).unwrap_or_default().saturating_sub(1);
    let column = usize::try_from(column)
        .unwrap_or_default()
        .saturating_sub(1);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let within = rest.char_indices().nth(column);
    ExpressionError {
        offset: before + within.map_or(rest.len(), |(at, _)| at),
        kind,
    }
}

#[cfg(test)]
mod tests;
