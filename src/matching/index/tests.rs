//! Tests of the index: it finds what asking each subscription in turn would.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::domain::{EventId, KeptHeader, Timestamp};
use crate::matching::{Headers, Selector};

/// A filter that owns its data.
#[derive(Debug, Clone)]
struct Own {
    events: Patterns,
    matches: Vec<Condition>,
    when: Option<Expression>,
    when_error: WhenError,
}

impl Own {
    fn new(events: &[&str], matches: &[(&str, &str)], when: Option<&str>) -> Self {
        let condition = |(selector, value): &(&str, &str)| Condition {
            selector: selector.parse().unwrap(),
            value: (*value).into(),
        };
        Self {
            events: Patterns::parse(events.iter().copied()).unwrap(),
            matches: matches.iter().map(condition).collect(),
            when: when.map(|text| Expression::compile(text).unwrap()),
            when_error: WhenError::Skip,
        }
    }

    fn filter(&self) -> Filter<'_> {
        Filter {
            events: &self.events,
            matches: &self.matches,
            when: self.when.as_ref(),
            when_error: self.when_error,
        }
    }

    /// The reference that the index is checked against.
    fn is_for(&self, facts: &Facts<'_>) -> bool {
        self.events.matches(facts.event_type)
            && self.matches.iter().all(|condition| condition.holds(facts))
            && self.when.as_ref().is_none_or(|when| {
                let delivers = self.when_error == WhenError::Deliver;
                when.evaluate(facts).unwrap_or(delivers)
            })
    }
}

fn index(filters: &[Own]) -> FilterIndex {
    FilterIndex::new(filters.iter().map(Own::filter))
}

fn facts<'e>(event_type: &'e str, kept: &'e [KeptHeader], body: &'e str) -> Facts<'e> {
    Facts {
        event_type,
        event_id: EventId::new(Timestamp::from_millis(1), [7; 10]),
        given_id: None,
        source: None,
        subject: None,
        key: None,
        headers: Headers {
            content_type: "application/json",
            kept,
        },
        body: body.as_bytes(),
    }
}

fn header(name: &str, value: &'static [u8]) -> KeptHeader {
    KeptHeader {
        name: name.into(),
        value: Bytes::from_static(value),
    }
}

fn found(filters: &[Own], event_type: &str, body: &str) -> Vec<usize> {
    index(filters).find(&facts(event_type, &[], body)).positions
}

#[test]
fn a_text_a_number_as_written_and_a_boolean_can_be_matched() {
    let on = |value| Own::new(&["*"], &[("/v", value)], None);
    let filters = [
        on("a"),
        on("7"),
        on("7.0"),
        on("true"),
        on("é\n"),
        on("null"),
    ];
    for (body, expected) in [
        (r#"{"v":"a"}"#, Some(0)),
        (r#"{"v":7}"#, Some(1)),
        (r#"{"v":"7"}"#, Some(1)),
        (r#"{"v":7.0}"#, Some(2)),
        (r#"{"v":true}"#, Some(3)),
        (r#"{"v":"\u00e9\n"}"#, Some(4)),
        (r#"{"v":null}"#, None),
        (r#"{"v":["a"]}"#, None),
        (r#"{"v":{"a":"a"}}"#, None),
        (r#"{"v":"a","v":"b"}"#, None),
        (r#"{"w":"a"}"#, None),
        (r#"{"v":"a"} and more"#, None),
        ("v=a", None),
        ("", None),
    ] {
        let expected: Vec<usize> = expected.into_iter().collect();
        assert_eq!(found(&filters, "t", body), expected, "{body}");
    }
}

#[test]
fn all_conditions_must_hold_and_the_patterns_too() {
    let filters = [
        Own::new(&["a.*"], &[("/t", "1"), ("header:X-R", "eu")], None),
        Own::new(&["a.*"], &[("header:x-r", "eu"), ("/t", "2")], None),
        Own::new(&["a.*", "!a.b"], &[("/t", "1")], None),
        Own::new(&["a.b"], &[], None),
        Own::new(&["*"], &[("/t", "1"), ("/u/0", "x")], None),
    ];
    let index = index(&filters);
    let eu = [header("x-r", b"eu")];
    let find = |event_type, kept, body| index.find(&facts(event_type, kept, body)).positions;
    assert_eq!(find("a.b", &eu, r#"{"t":1}"#), [0, 3]);
    assert_eq!(find("a.c", &eu, r#"{"t":1,"u":["x"]}"#), [0, 2, 4]);
    assert_eq!(find("a.c", &[], r#"{"t":1}"#), [2]);
    assert_eq!(find("a.c", &eu, r#"{"t":"2"}"#), [1]);
    assert!(find("b", &eu, r#"{"t":1}"#).is_empty());
}

#[test]
fn a_header_that_is_there_twice_is_one_value_and_one_that_is_no_text_none() {
    let filters = [
        Own::new(&["*"], &[("header:x-r", "eu, us")], None),
        Own::new(&["*"], &[("header:x-r", "eu")], None),
        Own::new(&["*"], &[("header:content-type", "application/json")], None),
    ];
    let find = |kept: &[KeptHeader]| index(&filters).find(&facts("t", kept, "")).positions;
    assert_eq!(find(&[header("x-r", b"eu"), header("x-r", b"us")]), [0, 2]);
    assert_eq!(find(&[header("x-r", b"eu")]), [1, 2]);
    assert_eq!(find(&[header("x-r", b"\xff")]), [2]);
    assert_eq!(find(&[header("x-r", b"eu"), header("x-r", b"\xff")]), [2]);
}

#[test]
fn values_of_several_selectors_are_not_mixed_up() {
    let filters = [
        Own::new(&["*"], &[("/a", "x"), ("/b", "yz")], None),
        Own::new(&["*"], &[("/a", "xy"), ("/b", "z")], None),
    ];
    assert_eq!(found(&filters, "t", r#"{"a":"xy","b":"z"}"#), [1]);
    let long = format!(r#"{{"a":"{}","b":"z"}}"#, "x".repeat(100_000));
    assert!(found(&filters, "t", &long).is_empty());
}

#[test]
fn an_expression_is_asked_of_those_that_match_otherwise() {
    let failing = Some("data.none == 1");
    let deliver = Own {
        when_error: WhenError::Deliver,
        ..Own::new(&["a"], &[], failing)
    };
    let filters = [
        Own::new(&["a"], &[], Some("data.n > 1")),
        Own::new(&["a"], &[], Some("data.n > 2")),
        Own::new(&["b"], &[], failing),
        Own::new(&["a"], &[("/n", "3")], failing),
        Own::new(&["a"], &[("/n", "2")], failing),
        deliver,
        Own::new(&["a"], &[], Some("size(data) == 1")),
        Own::new(&["a"], &[], None),
    ];
    let found = index(&filters).find(&facts("a", &[], r#"{"n":2}"#));
    assert_eq!(found.positions, [0, 5, 6, 7]);
    let failed: Vec<_> = found.failures.iter().map(|it| it.position).collect();
    assert_eq!(failed, [4, 5]);
    let [one, other] = &found.failures[..] else {
        panic!("{found:?}");
    };
    assert!(Arc::ptr_eq(&one.error, &other.error), "evaluated once");
}

#[test]
fn a_large_body_is_in_the_way_only_of_those_that_look_at_all_of_it() {
    let filters = [
        Own::new(&["*"], &[], Some("size(data) == 2")),
        Own::new(&["*"], &[], Some("data.n == 1")),
        Own::new(&["*"], &[], Some("data.l.size() > 1")),
    ];
    let body = format!(r#"{{"l":[{}],"n":1}}"#, vec!["0"; 60_000].join(","));
    let found = index(&filters).find(&facts("t", &[], &body));
    assert_eq!(found.positions, [1]);
    let failed: Vec<_> = found.failures.iter().map(|it| it.position).collect();
    assert_eq!(failed, [0, 2]);
}

fn any_own() -> impl Strategy<Value = Own> {
    let pattern = prop::sample::select(vec!["*", "a", "a.*", "*.b", "!a.b", "!a"]);
    let selector = prop::sample::select(vec!["/a", "/b", "/c/0", "header:x-a", "header:x-b"]);
    let value = prop::sample::select(vec!["", "1", "2", "true"]);
    let when = prop::sample::select(vec![
        "data.a == 1",
        "data.a > 'x'",
        "has(data.b)",
        "headers['x-a'] == '1'",
        "data == null",
        "data.c[0] == 2 || type == 'a'",
    ]);
    (
        prop::collection::vec(pattern, 1..3),
        prop::collection::btree_map(selector, value, 0..3),
        prop::option::of(when),
        prop::bool::ANY,
    )
        .prop_filter_map("only exclusions", |(events, matches, when, deliver)| {
            Patterns::parse(events.iter().copied()).ok()?;
            let matches: Vec<_> = matches.into_iter().collect();
            Some(Own {
                when_error: if deliver {
                    WhenError::Deliver
                } else {
                    WhenError::Skip
                },
                ..Own::new(&events, &matches, when)
            })
        })
}

fn any_body() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec!["1", "2", "\"1\"", "\"\"", "true", "null", "[2]"]);
    let fields = prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), value), 0..4);
    prop_oneof![
        8 => fields.prop_map(|fields| {
            let fields = fields.iter().map(|(name, value)| format!("\"{name}\":{value}"));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }),
        1 => Just("no json".to_owned()),
    ]
}

proptest! {
    #[test]
    fn the_index_agrees_with_asking_each_subscription(
        filters in prop::collection::vec(any_own(), 0..12),
        event_type in prop::sample::select(vec!["a", "b", "a.b", "a.c"]),
        headers in prop::collection::vec((prop::sample::select(vec!["x-a", "x-b"]), prop::sample::select(vec!["1", "2"])), 0..3),
        body in any_body(),
    ) {
        let kept: Vec<_> = headers.iter().map(|(name, value)| header(name, value.as_bytes())).collect();
        let facts = facts(event_type, &kept, &body);
        let expected: Vec<usize> = (0..filters.len()).filter(|at| filters[*at].is_for(&facts)).collect();
        prop_assert_eq!(index(&filters).find(&facts).positions, expected);
    }
}

#[test]
fn a_selector_of_the_body_is_the_pointer() {
    let Selector::Body(pointer) = "/a/b".parse().unwrap() else {
        panic!("not of the body");
    };
    assert_eq!(&*pointer, "/a/b");
}
