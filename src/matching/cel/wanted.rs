//! The parts of the body that an expression looks at.

use crate::matching::cel::names::Variable;
use crate::matching::cel::node::{Literal, Node};
use crate::matching::document::Wanted;

/// The parts that are looked at; `None` if the body is not needed.
pub(super) fn of(root: &Node) -> Option<Wanted> {
    let mut wanted = None;
    add(root, &mut wanted);
    wanted
}

fn add(node: &Node, wanted: &mut Option<Wanted>) {
    if let Some((path, of_end)) = path(node) {
        let wanted = wanted.get_or_insert_default();
        wanted.add(path.into_iter(), of_end);
        return;
    }
    match node {
        Node::Literal(_) | Node::Variable(_) | Node::Local(_) => {}
        Node::Select(operand, _)
        | Node::Has(operand, _)
        | Node::Not(operand)
        | Node::Negate(operand)
        | Node::Matches(operand, _) => add(operand, wanted),
        Node::Index(pair) | Node::And(pair) | Node::Or(pair) | Node::Binary(_, pair) => {
            pair.iter().for_each(|node| add(node, wanted));
        }
        Node::Conditional(three) => three.iter().for_each(|node| add(node, wanted)),
        Node::List(items) | Node::Call(_, items) => {
            items.iter().for_each(|node| add(node, wanted));
        }
        Node::Map(entries) => entries.iter().flatten().for_each(|node| add(node, wanted)),
        Node::Loop(it) => {
            add(&it.range, wanted);
            add(&it.body, wanted);
            it.guard.iter().for_each(|guard| add(guard, wanted));
        }
    }
}

/// The keys that lead from `data` to what a node needs, and what it needs there.
fn path(node: &Node) -> Option<(Vec<&str>, Wanted)> {
    match node {
        Node::Has(operand, field) => {
            let mut path = keys(operand)?;
            path.push(field);
            Some((path, Wanted::default()))
        }
        _ => Some((keys(node)?, Wanted::All)),
    }
}

/// The keys of `data.a["b"].c`.
fn keys(node: &Node) -> Option<Vec<&str>> {
    let (operand, field) = match node {
        Node::Variable(Variable::Data) => return Some(Vec::new()),
        Node::Select(operand, field) => (&**operand, field),
        Node::Index(pair) => match &**pair {
            [operand, Node::Literal(Literal::String(field))] => (operand, field),
            _ => return None,
        },
        _ => return None,
    };
    let mut path = keys(operand)?;
    path.push(field);
    Some(path)
}
