//! No expression and no body makes an evaluation take long.

use super::*;

/// 1 MiB of JSON in the form of `{"list": [item, item, …]}`.
fn body_of(item: &str) -> String {
    let count = ((1 << 20) - 20) / (item.len() + 1);
    format!("{{\"list\": [{}]}}", vec![item; count].join(","))
}

#[test]
fn what_takes_too_many_steps_is_given_up() {
    let body = format!(
        "{{\"list\": [{}], \"text\": \"{}\"}}",
        vec!["1"; 40_000].join(","),
        "x".repeat(900_000)
    );
    for text in [
        "data.list.all(x, data.list.all(y, x == y))",
        "data.list.map(x, data.list).size() == 1 && data.list.map(x, x + 1).map(x, x + 1).map(x, x + 1) == []",
        "data.list.all(x, data.list == data.list)",
        "data.list.all(x, !(0 in data.list))",
        "data.list.all(x, !data.text.contains('y'))",
        "data.list.all(x, size(data.text) > 1)",
        "data.list.all(x, data.text == data.text)",
        "data.list.all(x, data.text <= data.text)",
        "data.list.all(x, data.text.startsWith(data.text))",
        "[data.text].map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).size() == 1",
        "[data.list].map(a, a + a).map(a, a + a).map(a, a + a).size() == 1",
        "data.text.matches('y')",
        "data.list.all(x, 'abcdefghijklmnopqrstuvwxyz'.matches('[a-y]{27}') == false && x == 1 && x == 1)",
        "data.list.exists(x, x == data.list)",
        "data.list.all(x, data.none == 1)",
        "data.list.all(x, false) || data.list.all(x, data.list.all(y, x == y))",
    ] {
        assert_eq!(
            evaluate(text, &body),
            Err(EvaluationError::TooCostly),
            "{text}"
        );
    }
}

/// Steps that an evaluation took.
fn steps_of(text: &str, body: &str) -> u64 {
    let expression = Expression::compile(text).unwrap();
    let facts = facts(&[], body);
    let data = document::read(facts.body, &Wanted::All).unwrap();
    let (_, left) = expression.evaluate_with(&facts, &data, STEPS_MAX);
    STEPS_MAX - left
}

#[test]
fn a_pattern_is_charged_by_its_size_before_it_runs_where_it_has_no_small_automaton() {
    let body = format!("{{\"a\": \"{}\"}}", "01".repeat(32 << 10));
    for pattern in [
        "[01]*1[01]{300}x",
        "([01]{1,40}1){9}x",
        "(?:[01]{0,60}1[01]{20}){3}x",
        "(0|1)*1(0|1){60}x",
    ] {
        let text = format!("data.a.matches('{pattern}')");
        assert_eq!(
            evaluate(&text, &body),
            Err(EvaluationError::TooCostly),
            "{text}"
        );
        let short = body_of_a(&"01".repeat(20));
        assert_eq!(evaluate(&text, &short), Ok(false), "{text}");
    }
    for pattern in [
        "^[01]+$",
        "(00|11|2)",
        "[a-z]+@[a-z]+",
        "(?i)foo.*bar",
        r"\\b2\\b",
    ] {
        let text = format!("data.a.matches('{pattern}')");
        assert!(steps_of(&text, &body) < 5_000, "{text}");
    }
}

#[test]
fn what_looks_at_all_headers_is_charged_by_how_many_there_are() {
    let names: Vec<String> = (0..64).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (&**name, "v")).collect();
    let many = kept(&many);
    for text in [
        "headers != {}",
        "{} != headers",
        "size(headers) != 1",
        "headers.exists(name, name == 'x-63')",
        "headers == headers",
        "headers in [headers]",
    ] {
        let steps = |kept: &[KeptHeader]| {
            let expression = Expression::compile(text).unwrap();
            STEPS_MAX
                - expression
                    .evaluate_with(&facts(kept, ""), &Json::Null, STEPS_MAX)
                    .1
        };
        let more = steps(&many) - steps(&[]);
        assert!(more >= 64 * 64, "{text}: {more} more steps");
        assert_eq!(
            Expression::compile(text)
                .unwrap()
                .evaluate(&facts(&many, "")),
            Ok(true),
            "{text}"
        );
    }
}

fn body_of_a(text: &str) -> String {
    format!("{{\"a\": \"{text}\"}}")
}

#[test]
fn what_looks_at_a_text_is_charged_by_its_length() {
    let (short, long) = (body_of_a(&"0".repeat(64)), body_of_a(&"0".repeat(64 << 10)));
    for text in [
        "data.a.contains('1')",
        "data.a.startsWith(data.a)",
        "data.a.endsWith(data.a)",
        "data.a == data.a",
        "data.a <= data.a",
        "(data.a + 'x') == 'x'",
        "size(data.a) == 1",
        "data.a.matches('1')",
        "int(data.a) == 0",
        "uint(data.a) == 0u",
        "double(data.a) == 0.0",
        "data[data.a] == 1",
        "data.a in data",
        "data.a in [data.a]",
        "[data.a] == [data.a]",
        "{'b': data.a} == {'b': data.a}",
    ] {
        let more = steps_of(text, &long) - steps_of(text, &short);
        assert!(more >= 1_000, "{text}: {more} more steps");
    }
}

#[test]
fn a_part_with_too_many_values_is_an_error_for_who_looks_into_it_alone() {
    for item in ["1", "[]", "{}", "\"\"", "{\"a\":1}", "[[[[[[]]]]]]", "null"] {
        let body = body_of(item).replacen('{', "{\"amount\": 1, ", 1);
        assert_eq!(
            evaluate("data.list.size() > 1", &body),
            Err(EvaluationError::DataTooLarge),
            "{item}"
        );
        assert_eq!(
            evaluate("data.size() > 1", &body),
            Err(EvaluationError::DataTooLarge),
            "{item}"
        );
        assert_eq!(
            evaluate("data.amount == 1 && has(data.list)", &body),
            Ok(true),
            "{item}"
        );
        assert_eq!(
            evaluate("data.amount == 1 || data.list.size() > 1", &body),
            Ok(true),
            "{item}"
        );
    }
    let deep = format!(
        "{{\"a\": {}1{}, \"b\": 2}}",
        "[".repeat(300_000),
        "]".repeat(300_000)
    );
    assert_eq!(
        evaluate("data.a == 1", &deep),
        Err(EvaluationError::DataTooLarge)
    );
    assert_eq!(evaluate("data.b == 2 && has(data.a)", &deep), Ok(true));
    let cut = deep.strip_suffix('}').unwrap();
    assert_eq!(
        evaluate("data == null", cut),
        Ok(true),
        "no JSON, though what is wanted of it is large"
    );
}

#[test]
fn what_is_just_within_the_bounds_is_looked_into() {
    let list = |count: usize| format!("{{\"list\": [{}]}}", vec!["7"; count].join(","));
    assert_eq!(
        evaluate("data.list.size() == 49999", &list(49_999)),
        Ok(true)
    );
    assert_eq!(
        evaluate("data.list.size() == 50000", &list(50_000)),
        Err(EvaluationError::DataTooLarge)
    );
    assert_eq!(evaluate("data.list.all(x, x == 7)", &list(9_000)), Ok(true));
}
