//! The fields of an answer, for people.

use serde_json::Value;

use crate::cli::show::text::{moment_and_age, plain, time};
use crate::cli::show::{Cell, Table};
use crate::domain::Timestamp;
use crate::domain::with_commas;

/// A number of milliseconds: `850ms`, `1.2s`.
pub(crate) fn took(millis: u64) -> String {
    let tenths = millis / 100;
    match millis {
        0..=999 => format!("{millis}ms"),
        _ => format!("{}.{}s", tenths / 10, tenths % 10),
    }
}

/// Adds each field as a pair, except those of `without` and those that are null or empty.
pub(crate) fn pairs(value: &Value, without: &[&str], now: Timestamp, table: &mut Table) {
    for (name, value) in value.as_object().into_iter().flatten() {
        if without.contains(&name.as_str()) {
            continue;
        }
        if let Some(shown) = shown(name, value, now) {
            table.pair(name, shown);
        }
    }
}

/// How a field is shown: text as it is, times with their age, what has parts as JSON.
fn shown(name: &str, value: &Value, now: Timestamp) -> Option<Cell> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) if name.ends_with("_at") || name == "time" => {
            let shown = time(text).map(|at| moment_and_age(at, now));
            Some(Cell::from(shown.unwrap_or_else(|| text.clone())))
        }
        Value::String(text) if ["status", "state"].contains(&name) => Some(Cell::status(text)),
        Value::String(text) => Some(Cell::from(text.as_str())),
        Value::Number(found) => Some(Cell::from(
            found
                .as_u64()
                .map_or_else(|| found.to_string(), with_commas),
        )),
        Value::Bool(yes) => Some(Cell::from(yes.to_string())),
        Value::Array(items) if items.is_empty() => None,
        Value::Object(fields) if fields.is_empty() => None,
        Value::Array(_) | Value::Object(_) => Some(Cell::from(parts(value))),
    }
}

/// A list of simple things with commas, a flat object as `name=value`, anything else as JSON.
pub(crate) fn parts(value: &Value) -> String {
    let simple = |value: &Value| match value {
        Value::String(text) => Some(plain(text)),
        Value::Number(_) | Value::Bool(_) | Value::Null => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    };
    let joined = match value {
        Value::Array(items) => items.iter().map(simple).collect::<Option<Vec<_>>>(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| Some(format!("{}={}", plain(name), simple(value)?)))
            .collect(),
        other => simple(other).map(|text| vec![text]),
    };
    joined.map_or_else(|| plain(&value.to_string()), |parts| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::show::Style;

    #[test]
    fn fields_are_shown_as_what_they_are() {
        let value = json!({
            "name": "a", "created_at": "1970-01-01T00:00:00.000Z", "none": null, "empty": [], "list": ["a", "b\u{7}"],
            "flat": {"ca": "x", "none": null, "n": 1}, "deep": [{"a": 1}], "hidden": 1, "count": 12345, "yes": true, "rate": 0.5,
        });
        let mut table = Table::pairs();
        pairs(
            &value,
            &["hidden"],
            Timestamp::from_millis(60_000),
            &mut table,
        );
        assert_eq!(
            table.render(Style::default()),
            "name        a\ncreated_at  1970-01-01T00:00:00.000Z (60s ago)\nlist        a, b\\u{7}\nflat        ca=x, n=1\ndeep        [{\"a\":1}]\ncount       12,345\nyes         true\nrate        0.5\n"
        );
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!([7, 1234, 60_000].map(took), ["7ms", "1.2s", "60.0s"]);
    }
}
