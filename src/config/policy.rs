//! The fields that say how far a subscription goes: `rate_limit`, `give_up_on`, `auto_disable`. What they mean for its
//! deliveries is in `domain` and `delivery`.

use std::time::Duration;

use crate::config::document::{Node, Value};
use crate::config::reader::{Context, items, mapping, parsed, text, whole};
use crate::config::units;
use crate::domain::{AutoDisable, RateLimit};

/// The largest count that is of any use here.
const MAX_COUNT: u64 = 1_000_000;

/// The keys of `auto_disable`.
pub(super) const AUTO_DISABLE: [&str; 3] = ["failures", "for", "dead"];

pub(crate) const RATE: &str =
    "expected a whole number from 1 to 1000000 and one of /s, /m, /h, such as 100/s";

const STATUS: &str = "expected a status from 300 to 599, such as 404 (2xx is a success)";

/// `100/s`, `5000/m`, `20000/h`.
pub(super) fn rate_limit(node: &Node, context: &mut Context<'_>) -> Option<RateLimit> {
    let limit = rate(text(node, context)?);
    if limit.is_none() {
        context.error(node, RATE);
    }
    limit
}

/// Reads a rate; none if it is none.
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

/// A list of statuses that are no successes, in order and each once.
pub(super) fn give_up_on(node: &Node, context: &mut Context<'_>) -> Option<Vec<u16>> {
    let mut statuses = items(
        node,
        "a list of statuses such as [400, 404]",
        context,
        status,
    )?;
    statuses.sort_unstable();
    statuses.dedup();
    Some(statuses)
}

fn status(node: &Node, context: &mut Context<'_>) -> Option<u16> {
    let status = text(node, context)?.parse().ok();
    let status = status.filter(|status| (300..=599).contains(status));
    if status.is_none() {
        context.error(node, STATUS);
    }
    status
}

/// `never`, `{failures: 10, for: 5d}` or `{dead: 10}`.
pub(super) fn auto_disable(node: &Node, context: &mut Context<'_>) -> Option<AutoDisable> {
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
    let fields = mapping(node, &AUTO_DISABLE, context)?;
    let failures = fields.read("failures", context, count);
    let lasting = fields.read("for", context, parsed(units::duration));
    let dead = fields.read("dead", context, count);
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

fn count(node: &Node, context: &mut Context<'_>) -> Option<u32> {
    u32::try_from(whole(1..=MAX_COUNT)(node, context)?).ok()
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
