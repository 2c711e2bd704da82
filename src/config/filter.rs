//! What decides for which events a subscription is: `match`, `when`, `when_error`, and the section `event_types`.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::document::{Entry, Node};
use crate::config::reader::{Context, any_mapping, list, text};
use crate::domain::{Label, Pattern, Patterns};
use crate::matching::{Condition, Expression, Selector, WhenError};

/// The words of `when_error`.
pub(super) const WHEN_ERROR: [(&str, WhenError); 2] =
    [("skip", WhenError::Skip), ("deliver", WhenError::Deliver)];

/// The most entries of `match`.
pub(super) const MAX_CONDITIONS: usize = 16;

/// The most entries of `event_types`.
pub(super) const MAX_TYPES: usize = 10_000;

/// Reads `match`: selectors to texts. A null is an error and not as if the entry were left out: the subscription would
/// get more than it says.
pub(super) fn conditions(node: &Node, context: &mut Context<'_>) -> Option<Vec<Condition>> {
    let fields = any_mapping(node, context)?;
    let count = fields.entries.len();
    if count > MAX_CONDITIONS {
        let message = format!("expected at most {MAX_CONDITIONS} conditions, found {count}");
        context.error(node, message);
    }
    let mut seen = HashSet::new();
    let mut conditions = Vec::new();
    // A duplicate key is reported already, as is one that is no text.
    let mut keys = HashSet::new();
    for entry in fields.entries {
        if entry.key.refused || entry.is_merge() || !keys.insert(entry.name()) {
            continue;
        }
        let selector = selector(entry, context);
        let value = text(&entry.value, context);
        let (Some(selector), Some(value)) = (selector, value) else {
            continue;
        };
        if seen.insert(selector.clone()) {
            conditions.push(Condition {
                selector,
                value: value.into(),
            });
        } else {
            context.error(&entry.key, "the header is given twice");
        }
    }
    Some(conditions)
}

fn selector(entry: &Entry, context: &mut Context<'_>) -> Option<Selector> {
    match entry.name().parse() {
        Ok(selector) => Some(selector),
        // An empty key is reported already.
        Err(_) if entry.name().is_empty() => None,
        Err(error) => {
            let error: crate::matching::SelectorError = error;
            context.error(&entry.key, error.to_string());
            None
        }
    }
}

/// Reads `when`. An error is at its place inside the expression.
pub(super) fn expression(node: &Node, context: &mut Context<'_>) -> Option<Expression> {
    let written = text(node, context)?;
    let known = context.expressions.get(written).cloned();
    let compiled = known.unwrap_or_else(|| {
        let compiled = Expression::compile(written);
        context
            .expressions
            .insert(written.to_owned(), compiled.clone());
        compiled
    });
    match compiled {
        Ok(expression) => Some(expression),
        Err(error) => {
            let (before, after) = written.split_at_checked(error.offset).unwrap_or_default();
            // At the end its last line is meant, not what follows in the file.
            let before = match after.trim().is_empty() {
                true => before.trim_end(),
                false => before,
            };
            context
                .report
                .error_inside(node.mark, before, error.to_string());
            None
        }
    }
}

/// Reads `event_types`.
pub(super) fn event_types(node: &Node, context: &mut Context<'_>) -> Option<Arc<HashSet<Label>>> {
    let items = list(node, "a list of types such as [invoice.paid]", context)?;
    if items.is_empty() {
        context.error(node, "expected at least one type (null for all)");
    }
    if items.len() > MAX_TYPES {
        let message = format!("expected at most {MAX_TYPES} types, found {}", items.len());
        context.error(node, message);
        return None;
    }
    let mut types = HashSet::new();
    for item in items {
        let Some(written) = text(item, context) else {
            continue;
        };
        match written.parse::<Label>() {
            Ok(_) if is_wildcard(written) => {
                context.error(item, "expected a type, found a pattern");
            }
            Ok(label) => {
                if !types.insert(label) {
                    context.error(item, "the type is given twice");
                }
            }
            Err(error) => context.error(item, error.to_string()),
        }
    }
    Some(Arc::new(types))
}

/// A type may have a `*` in it, though hardly one that is a segment of its own.
fn is_wildcard(written: &str) -> bool {
    written.split(['.', ':', '/']).any(|segment| segment == "*") || written.starts_with('!')
}

/// Reports a pattern that matches none of `event_types`, exclusions too: most likely a name is misspelt.
pub(super) fn check_posted(node: &Node, pattern: &Patterns, context: &mut Context<'_>) {
    let Some(types) = &context.event_types else {
        return;
    };
    let mut patterns = pattern.included.iter().chain(&pattern.excluded);
    let matches_none = |pattern: &Pattern| match pattern {
        Pattern::Literal(text)
            if text
                .parse()
                .is_ok_and(|label: Label| types.contains(&label)) =>
        {
            false
        }
        Pattern::Any | Pattern::Literal(_) | Pattern::Wildcard(_) => {
            !types.iter().any(|posted| pattern.matches(posted.as_str()))
        }
    };
    if patterns.any(matches_none) {
        context.error(node, "matches none of event_types");
    }
}
