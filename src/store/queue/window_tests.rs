//! Tests of the window: attached, spilled, refilled.

use super::*;
use crate::domain::Timestamp;
use crate::store::journal::Place;

const BOUNDS: Bounds = Bounds {
    window: 3,
    refill: 2,
    tail: 2,
    dues: 2,
    lines: 4,
    granted: 1,
};

fn entry(seq: u64) -> Entry {
    Entry {
        seq: EventSeq(seq),
        place: Place {
            segment: 1,
            offset: 0,
            length: 0,
        },
        body_bytes: 10,
        accepted_at: Timestamp::from_millis(0),
        since: Timestamp::from_millis(0),
        key: 0,
        attempts: 0,
        schedule_attempts: 0,
    }
}

fn admit(window: &mut Window, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        let room = window.len() < BOUNDS.window;
        window.admit(Slot::unloaded(entry(seq)), room, &BOUNDS);
    }
}

fn answer(seqs: &[u64], complete: bool, upto: u64) -> (Page, EventSeq) {
    let entries = seqs.iter().map(|seq| entry(*seq)).collect();
    (Page { entries, complete }, EventSeq(upto))
}

fn emptied(window: &mut Window) -> Vec<u64> {
    std::iter::from_fn(|| window.pop())
        .map(|slot| slot.entry.seq.0)
        .collect()
}

#[test]
fn what_does_not_fit_spills_and_is_asked_for_once_the_window_is_low() {
    let mut window = Window::attached();
    admit(&mut window, [1, 2, 3, 5, 8]);
    assert!(!window.is_attached());
    assert_eq!(window.begin_refill(false, &BOUNDS), None, "not low");
    assert_eq!(emptied(&mut window), [1, 2, 3]);
    assert_eq!(window.begin_refill(false, &BOUNDS), Some(EventSeq(4)));
    assert_eq!(window.begin_refill(false, &BOUNDS), None, "asked already");
}

#[test]
fn a_partial_answer_leaves_the_window_spilled_after_its_last_entry() {
    let mut window = Window::spilled();
    assert_eq!(window.begin_refill(false, &BOUNDS), Some(EventSeq(0)));
    admit(&mut window, [9]);
    window.refilled(answer(&[2, 4], false, 8));
    assert_eq!(emptied(&mut window), [2, 4]);
    assert_eq!(window.begin_refill(false, &BOUNDS), Some(EventSeq(4)));
}

#[test]
fn a_complete_answer_and_the_tail_attach_the_window_without_gap_or_repetition() {
    let mut window = Window::spilled();
    window.begin_refill(false, &BOUNDS);
    // The index has 5 and 6 before the queue gets them, and the queue has 7, which the index does not have yet.
    admit(&mut window, [5, 7]);
    window.refilled(answer(&[2, 5, 6], true, 6));
    assert!(window.is_attached());
    admit(&mut window, [6, 8]);
    assert_eq!(emptied(&mut window), [2, 5, 6, 7]);
    // Four were in the window, more than its bound, so 8 spilled.
    assert_eq!(window.begin_refill(false, &BOUNDS), Some(EventSeq(7)));
}

#[test]
fn a_tail_that_overflowed_leaves_the_window_spilled_at_what_the_index_knew() {
    let mut window = Window::spilled();
    window.begin_refill(false, &BOUNDS);
    admit(&mut window, [5, 6, 7]);
    window.refilled(answer(&[2], true, 5));
    assert_eq!(emptied(&mut window), [2]);
    assert_eq!(window.begin_refill(false, &BOUNDS), Some(EventSeq(5)));
}

#[test]
fn when_memory_is_scarce_only_an_empty_window_asks() {
    let mut window = Window::attached();
    let bounds = Bounds {
        window: 8,
        ..BOUNDS
    };
    window.admit(Slot::unloaded(entry(1)), true, &bounds);
    window.admit(Slot::unloaded(entry(2)), false, &bounds);
    assert_eq!(window.begin_refill(true, &bounds), None);
    assert_eq!(window.begin_refill(false, &bounds), Some(EventSeq(1)));
}
