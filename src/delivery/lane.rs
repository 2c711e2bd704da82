//! One lane: the loop that turns ready deliveries of one subscription into attempts, within its `concurrency`.
//!
//! Leaves to `attempt` what an attempt is, to `standing` when nothing is attempted, to `lanes` who starts it.
//! Invariants: one lane per queue, so that `concurrency` holds; a lane polls its own attempts, so that they cost no
//! task each and end with it; it takes at most [`TAKE_MAX`] deliveries a turn, so that others get theirs; whatever
//! could be attempted now is attempted in this turn, or wakes the next one.

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;

use crate::delivery::attempt::attempt;
use crate::delivery::settings::Settings;
use crate::delivery::standing::Standing;
use crate::domain::{Clock, SubscriptionName, SubscriptionNumber, Timestamp};
use crate::metrics::SubscriptionMetrics;
use crate::shutdown::Shutdown;
use crate::store::{Queue, Store, StoreError, SubscriptionState};

/// How many deliveries a lane takes in one turn.
const TAKE_MAX: usize = 64;

/// What a lane is told from outside.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// How to deliver from the next attempt on; none: hold.
    pub(super) settings: Option<Arc<Settings>>,
    /// A number that the lane shows in [`Lane::beat`] when it has turned.
    pub(super) beat: u64,
}

/// What belongs to one lane and is seen from outside too.
pub(super) struct Lane {
    pub(super) name: SubscriptionName,
    pub(super) number: SubscriptionNumber,
    pub(super) queue: Queue,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<SubscriptionMetrics>,
    standing: Mutex<Standing>,
    is_full: AtomicBool,
    is_idle: AtomicBool,
    beat: AtomicU64,
}

impl Lane {
    /// Makes the lane of a subscription, which goes on from its recorded state.
    pub(super) fn new(
        name: SubscriptionName,
        store: Store,
        clock: Arc<dyn Clock>,
        metrics: Arc<SubscriptionMetrics>,
    ) -> Self {
        let number = store.subscription(&name);
        let standing = Standing::new(store.state(number), clock.steady());
        Self {
            number,
            name,
            queue: store.queue(number),
            store,
            clock,
            metrics,
            standing: Mutex::new(standing),
            is_full: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
            beat: AtomicU64::new(0),
        }
    }

    /// How the subscription stands; locked, never across an await.
    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every slot is taken, so that the next delivery waits for an outcome to be written.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Whether it holds and has nothing in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::Relaxed)
    }

    /// The beat of the last orders that this lane has read.
    pub(super) fn beat(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }

    /// Refreshes the gauges.
    pub(super) fn publish(&self) {
        let counts = self.queue.counts();
        let (is_held, failures) = {
            let standing = self.standing();
            (standing.is_held(), standing.consecutive_failures())
        };
        let (pending, held) = if is_held {
            (0, counts.pending)
        } else {
            (counts.pending, 0)
        };
        let oldest = counts.oldest_accepted_at.filter(|_| !is_held);
        let age = oldest.map_or(Duration::ZERO, |oldest| self.clock.steady().since(oldest));
        let metrics = &self.metrics;
        metrics.enabled.set(f64::from(!is_held));
        metrics.pending.set(gauge(pending));
        metrics.held.set(gauge(held));
        metrics.oldest_pending_age.set(age);
        metrics.dead_deliveries.set(gauge(counts.dead));
        metrics.in_flight.set(gauge(counts.in_flight));
        metrics.consecutive_failures.set(failures);
    }

    /// Delivers until it is told to end: after `stop_leasing` it takes nothing more and ends with its last attempt,
    /// after `stop_now`, or when there is nobody to give orders any more, at once, and what was in flight is pending
    /// again.
    ///
    /// # Errors
    /// The store's, when an outcome could not be written.
    pub(super) async fn run(
        &self,
        mut orders: watch::Receiver<Orders>,
        shutdown: Shutdown,
    ) -> Result<(), StoreError> {
        let ended = self.deliver(&mut orders, &shutdown).await;
        self.record(Standing::unwritten);
        ended
    }

    async fn deliver(
        &self,
        orders: &mut watch::Receiver<Orders>,
        shutdown: &Shutdown,
    ) -> Result<(), StoreError> {
        let mut stop_now = pin!(shutdown.stop_now.cancelled());
        let mut stop_leasing = pin!(shutdown.stop_leasing.cancelled());
        let mut is_draining = false;
        let mut settings = self.follow(orders, None);
        let mut attempts = FuturesUnordered::new();
        let mut leases = Vec::new();
        let mut is_ready = false;
        loop {
            let wake_in = self.tend();
            let slots = self.slots(settings.as_deref());
            let free = slots.saturating_sub(attempts.len());
            if free > 0
                && is_ready
                && let Some(settings) = &settings
            {
                let credit = free.min(TAKE_MAX);
                self.queue.take(credit, &mut leases);
                // Fewer than asked for is all there is; otherwise the next turn need not ask first.
                is_ready = leases.len() == credit;
                let begun = leases.drain(..);
                attempts.extend(begun.map(|lease| attempt(self, Arc::clone(settings), lease)));
            }
            let has_room = attempts.len() < slots;
            self.is_full
                .store(slots > 0 && !has_room, Ordering::Relaxed);
            let is_idle = settings.is_none() && attempts.is_empty();
            self.is_idle.store(is_idle, Ordering::Relaxed);
            if is_draining && is_idle {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = &mut stop_now => return Ok(()),
                () = &mut stop_leasing, if !is_draining => {
                    is_draining = true;
                    settings = None;
                }
                changed = orders.changed(), if !is_draining => match changed {
                    Ok(()) => settings = self.follow(orders, settings.as_deref()),
                    // It is dismissed, or its owner is gone and this task is about to be dropped.
                    Err(_) => return Ok(()),
                },
                Some(written) = attempts.next() => {
                    written?;
                    // Outcomes are written in groups: one turn for all of a group.
                    while let Some(Some(written)) = attempts.next().now_or_never() {
                        written?;
                    }
                }
                () = self.queue.ready(), if has_room => is_ready = true,
                () = wake(wake_in), if wake_in.is_some() => {}
            }
        }
    }

    /// Reads the orders and begins or ends holding by them.
    fn follow(
        &self,
        orders: &mut watch::Receiver<Orders>,
        previous: Option<&Settings>,
    ) -> Option<Arc<Settings>> {
        let orders = orders.borrow_and_update();
        let now = self.clock.steady();
        let mut standing = self.standing();
        match &orders.settings {
            None => standing.hold(now),
            Some(settings) => {
                standing.resume(now);
                // What one endpoint asked for does not bind another.
                if previous.is_some_and(|previous| !previous.has_origin_of(settings)) {
                    standing.lift_pause(now);
                }
            }
        }
        self.beat.store(orders.beat, Ordering::Relaxed);
        orders.settings.clone()
    }

    /// How many attempts may be in flight now.
    fn slots(&self, settings: Option<&Settings>) -> usize {
        match settings {
            Some(settings) if !self.standing().is_stopped() => settings.concurrency,
            _ => 0,
        }
    }

    /// Does what is due of the standing, and answers in how long there is more to do.
    fn tend(&self) -> Option<Duration> {
        self.standing().alarm()?;
        self.record(Standing::tend);
        let alarm = self.standing().alarm()?;
        Some(alarm.since(self.clock.steady()))
    }

    fn record(&self, choose: fn(&mut Standing, Timestamp) -> Option<SubscriptionState>) {
        let state = choose(&mut self.standing(), self.clock.steady());
        if let Some(state) = state {
            self.store.set_state(self.number, state);
        }
    }
}

/// A number as a gauge shows it; beyond four billion it shows that.
fn gauge(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

async fn wake(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => pending().await,
    }
}
