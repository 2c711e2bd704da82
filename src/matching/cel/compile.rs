//! From what the parser read to a compiled expression: every name is resolved, everything unknown is an error.

use std::collections::HashSet;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo};
use http::HeaderName;

use crate::matching::cel::node::{Literal, Node, Operator, Variable};
use crate::matching::cel::value::Type;
use crate::matching::cel::{
    ExpressionError, ExpressionErrorKind as Kind, functions, hints, macros,
};
use crate::matching::facts::NEVER_KEPT;

/// The deepest nesting of an expression.
pub(super) const DEPTH_MAX: usize = 64;

/// Compiles one expression.
#[derive(Debug)]
pub(super) struct Compiler<'s> {
    /// Where everything stands in the text.
    source: &'s SourceInfo,
    /// The variables of the macros around, the outermost first.
    pub(super) locals: Vec<String>,
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

    pub(super) fn error(&self, at: &IdedExpr, kind: Kind) -> ExpressionError {
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
        if let Some(node) = macros::compile(self, expression, call)? {
            return Ok(node);
        }
        if call.target.is_none()
            && let Some(node) = self.operator(expression, call)?
        {
            return Ok(node);
        }
        functions::compile(self, expression, call)
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
    pub(super) fn note_header(
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
