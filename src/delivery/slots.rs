//! Attempts in flight of all lanes together, as a budget: each takes some KiB, a descriptor and memory of the system.
//!
//! Every lane has slots of its own, which no other can take: as many as are left for it when all lanes get the same, at
//! least one. Beyond these it borrows, at most as many as are then still free: so however many attempts hang, a lane that
//! needs more finds some (the dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
//!
//! A lane that gets none is not woken when some are free: it has an attempt in flight, whose end lets it ask again. Lanes
//! on several threads may together borrow a few more than there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Slots that all lanes get in equal parts.
const OWN: usize = 4096;
/// Slots that are borrowed.
const BORROWED: usize = 2048;

/// The state shared by all lanes.
#[derive(Debug, Default)]
pub(super) struct Slots {
    lanes: AtomicUsize,
    borrowed: AtomicUsize,
}

/// One lane's part of it.
#[derive(Debug)]
pub(super) struct Share {
    slots: Arc<Slots>,
    borrowed: usize,
}

impl Share {
    /// A share for one more lane.
    pub(super) fn new(slots: Arc<Slots>) -> Self {
        slots.lanes.fetch_add(1, Ordering::Relaxed);
        Self { slots, borrowed: 0 }
    }

    /// How many more attempts may begin beside those in flight.
    pub(super) fn room(&mut self, in_flight: usize) -> usize {
        let own = self.own();
        self.borrow(in_flight.saturating_sub(own));
        let others = self.slots.borrowed.load(Ordering::Relaxed) - self.borrowed;
        let may_borrow = BORROWED.saturating_sub(others) / 2;
        (own + may_borrow).saturating_sub(in_flight)
    }

    /// Records how many are in flight now.
    pub(super) fn use_for(&mut self, in_flight: usize) {
        self.borrow(in_flight.saturating_sub(self.own()));
    }

    fn own(&self) -> usize {
        (OWN / self.slots.lanes.load(Ordering::Relaxed).max(1)).max(1)
    }

    fn borrow(&mut self, wanted: usize) {
        let shared = &self.slots.borrowed;
        if wanted > self.borrowed {
            shared.fetch_add(wanted - self.borrowed, Ordering::Relaxed);
        } else if wanted < self.borrowed {
            shared.fetch_sub(self.borrowed - wanted, Ordering::Relaxed);
        }
        self.borrowed = wanted;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.borrow(0);
        self.slots.lanes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(count: usize) -> (Arc<Slots>, Vec<Share>) {
        let slots = Arc::<Slots>::default();
        let shares = (0..count).map(|_| Share::new(Arc::clone(&slots)));
        (Arc::clone(&slots), shares.collect())
    }

    /// Begins as many attempts as there is room for, up to `concurrency`; how many that is.
    fn fill(share: &mut Share, concurrency: usize) -> usize {
        let in_flight = concurrency.min(share.room(0));
        share.use_for(in_flight);
        in_flight
    }

    #[test]
    fn a_few_lanes_have_all_slots_they_ask_for() {
        let (_slots, mut shares) = shares(200);
        for share in &mut shares {
            assert_eq!(fill(share, 16), 16);
        }
    }

    #[test]
    fn attempts_in_flight_are_bounded_however_many_lanes_there_are() {
        for count in [1, 40, 5_000] {
            let (_slots, mut shares) = shares(count);
            let all: usize = shares.iter_mut().map(|share| fill(share, 10_000)).sum();
            assert!(all <= OWN.max(count) + BORROWED, "{count} lanes: {all}");
        }
    }

    #[test]
    fn lanes_that_hang_leave_slots_to_one_that_needs_some() {
        let (_slots, mut shares) = shares(5_000);
        let (needs, hang) = shares.split_first_mut().unwrap();
        for share in hang.iter_mut().take(6) {
            fill(share, 10_000);
        }
        assert!(fill(needs, 16) >= 16);
        for share in hang {
            fill(share, 10_000);
        }
        // Whatever the others do, one is its own.
        needs.use_for(0);
        assert!(needs.room(0) >= 1);
    }

    #[test]
    fn what_was_borrowed_comes_back() {
        let (slots, mut shares) = shares(5_000);
        assert!(fill(&mut shares[0], 100) == 100);
        assert_eq!(slots.borrowed.load(Ordering::Relaxed), 99);
        assert_eq!(shares[0].room(40), BORROWED / 2 - 39);
        assert_eq!(slots.borrowed.load(Ordering::Relaxed), 39);
        drop(shares);
        assert_eq!(slots.borrowed.load(Ordering::Relaxed), 0);
        assert_eq!(slots.lanes.load(Ordering::Relaxed), 0);
    }
}
