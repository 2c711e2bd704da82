//! Tests of deliveries that are due later.

use super::*;
use crate::store::journal::Place;

fn entry(seq: u64) -> Entry {
    Entry {
        seq: EventSeq(seq),
        place: Place {
            segment: 1,
            offset: 0,
            length: 0,
        },
        body_bytes: 10,
        accepted_at: at(0),
        since: at(0),
        key: 0,
        attempts: 1,
        schedule_attempts: 1,
    }
}

fn pop(dues: &mut Dues) -> Option<Entry> {
    let seq = dues.front()?.seq;
    dues.take(seq)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn answer(due: &[(i64, u64)], complete: bool) -> Page<(DueKey, Entry)> {
    let keyed = |(millis, seq): &(i64, u64)| ((at(*millis), EventSeq(*seq)), entry(*seq));
    Page {
        entries: due.iter().map(keyed).collect(),
        complete,
    }
}

/// Everything that is ready at the end of time, by sequence.
fn all(dues: &mut Dues) -> Vec<u64> {
    dues.promote(at(i64::MAX));
    std::iter::from_fn(|| pop(dues))
        .map(|entry| entry.seq.0)
        .collect()
}

#[test]
fn what_is_due_becomes_ready_in_order_of_its_time() {
    let mut dues = Dues::none();
    for (time, seq) in [(30, 1), (10, 2), (20, 3)] {
        dues.insert(at(time), entry(seq), 10);
    }
    assert_eq!(dues.next_due(), Some(at(10)));
    dues.promote(at(20));
    assert_eq!(pop(&mut dues).map(|entry| entry.seq), Some(EventSeq(2)));
    assert_eq!(pop(&mut dues).map(|entry| entry.seq), Some(EventSeq(3)));
    assert_eq!(pop(&mut dues), None);
    assert_eq!(dues.next_due(), Some(at(30)));
}

#[test]
fn beyond_the_bound_the_latest_are_left_to_the_index_and_asked_for_later() {
    let mut dues = Dues::none();
    for (time, seq) in [(10, 1), (30, 2), (20, 3)] {
        dues.insert(at(time), entry(seq), 2);
    }
    assert!(dues.is_partial());
    dues.insert(at(40), entry(4), 2);
    assert_eq!(dues.begin_refill(2), None, "more than half is left");
    assert_eq!(all(&mut dues), [1, 3]);
    let (after, limit) = dues.begin_refill(2).unwrap();
    assert!(after < (at(30), EventSeq(2)) && after > (at(20), EventSeq(3)));
    assert_eq!(limit, 2);
    dues.refilled(answer(&[(30, 2), (40, 4)], true), std::iter::empty(), 2);
    assert!(!dues.is_partial());
    assert_eq!(all(&mut dues), [2, 4]);
}

#[test]
fn an_answer_does_not_bring_back_what_was_settled_or_is_elsewhere() {
    let mut dues = Dues::unknown();
    assert_eq!(dues.begin_refill(4), Some((BEGINNING, 4)));
    dues.note_settled(EventSeq(1));
    dues.note_settled(EventSeq(2));
    // 2 failed again meanwhile; the answer still shows when it was due before.
    dues.insert(at(99), entry(2), 4);
    let rows = [(1, 1), (2, 2), (3, 3), (4, 4)];
    dues.refilled(answer(&rows, true), [EventSeq(3)].into_iter(), 4);
    assert_eq!(all(&mut dues), [4, 2]);
}

#[test]
fn what_arrives_while_the_index_is_asked_is_kept_and_evicted_afterwards() {
    let mut dues = Dues::unknown();
    dues.begin_refill(2);
    for (time, seq) in [(50, 1), (60, 2), (70, 3)] {
        dues.note_settled(EventSeq(seq));
        dues.insert(at(time), entry(seq), 2);
    }
    assert_eq!(dues.len(), 3);
    dues.refilled(answer(&[(10, 7)], false), std::iter::empty(), 2);
    // The index was read up to 10 only, so later ones must be asked from there although more is in memory.
    assert_eq!(all(&mut dues), [7, 1]);
    assert_eq!(dues.begin_refill(2), Some(((at(10), EventSeq(7)), 2)));
}

#[test]
fn what_is_due_now_counts_towards_the_bound_but_where_there_is_an_order() {
    let mut dues = Dues::none();
    for seq in 1..=9 {
        dues.insert(at(5), entry(seq), 4);
        dues.promote(at(5));
    }
    assert_eq!((dues.len(), dues.is_partial()), (4, true));
    assert_eq!(dues.begin_refill(4), None, "there is enough to do");
    let mut seen: Vec<u64> = Vec::new();
    while let Some((after, limit)) = {
        seen.extend(pop(&mut dues).map(|entry| entry.seq.0));
        dues.begin_refill(4)
    }
    .or_else(|| (dues.len() > 0).then_some((BEGINNING, 0)))
    {
        if limit == 0 {
            continue;
        }
        let rest: Vec<_> = (1..=9).map(|seq| (5, seq)).collect();
        let rest = rest
            .into_iter()
            .filter(|(_, seq)| (at(5), EventSeq(*seq)) > after);
        let found: Vec<_> = rest.take(limit).collect();
        let complete = found.len() < limit;
        dues.refilled(answer(&found, complete), std::iter::empty(), 4);
        dues.promote(at(5));
        assert!(dues.len() <= 4, "{}", dues.len());
    }
    assert_eq!(
        seen,
        [1, 2, 3, 4, 5, 6, 7, 8, 9],
        "none is lost, none comes twice"
    );

    let mut ordered = Dues::none();
    ordered.keep_order(true);
    for seq in 1..=9 {
        ordered.insert(at(5), entry(seq), 4);
        ordered.promote(at(5));
    }
    assert_eq!((ordered.len(), ordered.is_partial()), (9, false));
}

#[test]
fn one_that_is_hastened_is_there_once_also_if_the_index_has_said_so_before() {
    let mut dues = Dues::unknown();
    dues.begin_refill(4).unwrap();
    // Of more than fit the first: seq 7, due at 90 before, was hastened at 5, which the index has already.
    dues.refilled(answer(&[(5, 7), (6, 8)], false), std::iter::empty(), 4);
    dues.remove_hastened(EventSeq(7), at(90), at(5));
    dues.make_ready(entry(7));
    assert_eq!(all(&mut dues), [7, 8]);
}
