//! Paging shows each match exactly once and in order, whatever is accepted and changed meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::tempdir;

use super::tests::page;
use super::*;
use crate::domain::{
    DeadReason, DeliveryId, DeliveryState, EventId, EventIdRange, Next, SubscriptionNumber,
};
use crate::store::Store;
use crate::store::harness::*;

/// An event: for which of three subscriptions, and the final state of each of its deliveries: 0 pending, 1 delivered,
/// 2 dead, 3 cancelled.
type Made = (u8, [u8; 3]);

const NAMES: [&str; 3] = ["a", "b", "c"];
const STATES: [DeliveryState; 4] = [
    DeliveryState::Pending,
    DeliveryState::Delivered,
    DeliveryState::Dead,
    DeliveryState::Cancelled,
];

fn made() -> impl Strategy<Value = Vec<Made>> {
    proptest::collection::vec((0_u8..8, [0_u8..4, 0_u8..4, 0_u8..4]), 1..25)
}

struct World {
    running: Running,
    /// In order of acceptance.
    events: Vec<EventId>,
    deliveries: Vec<(DeliveryId, DeliveryState)>,
    /// In order of recording.
    attempts: Vec<DeliveryId>,
}

impl World {
    async fn make(&mut self, made: &[Made]) {
        for (mask, fates) in made {
            let wanted: Vec<_> = (0..3).filter(|bit| mask & (1 << bit) != 0).collect();
            let numbers: Vec<_> = wanted
                .iter()
                .map(|which| self.running.named(NAMES[*which]))
                .collect();
            let id = self.running.accept(vec![event("x", &numbers)]).await[0].id;
            self.events.push(id);
            for (which, number) in wanted.into_iter().zip(numbers) {
                let delivery = DeliveryId {
                    event: id,
                    subscription: NAMES[which].parse().unwrap(),
                };
                let state = STATES[usize::from(fates[which])];
                self.end(&delivery, number, state).await;
                self.deliveries.push((delivery, state));
            }
        }
    }

    /// Brings a delivery into a state. Pending ones are put aside, so that the next one taken is the newest.
    async fn end(
        &mut self,
        delivery: &DeliveryId,
        number: SubscriptionNumber,
        state: DeliveryState,
    ) {
        let next = match state {
            DeliveryState::Cancelled => {
                self.running.store.cancel(delivery).await.unwrap();
                return;
            }
            DeliveryState::Pending => due_in(NOW, Duration::from_secs(3600)),
            DeliveryState::Delivered => Next::Delivered,
            DeliveryState::Dead => Next::Dead(DeadReason::GaveUp),
        };
        let lease = self.running.take_one(number).await;
        assert_eq!(lease.event().head.id, delivery.event);
        self.running.settle(lease, next).await;
        self.attempts.push(delivery.clone());
    }

    /// Reads all pages, and makes `more` after the first.
    async fn read<T>(
        &mut self,
        limit: usize,
        more: &[Made],
        read: impl AsyncFn(&Store, Page) -> Listing<T>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        let mut next = page(limit);
        let store = self.running.store.clone();
        for turn in 0.. {
            assert!(turn < 1_000, "pages have no end");
            let listing = read(&store, next).await;
            assert!(listing.items.len() <= limit);
            all.extend(listing.items);
            let Some(cursor) = listing.next else {
                break;
            };
            next = Page {
                limit,
                cursor: Some(cursor),
            };
            if turn == 0 {
                self.make(more).await;
            }
        }
        all
    }
}

fn newest_first<T: Clone>(items: &[T]) -> Vec<T> {
    items.iter().rev().cloned().collect()
}

async fn pages_are_exact(before: Vec<Made>, more: Vec<Made>, limit: usize, rows: u64) {
    let folder = tempdir().unwrap();
    let running = Setup::default().open(folder.path());
    let history = &running.store.0.history.inbox;
    history.rows_max.store(rows, Ordering::SeqCst);
    // Numbers in the order of the names, as the lists have them.
    for name in NAMES {
        running.named(name);
    }
    let mut world = World {
        running,
        events: Vec::new(),
        deliveries: Vec::new(),
        attempts: Vec::new(),
    };
    world.make(&before).await;

    let expected = newest_first(&world.events);
    let read = async |store: &Store, page| {
        let filter = EventFilter::default();
        store.history().events(filter, page).await.unwrap()
    };
    let found = world.read(limit, &more, read).await;
    let found: Vec<_> = found.into_iter().map(|event| event.id).collect();
    assert_eq!(found, expected);

    let states = STATES.map(Some).into_iter().chain([None]);
    for state in states {
        for name in [None, Some("b")] {
            let expected: Vec<_> = newest_first(&world.deliveries)
                .into_iter()
                .filter(|(id, found)| {
                    state.is_none_or(|state| state == *found)
                        && name.is_none_or(|name| name == id.subscription.as_str())
                })
                .collect();
            let read = async |store: &Store, page| {
                let filter = DeliveryFilter {
                    subscription: name.map(|name| name.parse().unwrap()),
                    state,
                    ..DeliveryFilter::default()
                };
                store.history().deliveries(filter, page).await.unwrap()
            };
            let found = world.read(limit, &more, read).await;
            let found: Vec<_> = found
                .into_iter()
                .map(|delivery| (delivery.id, delivery.state))
                .collect();
            assert_eq!(found, expected, "{state:?} {name:?}");
        }
    }
    attempts_are_exact(&mut world, &more, limit).await;
    world.running.close().await;
}

async fn attempts_are_exact(world: &mut World, more: &[Made], limit: usize) {
    let mut by_name: BTreeMap<String, Vec<EventId>> = BTreeMap::new();
    for id in newest_first(&world.attempts) {
        let name = id.subscription.as_str().to_owned();
        by_name.entry(name).or_default().push(id.event);
    }
    for (name, expected) in by_name {
        let name = name.parse().unwrap();
        let seen = expected.len();
        let read = async |store: &Store, page| {
            let filter = AttemptFilter::default();
            store.history().attempts(&name, filter, page).await.unwrap()
        };
        let found = world.read(limit, more, read).await;
        // Deliveries made while another name was read are newer and come before.
        let old = found.len() - seen;
        let found: Vec<_> = found[old..]
            .iter()
            .map(|attempt| attempt.delivery.id.event)
            .collect();
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn pages_show_each_match_once_and_in_order(before in made(), more in made(), limit in 1_usize..12, rows in 1_u64..60) {
        let more = more[..more.len().min(4)].to_vec();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(pages_are_exact(before, more, limit, rows));
    }
}

#[tokio::test]
async fn no_more_ids_are_named_than_asked_for_however_many_segments_have_some() {
    let folder = tempdir().unwrap();
    let setup = Setup {
        segments: SMALL_SEGMENTS,
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let a = running.named("a");
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(running.accept(vec![event(&"x".repeat(4096), &[a])]).await[0].id);
    }
    let range = EventIdRange {
        first: *ids.iter().min().unwrap(),
        last: *ids.iter().max().unwrap(),
    };
    for most in [1, 5, 13, 39] {
        let found = running
            .store
            .history()
            .ids_within(range, most)
            .await
            .unwrap();
        assert_eq!(found.len(), most);
    }
    running.close().await;
}
