//! The store against a model of it: random steps with bounds so small that queues spill, are refilled and evicted all
//! the time, and restarts in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::tempdir;

use super::harness::*;
use super::*;
use crate::domain::DeadReason;

const NUMBERS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    /// Accepts a batch of so many events for the subscriptions in the mask.
    Accept {
        events: usize,
        mask: u8,
    },
    /// Takes up to so many deliveries.
    Take {
        queue: usize,
        credit: usize,
    },
    /// Settles a lease: 0 delivered, 1 dead, others due after so many seconds.
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
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..6, 1_u8..4).prop_map(|(events, mask)| Step::Accept { events, mask }),
        6 => (0..NUMBERS, 1_usize..4).prop_map(|(queue, credit)| Step::Take { queue, credit }),
        6 => (any::<usize>(), 0_u8..8).prop_map(|(which, next)| Step::Settle { which, next }),
        1 => any::<usize>().prop_map(|which| Step::Drop { which }),
        2 => (0_u64..4).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::Reopen),
    ]
}

/// A delivery: which queue, which event. Bodies are the events' numbers.
type Delivery = (usize, u64);

#[derive(Debug, Clone, Copy)]
struct Pending {
    attempts: u32,
    due: Option<Timestamp>,
}

struct World {
    running: Running,
    numbers: [SubscriptionNumber; NUMBERS],
    clock: Arc<HandClock>,
    leases: Vec<(Delivery, Lease)>,
    pending: BTreeMap<Delivery, Pending>,
    dead: [u64; NUMBERS],
    /// Delivered or dead.
    ended: BTreeSet<Delivery>,
    events: u64,
}

impl World {
    async fn accept(&mut self, events: usize, mask: u8) {
        let wanted: Vec<usize> = (0..NUMBERS)
            .filter(|queue| mask & (1 << queue) != 0)
            .collect();
        let numbers: Vec<_> = wanted.iter().map(|queue| self.numbers[*queue]).collect();
        let mut batch = Vec::new();
        for _ in 0..events {
            self.events += 1;
            batch.push(event(&self.events.to_string(), &numbers));
            for queue in &wanted {
                let new = Pending {
                    attempts: 0,
                    due: None,
                };
                self.pending.insert((*queue, self.events), new);
            }
        }
        self.running.accept(batch).await;
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
            assert!(!self.ended.contains(&delivery), "{delivery:?} has ended");
            let taken = self.leases.iter().any(|(other, _)| *other == delivery);
            assert!(!taken, "{delivery:?} is leased twice");
            let pending = self.pending[&delivery];
            assert_eq!(lease.attempt(), pending.attempts + 1);
            assert!(
                pending.due.is_none_or(|at| at <= self.clock.steady()),
                "not due yet"
            );
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
        match next {
            Next::Due { at, .. } => {
                let pending = self.pending.get_mut(&delivery).unwrap();
                pending.attempts += 1;
                pending.due = Some(at);
            }
            Next::Dead(_) => {
                self.dead[delivery.0] += 1;
                self.end(delivery);
            }
            Next::Delivered => self.end(delivery),
        }
    }

    fn end(&mut self, delivery: Delivery) {
        self.pending.remove(&delivery);
        self.ended.insert(delivery);
    }

    fn lease(&mut self, which: usize) -> Option<(Delivery, Lease)> {
        let count = self.leases.len();
        (count > 0).then(|| self.leases.swap_remove(which % count))
    }

    async fn step(&mut self, setup: &Setup, folder: &std::path::Path, step: Step) {
        match step {
            Step::Accept { events, mask } => self.accept(events, mask).await,
            Step::Take { queue, credit } => self.take(queue, credit),
            Step::Settle { which, next } => self.settle(which, next).await,
            Step::Drop { which } => drop(self.lease(which)),
            Step::Advance { seconds } => self.clock.advance(Duration::from_secs(seconds)),
            Step::Reopen => {
                self.leases.clear();
                self.running.store.close().await.unwrap();
                self.running = setup.open(folder);
            }
        }
        for (queue, number) in self.numbers.iter().enumerate() {
            let counts = self.running.store.queue(*number).counts();
            let pending = self
                .pending
                .keys()
                .filter(|(other, _)| *other == queue)
                .count();
            assert_eq!(counts.pending, u64::try_from(pending).unwrap());
            assert_eq!(counts.dead, self.dead[queue]);
            let leased = self
                .leases
                .iter()
                .filter(|((other, _), _)| *other == queue)
                .count();
            assert_eq!(counts.in_flight, u64::try_from(leased).unwrap());
        }
    }

    /// Delivers all that is left: nothing may be forgotten.
    async fn finish(mut self) {
        self.leases.clear();
        self.clock.advance(Duration::from_secs(3600));
        for queue in 0..NUMBERS {
            while self.pending.keys().any(|(other, _)| *other == queue) {
                let number = self.numbers[queue];
                let ready = self.running.store.queue(number);
                let ready = tokio::time::timeout(Duration::from_secs(20), ready.ready());
                ready.await.expect("what is pending becomes ready");
                self.take(queue, 3);
                while !self.leases.is_empty() {
                    self.settle(0, 0).await;
                }
            }
            let counts = self.running.store.queue(self.numbers[queue]).counts();
            assert_eq!((counts.pending, counts.pending_bytes), (0, 0));
            assert_eq!(counts.oldest_accepted_at, None);
        }
        self.running.close().await;
    }
}

async fn run(memory_budget: usize, steps: Vec<Step>) {
    let folder = tempdir().unwrap();
    let clock = HandClock::at(NOW);
    let setup = Setup {
        bounds: TINY,
        memory_budget,
        clock: clock.clone(),
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let numbers = [running.named("a"), running.named("b")];
    // Names are durable from the first event on, so that both are known after a restart.
    let mut world = World {
        running,
        numbers,
        clock,
        leases: Vec::new(),
        pending: BTreeMap::new(),
        dead: [0; NUMBERS],
        ended: BTreeSet::new(),
        events: 0,
    };
    world.accept(1, 3).await;
    for step in steps {
        world.step(&setup, folder.path(), step).await;
    }
    world.finish().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_store_does_what_its_model_does(
        memory_budget in prop_oneof![Just(0_usize), 500_usize..5_000, Just(1 << 20)],
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(memory_budget, steps));
    }
}
