//! The macros of CEL: `has`, and those that go over a list or the keys of a map.

use cel::common::ast::{CallExpr, Expr, IdedExpr};

use crate::matching::cel::compile::Compiler;
use crate::matching::cel::node::{Loop, LoopKind, Node};
use crate::matching::cel::{ExpressionError, ExpressionErrorKind as Kind};

/// Compiles a call of a macro; `None` if it is not a macro.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    expression: &IdedExpr,
    call: &CallExpr,
) -> Result<Option<Node>, ExpressionError> {
    let wrong = |compiler: &Compiler<'_>, name, usage| {
        Err(compiler.error(expression, Kind::Call(name, usage)))
    };
    let kind = match (call.func_name.as_str(), &call.target) {
        ("has", None) => {
            return match call.args.as_slice() {
                [
                    IdedExpr {
                        expr: Expr::Select(select),
                        ..
                    },
                ] => {
                    let operand = compiler.node(&select.operand)?;
                    compiler.note_header(expression, &operand, &select.field)?;
                    Ok(Some(Node::Has(
                        Box::new(operand),
                        select.field.as_str().into(),
                    )))
                }
                _ => wrong(compiler, "has", "has(data.field)"),
            };
        }
        ("all", Some(_)) => LoopKind::All,
        ("exists", Some(_)) => LoopKind::Exists,
        ("exists_one" | "existsOne", Some(_)) => LoopKind::ExistsOne,
        ("map", Some(_)) => LoopKind::Map,
        ("filter", Some(_)) => LoopKind::Filter,
        _ => return Ok(None),
    };
    let (name, usage) = match kind {
        LoopKind::All => ("all", "list.all(x, condition)"),
        LoopKind::Exists => ("exists", "list.exists(x, condition)"),
        LoopKind::ExistsOne => ("exists_one", "list.exists_one(x, condition)"),
        LoopKind::Map => ("map", "list.map(x, value) or list.map(x, condition, value)"),
        LoopKind::Filter => ("filter", "list.filter(x, condition)"),
    };
    let (variable, guard, body) = match call.args.as_slice() {
        [variable, body] => (variable, None, body),
        [variable, guard, body] if kind == LoopKind::Map => (variable, Some(guard), body),
        _ => return wrong(compiler, name, usage),
    };
    let (Some(range), Expr::Ident(variable)) = (&call.target, &variable.expr) else {
        return wrong(compiler, name, usage);
    };
    if variable.starts_with('.') {
        return wrong(compiler, name, usage);
    }
    let range = compiler.node(range)?;
    compiler.locals.push(variable.clone());
    let guard = guard.map(|guard| compiler.node(guard)).transpose()?;
    let body = compiler.node(body)?;
    compiler.locals.pop();
    Ok(Some(Node::Loop(Box::new(Loop {
        kind,
        range,
        body,
        guard,
    }))))
}
