//! Texts before and after an edit, byte for byte.

use serde_json::{Value as Json, json};

use crate::config::edit::prepare::apply;
use crate::config::edit::steps::Alter;
use crate::config::edit::want::Want;
use crate::config::parse::parse;
use crate::config::report::Report;

/// The alteration that sets these fields of subscription `a`, and removes those that are null.
fn patch(fields: &Json) -> Alter {
    let fields = fields.as_object().unwrap().iter().map(|(key, value)| {
        let alter = if value.is_null() {
            Alter::Remove
        } else {
            Alter::Set(Want::from_json(value))
        };
        (key.clone(), alter)
    });
    entry("a", Alter::Fields(fields.collect()))
}

fn entry(name: &str, alter: Alter) -> Alter {
    let entries = Alter::Fields(vec![(name.to_owned(), alter)]);
    Alter::Fields(vec![("subscriptions".to_owned(), entries)])
}

fn create(name: &str, fields: &Json) -> Alter {
    let Want::Map(fields) = Want::from_json(fields) else {
        unreachable!("an object");
    };
    entry(name, Alter::Set(Want::Block(fields)))
}

fn edited(text: &str, alter: &Alter) -> Option<String> {
    let mut report = Report::default();
    let document = parse(0, "a.yaml".into(), text.as_bytes().to_vec(), &mut report);
    let (errors, _) = report.into_problems(std::slice::from_ref(&document));
    assert_eq!(errors[..], [], "{text}");
    apply(&document, alter).map(|text| text.to_string())
}

#[track_caller]
fn becomes(before: &str, alter: &Alter, after: &str) {
    let new = edited(before, alter);
    let new = new.unwrap_or_else(|| panic!("cannot be edited:\n{before}"));
    assert_eq!(new, after, "\n--- is\n{new}\n--- expected\n{after}");
}

/// A field before, the patch, and the field afterwards.
type Case = (&'static str, Json, &'static str);

fn values_in_a_line() -> Vec<Case> {
    vec![
        ("timeout: 15s", json!({"timeout": "10s"}), "timeout: 10s"),
        (
            "timeout:   15s   # slow",
            json!({"timeout": "10s"}),
            "timeout:   10s   # slow",
        ),
        (
            "timeout: '15s' # slow",
            json!({"timeout": "10s"}),
            "timeout: '10s' # slow",
        ),
        (
            "title: \"x\"",
            json!({"title": "it's: #1"}),
            "title: \"it's: #1\"",
        ),
        ("title: x", json!({"title": "yes"}), "title: \"yes\""),
        ("title: x", json!({"title": "12"}), "title: \"12\""),
        (
            "title: x",
            json!({"title": " a\nb\u{7}😀"}),
            "title: \" a\\nb\\u0007😀\"",
        ),
        (
            "concurrency: 16",
            json!({"concurrency": 4}),
            "concurrency: 4",
        ),
        (
            "\"concurrency\" : 16",
            json!({"concurrency": 4}),
            "\"concurrency\" : 4",
        ),
        ("active: true", json!({"active": false}), "active: false"),
        ("title: ~ # none", json!({"title": "x"}), "title: x # none"),
        ("title: # none", json!({"title": "x"}), "title: x # none"),
        ("title:", json!({"title": "x"}), "title: x"),
        (
            "title:\n      long\n      text # c",
            json!({"title": "x"}),
            "title:\n      x # c",
        ),
    ]
}

fn values_over_lines() -> Vec<Case> {
    vec![
        (
            "description: | # why\n      a\n\n      b\n\n    # next",
            json!({"description": "x"}),
            "description: x # why\n\n    # next",
        ),
        (
            "description: >-\n      a\n      b",
            json!({"description": "x"}),
            "description: x",
        ),
        (
            "description: |+\n      a\n\n    title: x",
            json!({"description": "x"}),
            "description: x\n    title: x",
        ),
        (
            "retry: {initial: 1s, factor: 2} # r",
            json!({"retry": "none"}),
            "retry: none # r",
        ),
        (
            "retry: none # r",
            json!({"retry": {"schedule": ["1m", "5m"]}}),
            "retry: {schedule: [1m, 5m]} # r",
        ),
        (
            "retry:\n      # a\n      initial: 1s # b\n      # c\n      factor: 2 # d\n    # e",
            json!({"retry": "none"}),
            "retry: none\n      # a\n    # e",
        ),
    ]
}

#[test]
fn a_value_changes_and_its_comment_stays() {
    for (before, fields, after) in values_in_a_line().into_iter().chain(values_over_lines()) {
        let around = |field: &str| {
            format!(
                "# head\nsubscriptions:\n  a:\n    url: x # u\n    {field}\n\n  # about b\n  b: {{}}\n"
            )
        };
        becomes(&around(before), &patch(&fields), &around(after));
        // At the end of a file without a newline; of a value over several lines the last newline may stay.
        let end = |field: &str| format!("subscriptions:\n  a:\n    {field}");
        let new = edited(&end(before), &patch(&fields)).unwrap();
        assert_eq!(new.trim_end(), end(after), "{before}");
        let windows = |field: &str| around(field).replace('\n', "\r\n");
        becomes(&windows(before), &patch(&fields), &windows(after));
    }
}

#[test]
fn what_is_said_already_stays_as_it_is_written() {
    let text = "subscriptions:\n  a: {title: 'x', concurrency: 16, events: [ \"a\" ,b], headers: {X-A: 1}}\n";
    let same =
        json!({"title": "x", "concurrency": 16, "events": ["a", "b"], "headers": {"X-A": "1"}});
    becomes(text, &patch(&same), text);
}

#[test]
fn new_fields_come_after_the_last_line_of_the_subscription() {
    for (before, after) in [
        (
            "subscriptions:\n  a:\n    url: x\n\n  # about b\n  b: {}\n",
            "subscriptions:\n  a:\n    url: x\n    title: t\n\n  # about b\n  b: {}\n",
        ),
        (
            "subscriptions:\n    a:\n        url: x",
            "subscriptions:\n    a:\n        url: x\n        title: t",
        ),
        (
            "subscriptions:\n  a:\n    events:\n    - x # c\n    # d\n",
            "subscriptions:\n  a:\n    events:\n    - x # c\n    title: t\n    # d\n",
        ),
        (
            "subscriptions:\n  a:\n    description: |\n      x\n\n\n  b: {}\n",
            "subscriptions:\n  a:\n    description: |\n      x\n    title: t\n\n\n  b: {}\n",
        ),
        (
            "subscriptions:\n  a:\n    description: |+\n      x\n\n  b: {}\n",
            "subscriptions:\n  a:\n    description: |+\n      x\n\n    title: t\n  b: {}\n",
        ),
        (
            "subscriptions: {a: {url: x }}\n",
            "subscriptions: {a: {url: x, title: t }}\n",
        ),
        (
            "subscriptions:\n  a: {\n    url: x # c\n  }\n",
            "subscriptions:\n  a: {\n    url: x, # c\n    title: t\n  }\n",
        ),
        (
            "subscriptions:\n  a: {\n    url: x, # c\n    # d\n  }\n",
            "subscriptions:\n  a: {\n    url: x, # c\n    title: t,\n    # d\n  }\n",
        ),
        (
            "subscriptions:\n  a: {}\n",
            "subscriptions:\n  a:\n    title: t\n",
        ),
        (
            "subscriptions:\n  a: # nothing\n  b: {}\n",
            "subscriptions:\n  a: # nothing\n    title: t\n  b: {}\n",
        ),
        (
            "---\nsubscriptions:\n  ? a\n  : active: false\n...\n",
            "---\nsubscriptions:\n  ? a\n  : active: false\n    title: t\n...\n",
        ),
    ] {
        becomes(before, &patch(&json!({"title": "t"})), after);
    }
}

#[test]
fn a_null_removes_the_line_and_comment_lines_stay() {
    for (before, after) in [
        (
            "subscriptions:\n  a:\n    # above\n    title: t # own\n    # below\n    url: x\n",
            "subscriptions:\n  a:\n    # above\n    # below\n    url: x\n",
        ),
        (
            "subscriptions:\n  a:\n    url: x\n    title: |\n      a\n      b\n  b: {}\n",
            "subscriptions:\n  a:\n    url: x\n  b: {}\n",
        ),
        (
            "subscriptions:\n  a:\n    url: x\n    title: t",
            "subscriptions:\n  a:\n    url: x\n",
        ),
        (
            "subscriptions:\n  a: {title: t, url: x} # c\n",
            "subscriptions:\n  a: {url: x} # c\n",
        ),
        (
            "subscriptions:\n  a: {url: x, title: t}\n",
            "subscriptions:\n  a: {url: x}\n",
        ),
        (
            "subscriptions:\n  a: {url: x, title: t, method: PUT}\n",
            "subscriptions:\n  a: {url: x, method: PUT}\n",
        ),
        (
            "subscriptions:\n  a: { url: x, title: t, }\n",
            "subscriptions:\n  a: { url: x }\n",
        ),
        (
            "subscriptions: {a: {\n  url: x, # u\n  # above\n  title: t, # own\n  # below\n  method: PUT # m\n}}\n",
            "subscriptions: {a: {\n  url: x, # u\n  # above\n  # below\n  method: PUT # m\n}}\n",
        ),
        (
            "subscriptions: {a: {\n  url: x, # u\n  title: t # own\n}}\n",
            "subscriptions: {a: {\n  url: x, # u\n}}\n",
        ),
        (
            "subscriptions:\n  a:\n    title: t\n",
            "subscriptions:\n  a: {}\n",
        ),
        (
            "subscriptions:\n  ? a\n  : title: t # own\n    url: x\n",
            "subscriptions:\n  ? a\n  : url: x\n",
        ),
        (
            "subscriptions:\n  ? a\n  : title: t # own\n    # c\n    url: x\n",
            "subscriptions:\n  ? a\n  :\n    # c\n    url: x\n",
        ),
    ] {
        becomes(before, &patch(&json!({"title": null})), after);
    }
}

#[test]
fn of_a_list_only_the_items_that_differ_change() {
    let block = "subscriptions:\n  a:\n    events:\n      # first\n      - \"a\" # one\n      # second\n      - \"b\" # two\n      - \"c\" # three\n";
    for (events, after) in [
        (
            json!(["a", "c"]),
            block.replace("      - \"b\" # two\n", ""),
        ),
        (json!(["a", "x", "c"]), block.replace("\"b\"", "\"x\"")),
        (
            json!(["a", "b", "c", "*"]),
            format!("{block}      - \"*\"\n"),
        ),
        (
            json!(["z", "a", "b", "c"]),
            block.replace("      - \"a\"", "      - \"z\"\n      - \"a\""),
        ),
        (
            json!([]),
            "subscriptions:\n  a:\n    events: []\n      # first\n".to_owned(),
        ),
    ] {
        becomes(block, &patch(&json!({"events": events})), &after);
    }
    let flow = "subscriptions:\n  a:\n    events: [\"a\", # one\n      \"b\", # two\n      # third\n      \"c\"] # end\n";
    for (events, after) in [
        (json!(["a", "c"]), flow.replace("      \"b\", # two\n", "")),
        (json!(["a", "b"]), flow.replace("      \"c\"]", "      ]")),
        (json!(["b", "c"]), flow.replace("[\"a\", # one\n", "[\n")),
        (
            json!(["a", "b", "c", "d"]),
            flow.replace("\"c\"]", "\"c\", \"d\"]"),
        ),
        (
            json!(["a", "z", "b", "c"]),
            flow.replace("# one\n", "# one\n      \"z\",\n"),
        ),
    ] {
        becomes(flow, &patch(&json!({"events": events})), &after);
    }
}

#[test]
fn of_a_mapping_only_the_keys_that_differ_change() {
    let text = "subscriptions:\n  a:\n    headers: # h\n      X-A: one # 1\n      # two\n      X-B: 'two'\n    url: x\n";
    for (headers, after) in [
        (
            json!({"X-A": "one", "X-B": "2"}),
            text.replace("'two'", "'2'"),
        ),
        (
            json!({"X-B": "two"}),
            text.replace("      X-A: one # 1\n", ""),
        ),
        (
            json!({"X-A": "one", "X-B": "two", "X-C": "no"}),
            text.replace("'two'\n", "'two'\n      X-C: \"no\"\n"),
        ),
        (
            json!({"X-C": "3"}),
            text.replace("      X-A: one # 1\n      # two\n      X-B: 'two'\n", "")
                .replace("headers: #", "headers: {X-C: \"3\"} #"),
        ),
    ] {
        becomes(text, &patch(&json!({"headers": headers})), &after);
    }
}

#[test]
fn a_flow_collection_of_which_nothing_stays_is_filled_anew() {
    for (before, after) in [
        ("{ X-A: 1, X-B: 2 } # c", "{ X-C: \"3\", X-D: d } # c"),
        (
            "{ # one\n      X-A: 1, # two\n      # three\n    } # four",
            "{ # one\n      X-C: \"3\", # two\n      X-D: d,\n      # three\n    } # four",
        ),
    ] {
        let text = |headers: &str| format!("subscriptions:\n  a:\n    headers: {headers}\n");
        let headers = json!({"headers": {"X-C": "3", "X-D": "d"}});
        becomes(&text(before), &patch(&headers), &text(after));
    }
}

#[test]
fn long_values_are_written_in_block_style() {
    let events: Vec<String> = (0..12)
        .map(|number| format!("invoice.{number}.created"))
        .collect();
    let lines: String = events
        .iter()
        .map(|event| format!("      - {event}\n"))
        .collect();
    becomes(
        "subscriptions:\n  a:\n    url: x\n",
        &patch(&json!({"events": events})),
        &format!("subscriptions:\n  a:\n    url: x\n    events:\n{lines}"),
    );
}

#[test]
fn a_new_subscription_comes_last() {
    let fields = json!({"url": "https://a.example.com/", "events": ["a.*", "!a.b"], "headers": {"X-A": "b"}});
    let block = "  new:\n    url: https://a.example.com/\n    events: [a.*, \"!a.b\"]\n    headers: {X-A: b}\n";
    for (before, after) in [
        ("subscriptions:\n  a: {}\n# end\n", format!("subscriptions:\n  a: {{}}\n{block}# end\n")),
        ("subscriptions:\n  a:\n    url: x", format!("subscriptions:\n  a:\n    url: x\n{}", block.trim_end())),
        ("subscriptions: {} # none\nlog:\n", format!("subscriptions: # none\n{block}log:\n")),
        ("subscriptions:", format!("subscriptions:\n{}", block.trim_end())),
        (
            "subscriptions: { # none\n  }\n",
            "subscriptions: { # none\n  new: {url: https://a.example.com/, events: [a.*, \"!a.b\"], headers: {X-A: b}}}\n".to_owned(),
        ),
        ("subscriptions: ~\n", format!("subscriptions:\n{block}")),
        ("", format!("subscriptions:\n{block}")),
        ("# nothing yet\n", format!("# nothing yet\nsubscriptions:\n{block}")),
        ("subscriptions: {a: {}}\n", "subscriptions: {a: {}, new: {url: https://a.example.com/, events: [a.*, \"!a.b\"], headers: {X-A: b}}}\n".to_owned()),
        ("subscriptions:\r\n  a: {}\r\n", format!("subscriptions:\n  a: {{}}\n{block}").replace('\n', "\r\n")),
    ] {
        becomes(before, &create("new", &fields), &after);
    }
}

#[test]
fn a_subscription_goes_with_its_lines() {
    for (before, after) in [
        (
            "subscriptions:\n  # about a\n  a: # x\n    url: x # y\n    # inside\n    title: t\n\n  # about b\n  b: {}\n",
            "subscriptions:\n  # about a\n\n  # about b\n  b: {}\n",
        ),
        (
            "subscriptions:\n  b: {}\n\n  a:\n    url: x\n\n  c: {}\n",
            "subscriptions:\n  b: {}\n\n  c: {}\n",
        ),
        (
            "subscriptions:\n  # about a\n  a:\n    url: x\nlog:\n",
            "subscriptions: {}\n  # about a\nlog:\n",
        ),
        (
            "subscriptions: {b: {}, a: {url: x}}\n",
            "subscriptions: {b: {}}\n",
        ),
        ("subscriptions: {a: {url: x}}\n", "subscriptions: {}\n"),
        (
            "subscriptions: { # one\n  # two\n  a: {url: x}, # its own\n  # three\n  }\n",
            "subscriptions: { # one\n  # two\n  # three\n  }\n",
        ),
        (
            "subscriptions:\n  ? a\n  : active: false\n  b: {}\n",
            "subscriptions:\n  b: {}\n",
        ),
    ] {
        becomes(before, &entry("a", Alter::Remove), after);
    }
}
