//! The loop of a lane: turns ready deliveries of one subscription into attempts, within its `concurrency`.
//!
//! Invariants: a lane polls its own attempts, so that they cost no task each and end with it; it takes at most
//! [`TAKE_MAX`] deliveries a turn, so that others get theirs; whatever could be attempted now is attempted in this turn,
//! or wakes the next one.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::delivery::attempt::attempt;
use crate::delivery::lane::Lane;
use crate::delivery::orders::Current;
use crate::delivery::probe::Epoch;
use crate::delivery::rate::Rate;
use crate::delivery::settings::Settings;
use crate::delivery::slots::Share;
use crate::domain::{Flow, Timestamp};
use crate::shutdown::Shutdown;
use crate::store::{Lease, StoreError};

/// How many deliveries a lane takes in one turn.
const TAKE_MAX: usize = 64;

impl Lane {
    /// Delivers until it is stopped: after `stop_leasing` it takes nothing more and ends with its last attempt,
    /// after `stop_now`, or when it is dismissed, at once, and what was in flight is pending again.
    ///
    /// # Errors
    /// The store's, when an outcome could not be written.
    pub(super) async fn run(&self, shutdown: Shutdown) -> Result<(), StoreError> {
        let ended = self.deliver(&shutdown).await;
        let now = self.clock.steady();
        let mut lane_status = self.lane_status();
        self.record(lane_status.unwritten(now));
        ended
    }

    async fn deliver(&self, shutdown: &Shutdown) -> Result<(), StoreError> {
        let mut stop_now = pin!(shutdown.stop_now.cancelled());
        let mut stop_leasing = pin!(shutdown.stop_leasing.cancelled());
        let mut is_draining = false;
        let share = Share::new(Arc::clone(&self.slots));
        let mut work = Work::new(self.follow().settings, share, self.clock.steady());
        // None while there are none: even an empty one has room for an attempt, some KiB.
        let mut attempts: Option<FuturesUnordered<_>> = None;
        loop {
            attempts = attempts.filter(|attempts| !attempts.is_empty());
            let in_flight = attempts.as_ref().map_or(0, FuturesUnordered::len);
            let turn = self.turn(&mut work, in_flight);
            if let Some(settings) = work.settings.as_ref().filter(|_| !work.leases.is_empty()) {
                let begun = work.leases.drain(..);
                attempts.get_or_insert_default().extend(
                    begun.map(|lease| attempt(self, Arc::clone(settings), lease, turn.epoch)),
                );
            }
            let is_idle = work.settings.is_none() && attempts.is_none();
            self.is_idle.store(is_idle, Ordering::Relaxed);
            if is_draining && is_idle {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = &mut stop_now => return Ok(()),
                () = &mut stop_leasing, if !is_draining => {
                    is_draining = true;
                    work.settings = None;
                }
                () = self.orders.changed(), if !is_draining => {
                    let current = self.follow();
                    if current.dismissed {
                        return Ok(());
                    }
                    work.settings = current.settings;
                }
                Some(written) = next(&mut attempts) => {
                    written?;
                    // Outcomes are written in groups: one turn for all of a group.
                    while let Some(Some(written)) = next(&mut attempts).now_or_never() {
                        written?;
                    }
                }
                () = self.queue.ready(), if turn.may_take => work.is_ready = true,
                () = wake(turn.wake_in), if turn.wake_in.is_some() => {}
            }
        }
    }

    /// Reads the orders, and shows that it has.
    fn follow(&self) -> Current {
        let current = self.orders.current();
        self.beat.store(current.beat, Ordering::Relaxed);
        current
    }

    /// Writes records that are due, takes what may be attempted now, and returns what to wait for.
    fn turn(&self, work: &mut Work, in_flight: usize) -> Turn {
        let now = self.clock.steady();
        // Locked until they are taken: nothing is, once a subscription was disabled.
        let mut lane_status = self.lane_status();
        self.record(lane_status.tend(now));
        let settings = work.settings.as_deref();
        let slots = settings.map_or(0, |settings| lane_status.slots(settings.concurrency, now));
        if let Some(settings) = settings {
            work.rate.set(settings.rate_limit, now);
        }
        let free = slots
            .saturating_sub(in_flight)
            .min(work.share.room(in_flight));
        let credit = free.min(TAKE_MAX).min(work.rate.available(now));
        if credit > 0 && work.is_ready {
            self.queue.take(credit, &mut work.leases);
            // Fewer than asked for is all there is; otherwise the next turn need not ask first.
            work.is_ready = work.leases.len() == credit;
            work.rate.spend(work.leases.len());
            work.share.use_for(in_flight + work.leases.len());
        }
        let has_room = work.leases.len() < free;
        let is_full = slots > 0 && !has_room;
        self.is_full.store(is_full, Ordering::Relaxed);
        let token_in = work.rate.next(now).filter(|_| has_room);
        let flow = match (lane_status.flow(), token_in) {
            (Flow::Open, Some(pause)) => Flow::RateLimited {
                until: now.plus(pause),
            },
            (flow, _) => flow,
        };
        self.queue.set_flow(flow, slots == 0 || token_in.is_some());
        let alarm_in = lane_status.alarm(now).map(|alarm| alarm.since(now));
        Turn {
            epoch: lane_status.probe().epoch(),
            may_take: has_room && token_in.is_none(),
            wake_in: [token_in, alarm_in].into_iter().flatten().min(),
        }
    }
}

/// The state that a lane keeps from turn to turn.
struct Work {
    /// How to deliver; `None`: not at all.
    settings: Option<Arc<Settings>>,
    rate: Rate,
    share: Share,
    /// Something may be ready to be taken.
    is_ready: bool,
    /// Leases that were taken and whose attempts have not begun.
    leases: Vec<Lease>,
}

impl Work {
    fn new(settings: Option<Arc<Settings>>, share: Share, now: Timestamp) -> Self {
        let limit = settings.as_ref().and_then(|settings| settings.rate_limit);
        Self {
            settings,
            rate: Rate::new(limit, now),
            share,
            is_ready: false,
            leases: Vec::new(),
        }
    }
}

/// The result of a turn.
struct Turn {
    /// Of the attempts that begin now.
    epoch: Epoch,
    /// More may be taken as soon as it is ready.
    may_take: bool,
    /// There is something to do in so long, whatever else happens.
    wake_in: Option<Duration>,
}

/// The output of the next that ends; `None` when there are none.
async fn next<T: Future>(attempts: &mut Option<FuturesUnordered<T>>) -> Option<T::Output> {
    attempts.as_mut()?.next().await
}

async fn wake(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => pending().await,
    }
}
