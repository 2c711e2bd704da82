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
