//! The JSON Schema of the configuration (draft 2020-12), for editors and for the API's document, which reuses the fields of
//! a subscription.
//!
//! It covers each value by itself; only a load checks values against each other, and against files and the environment.
//! Invariants: it has exactly the keys of the readers, and the defaults of `defaults`; tests check both.

pub(super) mod forms;
#[cfg(test)]
mod tests;
mod types;

use serde_json::{Map, Value, json};

use crate::config::keyed::Keyed as _;
use crate::config::model::Config;
use crate::config::schema::forms::{For, described, object, or_null};
use crate::config::subscription::{Place, properties};

pub(super) use types::wrong_types;

/// The schema of the main file. Included files are valid by it as well.
#[must_use]
pub fn schema() -> Value {
    let mut sections = Config::properties(For::File);
    let defaults = described(
        "Fields for all subscriptions. A subscription's own value replaces the whole default, null removes it.",
        object(properties(Place::Shared, For::File)),
    );
    sections.insert("defaults".to_owned(), or_null(defaults));
    let include =
        json!({"type": "array", "items": {"type": "string", "minLength": 1}, "default": []});
    let include = described(
        "Globs of files that hold only `subscriptions`, such as conf.d/*.yaml.",
        include,
    );
    sections.insert("include".to_owned(), or_null(include));
    sections.insert("subscriptions".to_owned(), subscriptions());
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of sidehook",
        "type": "object",
        "required": ["subscriptions"],
        "additionalProperties": false,
        "properties": sections,
    });
    forms::take_plain_scalars(&mut schema);
    schema
}

/// The fields of a subscription's definition as the API shows and takes them, each with its schema. Fields that are
/// only shown are `readOnly`, those never shown `writeOnly`.
#[must_use]
pub fn subscription_properties() -> Map<String, Value> {
    properties(Place::Route, For::Api)
}

fn subscriptions() -> Value {
    let properties = properties(Place::Route, For::File);
    or_null(described(
        "Which events go to which endpoint, and how, by name.",
        json!({
            "type": "object",
            "propertyNames": {"pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
            "additionalProperties": or_null(object(properties)),
        }),
    ))
}
