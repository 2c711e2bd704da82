//! Tests of the index: it gives the same results as the patterns themselves.

use proptest::prelude::*;

use super::*;

fn patterns(texts: &[&str]) -> Patterns {
    Patterns::parse(texts.iter().copied()).unwrap()
}

fn found(subscriptions: &[Patterns], event_type: &str) -> Vec<usize> {
    let mut found = Vec::new();
    PatternIndex::new(subscriptions).matching(event_type, &mut found);
    found
}

#[test]
fn each_kind_of_pattern_finds_its_subscription() {
    let subscriptions = [
        patterns(&["*"]),
        patterns(&["invoice.paid"]),
        patterns(&["invoice.*"]),
        patterns(&["*.paid"]),
        patterns(&["quote"]),
        patterns(&["a.*.c:*"]),
    ];
    assert_eq!(found(&subscriptions, "invoice.paid"), [0, 1, 2, 3]);
    assert_eq!(found(&subscriptions, "quote:created"), [0, 4]);
    assert_eq!(found(&subscriptions, "a.b.c:d/e"), [0, 5]);
    assert_eq!(found(&subscriptions, "invoice"), [0]);
}

#[test]
fn a_subscription_is_found_once_however_many_of_its_patterns_match() {
    let subscriptions = [patterns(&["a.*", "*.b", "a.b", "*", "a.b"])];
    assert_eq!(found(&subscriptions, "a.b"), [0]);
}

#[test]
fn an_exclusion_takes_its_own_subscription_out_and_no_other() {
    let subscriptions = [
        patterns(&["*", "!quote"]),
        patterns(&["quote"]),
        patterns(&["!quote:created", "quote"]),
    ];
    assert_eq!(found(&subscriptions, "quote:created"), [1]);
    assert_eq!(found(&subscriptions, "quote:sent"), [1, 2]);
}

#[test]
fn what_stood_in_the_list_before_stays_untouched() {
    let index = PatternIndex::new(&[patterns(&["b"]), patterns(&["a"]), patterns(&["*"])]);
    let mut found = vec![2, 2, 0];
    index.matching("a", &mut found);
    assert_eq!(found, [2, 2, 0, 1, 2]);
}

#[test]
fn an_inactive_subscription_without_patterns_matches_nothing_and_keeps_its_position() {
    let subscriptions = [Patterns::default(), patterns(&["*"])];
    assert_eq!(found(&subscriptions, "a"), [1]);
}

#[test]
fn a_type_of_many_segments_is_walked_in_bounded_time() {
    let all_stars = vec!["*"; 120].join(".");
    let alternating = ["a", "*"].repeat(60).join(".");
    let subscriptions = [patterns(&[&all_stars]), patterns(&[&alternating])];
    let event_type = vec!["a"; 127].join(".");
    assert_eq!(found(&subscriptions, &event_type), [0, 1]);
}

/// A few segments and all separators, so that random patterns and types meet often.
fn text(segment: &'static str) -> impl Strategy<Value = String> {
    let piece = (segment, prop::sample::select(vec!['.', ':', '/']));
    (prop::collection::vec(piece, 0..4), segment).prop_map(|(pieces, last)| {
        let mut text = String::new();
        for (segment, separator) in pieces {
            text.push_str(&segment);
            text.push(separator);
        }
        text + &last
    })
}

fn any_patterns() -> impl Strategy<Value = Patterns> {
    let pattern = text("[ab]?|\\*")
        .prop_filter_map("no pattern", |text| text.parse().ok())
        .boxed();
    let list = |size: std::ops::Range<usize>| prop::collection::vec(pattern.clone(), size);
    (list(1..4), list(0..3)).prop_map(|(included, excluded)| Patterns { included, excluded })
}

proptest! {
    #[test]
    fn the_index_agrees_with_asking_each_subscription(
        subscriptions in prop::collection::vec(any_patterns(), 0..12),
        event_type in text("[ab]?"),
    ) {
        let expected: Vec<usize> = subscriptions
            .iter()
            .enumerate()
            .filter(|(_, patterns)| patterns.matches(&event_type))
            .map(|(position, _)| position)
            .collect();
        prop_assert_eq!(found(&subscriptions, &event_type), expected);
    }
}
