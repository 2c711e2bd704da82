//! The field `retry`: `standard`, `none`, `{schedule: […]}` or `{initial, factor, max_interval, max_attempts, max_age}`,
//! the mappings with `jitter`. The arithmetic is in `domain`.

use std::time::Duration;

use crate::config::document::{Node, Value};
use crate::config::reader::{Context, Fields, choice, items, mapping, number, parsed, whole};
use crate::config::units::{self, UnitError};
use crate::domain::Retry;

/// The most pauses of a schedule, and the most attempts.
const MAX_ATTEMPTS: u64 = 1000;

/// The keys of the field.
pub(super) const KNOWN: [&str; 7] = [
    "schedule",
    "initial",
    "factor",
    "max_interval",
    "max_attempts",
    "max_age",
    "jitter",
];

const GROWING: [&str; 5] = [
    "initial",
    "factor",
    "max_interval",
    "max_attempts",
    "max_age",
];

/// Reads any form of `retry`.
pub(super) fn retry(node: &Node, context: &mut Context<'_>) -> Option<Retry> {
    match &node.value {
        Value::Mapping(_) => in_numbers(node, context),
        Value::Sequence(_) => {
            context.error(
                node,
                "expected standard, none, or a mapping such as {schedule: [1m, 5m]}",
            );
            None
        }
        Value::Scalar(_) => {
            let is_standard = choice(&[("standard", true), ("none", false)])(node, context)?;
            Some(if is_standard {
                Retry::standard()
            } else {
                Retry::none()
            })
        }
    }
}

fn in_numbers(node: &Node, context: &mut Context<'_>) -> Option<Retry> {
    let fields = mapping(node, &KNOWN, context)?;
    let jitter = fields.read("jitter", context, number(0.0..=1.0));
    let grows = GROWING.iter().any(|key| fields.node(key).is_some());
    let retry = match (fields.node("schedule"), grows) {
        (Some(schedule), false) => scheduled(schedule, context),
        (None, true) => growing(fields, context),
        (Some(_), true) => {
            context.error(
                node,
                "expected either schedule or initial, factor and so on, found both",
            );
            None
        }
        (None, false) => {
            context.error(
                node,
                "expected schedule, or initial, factor, max_interval, max_attempts, max_age",
            );
            None
        }
    };
    Some(retry?.with_jitter(jitter.unwrap_or(Retry::DEFAULT_JITTER)))
}

fn scheduled(node: &Node, context: &mut Context<'_>) -> Option<Retry> {
    let pauses = items(node, "a list of durations", context, positive)?;
    let count = u64::try_from(pauses.len()).unwrap_or(u64::MAX);
    if matches!(&node.value, Value::Sequence(items) if items.is_empty()) {
        context.error(node, "expected at least one pause, or retry: none");
    }
    if count > MAX_ATTEMPTS {
        context.error(
            node,
            format!("expected at most {MAX_ATTEMPTS} pauses, found {count}"),
        );
    }
    Some(Retry::schedule(pauses))
}

fn growing(fields: Fields<'_>, context: &mut Context<'_>) -> Option<Retry> {
    let initial = fields
        .read("initial", context, positive)
        .unwrap_or(Duration::from_secs(1));
    let factor = fields
        .read("factor", context, number(1.0..=100.0))
        .unwrap_or(2.0);
    let max_interval = fields
        .read("max_interval", context, positive)
        .unwrap_or(Duration::from_secs(3600));
    let max_attempts = fields
        .read("max_attempts", context, whole(1..=MAX_ATTEMPTS))
        .unwrap_or(20);
    let max_age = fields
        .read("max_age", context, positive)
        .unwrap_or(Duration::from_secs(3 * 86_400));
    if initial > max_interval {
        context.report.error_at_field(
            fields.mark,
            "initial",
            "expected at most max_interval (1h unless given)",
        );
    }
    let max_attempts = u32::try_from(max_attempts).unwrap_or(u32::MAX);
    Some(Retry::exponential(
        initial,
        factor,
        max_interval,
        max_attempts,
        max_age,
    ))
}

/// A duration longer than nothing, for other fields too.
pub(super) fn positive(node: &Node, context: &mut Context<'_>) -> Option<Duration> {
    let duration = parsed::<Duration, UnitError>(units::duration)(node, context)?;
    if duration.is_zero() {
        context.error(node, "expected a duration longer than 0");
        return None;
    }
    Some(duration)
}
