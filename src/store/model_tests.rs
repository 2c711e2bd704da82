//! The store against a model of it: random steps with bounds so small that queues spill, are refilled and evicted all
//! the time, with orders, operations and restarts in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::tempdir;

use super::harness::*;
use super::*;
use crate::domain::{
    Clock, DeadReason, DeliveryId, EventId, Next, Order, SubscriptionNumber, Timestamp, WhenStuck,
};

const NUMBERS: usize = 2;
const NAMES: [&str; NUMBERS] = ["a", "b"];

/// How deliveries of both queues wait for each other.
#[derive(Debug, Clone, Copy)]
struct Rules {
    order: Order,
    when_stuck: WhenStuck,
}

#[derive(Debug, Clone)]
enum Step {
    /// Accepts a batch of events with these keys (0: none) for the subscriptions in the mask.
    Accept {
        keys: Vec<u8>,
        mask: u8,
    },
    /// Takes up to this many deliveries.
    Take {
        queue: usize,
        credit: usize,
    },
    /// Settles a lease: 0 delivered, 1 dead, others due after that many seconds.
    Settle {
        which: usize,
        next: u8,
    },
    Drop {
        which: usize,
    },
    Advance {
        seconds: u64,
    },
    Replay {
        which: usize,
    },
    Cancel {
        which: usize,
    },
    CancelAll {
        queue: usize,
    },
    Reload(Rules),
    Reopen,
    /// The same, with an index that is rebuilt.
    ReopenAnew,
    /// Removes data that need not be kept.
    Clean,
}

fn rules() -> impl Strategy<Value = Rules> {
    let orders = prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Strict)];
    let stuck = prop_oneof![Just(WhenStuck::Block), Just(WhenStuck::Skip)];
    (orders, stuck).prop_map(|(order, when_stuck)| Rules { order, when_stuck })
}

fn step() -> impl Strategy<Value = Step> {
    let keys = proptest::collection::vec(0_u8..4, 1..6);
    prop_oneof![
        16 => (keys, 1_u8..4).prop_map(|(keys, mask)| Step::Accept { keys, mask }),
        24 => (0..NUMBERS, 1_usize..4).prop_map(|(queue, credit)| Step::Take { queue, credit }),
        24 => (any::<usize>(), 0_u8..8).prop_map(|(which, next)| Step::Settle { which, next }),
        4 => any::<usize>().prop_map(|which| Step::Drop { which }),
        8 => (0_u64..4).prop_map(|seconds| Step::Advance { seconds }),
        6 => any::<usize>().prop_map(|which| Step::Replay { which }),
        4 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        1 => (0..NUMBERS).prop_map(|queue| Step::CancelAll { queue }),
        1 => rules().prop_map(Step::Reload),
        4 => Just(Step::Reopen),
        2 => Just(Step::ReopenAnew),
        3 => Just(Step::Clean),
    ]
}

/// A delivery: which queue, which event. Bodies are the events' numbers.
type Delivery = (usize, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending {
        due: Option<Timestamp>,
    },
    Delivered,
    /// Dead; whether it blocks.
    Dead(bool),
    Cancelled,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    key: u8,
    state: State,
    attempts: u32,
    schedule_attempts: u32,
    /// It was replayed although it blocked nothing: deliveries on their way then may still come first.
    replayed: bool,
}

struct World {
    running: Running,
    clock: Arc<HandClock>,
    rules: Rules,
    numbers: [SubscriptionNumber; NUMBERS],
    leases: Vec<(Delivery, Lease)>,
    deliveries: BTreeMap<Delivery, Known>,
    ids: Vec<EventId>,
}

impl World {
    async fn accept(&mut self, keys: &[u8], mask: u8) {
        let wanted: Vec<usize> = (0..NUMBERS)
            .filter(|queue| mask & (1 << queue) != 0)
            .collect();
        let numbers: Vec<_> = wanted.iter().map(|queue| self.numbers[*queue]).collect();
        let mut batch = Vec::new();
        for key in keys {
            let event_number = u64::try_from(self.ids.len()).unwrap();
            let mut new = event(&event_number.to_string(), &numbers);
            new.event.head.key = (*key > 0).then(|| format!("key-{key}").parse().unwrap());
            self.ids.push(new.event.head.id);
            batch.push(new);
            for queue in &wanted {
                let keyed = self.rules.order == Order::Key;
                let known = Known {
                    key: if keyed { *key } else { 0 },
                    state: State::Pending { due: None },
                    attempts: 0,
                    schedule_attempts: 0,
                    replayed: false,
                };
                self.deliveries.insert((*queue, event_number), known);
            }
        }
        self.running.accept(batch).await;
    }

    /// Which of two deliveries of a queue wait for each other.
    fn line(&self, key: u8) -> Option<u8> {
        match self.rules.order {
            Order::None => None,
            Order::Key => (key > 0).then_some(key),
            Order::Strict => Some(0),
        }
    }

    /// Whether the order keeps a delivery from being taken, as far as it is that of those that `count`.
    fn is_behind(&self, delivery: Delivery, count: fn(&Known) -> bool) -> bool {
        let Some(line) = self.line(self.deliveries[&delivery].key) else {
            return false;
        };
        let before = self.deliveries.range((delivery.0, 0)..delivery);
        let same = before.filter(|(_, known)| self.line(known.key) == Some(line));
        let block = self.rules.when_stuck == WhenStuck::Block;
        let mut counted = same.filter(|(_, known)| count(known));
        counted.any(|(_, known)| match known.state {
            State::Pending { .. } => true,
            State::Dead(blocks) => block && blocks,
            State::Delivered | State::Cancelled => false,
        })
    }

    fn is_leased(&self, delivery: Delivery) -> bool {
        self.leases.iter().any(|(leased, _)| *leased == delivery)
    }

    fn take(&mut self, queue: usize, credit: usize) {
        let mut leases = Vec::new();
        self.running
            .store
            .queue(self.numbers[queue])
            .take(credit, &mut leases);
        assert!(leases.len() <= credit);
        for lease in leases {
            let body = std::str::from_utf8(&lease.event().body).unwrap();
            let delivery = (queue, body.parse().unwrap());
            let known = self.deliveries[&delivery];
            let State::Pending { due } = known.state else {
                panic!("{delivery:?} is taken: {known:?}");
            };
            assert!(!self.is_leased(delivery), "{delivery:?} is leased twice");
            let out_of_order = self.is_behind(delivery, |known| !known.replayed);
            assert!(!out_of_order, "{delivery:?} is out of order");
            assert_eq!(lease.attempt(), known.attempts + 1);
            assert_eq!(lease.schedule_attempt(), known.schedule_attempts + 1);
            assert!(due.is_none_or(|at| at <= self.clock.steady()), "too early");
            self.leases.push((delivery, lease));
        }
    }

    async fn settle(&mut self, which: usize, next: u8) {
        let Some((delivery, lease)) = self.lease(which) else {
            return;
        };
        let next = match next {
            0..=2 => Next::Delivered,
            3 => Next::Dead(DeadReason::Exhausted),
            seconds => due_in(
                self.clock.steady(),
                Duration::from_secs(u64::from(seconds - 3)),
            ),
        };
        self.running.settle(lease, next).await;
        let blocks = self.rules.when_stuck == WhenStuck::Block
            && self.line(self.deliveries[&delivery].key).is_some();
        let known = self.deliveries.get_mut(&delivery).unwrap();
        known.attempts += 1;
        known.schedule_attempts += 1;
        known.replayed = false;
        known.state = match next {
            Next::Delivered => State::Delivered,
            Next::Dead(_) => State::Dead(blocks),
            Next::Due { at, .. } => State::Pending { due: Some(at) },
        };
    }

    fn lease(&mut self, which: usize) -> Option<(Delivery, Lease)> {
        let count = self.leases.len();
        (count > 0).then(|| self.leases.swap_remove(which % count))
    }

    fn pick(&self, which: usize) -> (Delivery, DeliveryId) {
        let count = self.deliveries.len();
        let delivery = *self.deliveries.keys().nth(which % count).unwrap();
        let id = DeliveryId {
            event: self.ids[usize::try_from(delivery.1).unwrap()],
            subscription: NAMES[delivery.0].parse().unwrap(),
        };
        (delivery, id)
    }

    /// Whether an operation did not find a delivery, which is right only of one that had ended: it may have been
    /// removed.
    fn is_gone(&self, delivery: Delivery, result: &Result<(), OperationError>) -> bool {
        let ended = matches!(
            self.deliveries[&delivery].state,
            State::Delivered | State::Cancelled
        );
        ended && matches!(result, Err(OperationError::Unknown))
    }

    async fn replay(&mut self, which: usize) {
        let (delivery, id) = self.pick(which);
        let result = self.running.store.replay(&id).await;
        if self.is_leased(delivery) {
            assert!(
                matches!(result, Err(OperationError::InFlight)),
                "{result:?}"
            );
            return;
        }
        if self.is_gone(delivery, &result) {
            return;
        }
        if let Err(error) = result {
            panic!("{delivery:?} {:?}: {error}", self.deliveries[&delivery]);
        }
        let now = self.clock.steady();
        let known = self.deliveries.get_mut(&delivery).unwrap();
        match known.state {
            State::Pending { due } => {
                known.state = State::Pending {
                    due: due.map(|_| now),
                };
            }
            State::Delivered | State::Dead(_) | State::Cancelled => {
                known.replayed = known.state != State::Dead(true);
                known.state = State::Pending { due: Some(now) };
                known.schedule_attempts = 0;
            }
        }
    }

    async fn cancel(&mut self, which: usize) {
        let (delivery, id) = self.pick(which);
        let result = self.running.store.cancel(&id).await;
        let is_leased = self.is_leased(delivery);
        if self.is_gone(delivery, &result) {
            return;
        }
        let known = self.deliveries.get_mut(&delivery).unwrap();
        match (is_leased, known.state) {
            (true, _) => assert!(
                matches!(result, Err(OperationError::InFlight)),
                "{result:?}"
            ),
            (false, State::Delivered) => {
                assert!(
                    matches!(result, Err(OperationError::Delivered)),
                    "{result:?}"
                );
            }
            (false, State::Pending { .. } | State::Dead(_) | State::Cancelled) => {
                assert!(result.is_ok(), "{delivery:?} {known:?}: {result:?}");
                known.state = State::Cancelled;
            }
        }
    }

    async fn cancel_all(&mut self, queue: usize) {
        let result = self.running.store.cancel_all(self.numbers[queue]).await;
        if self.leases.iter().any(|(delivery, _)| delivery.0 == queue) {
            assert!(
                matches!(result, Err(OperationError::InFlight)),
                "{result:?}"
            );
            return;
        }
        // Answers of the index may be under way.
        let Ok(count) = result else { return };
        let mut pending = 0;
        for (delivery, known) in &mut self.deliveries {
            if delivery.0 == queue && matches!(known.state, State::Pending { .. }) {
                known.state = State::Cancelled;
                pending += 1;
            }
        }
        assert_eq!(count, pending);
    }

    fn reload(&mut self, rules: Rules) {
        self.rules = rules;
        for number in self.numbers {
            let queue = self.running.store.queue(number);
            queue.set_order(rules.order, rules.when_stuck);
        }
    }

    async fn step(&mut self, setup: &Setup, folder: &Path, step: Step) {
        match step {
            Step::Accept { keys, mask } => self.accept(&keys, mask).await,
            Step::Take { queue, credit } => self.take(queue, credit),
            Step::Settle { which, next } => self.settle(which, next).await,
            Step::Drop { which } => drop(self.lease(which)),
            Step::Advance { seconds } => self.clock.advance(Duration::from_secs(seconds)),
            Step::Replay { which } => self.replay(which).await,
            Step::Cancel { which } => self.cancel(which).await,
            Step::CancelAll { queue } => self.cancel_all(queue).await,
            Step::Reload(rules) => {
                // Deliveries in flight under the old rules end first.
                while !self.leases.is_empty() {
                    self.settle(0, 0).await;
                }
                self.reload(rules);
            }
            Step::Reopen => self.reopen(setup, folder, false).await,
            Step::ReopenAnew => self.reopen(setup, folder, true).await,
            Step::Clean => drop(self.running.store.0.cleaner.clean().await.unwrap()),
        }
        self.check_counts();
    }

    async fn reopen(&mut self, setup: &Setup, folder: &Path, anew: bool) {
        self.leases.clear();
        self.running.store.close().await.unwrap();
        if anew {
            std::fs::remove_file(folder.join("index.sqlite3")).unwrap();
        }
        self.running = setup.open(folder);
        self.reload(self.rules);
    }

    fn check_counts(&self) {
        for (queue, number) in self.numbers.iter().enumerate() {
            let counts = self.running.store.queue(*number).counts();
            let of = |wanted: fn(&State) -> bool| {
                let deliveries = self.deliveries.iter();
                let found = deliveries
                    .filter(|(delivery, known)| delivery.0 == queue && wanted(&known.state));
                u64::try_from(found.count()).unwrap()
            };
            let pending = of(|state| matches!(state, State::Pending { .. }));
            assert_eq!(counts.pending, pending);
            assert_eq!(counts.dead, of(|state| matches!(state, State::Dead(_))));
            let leased = self.leases.iter();
            let leased = leased.filter(|((other, _), _)| *other == queue).count();
            assert_eq!(counts.in_flight, u64::try_from(leased).unwrap());
        }
    }

    /// Delivers all that is left: nothing may be forgotten, and only blocked deliveries may wait.
    async fn finish(mut self) {
        self.leases.clear();
        self.clock.advance(Duration::from_secs(3600));
        for queue in 0..NUMBERS {
            while let Some(free) = self.free(queue) {
                let ready = self.running.store.queue(self.numbers[queue]);
                let ready = tokio::time::timeout(Duration::from_secs(2), ready.ready());
                if ready.await.is_err() {
                    let rules = self.rules;
                    let known = self.deliveries[&free];
                    let all = &self.deliveries;
                    panic!("{free:?} is never ready: {known:?}, {rules:?}: {all:?}");
                }
                self.take(queue, 3);
                while !self.leases.is_empty() {
                    self.settle(0, 0).await;
                }
            }
        }
        self.check_counts();
        self.running.close().await;
    }

    /// A pending delivery that waits for nothing.
    fn free(&self, queue: usize) -> Option<Delivery> {
        let of_queue = self.deliveries.range((queue, 0)..=(queue, u64::MAX));
        let mut pending =
            of_queue.filter(|(_, known)| matches!(known.state, State::Pending { .. }));
        pending
            .find(|(delivery, _)| !self.is_behind(**delivery, |_| true))
            .map(|(delivery, _)| *delivery)
    }
}

async fn run(memory_budget: usize, rules: Rules, steps: Vec<Step>) {
    let folder = tempdir().unwrap();
    let clock = HandClock::at(NOW);
    let setup = Setup {
        bounds: TINY,
        memory_budget,
        clock: clock.clone(),
        retention: Retention {
            max_size: 50 << 10,
            dedup_window: Duration::ZERO,
            ..RETENTION
        },
        segments: SMALL_SEGMENTS,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let numbers = NAMES.map(|name| running.named(name));
    let mut world = World {
        running,
        clock,
        rules,
        numbers,
        leases: Vec::new(),
        deliveries: BTreeMap::new(),
        ids: Vec::new(),
    };
    world.reload(rules);
    // Names are durable from the first event on, so that both are known after a restart.
    world.accept(&[0], 3).await;
    for step in steps {
        world.step(&setup, folder.path(), step).await;
    }
    world.finish().await;
}

/// How many cases are tried: 64, or as many as the long form of the suite sets.
fn cases() -> u32 {
    let asked = std::env::var("SIDEHOOK_MODEL_CASES").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_its_model_does(
        memory_budget in prop_oneof![Just(0_usize), 500_usize..5_000, Just(1 << 20)],
        rules in rules(),
        steps in proptest::collection::vec(step(), 50..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(memory_budget, rules, steps));
    }
}
