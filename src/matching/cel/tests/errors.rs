//! What is no expression is said when it is compiled, with its place.

use super::*;

/// What is wrong, and with what the text goes on there.
fn wrong(text: &str) -> (String, &str) {
    let error = Expression::compile(text).unwrap_err();
    (error.to_string(), text.get(error.offset..).unwrap())
}

#[test]
fn syntax_errors_have_a_place() {
    for (text, message, rest) in [
        ("", "not a CEL expression: it ends too early", ""),
        (
            "data.amount >",
            "not a CEL expression: it ends too early",
            "",
        ),
        (
            "type == 'é' &&& id",
            "not a CEL expression: token recognition error at: '& '",
            "& id",
        ),
        (
            "data.a b",
            "not a CEL expression: extraneous input 'b'",
            "b",
        ),
        (
            "data.a\n&& b c",
            "not a CEL expression: extraneous input 'c'",
            "c",
        ),
        ("if", "not a CEL expression: reserved identifier: if", "if"),
        (
            "99999999999999999999 > 1",
            "not a CEL expression: invalid int literal",
            "99999999999999999999 > 1",
        ),
    ] {
        assert_eq!(wrong(text), (message.to_owned(), rest), "{text}");
    }
}

#[test]
fn unknown_names_have_a_place() {
    for (text, message, rest) in [
        (
            "type == 'é' && date.a",
            "unknown variable date, expected type, id, source, subject, key, headers, data, or one of a macro",
            "date.a",
        ),
        (
            "[1].all(x, y > 1)",
            "unknown variable y, expected type, id, source, subject, key, headers, data, or one of a macro",
            "y > 1)",
        ),
        (
            "[1].all(x, x > 1) && x",
            "unknown variable x, expected type, id, source, subject, key, headers, data, or one of a macro",
            "x",
        ),
        (
            "[1].all(x, .x > 1)",
            "unknown variable x, expected type, id, source, subject, key, headers, data, or one of a macro",
            "x > 1)",
        ),
        (
            "headers['X-Region'] == 'eu'",
            "header names are in lower case here, expected x-region",
            "'X-Region'] == 'eu'",
        ),
        (
            "has(headers.cookie)",
            "the header cookie is never kept with an event",
            "(headers.cookie)",
        ),
        (
            "headers['a b'] == ''",
            "expected a header name (letters, digits and !#$%&'*+-.^_`|~), found \"a b\"",
            "'a b'] == ''",
        ),
    ] {
        assert_eq!(wrong(text), (message.to_owned(), rest), "{text}");
    }
    let (message, rest) = wrong("data.a.lowerAscii() == 'a'");
    assert!(message.starts_with("unknown function lowerAscii, expected one of size, contains"));
    assert_eq!(rest, "() == 'a'");
}

#[test]
fn functions_are_called_as_they_are_made() {
    for (text, message) in [
        ("size()", "size is called as size(x) or x.size()"),
        (
            "contains(type, 'a')",
            "contains is called as text.contains(part)",
        ),
        (
            "type.contains('a', 'b')",
            "contains is called as text.contains(part)",
        ),
        ("'1'.int() == 1", "int is called as int(x)"),
        ("has(data)", "has is called as has(data.field)"),
        ("has(data['a'])", "has is called as has(data.field)"),
        ("data.all(x)", "all is called as list.all(x, condition)"),
        (
            "data.all(1, true)",
            "all is called as list.all(x, condition)",
        ),
        (
            "data.map(x, 1, 2, 3)",
            "map is called as list.map(x, value) or list.map(x, condition, value)",
        ),
        (
            "type.matches(id)",
            "matches is called as text.matches('pattern'), with a literal pattern",
        ),
        (
            "matches(type)",
            "matches is called as text.matches('pattern')",
        ),
        (
            "type.matches('(')",
            "not a regular expression: unclosed group",
        ),
        ("b'a' == b'a'", "bytes are not supported"),
        ("data.A{b: 1} == 1", "messages are not supported"),
        (
            "data[?1] == 1",
            "not a CEL expression: unsupported syntax '[?'",
        ),
    ] {
        assert_eq!(wrong(text).0, message, "{text}");
    }
    let (message, _) = wrong("type.matches('\\\\w{200}')");
    assert!(
        message.starts_with("not a regular expression: too large"),
        "{message}"
    );
}

#[test]
fn long_and_deep_expressions_are_refused_without_harm() {
    let long = format!("type == '{}'", "a".repeat(EXPRESSION_BYTES_MAX));
    assert_eq!(
        wrong(&long).0,
        "expected an expression of at most 4096 bytes"
    );
    let too_deep = "nested too deeply, expected at most 64 levels";
    for (open, middle, close) in [
        ("(", "true", ")"),
        ("[", "1", "]"),
        ("a[", "1", "]"),
        ("", "1", "+1"),
        ("", "data", ".a"),
        ("", "data", "[0]"),
        ("", "1", "<1"),
        ("size(", "type", ")"),
        ("{1:", "1", "}"),
    ] {
        let times = EXPRESSION_BYTES_MAX / (open.len() + close.len()) - 5;
        let text = format!("{}{middle}{}", open.repeat(times), close.repeat(times));
        assert_eq!(wrong(&text).0, too_deep, "{open}{middle}{close}");
    }
    for (open, middle, close) in [
        ("!", "true", ""),
        ("-", "1", ""),
        ("(", "", ""),
        ("*", "", ""),
        ("'", "", ""),
        ("\\", "", ""),
        ("true?", "", ""),
    ] {
        let times = EXPRESSION_BYTES_MAX / (open.len() + close.len()) - 5;
        let text = format!("{}{middle}{}", open.repeat(times), close.repeat(times));
        // Whatever it is: it ends.
        drop(Expression::compile(&text));
    }
    let wide = ["type == 'a'"; 200].join(" || ");
    assert_eq!(evaluate(&wide, ""), Ok(false));
}
