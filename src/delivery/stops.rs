//! The spans in which a subscription was stopped (held or paused), and how old a delivery is without them.
//!
//! Leaves to `lane_status` when a span begins and ends. Pure. Invariant: after [`add`] and [`cut`] the spans are in
//! order, neither overlap nor touch, and are at most [`MAX`].

use std::time::Duration;

use crate::domain::Timestamp;

/// From, included, to, excluded; by [`Clock::steady`](crate::domain::Clock::steady).
pub(super) type Span = (Timestamp, Timestamp);

/// How many spans are kept. Beyond it the two closest become one: what lies between them counts as stopped then, so
/// that a delivery lives longer rather than shorter.
pub(super) const MAX: usize = 32;

/// Adds a span; an empty or reversed one changes nothing.
pub(super) fn add(stops: &mut Vec<Span>, span: Span) {
    if span.0 >= span.1 {
        return;
    }
    stops.push(span);
    stops.sort_unstable();
    stops.dedup_by(|later, earlier| {
        let joined = later.0 <= earlier.1;
        if joined {
            earlier.1 = earlier.1.max(later.1);
        }
        joined
    });
    while stops.len() > MAX {
        join_closest(stops);
    }
}

/// Ends at `now` what was to last longer.
pub(super) fn cut(stops: &mut Vec<Span>, now: Timestamp) {
    stops.retain(|span| span.0 < now);
    for span in stops {
        span.1 = span.1.min(now);
    }
}

/// How old a delivery is at `now`: the time since it was accepted, without the stops.
pub(super) fn age(accepted_at: Timestamp, now: Timestamp, stops: &[Span]) -> Duration {
    stops
        .iter()
        .map(|span| span.1.min(now).since(span.0.max(accepted_at)))
        .fold(now.since(accepted_at), Duration::saturating_sub)
}

fn join_closest(stops: &mut Vec<Span>) {
    let closest = stops
        .windows(2)
        .enumerate()
        .filter_map(|(index, pair)| match pair {
            [earlier, later] => Some((later.0.since(earlier.1), index)),
            _ => None,
        })
        .min();
    let Some((_, index)) = closest else { return };
    let later = stops.remove(index + 1);
    if let Some(earlier) = stops.get_mut(index) {
        earlier.1 = later.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn spans(ends: &[(i64, i64)]) -> Vec<Span> {
        let mut stops = Vec::new();
        for (from, to) in ends {
            add(&mut stops, (at(*from), at(*to)));
        }
        stops
    }

    #[test]
    fn age_leaves_out_what_was_stopped_since_the_acceptance() {
        let stops = spans(&[(0, 10), (20, 30), (90, 200)]);
        assert_eq!(age(at(25), at(100), &stops), Duration::from_millis(60));
    }

    #[test]
    fn age_without_stops_is_the_time_since_the_acceptance() {
        assert_eq!(age(at(25), at(100), &[]), Duration::from_millis(75));
        assert_eq!(age(at(100), at(25), &[]), Duration::ZERO);
    }

    #[test]
    fn spans_that_overlap_or_touch_become_one() {
        assert_eq!(
            spans(&[(10, 20), (40, 50), (15, 30), (30, 35)]),
            [(at(10), at(35)), (at(40), at(50))]
        );
    }

    #[test]
    fn empty_and_reversed_spans_are_left_out() {
        assert_eq!(spans(&[(10, 10), (20, 15)]), []);
    }

    #[test]
    fn the_closest_spans_become_one_beyond_the_bound() {
        let mut stops = spans(&(0..32).map(|n| (n * 100, n * 100 + 10)).collect::<Vec<_>>());
        assert_eq!(stops.len(), MAX);
        add(&mut stops, (at(1_550), at(1_560)));
        assert_eq!(stops.len(), MAX);
        assert!(stops.contains(&(at(1_500), at(1_560))));
    }

    #[test]
    fn a_cut_ends_what_lies_ahead() {
        let mut stops = spans(&[(0, 10), (20, 100), (200, 300)]);
        cut(&mut stops, at(50));
        assert_eq!(stops, [(at(0), at(10)), (at(20), at(50))]);
    }

    proptest! {
        #[test]
        fn age_counts_each_moment_outside_the_stops_once(
            ends in prop::collection::vec((0i64..200, 0i64..200), 0..20), accepted in 0i64..200, now in 0i64..200,
        ) {
            let stopped = |moment: i64| ends.iter().any(|(from, to)| (*from..*to).contains(&moment));
            let counted = (accepted..now).filter(|moment| !stopped(*moment)).count();
            let found = age(at(accepted), at(now), &spans(&ends));
            prop_assert_eq!(usize::try_from(found.as_millis()).unwrap(), counted);
        }

        #[test]
        fn spans_stay_in_order_apart_and_few(ends in prop::collection::vec((0i64..10_000, 0i64..10_000), 0..200)) {
            let ends: Vec<_> = ends.iter().map(|(from, length)| (*from, from + length % 7)).collect();
            let stops = spans(&ends);
            prop_assert!(stops.len() <= MAX);
            prop_assert!(stops.iter().all(|span| span.0 < span.1));
            prop_assert!(stops.windows(2).all(|pair| pair[0].1 < pair[1].0));
            for (from, to) in ends.iter().filter(|span| span.0 < span.1) {
                prop_assert!(stops.iter().any(|span| span.0 <= at(*from) && at(*to) <= span.1));
            }
        }
    }
}
