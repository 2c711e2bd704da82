//! Matching one event against 10,000 subscriptions (budget: 2 µs per event and 0.1 µs per match), by patterns alone, by a
//! value of its own for each, and by expressions.
#![expect(clippy::expect_used, reason = "a benchmark that cannot begin fails")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sidehook::domain::{EventId, Patterns, Timestamp};
use sidehook::matching::{Condition, Expression, Facts, Filter, FilterIndex, Headers, WhenError};

const SUBSCRIPTIONS: usize = 10_000;

fn facts<'e>(event_type: &'e str, body: &'e str) -> Facts<'e> {
    Facts {
        event_type,
        event_id: EventId::new(Timestamp::from_millis(1), [7; 10]),
        given_id: None,
        source: None,
        subject: None,
        key: None,
        headers: Headers {
            content_type: "application/json",
            kept: &[],
        },
        body: body.as_bytes(),
    }
}

fn filter<'s>(
    events: &'s Patterns,
    matches: &'s [Condition],
    when: Option<&'s Expression>,
) -> Filter<'s> {
    Filter {
        events,
        matches,
        when,
        when_error: WhenError::Skip,
    }
}

fn everything() -> Patterns {
    Patterns::parse(["*"]).expect("a valid pattern")
}

/// A third each of literals, prefixes and suffixes, every one of its own tenant; every tenth excludes something.
fn subscriptions() -> Vec<Patterns> {
    (0..SUBSCRIPTIONS)
        .map(|tenant| {
            let included = match tenant % 3 {
                0 => format!("tenant{tenant}.invoice.paid"),
                1 => format!("tenant{tenant}.*"),
                _ => format!("*.tenant{tenant}.paid"),
            };
            let excluded = (tenant % 10 == 0).then(|| format!("!tenant{tenant}.invoice.draft"));
            let texts = [Some(included), excluded];
            Patterns::parse(texts.iter().flatten().map(String::as_str)).expect("valid patterns")
        })
        .collect()
}

fn by_patterns(criterion: &mut Criterion) {
    let narrow = subscriptions();
    let narrow = FilterIndex::new(narrow.iter().map(|events| filter(events, &[], None)));
    let everything = everything();
    let wide = FilterIndex::new(std::iter::repeat_n(
        filter(&everything, &[], None),
        SUBSCRIPTIONS,
    ));
    let mut measure = |name: &str, index: &FilterIndex, event_type: &str| {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| index.find(black_box(&facts(event_type, ""))));
        });
    };
    measure("matching/10000/none", &narrow, "order.created");
    measure(
        "matching/10000/one_literal",
        &narrow,
        "tenant3000.invoice.paid",
    );
    measure(
        "matching/10000/one_wildcard",
        &narrow,
        "tenant4000.invoice.paid",
    );
    measure("matching/10000/all", &wide, "tenant4000.invoice.paid");
}

/// A body of some 250 bytes, its tenant in the middle.
fn body(tenant: usize) -> String {
    format!(
        r#"{{"type":"invoice.paid","data":{{"number":"2026-0001","lines":[{{"price":10,"count":2}},{{"price":7,"count":1}}],"note":"thank you for your order"}},"tenant_id":"tenant{tenant}","amount":150,"currency":"EUR","live":true,"created":"2026-11-24T10:00:00Z"}}"#
    )
}

fn by_conditions(criterion: &mut Criterion) {
    let everything = everything();
    let wanted: Vec<[Condition; 1]> = (0..SUBSCRIPTIONS)
        .map(|tenant| {
            [Condition {
                selector: "/tenant_id".parse().expect("a selector"),
                value: format!("tenant{tenant}").into(),
            }]
        })
        .collect();
    let body = body(0);
    for count in [1, SUBSCRIPTIONS] {
        let filters = wanted.iter().take(count);
        let index = FilterIndex::new(filters.map(|matches| filter(&everything, matches, None)));
        criterion.bench_function(&format!("matching/{count}/match"), |bencher| {
            bencher.iter(|| index.find(black_box(&facts("invoice.paid", &body))));
        });
    }
}

fn by_expressions(criterion: &mut Criterion) {
    let small = body(0);
    let large = format!(
        "{{\"list\":[{}],\"text\":\"{}\",\"amount\":150}}",
        vec!["1"; 40_000].join(","),
        "x".repeat(900_000)
    );
    let everything = everything();
    let mut measure = |name: &str, text: &str, body: &str, count: usize| {
        let expression = Expression::compile(text).expect("an expression");
        let filters = std::iter::repeat_n(filter(&everything, &[], Some(&expression)), count);
        let index = FilterIndex::new(filters);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| index.find(black_box(&facts("invoice.paid", body))));
        });
    };
    let simple = "data.amount > 100 && data.currency == 'EUR'";
    measure("when/simple", simple, &small, 1);
    measure("when/10000_of_one_text", simple, &small, SUBSCRIPTIONS);
    let list = "data.data.lines.exists(line, line.price * line.count > 15)";
    measure("when/list", list, &small, 1);
    measure("when/1MiB/not_looked_at", "data.amount > 100", &large, 1);
    for (name, text) in [
        ("nested", "data.list.all(x, data.list.all(y, x == y))"),
        ("contains", "data.list.all(x, !data.text.contains('y'))"),
        (
            "join",
            "data.list.map(x, [string(x)] + ['a', 'b', 'c']).size() == 1",
        ),
        (
            "pattern",
            "data.list.all(x, !'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.matches('(a?){30}(a|b|ab|ba){60}c$'))",
        ),
    ] {
        measure(&format!("when/1MiB/{name}"), text, &large, 1);
    }
}

fn compiling(criterion: &mut Criterion) {
    let text = "data.amount > 100 && headers['x-region'] == 'eu' || subject.startsWith('acme/')";
    criterion.bench_function("when/compile", |bencher| {
        bencher.iter(|| Expression::compile(black_box(text)));
    });
}

criterion_group!(
    benches,
    by_patterns,
    by_conditions,
    by_expressions,
    compiling
);
criterion_main!(benches);
