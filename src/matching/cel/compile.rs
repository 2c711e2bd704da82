//! From what the parser read to a compiled expression: every name is resolved, everything unknown is an error.

use std::collections::HashSet;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo};
use http::HeaderName;

use crate::matching::cel::error::{ExpressionError, ExpressionErrorKind as Kind};
use crate::matching::cel::hints;
use crate::matching::cel::limits::DEPTH_MAX;
use crate::matching::cel::names::{Callee, LoopKind, Signature, Variable};
use crate::matching::cel::node::{Literal, Loop, Node, Operator};
use crate::matching::cel::pattern::Pattern;
use crate::matching::cel::value::Type;
use crate::matching::facts::NEVER_KEPT;

/// Compiles one expression.
#[derive(Debug)]
pub(super) struct Compiler<'s> {
    /// Where everything stands in the text.
    source: &'s SourceInfo,
    /// The variables of the macros around, the outermost first.
    locals: Vec<String>,
    depth: usize,
    headers: HashSet<HeaderName>,
}

impl<'s> Compiler<'s> {
    pub(super) fn new(source: &'s SourceInfo) -> Self {
        Self {
            source,
            locals: Vec::new(),
            depth: 0,
            headers: HashSet::new(),
        }
    }

    /// The headers that were named.
    pub(super) fn into_headers(self) -> HashSet<HeaderName> {
        self.headers
    }

    fn error(&self, at: &IdedExpr, kind: Kind) -> ExpressionError {
        let (start, _) = self.source.offset_for(at.id).unwrap_or_default();
        ExpressionError {
            offset: usize::try_from(start).unwrap_or_default(),
            kind,
        }
    }

    pub(super) fn node(&mut self, expression: &IdedExpr) -> Result<Node, ExpressionError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(expression, Kind::TooDeep));
        }
        let node = match &expression.expr {
            Expr::Literal(literal) => self.literal(expression, literal),
            Expr::Ident(name) => self.name(expression, name, None),
            Expr::Select(select) => {
                let operand = match &select.operand.expr {
                    Expr::Ident(name) => self.name(&select.operand, name, Some(&select.field))?,
                    _ => self.node(&select.operand)?,
                };
                self.note_header(expression, &operand, &select.field)?;
                Ok(Node::Select(
                    Box::new(operand),
                    select.field.as_str().into(),
                ))
            }
            Expr::Call(call) => self.call(expression, call),
            Expr::List(list) => {
                let items = list.elements.iter().map(|item| self.node(item));
                Ok(Node::List(items.collect::<Result<_, _>>()?))
            }
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        entries.push([self.node(&entry.key)?, self.node(&entry.value)?]);
                    }
                }
                Ok(Node::Map(entries.into()))
            }
            Expr::Struct(_) => Err(self.error(expression, Kind::Unsupported("messages"))),
            Expr::Comprehension(_) | Expr::Unspecified => {
                Err(self.error(expression, Kind::Unsupported("such expressions")))
            }
        };
        self.depth -= 1;
        node
    }

    fn literal(
        &self,
        expression: &IdedExpr,
        literal: &LiteralValue,
    ) -> Result<Node, ExpressionError> {
        Ok(Node::Literal(match literal {
            LiteralValue::Null => Literal::Null,
            LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
            LiteralValue::Int(value) => Literal::Int(*value.inner()),
            LiteralValue::UInt(value) => Literal::Uint(*value.inner()),
            LiteralValue::Double(value) => Literal::Double(*value.inner()),
            LiteralValue::String(text) => Literal::String(text.inner().into()),
            LiteralValue::Bytes(_) => {
                return Err(self.error(expression, Kind::Unsupported("bytes")));
            }
        }))
    }

    /// A variable of a macro, of the event, or a type; with a dot in front never one of a macro. `field` is the field
    /// selected from it.
    fn name(
        &self,
        expression: &IdedExpr,
        written: &str,
        field: Option<&str>,
    ) -> Result<Node, ExpressionError> {
        let name = written.strip_prefix('.').unwrap_or(written);
        let local = self.locals.iter().rposition(|local| local == written);
        if let Some(depth) = local {
            return Ok(Node::Local(depth));
        }
        if let Some(variable) = Variable::named(name) {
            return Ok(Node::Variable(variable));
        }
        match Type::NAMED.iter().find(|(known, _)| *known == name) {
            Some((_, named)) => Ok(Node::Literal(Literal::Type(*named))),
            None => {
                let kind = Kind::UnknownVariable(name.to_owned(), hints::variable(name, field));
                Err(self.error(expression, kind))
            }
        }
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Result<Node, ExpressionError> {
        let name = call.func_name.as_str();
        if let Some(signature) = Signature::named(name) {
            let is_right_form = signature.callee.allows(call.target.is_some());
            match signature.callee {
                Callee::Function(function) => {
                    let arguments = arguments(call);
                    if !is_right_form || arguments.len() != function.arguments() {
                        return self.wrong_call(expression, signature);
                    }
                    let arguments = arguments.into_iter().map(|argument| self.node(argument));
                    let arguments = arguments.collect::<Result<_, _>>()?;
                    return Ok(Node::Call(function, arguments));
                }
                Callee::Matches => return self.matches(expression, call, signature),
                Callee::Has if is_right_form => return self.has(expression, call, signature),
                Callee::Loop(kind) if is_right_form => {
                    return self.repeated(expression, call, signature, kind);
                }
                Callee::Has | Callee::Loop(_) => {}
            }
        }
        if call.target.is_none()
            && let Some(node) = self.operator(expression, call)?
        {
            return Ok(node);
        }
        let hint = hints::function(name, &Signature::names());
        Err(self.error(expression, Kind::UnknownFunction(name.to_owned(), hint)))
    }

    fn wrong_call(
        &self,
        expression: &IdedExpr,
        signature: &Signature,
    ) -> Result<Node, ExpressionError> {
        Err(self.error(expression, Kind::Call(signature.name, signature.usage)))
    }

    fn matches(
        &mut self,
        expression: &IdedExpr,
        call: &CallExpr,
        signature: &Signature,
    ) -> Result<Node, ExpressionError> {
        let arguments = arguments(call);
        let [text, pattern] = arguments.as_slice() else {
            return self.wrong_call(expression, signature);
        };
        let Expr::Literal(LiteralValue::String(written)) = &pattern.expr else {
            let usage = "text.matches('pattern'), with a literal pattern";
            return Err(self.error(pattern, Kind::Call(signature.name, usage)));
        };
        match Pattern::compile(written.inner()) {
            Ok(compiled) => Ok(Node::Matches(
                Box::new(self.node(text)?),
                Box::new(compiled),
            )),
            Err(error) => Err(self.error(pattern, Kind::Regex(error))),
        }
    }

    fn has(
        &mut self,
        expression: &IdedExpr,
        call: &CallExpr,
        signature: &Signature,
    ) -> Result<Node, ExpressionError> {
        let [argument] = call.args.as_slice() else {
            return self.wrong_call(expression, signature);
        };
        let Expr::Select(select) = &argument.expr else {
            return self.wrong_call(expression, signature);
        };
        let operand = self.node(&select.operand)?;
        self.note_header(expression, &operand, &select.field)?;
        let field = select.field.as_str().into();
        Ok(Node::Has(Box::new(operand), field))
    }

    /// A macro that goes over a list or the keys of a map.
    fn repeated(
        &mut self,
        expression: &IdedExpr,
        call: &CallExpr,
        signature: &Signature,
        kind: LoopKind,
    ) -> Result<Node, ExpressionError> {
        let (variable, guard, body) = match call.args.as_slice() {
            [variable, body] => (variable, None, body),
            [variable, guard, body] if kind == LoopKind::Map => (variable, Some(guard), body),
            _ => return self.wrong_call(expression, signature),
        };
        let (Some(range), Expr::Ident(variable)) = (&call.target, &variable.expr) else {
            return self.wrong_call(expression, signature);
        };
        if variable.starts_with('.') {
            return self.wrong_call(expression, signature);
        }
        let range = self.node(range)?;
        self.locals.push(variable.clone());
        let guard = guard.map(|guard| self.node(guard)).transpose()?;
        let body = self.node(body)?;
        self.locals.pop();
        Ok(Node::Loop(Box::new(Loop {
            kind,
            range,
            body,
            guard,
        })))
    }

    fn operator(
        &mut self,
        expression: &IdedExpr,
        call: &CallExpr,
    ) -> Result<Option<Node>, ExpressionError> {
        let name = call.func_name.as_str();
        Ok(Some(match call.args.as_slice() {
            [operand] if name == "!_" => Node::Not(Box::new(self.node(operand)?)),
            [operand] if name == "-_" => Node::Negate(Box::new(self.node(operand)?)),
            [one, two, three] if name == "_?_:_" => Node::Conditional(Box::new([
                self.node(one)?,
                self.node(two)?,
                self.node(three)?,
            ])),
            [left, right] if name == "_&&_" => Node::And(self.pair(left, right)?),
            [left, right] if name == "_||_" => Node::Or(self.pair(left, right)?),
            [left, right] if name == "_[_]" => {
                let pair = self.pair(left, right)?;
                if let [operand, Node::Literal(Literal::String(text))] = &*pair {
                    self.note_header(right, operand, text)?;
                }
                Node::Index(pair)
            }
            [left, right] => match Operator::named(name) {
                Some(operator) => {
                    let pair = self.pair(left, right)?;
                    if let (Operator::In, [Node::Literal(Literal::String(text)), operand]) =
                        (operator, &*pair)
                    {
                        self.note_header(expression, operand, text)?;
                    }
                    if let (Operator::In, [_, Node::Literal(_)]) = (operator, &*pair) {
                        return Err(self.error(right, Kind::NoList));
                    }
                    Node::Binary(operator, pair)
                }
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    fn pair(
        &mut self,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Box<[Node; 2]>, ExpressionError> {
        Ok(Box::new([self.node(left)?, self.node(right)?]))
    }

    /// Notes the name that is looked up in `headers`, so that the header is kept.
    fn note_header(
        &mut self,
        at: &IdedExpr,
        operand: &Node,
        name: &str,
    ) -> Result<(), ExpressionError> {
        if !matches!(operand, Node::Variable(Variable::Headers)) {
            return Ok(());
        }
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(self.error(at, Kind::HeaderName(name.to_owned())));
        };
        if header.as_str() != name {
            return Err(self.error(at, Kind::HeaderCase(header.as_str().to_owned())));
        }
        if NEVER_KEPT.contains(&header) {
            return Err(self.error(at, Kind::NeverKept(name.to_owned())));
        }
        self.headers.insert(header);
        Ok(())
    }
}

/// The arguments of a function; for one that is called on a value, that is the first.
fn arguments(call: &CallExpr) -> Vec<&IdedExpr> {
    call.target
        .as_deref()
        .into_iter()
        .chain(&call.args)
        .collect()
}
