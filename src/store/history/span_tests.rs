//! Items in a span of time are found without reading the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::{TempDir, tempdir};

use super::*;
use crate::domain::{DeadReason, DeliveryState, EventId, Next, SubscriptionName, Timestamp};
use crate::store::harness::*;
use crate::store::{ReplayRequest, journal};

/// Number of events posted; about thirteen fill a segment.
const EVENTS: i64 = 120;
/// Rows that one call may read: more than a segment has, fewer than all.
const ROWS: u64 = 40;

struct World {
    _folder: TempDir,
    running: Running,
    clock: Arc<HandClock>,
    ids: Vec<EventId>,
}

/// The time of the event with this number.
fn at(number: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + number * 1000)
}

/// A store with an event every second. The delivery of every so many events is dead after an attempt at that time, the
/// others are delivered. Halfway the clock was set back by 30 s.
async fn world(every: i64) -> World {
    let folder = tempdir().unwrap();
    let clock = HandClock::at(NOW);
    let setup = Setup {
        clock: clock.clone(),
        // Everything that is copied at once has to fit into a group.
        segments: journal::Bounds {
            group: 60 << 10,
            ..SMALL_SEGMENTS
        },
        ..Setup::default()
    };
    let running = setup.open(folder.path());
    let a = running.named("a");
    let mut ids = Vec::new();
    for number in 0..EVENTS {
        let mut new = event(&"x".repeat(4096), &[a]);
        new.event.head.accepted_at = at(time_of(number));
        ids.push(running.accept(vec![new]).await[0].id);
        let lease = running.take_one(a).await;
        let mut outcome = outcome(false);
        outcome.started_at = at(time_of(number));
        let next = if number % every == 0 {
            Next::Dead(DeadReason::Exhausted)
        } else {
            Next::Delivered
        };
        running
            .store
            .settle(lease, outcome, next, true)
            .await
            .unwrap();
    }
    running
        .store
        .0
        .history
        .inbox
        .rows_max
        .store(ROWS, Ordering::Relaxed);
    World {
        _folder: folder,
        running,
        clock,
        ids,
    }
}

/// When an event was posted, in seconds.
fn time_of(number: i64) -> i64 {
    if number < EVENTS / 2 {
        number
    } else {
        number - 30
    }
}

/// The events of a span, newest first.
fn wanted(world: &World, since: Option<i64>, until: Option<i64>) -> Vec<EventId> {
    let numbers = 0..EVENTS;
    let inside = numbers.rev().filter(|number| {
        let time = time_of(*number);
        since.is_none_or(|since| since <= time) && until.is_none_or(|until| time < until)
    });
    inside
        .map(|number| world.ids[usize::try_from(number).unwrap()])
        .collect()
}

const SPANS: [(Option<i64>, Option<i64>); 8] = [
    (None, None),
    (Some(80), None),
    (Some(200), None),
    (None, Some(5)),
    (None, Some(-1)),
    (Some(20), Some(25)),
    (Some(40), Some(45)),
    (Some(59), Some(20)),
];

/// The events of all pages of a list, and how many pages there are.
async fn every_page<T>(
    list: impl AsyncFn(Page) -> Result<Listing<T>, QueryError>,
    id: impl Fn(&T) -> EventId,
) -> (Vec<EventId>, usize) {
    let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = Page {
            limit: PAGE_MAX,
            cursor,
        };
        let listing = list(page).await.unwrap();
        found.extend(listing.items.iter().map(&id));
        pages += 1;
        cursor = listing.next;
        if cursor.is_none() {
            return (found, pages);
        }
    }
}

#[tokio::test]
async fn every_list_shows_what_lies_in_a_span_and_skips_segments_without_any() {
    let world = world(1).await;
    let store = &world.running.store;
    for (since, until) in SPANS {
        let expected = wanted(&world, since, until);
        let is_short = expected.len() <= 10;
        let (since, until) = (since.map(at), until.map(at));
        let events = EventFilter {
            since,
            until,
            ..EventFilter::default()
        };
        let (found, pages) = every_page(
            async |page| store.history().events(events.clone(), page).await,
            |it| it.id,
        )
        .await;
        assert_eq!(found, expected, "{since:?} {until:?}");
        assert!(!is_short || pages <= 2, "{pages}");
        for state in [None, Some(DeliveryState::Dead)] {
            let deliveries = DeliveryFilter {
                state,
                since,
                until,
                ..DeliveryFilter::default()
            };
            let (found, pages) = every_page(
                async |page| store.history().deliveries(deliveries.clone(), page).await,
                |it| it.id.event,
            )
            .await;
            assert_eq!(found, expected, "{since:?} {until:?}");
            assert!(!is_short || pages <= 2, "{pages}");
        }
        let attempts = AttemptFilter {
            since,
            until,
            ..AttemptFilter::default()
        };
        let name: SubscriptionName = "a".parse().unwrap();
        let (found, pages) = every_page(
            async |page| {
                store
                    .history()
                    .attempts(&name, attempts.clone(), page)
                    .await
            },
            |it| it.delivery.id.event,
        )
        .await;
        assert_eq!(found, expected, "{since:?} {until:?}");
        // An index costs more rows.
        assert!(!is_short || pages <= 4, "{pages}");
        let replays = ReplayRequest {
            subscription: name,
            state: DeliveryState::Dead,
            since,
            until,
            event_type: None,
            rate_limit: None,
        };
        let matched = store.replays().count(&replays).await.unwrap();
        assert_eq!(matched, u64::try_from(expected.len()).unwrap());
    }
    world.running.close().await;
}

#[tokio::test]
async fn what_was_copied_from_segments_that_are_gone_is_found_by_its_time() {
    let world = world(13).await;
    let store = &world.running.store;
    let dead: Vec<_> = world.ids.iter().step_by(13).copied().collect();
    world.clock.advance(Duration::from_secs(4 * 86_400));
    assert!(store.0.cleaner.clean().await.unwrap() > 1);
    for (since, until) in SPANS {
        let mut expected = wanted(&world, since, until);
        expected.retain(|id| dead.contains(id));
        let deliveries = DeliveryFilter {
            state: Some(DeliveryState::Dead),
            since: since.map(at),
            until: until.map(at),
            ..DeliveryFilter::default()
        };
        let (found, _) = every_page(
            async |page| store.history().deliveries(deliveries.clone(), page).await,
            |it| it.id.event,
        )
        .await;
        assert_eq!(found, expected, "{since:?} {until:?}");
    }
    world.running.close().await;
}
