//! Results here agree with those of the crate `cel` for the same expression.

use cel::Context;
use proptest::prelude::*;

use super::*;

const BODY: &str = r#"{"i": 3, "j": -7, "d": 2.5, "s": "abc", "t": "b", "n": null, "yes": true,
    "l": [1, 2, 3], "m": {"a": 1, "b": "x"}, "x": [{"p": 1}, {"p": 5, "q": "z"}], "e": []}"#;

/// The same with the crate; `None` for an error.
fn by_the_crate(text: &str) -> Option<bool> {
    let program = cel::Program::compile(text).unwrap();
    let mut context = Context::default();
    let body: serde_json::Value = serde_json::from_str(BODY).unwrap();
    context.add_variable_from_value("data", to_value(&body));
    context.add_variable_from_value("type", "invoice.paid");
    match program.execute(&context) {
        Ok(cel::Value::Bool(value)) => Some(value),
        _ => None,
    }
}

/// Whole numbers are `int`, as they are here; the crate's own conversion makes them `uint`.
fn to_value(json: &serde_json::Value) -> cel::Value {
    match json {
        serde_json::Value::Null => cel::Value::Null,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(value) => value.into(),
            None => number.as_f64().unwrap().into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => items.iter().map(to_value).collect::<Vec<_>>().into(),
        serde_json::Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.clone(), to_value(value)));
            entries.collect::<std::collections::HashMap<_, _>>().into()
        }
    }
}

/// Expressions of all types, right and wrong ones.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "-2",
        "0",
        "3u",
        "2.5",
        "3.0",
        "'abc'",
        "'b'",
        "''",
        "true",
        "false",
        "null",
        "[1, 2, 3]",
        "[]",
        "{'a': 1, 'b': 'x'}",
        "data.i",
        "data.j",
        "data.d",
        "data.s",
        "data.t",
        "data.n",
        "data.yes",
        "data.l",
        "data.m",
        "data.x",
        "data.e",
        "data.none",
        "data.m.a",
        "data['m']['b']",
        "data.x[1].p",
        "data.l[0]",
        "data",
        "type",
        "int",
        "string",
        "x",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 40, 3, |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"]);
        let one = inner.clone();
        let method = prop::sample::select(vec!["contains", "startsWith", "endsWith"]);
        let function = prop::sample::select(vec!["size", "int", "uint", "double", "type", "dyn", "!", "-"]);
        let macros = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]);
        let field = prop::sample::select(vec!["a", "b", "p", "q", "none"]);
        prop_oneof![
            4 => (one.clone(), operator, one.clone()).prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
            1 => (one.clone(), method, one.clone()).prop_map(|(left, method, right)| format!("{left}.{method}({right})")),
            2 => (function, one.clone()).prop_map(|(function, operand)| format!("{function}({operand})")),
            3 => (one.clone(), macros, one.clone()).prop_map(|(range, name, body)| format!("{range}.{name}(x, {body})")),
            1 => (one.clone(), one.clone(), one.clone()).prop_map(|(one, two, three)| format!("({one} ? {two} : {three})")),
            1 => (one.clone(), one.clone()).prop_map(|(one, two)| format!("{one}[{two}]")),
            1 => (one.clone(), field.clone()).prop_map(|(one, field)| format!("{one}.{field}")),
            1 => (one, field).prop_map(|(one, field)| format!("has({one}.{field})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn random_expressions_give_what_the_crate_gives(text in expression()) {
        // An unknown `x` or an unknown function is an error at compile time here, and at evaluation there.
        if let Ok(expression) = Expression::compile(&text) {
            let here = expression.evaluate(&facts(&[], BODY)).ok();
            prop_assert_eq!(here, by_the_crate(&text), "{}", text);
        }
    }
}
