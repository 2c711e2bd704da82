//! Tests of a queue's rules.

use std::sync::Arc;

use bytes::Bytes;

use super::super::Bounds;
use super::*;
use crate::store::budget::{Budget, StoredEvent};
use crate::store::harness::{NOW, TINY, event};
use crate::store::index::refill::Page;
use crate::store::journal::Place;

const BODY: u32 = 100;

fn state(limit: usize, bounds: Bounds) -> QueueState {
    QueueState::new(limits(bounds, Arc::new(Budget::new(limit))), None)
}

fn limits(bounds: Bounds, budget: Arc<Budget>) -> Arc<Limits> {
    Arc::new(Limits { bounds, budget })
}

fn entry(seq: u64) -> Entry {
    Entry {
        seq: EventSeq(seq),
        place: Place {
            segment: 1,
            offset: u32::try_from(seq).unwrap(),
            length: BODY,
        },
        body_bytes: BODY,
        accepted_at: NOW.plus(Duration::from_secs(seq)),
        since: NOW.plus(Duration::from_secs(seq)),
        key: 0,
        attempts: 0,
        schedule_attempts: 0,
    }
}

fn body(budget: &Arc<Budget>) -> Body {
    let mut new = event("", &[]).event;
    new.body = Bytes::from(vec![0; usize::try_from(BODY).unwrap()]);
    let permit = Permit::of_body(budget, new.body.len());
    StoredEvent::new(Arc::new(new), permit)
}

fn commit(state: &mut QueueState, seq: u64) {
    let budget = Arc::clone(&state.limits.budget);
    state.commit(entry(seq), || body(&budget));
}

fn take(state: &mut QueueState, now: Timestamp, credit: usize) -> Vec<(Entry, Body)> {
    let mut taken = Vec::new();
    state.take(now, credit, |entry, body| taken.push((entry, body)));
    taken
}

fn seqs(taken: &[(Entry, Body)]) -> Vec<u64> {
    taken.iter().map(|(entry, _)| entry.seq.0).collect()
}

fn due(at: Timestamp) -> Next {
    Next::Due {
        at,
        pause: Duration::from_secs(1),
    }
}

#[test]
fn bodies_stay_in_memory_up_to_the_queues_share_and_the_first_one_always() {
    let mut state = state(8 * 250, Bounds::default());
    for seq in 1..=5 {
        commit(&mut state, seq);
    }
    assert_eq!(seqs(&take(&mut state, NOW, 5)), [1, 2]);
    // The two bodies were dropped, so there is room for the next ones.
    assert_eq!(state.wants().loads.len(), 3);
    assert!(!state.is_ready(NOW), "3 is being read");

    let mut full = self::state(0, Bounds::default());
    commit(&mut full, 1);
    assert_eq!(seqs(&take(&mut full, NOW, 5)), [1]);
}

#[test]
fn order_is_kept_while_events_are_read_back() {
    let mut state = state(1 << 20, Bounds::default());
    commit(&mut state, 1);
    let (first, _) = take(&mut state, NOW, 1).remove(0);
    state.settle(first, due(NOW));
    commit(&mut state, 2);
    assert!(take(&mut state, NOW, 4).is_empty(), "the retry comes first");
    let loads = state.wants().loads;
    assert_eq!(loads.len(), 1);
    let budget = Arc::clone(&state.limits.budget);
    state.loaded(EventSeq(1), Some(body(&budget)), NOW);
    assert!(state.is_ready(NOW));
    let taken = take(&mut state, NOW, 4);
    assert_eq!(seqs(&taken), [1, 2]);
    assert_eq!(taken[0].0.attempts, 1);
}

#[test]
fn no_more_is_read_back_at_once_than_twice_the_credit() {
    let mut state = state(1 << 20, Bounds::default());
    state.window = Window::spilled();
    assert!(take(&mut state, NOW, 3).is_empty());
    let limit = Bounds::default().refill;
    let wanted = [Wanted::Fresh(EventSeq(0), limit)];
    assert_eq!(state.wants().questions, wanted);
    let page = Page {
        entries: (1..=20).map(entry).collect(),
        complete: true,
    };
    state.answered(Answer::Fresh(page, EventSeq(20)));
    assert_eq!(state.wants().loads.len(), 6);
    assert!(state.wants().loads.is_empty(), "nothing is asked for twice");
}

#[test]
fn an_event_that_cannot_be_read_is_tried_again_after_a_pause_and_holds_up_nobody() {
    let mut state = state(1 << 20, Bounds::default());
    commit(&mut state, 1);
    let (first, _) = take(&mut state, NOW, 1).remove(0);
    state.settle(first, due(NOW));
    commit(&mut state, 2);
    take(&mut state, NOW, 4);
    assert_eq!(state.wants().loads.len(), 1);
    state.loaded(EventSeq(1), None, NOW);
    assert_eq!(seqs(&take(&mut state, NOW, 4)), [2]);
    let later = state.next_due().unwrap();
    assert_eq!(later, NOW.plus(UNREADABLE_PAUSE));
    assert!(state.wants().loads.is_empty());
    take(&mut state, later, 4);
    assert_eq!(state.wants().loads.len(), 1);
}

#[test]
fn with_memory_used_up_one_delivery_at_a_time_is_still_read_back() {
    let budget = Arc::new(Budget::new(0));
    let mut state = QueueState::new(limits(TINY, budget), Some(NOW));
    take(&mut state, NOW, 4);
    let questions = state.wants().questions;
    assert!(questions.contains(&Wanted::Fresh(EventSeq(0), TINY.granted)));
    let page = Page {
        entries: vec![entry(1), entry(2)],
        complete: false,
    };
    state.answered(Answer::Fresh(page, EventSeq(9)));
    assert_eq!(state.wants().loads.len(), 1);
    let budget = Arc::clone(&state.limits.budget);
    state.loaded(EventSeq(1), Some(body(&budget)), NOW);
    let taken = take(&mut state, NOW, 4);
    assert_eq!(seqs(&taken), [1]);
    assert!(state.wants().loads.is_empty());
    state.settle(taken[0].0, Next::Delivered);
    take(&mut state, NOW, 4);
    assert_eq!(state.wants().loads.len(), 1);
}

#[test]
fn every_entry_and_body_is_given_back_to_the_budget() {
    let mut state = state(1 << 20, TINY);
    for seq in 1..=9 {
        commit(&mut state, seq);
    }
    let mut now = NOW;
    for round in 0..6 {
        for (entry, body) in take(&mut state, now, 2) {
            drop(body);
            let next = if round < 2 { due(now) } else { Next::Delivered };
            state.settle(entry, next);
        }
        let wants = state.wants();
        for wanted in wants.questions {
            if matches!(wanted, Wanted::Fresh(..)) {
                let page = Page {
                    entries: Vec::new(),
                    complete: true,
                };
                state.answered(Answer::Fresh(page, EventSeq(9)));
            }
        }
        for load in wants.loads {
            let budget = Arc::clone(&state.limits.budget);
            drop(load.permit);
            state.loaded(load.seq, Some(body(&budget)), now);
        }
        now = now.plus(Duration::from_secs(1));
    }
    assert_eq!(state.in_flight(), 0);
    assert_eq!(state.oldest(), None);
    assert_eq!(
        format!("{:?}", state.limits.budget),
        format!("{:?}", Budget::new(1 << 20))
    );
}

#[test]
fn the_oldest_is_found_wherever_it_is() {
    let mut state = state(1 << 20, Bounds::default());
    commit(&mut state, 1);
    commit(&mut state, 2);
    let expected = Some(entry(1).accepted_at);
    assert_eq!(state.oldest(), expected);
    let (first, body) = take(&mut state, NOW, 1).remove(0);
    assert_eq!(state.oldest(), expected);
    state.give_back(first, body);
    assert_eq!(state.oldest(), expected);
    let (first, _) = take(&mut state, NOW, 1).remove(0);
    state.settle(first, due(NOW.plus(Duration::from_secs(9))));
    assert_eq!(state.oldest(), expected);
    assert_eq!(
        QueueState::new(Arc::clone(&state.limits), Some(NOW)).oldest(),
        Some(NOW)
    );
}

#[test]
fn what_is_due_waits_until_it_is_known_what_blocks_it() {
    let mut state = state(1 << 20, Bounds::default());
    state.set_order(Order::Strict, WhenStuck::Block);
    state.requeued(entry(2), NOW);
    assert!(!state.is_ready(NOW));
    let wants = state.wants();
    let blockers = Wanted::Blockers(Bounds::default().lines);
    assert_eq!(wants.loads.len(), 0);
    assert!(wants.questions.contains(&blockers));
    state.answered(Answer::Blockers(Page {
        entries: vec![entry(1)],
        complete: true,
    }));
    assert_eq!(state.wants().loads.len(), 0, "1 is dead and blocks it");
    state.revived(0, EventSeq(1), NOW);
    assert_eq!(state.wants().loads.len(), 1);
}

/// Thousands of subscriptions are idle.
#[test]
fn an_idle_queue_takes_little_memory() {
    let bytes = size_of::<super::super::QueueShared>();
    assert!(bytes <= 712, "{bytes}");
}
