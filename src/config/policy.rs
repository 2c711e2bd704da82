//! The fields that limit a subscription: `rate_limit`, `give_up_on`, `auto_disable`. Their effects on its
//! deliveries is in `domain` and `delivery`.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::document::{Node, Value};
use crate::config::form::{By, Form as _, Lasting, Whole};
use crate::config::keyed::{Keyed as _, Mapping, keys, read_key};
use crate::config::reader::{Context, items, mapping, text};
use crate::domain::{AutoDisable, RateLimit};

/// The largest count that is of any use here.
const MAX_COUNT: u64 = 1_000_000;

/// The statuses of `give_up_on`.
const STATUSES: RangeInclusive<u16> = 300..=599;

pub(crate) const RATE: &str =
    "expected a whole number from 1 to 1000000 and one of /s, /m, /h, such as 100/s";

const STATUS: &str = "expected a status from 300 to 599, such as 404 (2xx is a success)";

/// `rate_limit`: `100/s`, `5000/m`, `20000/h`.
pub(super) const RATE_LIMIT: By<RateLimit> = By {
    read: |node, context| {
        let limit = rate(text(node, context)?);
        if limit.is_none() {
            context.error(node, RATE);
        }
        limit
    },
    show: |limit| json!(written_rate(*limit)),
    schema: |_| json!({"type": "string", "pattern": "^0*[1-9][0-9]{0,6}/[smh]$"}),
};

/// `give_up_on`: statuses other than successes, in order and each once.
pub(super) const GIVE_UP_ON: By<Vec<u16>> = By {
    read: |node, context| {
        let what = "a list of statuses such as [400, 404]";
        let mut statuses = items(node, what, context, status)?;
        statuses.sort_unstable();
        statuses.dedup();
        Some(statuses)
    },
    show: |statuses| json!(statuses),
    schema: |_| {
        let status =
            json!({"type": "integer", "minimum": STATUSES.start(), "maximum": STATUSES.end()});
        json!({"type": "array", "items": status})
    },
};

/// `auto_disable`: `never`, `{failures: 10, for: 5d}` or `{dead: 10}`.
pub(super) const AUTO_DISABLE: By<AutoDisable> = By {
    read: auto_disable,
    show: |when| match *when {
        AutoDisable::Never => json!("never"),
        AutoDisable::Failures { failures, lasting } => {
            Json::Object(Failing { failures, lasting }.show())
        }
        AutoDisable::Dead(dead) => Json::Object(Dying { dead }.show()),
    },
    schema: |writer| {
        let failing = Mapping::<Failing>::NEW.schema(writer);
        let dying = Mapping::<Dying>::NEW.schema(writer);
        json!({"anyOf": [{"type": "string", "enum": ["never"]}, failing, dying]})
    },
};

const COUNT: Whole<u32> = Whole::of(1..=MAX_COUNT);

const SINCE: Lasting = Lasting {
    may_be_zero: true,
    most: None,
};

keys! {
    #[derive(Debug)]
    record struct Failing {
        "This many attempts in a row must have failed."
        failures: u32 => COUNT;
        "The first of them must be at least this long ago; 0s: at once."
        lasting ["for"]: Duration => SINCE;
    }
}

keys! {
    #[derive(Debug)]
    record struct Dying {
        "This many deliveries in a row must have died since the last success."
        dead: u32 => COUNT;
    }
}

/// Parses a rate.
pub(crate) fn rate(text: &str) -> Option<RateLimit> {
    let (attempts, unit) = text.split_once('/')?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let is_decimal = attempts.bytes().all(|byte| byte.is_ascii_digit());
    let attempts = attempts.parse::<u64>().ok().filter(|_| is_decimal)?;
    let attempts = Some(attempts).filter(|attempts| (1..=MAX_COUNT).contains(attempts))?;
    Some(RateLimit {
        attempts: u32::try_from(attempts).ok()?,
        per: Duration::from_secs(seconds),
    })
}

fn status(node: &Node, context: &mut Context<'_>) -> Option<u16> {
    let status = text(node, context)?.parse().ok();
    let status = status.filter(|status| STATUSES.contains(status));
    if status.is_none() {
        context.error(node, STATUS);
    }
    status
}

fn auto_disable(node: &Node, context: &mut Context<'_>) -> Option<AutoDisable> {
    match &node.value {
        Value::Mapping(_) => return in_numbers(node, context),
        Value::Scalar(scalar) if scalar.text == "never" => return Some(AutoDisable::Never),
        _ if node.refused => {}
        Value::Scalar(_) | Value::Sequence(_) => {
            let message = "expected never, or a mapping such as {failures: 10, for: 5d}";
            context.error(node, message);
        }
    }
    None
}

fn in_numbers(node: &Node, context: &mut Context<'_>) -> Option<AutoDisable> {
    let fields = mapping(node, &[Failing::NAMES, Dying::NAMES].concat(), context)?;
    let failures = read_key(&COUNT, "failures", fields, context);
    let lasting = read_key(&SINCE, "for", fields, context);
    let dead = read_key(&COUNT, "dead", fields, context);
    let is_given = |key| fields.node(key).is_some();
    match (is_given("failures") && is_given("for"), is_given("dead")) {
        (true, false) => Some(AutoDisable::Failures {
            failures: failures?,
            lasting: lasting?,
        }),
        (false, true) if !is_given("failures") && !is_given("for") => dead.map(AutoDisable::Dead),
        _ => {
            context.error(node, "expected either failures and for, or dead");
            None
        }
    }
}

/// Returns a rate in the notation of the file.
pub(crate) fn written_rate(limit: RateLimit) -> String {
    let unit = match limit.per.as_secs() {
        3600 => "h",
        60 => "m",
        _ => "s",
    };
    format!("{}/{unit}", limit.attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_whole_number_per_second_minute_or_hour() {
        for (text, attempts, seconds) in [
            ("100/s", 100, 1),
            ("5000/m", 5000, 60),
            ("1/h", 1, 3600),
            ("1000000/s", 1_000_000, 1),
        ] {
            let per = Duration::from_secs(seconds);
            assert_eq!(rate(text), Some(RateLimit { attempts, per }), "{text}");
        }
        for wrong in [
            "",
            "100",
            "0/s",
            "/s",
            "1.5/s",
            "-1/s",
            "+1/s",
            "1/d",
            "1 / s",
            "1000001/s",
            "1/s/s",
        ] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }
}
