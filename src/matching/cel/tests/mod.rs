//! Tests of expressions.

mod bounds;
mod crate_cel;
mod errors;

use super::*;
use crate::domain::{EventId, KeptHeader, Timestamp};
use crate::matching::Headers;

fn kept(headers: &[(&str, &str)]) -> Vec<KeptHeader> {
    let kept = |(name, value): &(&str, &str)| KeptHeader {
        name: (*name).into(),
        value: bytes::Bytes::copy_from_slice(value.as_bytes()),
    };
    headers.iter().map(kept).collect()
}

/// An event with everything, and these headers and body.
fn facts<'e>(kept: &'e [KeptHeader], body: &'e str) -> Facts<'e> {
    Facts {
        event_type: "invoice.paid",
        event_id: EventId::new(Timestamp::from_millis(1), [7; 10]),
        given_id: Some("in_1"),
        source: Some("/billing"),
        subject: Some("acme"),
        key: Some("k"),
        headers: Headers {
            content_type: "application/json",
            kept,
        },
        body: body.as_bytes(),
    }
}

fn evaluate(text: &str, body: &str) -> Result<bool, EvaluationError> {
    let kept = kept(&[("x-region", "eu"), ("ce-tag", "a"), ("ce-tag", "b")]);
    Expression::compile(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .evaluate(&facts(&kept, body))
}

fn all_true(body: &str, expressions: &[&str]) {
    for text in expressions {
        assert_eq!(evaluate(text, body), Ok(true), "{text}");
        let not = format!("!({text})");
        assert_eq!(evaluate(&not, body), Ok(false), "{not}");
    }
}

#[test]
fn an_expression_sees_the_event() {
    all_true(
        "{}",
        &[
            "type == 'invoice.paid'",
            "type.startsWith('invoice.')",
            "id == 'in_1'",
            "source == '/billing' && subject == \"acme\" && key == 'k'",
            "headers['x-region'] == 'eu'",
            "headers['ce-tag'] == 'a, b'",
            "headers['content-type'] == 'application/json'",
            "has(headers.foo) == false",
            "'x-region' in headers && !('x-other' in headers)",
            "size(headers) == 3",
            "headers.exists(name, name == 'ce-tag')",
        ],
    );
}

#[test]
fn what_an_event_does_not_have_is_empty_and_its_id_is_the_event_id() {
    let none = Facts {
        given_id: None,
        source: None,
        subject: None,
        key: None,
        ..facts(&[], "")
    };
    let text = "id.startsWith('evt_') && source == '' && subject == '' && key == ''";
    assert_eq!(Expression::compile(text).unwrap().evaluate(&none), Ok(true));
}

#[test]
fn data_is_the_json_body_and_else_null() {
    let body = r#"{"amount": 150, "rate": 2.5, "big": 18446744073709551615, "name": "é\n",
        "no": null, "yes": true, "items": [{"price": 1}, {"price": 20}], "a.b": {"c": [1, 2]}}"#;
    all_true(
        body,
        &[
            "data.amount > 100 && data.amount < 150.5 && data.amount == 150.0",
            "data.amount % 2 == 0 && data.amount / 4 == 37 && -data.amount == -150",
            "data.rate * 2.0 == 5.0",
            "type(data.amount) == int && type(data.rate) == double && type(data.big) == uint",
            "type(data.no) == null_type && data.no == null && type(data.yes) == bool",
            "data.big == 18446744073709551615u && data.big > data.amount",
            "data.name == 'é\\n' && size(data.name) == 2 && data.name.size() == 2",
            "data.yes",
            "has(data.amount) && !has(data.absent) && has(data.no)",
            "'amount' in data && !('absent' in data)",
            "data.items.exists(i, i.price > 10) && !data.items.all(i, i.price > 10)",
            "data.items.exists_one(i, i.price == 1) && data.items.existsOne(i, i.price == 1)",
            "data.items.map(i, i.price) == [1, 20]",
            "data.items.map(i, i.price > 1, i.price + 1) == [21]",
            "data.items.filter(i, i.price > 1) == [{'price': 20}]",
            "data.items[1].price == 20 && data.items[0u]['price'] == 1",
            "data['a.b'].c[1] == 2 && 2 in data['a.b'].c",
            "data.exists(key, key == 'amount') && size(data) == 8",
            "data == {'amount': 150, 'rate': 2.5, 'big': 18446744073709551615u, 'name': 'é\\n', 'no': null, 'yes': true, 'items': [{'price': 1.0}, {'price': 20}], 'a.b': {'c': [1, 2]}}",
            "double(data.amount) * 1.5 == 225.0 && string(data.amount) == '150' && int('7') == 7",
            "int(data.rate) == 2 && uint(data.amount) == 150u && bool('true') && dyn(data.yes)",
            "data.name.matches('^[a-zé]\\\\s') && matches(type, r'\\.paid$')",
            "data.name.contains('é') && data.name.endsWith('\\n')",
            "data.items.all(i, data.items.exists(j, i == j))",
            "(data.amount > 100 ? 'large' : 'small') == 'large'",
            "[1, 2] + [3] == [1, 2, 3] && 'a' + 'b' == 'ab'",
            "{1: 'a'}[1u] == 'a' && {'a': 1}.a == 1",
        ],
    );
    for body in ["", "{", "plain text", "{\"a\": 1} x", "[1,]"] {
        assert_eq!(evaluate("data == null", body), Ok(true), "{body}");
    }
}

#[test]
fn a_byte_order_mark_and_keys_that_are_no_text_make_no_body_unreadable() {
    all_true("\u{feff}{\"a\": 7}", &["data.a == 7", "size(data) == 1"]);
    let body = r#"{"\ud800": 1, "a": {"\udc00": 2, "b": 3}}"#;
    all_true(body, &["data.a.b == 3", "size(data.a) == 2"]);
}

#[test]
fn of_repeated_keys_the_last_one_counts() {
    all_true(
        r#"{"a": 1, "a": {"b": 2}, "c": {"d": 1, "d": 2}}"#,
        &["data.a.b == 2", "data == {'a': {'b': 2}, 'c': {'d': 2}}"],
    );
}

#[test]
fn an_error_does_not_count_where_the_other_side_decides() {
    let body = r#"{"list": [1, "x", 3]}"#;
    all_true(
        body,
        &[
            "true || data.none == 1",
            "data.none == 1 || true",
            "!(data.none == 1 && false)",
            "data.list.exists(i, i > 2)",
            "!data.list.all(i, i > 2)",
            "true ? true : data.none",
        ],
    );
    for text in [
        "data.none == 1 || false",
        "data.none == 1 && true",
        "data.list.exists(i, i > 3)",
        "data.list.all(i, i > 0)",
        "data.list.exists_one(i, i > 2)",
        "data.list.map(i, i + 1) == []",
    ] {
        assert!(evaluate(text, body).is_err(), "{text}");
    }
}

#[test]
fn errors_say_what_is_wrong_without_the_values() {
    let body = r#"{"secret": "hunter2", "n": 9223372036854775807, "zero": 0, "list": [1]}"#;
    for (text, expected) in [
        ("data.none == 1", "no such key: none"),
        ("data[data.secret]", "no such key or index"),
        ("data.list[1] == 1", "no such key or index"),
        ("data.list[-1] == 1", "no such key or index"),
        (
            "data.secret > 1",
            "no such overload: > does not take values of these types",
        ),
        (
            "data.secret + 1 == 2",
            "no such overload: + does not take values of these types",
        ),
        (
            "data.secret.x == 1",
            "no such overload: a field does not take values of these types",
        ),
        ("data.n + 1 == 2", "+ overflows"),
        ("data.n / data.zero == 1", "division by zero"),
        ("int(data.secret) == 1", "the value cannot be made an int"),
        ("data.secret", "expected true or false"),
        ("data.secret ? true : false", "expected true or false"),
        (
            "{'a': 1, data.secret: 2, 'hunter2': 3}.size() == 1",
            "a map with the same key twice",
        ),
    ] {
        assert_eq!(
            evaluate(text, body).unwrap_err().to_string(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn numbers_of_different_types_compare_exactly() {
    all_true(
        "{}",
        &[
            "9007199254740993 > 9007199254740992.0",
            "9007199254740993 != 9007199254740992.0",
            "1 < 1.5 && 2 > 1.5 && -1 > -1.5 && -2 < -1.5",
            "9223372036854775807 < 18446744073709551615u",
            "-1 < 0u && 1u > -1 && 1e30 > 18446744073709551615u && -1e30 < 0",
            "!(0.0 / 0.0 < 1.0) && !(0.0 / 0.0 >= 1) && 0.0 / 0.0 != 0.0 / 0.0",
        ],
    );
}

#[test]
fn only_what_is_looked_at_is_wanted() {
    let wanted = |text: &str| Expression::compile(text).unwrap().wanted().cloned();
    let keys = |keys: &[(&str, Wanted)]| {
        let keys = keys
            .iter()
            .map(|(key, wanted)| ((*key).into(), wanted.clone()));
        Wanted::Keys(keys.collect())
    };
    assert_eq!(wanted("type == 'a' && headers.b == 'c'"), None);
    assert_eq!(
        wanted("data.a.b > 1 && data['a'].c == 2 && has(data.d)"),
        Some(keys(&[
            ("a", keys(&[("b", Wanted::All), ("c", Wanted::All)])),
            ("d", Wanted::default()),
        ]))
    );
    assert_eq!(
        wanted("data.items.all(i, i.price > data.least)"),
        Some(keys(&[("items", Wanted::All), ("least", Wanted::All)]))
    );
    assert_eq!(wanted("data[key] == 1 || data.a == 1"), Some(Wanted::All));
    assert_eq!(wanted("[1].exists(data, data == 1)"), None);
}

#[test]
fn an_expression_is_equal_to_another_of_its_text() {
    let compile = |text: &str| Expression::compile(text).unwrap();
    assert_eq!(compile("data.a == 1"), compile("data.a == 1"));
    assert_ne!(compile("data.a == 1"), compile("data.a  == 1"));
    assert_eq!(format!("{:?}", compile("true")), r#"Expression("true")"#);
}
