//! Tests of lines: which deliveries wait, go, or are left to the index.

use super::*;
use crate::store::harness::NOW;
use crate::store::journal::Place;

const ROOM: usize = 3;

fn entry(seq: u64, key: u64) -> Entry {
    Entry {
        seq: EventSeq(seq),
        place: Place {
            segment: 1,
            offset: 0,
            length: 0,
        },
        body_bytes: 10,
        accepted_at: NOW,
        since: NOW,
        key,
        attempts: 0,
        schedule_attempts: 0,
    }
}

fn lines(order: Order, when_stuck: WhenStuck) -> Lines {
    let mut lines = Lines::new(order, when_stuck);
    if lines.begin_blockers() {
        lines.blockers(&Page {
            entries: Vec::new(),
            complete: true,
        });
    }
    lines
}

/// Lets a delivery go if it may, otherwise puts it into its line.
fn come(lines: &mut Lines, entry: Entry) -> bool {
    let goes = lines.lets_go(&entry);
    if goes {
        lines.go(entry);
    } else {
        lines.pass(entry, ROOM);
    }
    goes
}

fn freed(lines: &mut Lines) -> Vec<u64> {
    let mut freed = Vec::new();
    while let Some(entry) = lines.pop() {
        freed.push(lines.go(entry).seq.0);
    }
    freed
}

#[test]
fn only_deliveries_of_one_key_wait_for_each_other() {
    let mut lines = lines(Order::Key, WhenStuck::Block);
    assert!(come(&mut lines, entry(1, 7)));
    assert!(!come(&mut lines, entry(2, 7)));
    assert!(come(&mut lines, entry(3, 8)));
    assert!(come(&mut lines, entry(4, 0)) && come(&mut lines, entry(5, 0)));
    lines.due_later(&entry(1, 7));
    assert_eq!(freed(&mut lines), [0; 0]);
    lines.go(entry(1, 7));
    lines.ended(&entry(1, 7), false);
    assert_eq!(freed(&mut lines), [2]);
}

#[test]
fn a_dead_delivery_blocks_until_it_is_revived_and_that_time_does_not_count() {
    let mut lines = lines(Order::Key, WhenStuck::Block);
    come(&mut lines, entry(1, 7));
    come(&mut lines, entry(2, 7));
    lines.ended(&entry(1, 7), true);
    assert_eq!(freed(&mut lines), [0; 0]);
    assert_eq!(lines.blocked(9), 1);
    let later = NOW.plus(std::time::Duration::from_secs(9));
    lines.revived(7, EventSeq(1), later);
    assert_eq!(lines.front().unwrap().since, later);
    assert_eq!(freed(&mut lines), [2]);
    lines.ended(&entry(2, 7), false);
    assert!(lines.lines.is_empty(), "a line with nothing in it is gone");
}

#[test]
fn with_skip_what_follows_a_dead_delivery_goes_on() {
    let mut lines = lines(Order::Strict, WhenStuck::Skip);
    assert!(come(&mut lines, entry(1, 7)));
    assert!(!lines.may_pass(EventSeq(2), 10), "all are in one line");
    lines.ended(&entry(1, 7), true);
    assert!(lines.may_pass(EventSeq(2), 10));
}

#[test]
fn what_does_not_fit_is_asked_of_the_index_when_its_turn_comes() {
    let mut lines = lines(Order::Key, WhenStuck::Block);
    for seq in 1..=6 {
        come(&mut lines, entry(seq, 7));
    }
    assert_eq!(lines.len(), ROOM);
    for next in 2..=4 {
        lines.ended(&entry(next - 1, 7), false);
        assert_eq!(freed(&mut lines), [next]);
    }
    assert_eq!(lines.begin_followers(), []);
    lines.ended(&entry(4, 7), false);
    let wanted = FollowersWanted {
        line: 7,
        after: EventSeq(4),
        upto: EventSeq(6),
    };
    assert_eq!(lines.begin_followers(), [wanted]);
    assert!(
        !come(&mut lines, entry(9, 7)),
        "it comes behind what is asked for"
    );
    let page = Page {
        entries: vec![entry(5, 7)],
        complete: false,
    };
    lines.followers(7, page);
    assert_eq!(freed(&mut lines), [5]);
    lines.ended(&entry(5, 7), false);
    let wanted = lines.begin_followers();
    assert_eq!(
        (wanted[0].after, wanted[0].upto),
        (EventSeq(5), EventSeq(9))
    );
    let page = Page {
        entries: vec![entry(6, 7), entry(9, 7)],
        complete: true,
    };
    lines.followers(7, page);
    assert_eq!(freed(&mut lines), [6]);
    lines.ended(&entry(6, 7), false);
    assert_eq!(freed(&mut lines), [9]);
    lines.ended(&entry(9, 7), false);
    assert!(lines.lines.is_empty());
}

#[test]
fn nothing_is_looked_at_before_what_blocks_is_known() {
    let mut lines = Lines::new(Order::Key, WhenStuck::Block);
    assert!(!lines.may_pass(EventSeq(1), 10));
    assert!(lines.begin_blockers() && !lines.begin_blockers());
    lines.blockers(&Page {
        entries: vec![entry(3, 7), entry(5, 8)],
        complete: false,
    });
    assert!(lines.may_pass(EventSeq(5), 10) && !lines.may_pass(EventSeq(6), 10));
    assert!(
        !lines.may_pass(EventSeq(4), 2),
        "no more lines may be stuck"
    );
    assert!(lines.lets_go(&entry(2, 7)) && !lines.lets_go(&entry(4, 7)));
}

#[test]
fn the_lowest_goes_first_also_when_it_comes_back_later() {
    let mut lines = lines(Order::Strict, WhenStuck::Skip);
    come(&mut lines, entry(5, 0));
    lines.wait(entry(3, 0));
    lines.wait(entry(4, 0));
    lines.due_later(&entry(2, 0));
    lines.ended(&entry(5, 0), false);
    assert_eq!(freed(&mut lines), [0; 0], "2 is due later");
    lines.go(entry(2, 0));
    lines.ended(&entry(2, 0), false);
    assert_eq!(freed(&mut lines), [3]);
    lines.remove(0, EventSeq(3));
    assert_eq!(freed(&mut lines), [4]);
}

#[test]
fn what_is_due_and_comes_later_does_not_hide_what_is_left_to_the_index() {
    let mut lines = lines(Order::Key, WhenStuck::Block);
    for seq in 1..=3 {
        come(&mut lines, entry(seq, 7));
    }
    lines.wait(entry(20, 7));
    assert!(!come(&mut lines, entry(4, 7)), "there is no room for it");
    for next in 2..=3 {
        lines.ended(&entry(next - 1, 7), false);
        assert_eq!(freed(&mut lines), [next]);
    }
    lines.ended(&entry(3, 7), false);
    assert_eq!(freed(&mut lines), [0; 0], "4 comes before 20");
    assert_eq!(lines.begin_followers()[0].after, EventSeq(3));
    let page = Page {
        entries: vec![entry(4, 7)],
        complete: true,
    };
    lines.followers(7, page);
    assert_eq!(freed(&mut lines), [4]);
    lines.ended(&entry(4, 7), false);
    assert_eq!(freed(&mut lines), [20]);
}
