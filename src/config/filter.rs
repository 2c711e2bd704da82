//! The keys that select events for a subscription: `events`, `match`, `when`, `when_error`, and the section `event_types`.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::config::document::{Entry, Node};
use crate::config::form::{By, Choice};
use crate::config::reader::{Context, any_mapping, list, text};
use crate::domain::{Label, Pattern, PatternError, Patterns};
use crate::matching::{Condition, EXPRESSION_BYTES_MAX, Expression, Selector, WhenError};

/// `when_error`
pub(super) const WHEN_ERROR: Choice<WhenError> =
    Choice(&[("skip", WhenError::Skip), ("deliver", WhenError::Deliver)]);

/// `match`
pub(super) const CONDITIONS: By<Vec<Condition>> = By {
    read: conditions,
    show: |conditions| {
        let pair = |it: &Condition| (it.selector.to_string(), json!(it.value));
        Json::Object(conditions.iter().map(pair).collect())
    },
    schema: |_| {
        let values = json!({"type": ["string", "number", "boolean"], "minLength": 1});
        json!({"type": "object", "propertyNames": {"pattern": "^(/|header:.)"}, "additionalProperties": values, "maxProperties": MAX_CONDITIONS})
    },
};

/// `when`
pub(super) const EXPRESSION: By<Expression> = By {
    read: expression,
    show: |expression| json!(expression.text()),
    schema: |_| json!({"type": "string", "minLength": 1, "maxLength": EXPRESSION_BYTES_MAX}),
};

/// `event_types`
pub(super) const TYPES: By<Arc<HashSet<Label>>> = By {
    read: event_types,
    show: |types| {
        let mut types: Vec<&str> = types.iter().map(Label::as_str).collect();
        types.sort_unstable();
        json!(types)
    },
    schema: |_| {
        let label = json!({"type": "string", "pattern": "^[!-~]{1,256}$"});
        json!({"type": "array", "items": label, "minItems": 1, "maxItems": MAX_TYPES, "uniqueItems": true})
    },
};

/// The most entries of `match`.
const MAX_CONDITIONS: usize = 16;

/// The most patterns of one subscription.
const MAX_PATTERNS: usize = 1000;

/// The most entries of `event_types`.
const MAX_TYPES: usize = 10_000;

/// Reads `match`: selectors to texts. A null is an error and does not count as left out: the subscription would
/// get more events than intended.
fn conditions(node: &Node, context: &mut Context<'_>) -> Option<Vec<Condition>> {
    let fields = any_mapping(node, context)?;
    let count = fields.entries.len();
    if count > MAX_CONDITIONS {
        let message = format!("expected at most {MAX_CONDITIONS} conditions, found {count}");
        context.error(node, message);
    }
    let mut seen = HashSet::new();
    let mut conditions = Vec::new();
    // Duplicate keys and keys that are not text are reported already.
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
fn expression(node: &Node, context: &mut Context<'_>) -> Option<Expression> {
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
            // At the end the last line is meant, not the text that follows in the file.
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
fn event_types(node: &Node, context: &mut Context<'_>) -> Option<Arc<HashSet<Label>>> {
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

/// A type may contain a `*`, though hardly as a whole segment.
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

/// The patterns of a subscription, with their texts in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct WrittenPatterns {
    pub(super) patterns: Patterns,
    written: Vec<String>,
}

/// `events`
pub(super) const EVENTS: By<WrittenPatterns> = By {
    read: |node, context| {
        let patterns = events(node, context)?;
        let items = node.items().iter().filter_map(Node::text);
        let written = items.map(str::to_owned).collect();
        Some(WrittenPatterns { patterns, written })
    },
    show: |events| json!(events.written),
    schema: |_| {
        let pattern = json!({"type": "string", "minLength": 1, "maxLength": 257});
        json!({"type": "array", "items": pattern})
    },
};

fn events(node: &Node, context: &mut Context<'_>) -> Option<Patterns> {
    let nodes = list(node, "a list of patterns such as [\"invoice.*\"]", context)?;
    if nodes.len() > MAX_PATTERNS {
        let found = nodes.len();
        context.error(
            node,
            format!("expected at most {MAX_PATTERNS} patterns, found {found}"),
        );
        return None;
    }
    let mut patterns = Patterns::default();
    for node in nodes {
        let Some(written) = text(node, context) else {
            continue;
        };
        match one_pattern(written) {
            Ok(mut pattern) => {
                check_posted(node, &pattern, context);
                patterns.included.append(&mut pattern.included);
                patterns.excluded.append(&mut pattern.excluded);
            }
            Err(error) => context.error(node, error.to_string()),
        }
    }
    let is_all_excluded = nodes.len() == patterns.excluded.len();
    if is_all_excluded && !nodes.is_empty() {
        context.error(node, PatternError::OnlyExclusions.to_string());
    }
    Some(patterns)
}

/// One item of the list, which alone may be an exclusion.
fn one_pattern(written: &str) -> Result<Patterns, PatternError> {
    match written.strip_prefix('!') {
        Some(rest) => Ok(Patterns {
            included: Vec::new(),
            excluded: vec![rest.parse()?],
        }),
        None => Ok(Patterns {
            included: vec![written.parse()?],
            excluded: Vec::new(),
        }),
    }
}
