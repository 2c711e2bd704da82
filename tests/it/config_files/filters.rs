//! What is read of `match`, `when`, `when_error` and `event_types`.

use std::path::Path;

use serde_json::json;
use sidehook::config::{Config, Subscription, load};
use sidehook::matching::WhenError;

use super::environment;

fn filters() -> Config {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/valid/filters.yaml");
    load(&path, &environment()).unwrap().config
}

fn subscription<'c>(config: &'c Config, name: &str) -> &'c Subscription {
    &config.subscriptions[&name.parse().unwrap()]
}

#[test]
fn conditions_are_texts_as_written_at_selectors() {
    let config = filters();
    let conditions: Vec<_> = subscription(&config, "a")
        .matches
        .iter()
        .map(|it| (it.selector.to_string(), &*it.value))
        .collect();
    let expected = [
        ("/tenant_id", "acme"),
        ("/n", "7.50"),
        ("/live", "true"),
        ("header:x-region", "eu"),
    ];
    assert_eq!(
        conditions,
        expected.map(|(selector, value)| (selector.to_owned(), value))
    );
    assert!(subscription(&config, "b").matches.is_empty());
}

#[test]
fn an_expression_is_compiled_and_names_its_headers() {
    let config = filters();
    let when = subscription(&config, "a").when.as_ref().unwrap();
    assert_eq!(
        when.text(),
        "data.amount > 100 && headers[\"x-plan\"] == \"pro\""
    );
    assert_eq!(when.headers().collect::<Vec<_>>(), ["x-plan"]);
    assert_eq!(subscription(&config, "b").when, None);
}

#[test]
fn when_error_has_a_default_that_null_removes() {
    let config = filters();
    assert_eq!(subscription(&config, "a").when_error, WhenError::Skip);
    assert_eq!(subscription(&config, "b").when_error, WhenError::Deliver);
}

#[test]
fn the_types_that_may_be_posted_are_shown() {
    let config = filters();
    let types = config.event_types.as_ref().unwrap();
    assert!(types.contains(&"quote:created".parse().unwrap()) && types.len() == 2);
    let shown = config.redacted();
    assert_eq!(
        shown["event_types"],
        json!(["invoice.paid", "quote:created"])
    );
    assert_eq!(Config::default().redacted()["event_types"], json!(null));
    let definition = subscription(&config, "a").definition.fields();
    assert_eq!(
        definition["match"],
        json!({"/tenant_id": "acme", "/n": "7.50", "/live": "true", "header:x-region": "eu"})
    );
    assert_eq!(definition["when_error"], json!("skip"));
}
