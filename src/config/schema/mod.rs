//! The JSON Schema of the configuration (draft 2020-12), for editors and for the API's document, which reuses the fields of
//! a subscription.
//!
//! It says what one value alone can tell; what holds between values, and what files and the environment say, only a load
//! finds. Invariants: it has exactly the keys that the readers have, and the defaults of `defaults`; tests hold it to both.

mod forms;
mod sections;
mod subscription;
#[cfg(test)]
mod tests;
mod types;
mod values;

use serde_json::{Map, Value, json};

use crate::config::schema::forms::{For, described, object, or_null};
use crate::config::schema::subscription::{own, shared};

pub use types::wrong_types;

/// The schema of the main file. Included files are valid by it as well.
#[must_use]
pub fn schema() -> Value {
    let mut properties = sections::sections();
    let defaults = described(
        "Fields for all subscriptions. A subscription's own value replaces the whole default, null removes it.",
        object(shared(For::File)),
    );
    properties.insert("defaults".to_owned(), or_null(defaults));
    let include =
        json!({"type": "array", "items": {"type": "string", "minLength": 1}, "default": []});
    let include = described(
        "Globs of files that hold only `subscriptions`, such as conf.d/*.yaml.",
        include,
    );
    properties.insert("include".to_owned(), or_null(include));
    properties.insert("subscriptions".to_owned(), subscriptions());
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of sidehook",
        "type": "object",
        "required": ["subscriptions"],
        "additionalProperties": false,
        "properties": properties,
    });
    forms::take_plain_scalars(&mut schema);
    schema
}

/// The fields of a subscription's definition as the API shows and takes them, each with its schema. What only tells is
/// `readOnly`, what is never told `writeOnly`.
#[must_use]
pub fn subscription_properties() -> Map<String, Value> {
    let mut properties = own(For::Api);
    properties.extend(shared(For::Api));
    properties
}

fn subscriptions() -> Value {
    let mut properties = own(For::File);
    properties.extend(shared(For::File));
    or_null(described(
        "Which events go to which endpoint, and how, by name.",
        json!({
            "type": "object",
            "propertyNames": {"pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
            "additionalProperties": or_null(object(properties)),
        }),
    ))
}
