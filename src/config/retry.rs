//! The key `retry`: `standard`, `none`, `{schedule: […]}` or `{initial, factor, max_interval, max_attempts, max_age}`,
//! the mappings with `jitter`. The arithmetic is in `domain`.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::document::{Node, Value};
use crate::config::form::{By, Choice, Form as _, Number, POSITIVE, Whole};
use crate::config::keyed::{Keyed as _, Mapping, keys, read_key};
use crate::config::reader::{Context, Fields, items, mapping};
use crate::config::schema::forms::For;
use crate::domain::{Retry, RetryForm};

/// The most pauses of a schedule, and the most attempts.
const MAX_ATTEMPTS: u64 = 1000;

/// `standard` is true.
const WORDS: Choice<bool> = Choice(&[("standard", true), ("none", false)]);

const JITTER: Number = Number(0.0..=1.0);

const PAUSES: By<Vec<Duration>> = By {
    read: pauses,
    show: |pauses| pauses.iter().map(|pause| POSITIVE.show(pause)).collect(),
    schema: |writer| {
        let items = POSITIVE.schema(writer);
        json!({"type": "array", "minItems": 1, "maxItems": MAX_ATTEMPTS, "items": items})
    },
};

keys! {
    #[derive(Debug)]
    record struct Scheduled {
        "The pauses between attempts."
        schedule: Vec<Duration> => PAUSES;
        "The part of each pause that is added to it at most."
        jitter: f64 = Retry::DEFAULT_JITTER => JITTER;
    }
}

keys! {
    #[derive(Debug)]
    record struct Growing {
        "The first pause."
        initial: Duration = Duration::from_secs(1) => POSITIVE;
        "The factor by which each pause grows."
        factor: f64 = 2.0 => Number(1.0..=100.0);
        "The longest pause."
        max_interval: Duration = Duration::from_secs(3600) => POSITIVE;
        "Attempts at most."
        max_attempts: u32 = 20 => Whole::<u32>::of(1..=MAX_ATTEMPTS);
        "How old a delivery may become."
        max_age: Duration = Duration::from_secs(3 * 86_400) => POSITIVE;
        "The part of each pause that is added to it at most."
        jitter: f64 = Retry::DEFAULT_JITTER => JITTER;
    }
}

/// `retry`
pub(super) const RETRY: By<Retry> = By {
    read: retry,
    show,
    schema: |writer: For| {
        let scheduled = Mapping::<Scheduled>::NEW.schema(writer);
        let growing = Mapping::<Growing>::NEW.schema(writer);
        json!({"anyOf": [WORDS.schema(writer), scheduled, growing]})
    },
};

fn show(retry: &Retry) -> Json {
    let jitter = retry.jitter();
    match retry.form() {
        _ if *retry == Retry::standard() => json!("standard"),
        RetryForm::Schedule(pauses) if pauses.is_empty() => json!("none"),
        RetryForm::Schedule(pauses) => {
            let schedule = pauses.to_vec();
            Json::Object(Scheduled { schedule, jitter }.show())
        }
        RetryForm::Exponential {
            initial,
            factor,
            max_interval,
            max_attempts,
            max_age,
        } => {
            let growing = Growing {
                initial: *initial,
                factor: *factor,
                max_interval: *max_interval,
                max_attempts: *max_attempts,
                max_age: *max_age,
                jitter,
            };
            Json::Object(growing.show())
        }
    }
}

fn retry(node: &Node, context: &mut Context<'_>) -> Option<Retry> {
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
            let is_standard = WORDS.read(node, context)?;
            Some(if is_standard {
                Retry::standard()
            } else {
                Retry::none()
            })
        }
    }
}

fn in_numbers(node: &Node, context: &mut Context<'_>) -> Option<Retry> {
    let known = [&["schedule"], Growing::NAMES].concat();
    let fields = mapping(node, &known, context)?;
    let is_given = |key: &&str| fields.node(key).is_some();
    let grows = Growing::NAMES
        .iter()
        .any(|key| *key != "jitter" && is_given(key));
    let message = match (is_given(&"schedule"), grows) {
        (true, false) => {
            let read = Scheduled::read(fields, context)?;
            return Some(Retry::schedule(read.schedule).with_jitter(read.jitter));
        }
        (false, true) => return growing(fields, context),
        (true, true) => "expected either schedule or initial, factor and so on, found both",
        (false, false) => {
            "expected schedule, or initial, factor, max_interval, max_attempts, max_age"
        }
    };
    read_key(&JITTER, "jitter", fields, context);
    context.error(node, message);
    None
}

fn growing(fields: Fields<'_>, context: &mut Context<'_>) -> Option<Retry> {
    let read = Growing::read(fields, context)?;
    if read.initial > read.max_interval {
        context.report.error_at_field(
            fields.mark,
            "initial",
            "expected at most max_interval (1h unless given)",
        );
    }
    let retry = Retry::exponential(
        read.initial,
        read.factor,
        read.max_interval,
        read.max_attempts,
        read.max_age,
    );
    Some(retry.with_jitter(read.jitter))
}

fn pauses(node: &Node, context: &mut Context<'_>) -> Option<Vec<Duration>> {
    let pauses = items(node, "a list of durations", context, |node, context| {
        POSITIVE.read(node, context)
    })?;
    let count = u64::try_from(pauses.len()).unwrap_or(u64::MAX);
    if node.is_blank() {
        context.error(node, "expected at least one pause, or retry: none");
    }
    if count > MAX_ATTEMPTS {
        context.error(
            node,
            format!("expected at most {MAX_ATTEMPTS} pauses, found {count}"),
        );
    }
    Some(pauses)
}
