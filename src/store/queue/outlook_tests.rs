//! Tests of the outlook: it equals the findings of a lane that does its work.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{Bounds, Limits};
use super::*;
use crate::domain::{Next, Order, WhenStuck};
use crate::store::budget::{Body, Budget, Permit, StoredEvent};
use crate::store::harness::{NOW, event};
use crate::store::index::refill::{Answer, Page, Wanted};
use crate::store::journal::Place;

/// Plenty, but for lines.
const BOUNDS: Bounds = Bounds {
    window: 64,
    refill: 64,
    tail: 64,
    dues: 64,
    lines: 3,
    granted: 16,
};

/// A step that changes a queue.
#[derive(Debug, Clone)]
enum Step {
    Commit { key: u64 },
    Take { credit: usize },
    Settle { which: usize, how: u8 },
    GiveBack { which: usize },
    Answer { readable: bool },
    Replay { which: usize },
    Claim { which: usize },
    Release,
    Pass { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = 0usize..8;
    let step = prop_oneof![
        4 => (0u64..4).prop_map(|key| Step::Commit { key }),
        3 => (1usize..4).prop_map(|credit| Step::Take { credit }),
        4 => (which.clone(), 0u8..4).prop_map(|(which, how)| Step::Settle { which, how }),
        1 => which.clone().prop_map(|which| Step::GiveBack { which }),
        4 => any::<bool>().prop_map(|readable| Step::Answer { readable }),
        2 => which.clone().prop_map(|which| Step::Replay { which }),
        1 => which.prop_map(|which| Step::Claim { which }),
        1 => Just(Step::Release),
        3 => (0u64..90).prop_map(|seconds| Step::Pass { seconds }),
    ];
    prop::collection::vec(step, 0..80)
}

/// A queue with what else is known of its deliveries.
struct Driven {
    state: QueueState,
    budget: Arc<Budget>,
    now: Timestamp,
    next_seq: u64,
    pending: u64,
    in_flight: Vec<(Entry, Body)>,
    dead: Vec<Entry>,
    claimed: Vec<EventSeq>,
}

impl Driven {
    fn new(order: Order, when_stuck: WhenStuck) -> Self {
        let budget = Arc::new(Budget::new(1 << 20));
        let limits = Limits {
            bounds: BOUNDS,
            budget: Arc::clone(&budget),
        };
        let mut state = QueueState::new(Arc::new(limits), None);
        state.set_order(order, when_stuck);
        Self {
            state,
            budget,
            now: NOW,
            next_seq: 1,
            pending: 0,
            in_flight: Vec::new(),
            dead: Vec::new(),
            claimed: Vec::new(),
        }
    }

    fn body(&self) -> Body {
        let mut new = event("", &[]).event;
        new.body = Bytes::from_static(b"0123456789");
        let permit = Permit::of_body(&self.budget, new.body.len());
        StoredEvent::new(Arc::new(new), permit)
    }

    fn carry_out(&mut self, step: &Step) {
        match *step {
            Step::Commit { key } => {
                let seq = EventSeq(self.next_seq);
                let entry = entry(seq, key, self.now);
                let body = self.body();
                self.state.commit(entry, || body);
                self.next_seq += 1;
                self.pending += 1;
            }
            Step::Take { credit } => {
                let taken = &mut self.in_flight;
                self.state
                    .take(self.now, credit, |entry, body| taken.push((entry, body)));
            }
            Step::Settle { which, how } => self.settle(which, how),
            Step::GiveBack { which } => {
                if which < self.in_flight.len() {
                    let (entry, body) = self.in_flight.remove(which);
                    self.state.give_back(entry, body);
                }
            }
            Step::Answer { readable } => self.answer(readable),
            Step::Replay { which } => {
                if which < self.dead.len() {
                    let mut entry = self.dead.remove(which);
                    (entry.since, entry.schedule_attempts) = (self.now, 0);
                    self.pending += 1;
                    self.state.requeued(entry, self.now);
                }
            }
            Step::Claim { which } => {
                let seq = EventSeq(u64::try_from(which).unwrap() + 1);
                if self.state.claim(seq) {
                    self.claimed.push(seq);
                }
            }
            Step::Release => {
                for seq in self.claimed.drain(..) {
                    self.state.release(seq);
                }
            }
            Step::Pass { seconds } => self.now = self.now.plus(Duration::from_secs(seconds)),
        }
    }

    fn settle(&mut self, which: usize, how: u8) {
        if which >= self.in_flight.len() {
            return;
        }
        let (entry, _) = self.in_flight.remove(which);
        let next = match how {
            0 => Next::Delivered,
            1 => Next::Dead(crate::domain::DeadReason::Exhausted),
            later => Next::Due {
                at: self.now.plus(Duration::from_secs(u64::from(later) * 20)),
                pause: Duration::from_secs(u64::from(later) * 20),
            },
        };
        if !matches!(next, Next::Due { .. }) {
            self.pending -= 1;
        }
        if matches!(next, Next::Dead(_)) {
            self.dead.push(entry);
        }
        self.state.settle(entry, next);
    }

    /// Answers all requests of the queue.
    fn answer(&mut self, readable: bool) {
        let wants = self.state.wants();
        for load in wants.loads {
            let body = readable.then(|| self.body());
            self.state.loaded(load.seq, body, self.now);
        }
        for wanted in wants.questions {
            let (entries, complete) = (Vec::new(), true);
            let page = Page { entries, complete };
            self.state.answered(match wanted {
                Wanted::Fresh(..) => Answer::Fresh(page, EventSeq(self.next_seq - 1)),
                // No due deliveries are evicted here.
                Wanted::Due(..) => continue,
                Wanted::Followers(wanted, _) => Answer::Followers(wanted.line, page),
                Wanted::Blockers(_) => Answer::Blockers(page),
            });
        }
    }
}

fn entry(seq: EventSeq, key: u64, accepted_at: Timestamp) -> Entry {
    Entry {
        seq,
        place: Place {
            segment: 1,
            offset: 0,
            length: 10,
        },
        body_bytes: 10,
        accepted_at,
        since: accepted_at,
        key,
        attempts: 0,
        schedule_attempts: 0,
    }
}

fn orders() -> impl Strategy<Value = (Order, WhenStuck)> {
    let order = prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Strict)];
    let when_stuck = prop_oneof![Just(WhenStuck::Block), Just(WhenStuck::Skip)];
    (order, when_stuck)
}

proptest! {
    #[test]
    fn who_looks_finds_what_a_step_finds_and_changes_nothing((order, when_stuck) in orders(), steps in steps()) {
        let mut driven = Driven::new(order, when_stuck);
        for step in &steps {
            driven.carry_out(step);
            let looked = driven.state.outlook(driven.now, driven.pending);
            let is_ready = driven.state.is_ready(driven.now);
            prop_assert_eq!(looked.is_ready, is_ready);
            prop_assert_eq!(looked.next_due, driven.state.next_due());
            prop_assert_eq!(looked, driven.state.outlook(driven.now, driven.pending));
        }
    }
}
