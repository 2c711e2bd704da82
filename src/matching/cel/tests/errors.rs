//! An invalid expression is reported when it is compiled, with its place.

use super::*;

/// The message, and the rest of the text from the place of the error on.
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
            "& is no operator of CEL: use && between conditions",
            "& id",
        ),
        ("data.a b", "not a CEL expression: unexpected 'b'", "b"),
        (
            "data.a\n&& b c",
            "not a CEL expression: unexpected 'c'",
            "c",
        ),
        (
            "while",
            "not a CEL expression: reserved identifier: while",
            "while",
        ),
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
            "unknown variable date, did you mean data? expected type, id, source, subject, key, headers, data, or one of a macro",
            "date.a",
        ),
        (
            "[1].all(x, y > 1)",
            "unknown variable y, a field of the body is written data.y; expected type, id, source, subject, key, headers, data, or one of a macro",
            "y > 1)",
        ),
        (
            "[1].all(x, x > 1) && x",
            "unknown variable x, a field of the body is written data.x; expected type, id, source, subject, key, headers, data, or one of a macro",
            "x",
        ),
        (
            "[1].all(x, .x > 1)",
            "unknown variable x, a field of the body is written data.x; expected type, id, source, subject, key, headers, data, or one of a macro",
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
    let (message, rest) = wrong("data.a.frobnicate () == 'a'");
    assert!(message.starts_with("unknown function frobnicate, expected one of size, contains"));
    assert_eq!(rest, "frobnicate () == 'a'");
}

/// Checks the beginning of the message, and the place.
fn says(text: &str, message: &str, rest: &str) {
    let found = wrong(text);
    assert!(found.0.starts_with(message), "{text}: {}", found.0);
    assert_eq!(found.1, rest, "{text}: {}", found.0);
}

#[test]
fn signs_of_other_languages_are_answered_with_ours() {
    for (text, message, rest) in [
        (
            "data.amount = 100",
            "= is no operator of CEL: use ==",
            "= 100",
        ),
        ("data.a == 1 && data.b=2", "= is no", "=2"),
        ("data.a === 1", "=== is no operator of CEL: use ==", "=== 1"),
        ("data.a !== 1", "!== is no operator of CEL: use !=", "!== 1"),
        ("data.a <> 1", "<> is no operator of CEL: use !=", "<> 1"),
        ("data.a =< 1", "=< is no operator of CEL: use <=", "=< 1"),
        ("data.a => 1", "=> is no operator of CEL: use >=", "=> 1"),
        (
            "type =~ 'a'",
            "=~ is no operator of CEL: use text.matches",
            "=~ 'a'",
        ),
        ("true & false", "& is no operator of CEL: use &&", "& false"),
        ("true | false", "| is no operator of CEL: use ||", "| false"),
        (
            "data?.a == 1",
            "?. is no operator of CEL: use . alone",
            "?.a == 1",
        ),
        ("data.a ?? 1", "?? is no operator of CEL: use has(", "?? 1"),
        (
            "type == “a”",
            "“ is no character of CEL: use plain quotes",
            "“a”",
        ),
        (
            "type == `a`",
            "` is no character of CEL: use plain quotes",
            "`a`",
        ),
        (
            "$data.a == 1",
            "$ is no character of CEL: variables",
            "$data.a == 1",
        ),
        ("data.a == 1;", "; is no character of CEL", ";"),
    ] {
        says(text, message, rest);
    }
}

#[test]
fn words_of_other_languages_are_answered_with_ours() {
    for (text, message, rest) in [
        (
            "type == 'a' and id == 'b'",
            "and is no operator of CEL: use &&",
            "and id == 'b'",
        ),
        (
            "type == 'a' AND (id == 'b')",
            "AND is no operator of CEL: use &&",
            "AND (id == 'b')",
        ),
        (
            "type == 'a' or id == 'b'",
            "or is no operator of CEL: use ||",
            "or id == 'b'",
        ),
        (
            "not data.test",
            "not is no operator of CEL: use !",
            "not data.test",
        ),
        (
            "true && not (data.test)",
            "unknown function not, did you mean !(condition)?",
            "not (data.test)",
        ),
        ("data.plan IN ['a']", "use in, in lower case", "IN ['a']"),
        (
            "data.plan in ('a', 'b')",
            "a list is written in square brackets",
            "('a', 'b')",
        ),
        ("data.plan in ('a')", "in looks into a list", "'a')"),
        ("data.plan in 'a'", "in looks into a list", "'a'"),
        (
            "data.plan not in ['a']",
            "not is no operator of CEL",
            "not in ['a']",
        ),
        (
            "data.name LIKE 'a%'",
            "LIKE is no operator of CEL: use text.startsWith",
            "LIKE 'a%'",
        ),
        (
            "data.a is null",
            "is is no operator of CEL: use ==",
            "is null",
        ),
        (
            "data.a IS NOT NULL",
            "IS is no operator of CEL: use ==",
            "IS NOT NULL",
        ),
        (
            "data.a between 1 and 2",
            "between is no operator of CEL: use a <= x",
            "between 1 and 2",
        ),
        (
            "data.tags contains 'a'",
            "contains is no operator of CEL: use text.contains",
            "contains 'a'",
        ),
    ] {
        says(text, message, rest);
    }
}

#[test]
fn as_names_of_fields_these_words_are_as_good_as_any() {
    for text in [
        "data.and == 1",
        "data.is.not == 1",
        "{'or': 1}.or == 1",
        "data.like.between",
    ] {
        assert!(Expression::compile(text).is_ok(), "{text}");
    }
}

#[test]
fn what_is_not_closed_has_its_place() {
    for (text, message, rest) in [
        ("type == 'a", "the quote ' here is never closed", "'a"),
        (
            "type == \"a' && id == 'b'",
            "the quote \" here is never closed",
            "\"a' && id == 'b'",
        ),
        ("type == 'it's'", "not a CEL expression: ", "s'"),
        ("type == 'a\\'", "the quote ' here is never closed", "'a\\'"),
        (
            "(type == 'a' && (id == 'b')",
            "the ( here is never closed",
            "(type == 'a' && (id == 'b')",
        ),
        ("type == 'a')", "this ) closes nothing", ")"),
        (
            "data.list[0) == 1",
            "this ) does not close the [ at its character 10",
            ") == 1",
        ),
        ("'(' == type && [1", "the [ here is never closed", "[1"),
    ] {
        let found = wrong(text);
        // Whatever the parser finds first in the one that has no end.
        let is_said = found.0.starts_with(message) || found.0.contains("the quote");
        assert!(is_said, "{text}: {}", found.0);
        assert!(
            found.1 == rest || text.contains("it's"),
            "{text}: {} {}",
            found.0,
            found.1
        );
    }
}

#[test]
fn unknown_names_are_answered_with_the_nearest_known() {
    for (text, meant) in [
        ("dat.amount > 1", "data"),
        ("Data.amount > 1", "data"),
        ("body.amount > 1", "data"),
        ("payload.amount > 1", "data"),
        ("json.amount > 1", "data"),
        ("event.type == 'a'", "type"),
        ("event.data.amount > 1", "data"),
        ("event.amount > 1", "data"),
        ("typ == 'a'", "type"),
        ("event_type == 'a'", "type"),
        ("header['x-a'] == 'a'", "headers"),
        ("data.paid == True", "true"),
        ("data.a == None", "null"),
        ("data.a == NULL", "null"),
        ("data.a.startswith('b')", "startsWith"),
        ("data.a.StartsWith('b')", "startsWith"),
        ("data.a.starts_with('b')", "text.startsWith(part)"),
        ("len(data.a) > 1", "size(x)"),
        ("data.a.length() > 1", "size(x)"),
        (
            "lower(data.a) == 'b'",
            "text.matches('(?i)^pattern$'), which takes both cases",
        ),
        (
            "data.a.toLowerCase() == 'b'",
            "text.matches('(?i)^pattern$'), which takes both cases",
        ),
        (
            "data.a.includes('b')",
            "text.contains(part), or item in list",
        ),
        ("any(data.a)", "list.exists(x, condition)"),
        (
            "exists(data.a)",
            "has(data.field), or list.exists(x, condition)",
        ),
        ("double_(data.a) > 1", "double"),
    ] {
        let (message, _) = wrong(text);
        let expected = format!(", did you mean {meant}? expected ");
        assert!(message.contains(&expected), "{text}: {message}");
    }
}

#[test]
fn what_is_never_true_or_false_is_no_condition() {
    let expected = "expected a condition that is true or false, such as type == 'invoice.paid'";
    for text in [
        "'a'",
        "1",
        "null",
        "type",
        "size(data)",
        "data.a + 1",
        "[true]",
        "{}",
        "data.l.map(x, x)",
    ] {
        assert_eq!(wrong(text).0, expected, "{text}");
    }
    for text in [
        "true",
        "data",
        "data.a",
        "dyn(1) == 1",
        "bool(data.a)",
        "data.a ? 1 : true",
    ] {
        assert!(Expression::compile(text).is_ok(), "{text}");
    }
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
