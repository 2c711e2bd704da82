//! Tests of counting attempts: the last ones, and those of the last day.

use super::*;

const DAY_MS: i64 = 144 * SLOT_MS;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_400_000 + millis)
}

fn counted(succeeded: u32, failed: u32) -> Counted {
    Counted { succeeded, failed }
}

#[test]
fn the_last_thousand_are_counted_and_no_more() {
    let mut tally = Tally::default();
    assert_eq!(tally.last_thousand(), counted(0, 0));
    for number in 0..1_500 {
        tally.add(at(0), number < 750);
        if number == 999 {
            assert_eq!(tally.last_thousand(), counted(750, 250));
        }
    }
    assert_eq!(tally.last_thousand(), counted(250, 750));
    assert_eq!(tally.last_day(at(0)), counted(750, 750));
    let bytes = tally.recent.encode();
    assert_eq!(Recent::decode(&bytes), Some(tally.recent));
    for length in 0..bytes.len() {
        assert_eq!(Recent::decode(&bytes[..length]), None);
    }
}

#[test]
fn those_of_a_day_ago_are_forgotten_slot_by_slot() {
    let mut tally = Tally::default();
    tally.add(at(0), true);
    tally.add(at(SLOT_MS - 1), false);
    tally.add(at(SLOT_MS), false);
    assert_eq!(tally.last_day(at(SLOT_MS)), counted(1, 2));
    assert_eq!(tally.last_day(at(DAY_MS - 1)), counted(1, 2));
    assert_eq!(tally.last_day(at(DAY_MS)), counted(0, 1));
    assert_eq!(tally.last_day(at(DAY_MS + SLOT_MS)), counted(0, 0));
    assert_eq!(tally.last_success_at, Some(at(0)));

    tally.add(at(10 * DAY_MS), true);
    assert_eq!(tally.day.len(), 1, "what is long ago is not kept");
    assert_eq!(Tally::decode_day(&tally.encode_day()), tally.day);
}

#[test]
fn a_clock_that_was_set_back_hides_nothing_and_keeps_nothing_for_ever() {
    let mut tally = Tally::default();
    tally.add(at(DAY_MS / 2), true);
    tally.add(at(0), false);
    assert_eq!(tally.last_day(at(0)), counted(0, 1));
    assert_eq!(tally.last_day(at(DAY_MS / 2)), counted(1, 1));
    tally.add(at(40 * DAY_MS), true);
    tally.add(at(SLOT_MS), false);
    assert_eq!(tally.last_day(at(SLOT_MS)), counted(0, 1));
    for number in 0..2_000 {
        tally.add(at(number * 7 % 600 * SLOT_MS), true);
    }
    assert!(tally.day.len() <= 289);
}
