//! Matching one event against 10,000 subscriptions (budget: 2 µs per event and 0.1 µs per match).
#![expect(clippy::expect_used, reason = "a benchmark that cannot begin fails")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sidehook::domain::Patterns;
use sidehook::matching::Index;

const SUBSCRIPTIONS: usize = 10_000;

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

fn matching(criterion: &mut Criterion) {
    let narrow = Index::new(&subscriptions());
    let everything = Patterns::parse(["*"]).expect("a valid pattern");
    let wide = Index::new(std::iter::repeat_n(&everything, SUBSCRIPTIONS));
    let mut found = Vec::with_capacity(SUBSCRIPTIONS);
    let mut measure = |name: &str, index: &Index, event_type: &str| {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                found.clear();
                index.matching(black_box(event_type), &mut found);
                black_box(found.len())
            });
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

criterion_group!(benches, matching);
criterion_main!(benches);
