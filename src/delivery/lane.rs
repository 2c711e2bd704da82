//! One lane: the loop that turns ready deliveries of one subscription into attempts, within its `concurrency`.
//!
//! Leaves to `attempt` what an attempt is, to `lane_status` when nothing is attempted, to `lanes` the start.
//! Invariants: one lane per queue, so that `concurrency` holds; a lane polls its own attempts, so that they cost no
//! task each and end with it; it takes at most [`TAKE_MAX`] deliveries a turn, so that others get theirs; whatever
//! could be attempted now is attempted in this turn, or wakes the next one.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use parking_lot::{Mutex, MutexGuard};
use tracing::{info, warn};

use crate::alerts::{Alerts, Failure};
use crate::delivery::attempt::attempt;
use crate::delivery::lane_status::LaneStatus;
use crate::delivery::lanes::Reports;
use crate::delivery::last_report::LastReport;
use crate::delivery::orders::{Current, Orders};
use crate::delivery::probe::Epoch;
use crate::delivery::rate::Rate;
use crate::delivery::settings::Settings;
use crate::delivery::slots::{Share, Slots};
use crate::domain::{
    Clock, Condition, DeadReason, DisabledReason, EventId, FailureReason, Flow, Outcome,
    SubscriptionName, SubscriptionNumber, Timestamp,
};
use crate::feed::{Feed, FeedEvent};
use crate::metrics::SubscriptionMetrics;
use crate::shutdown::Shutdown;
use crate::store::{Lease, Queue, Store, StoreError, SubscriptionState};

/// How many deliveries a lane takes in one turn.
const TAKE_MAX: usize = 64;

/// The parts of a lane that are seen from outside too.
pub(super) struct Lane {
    pub(super) name: SubscriptionName,
    pub(super) number: SubscriptionNumber,
    pub(super) queue: Queue,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<SubscriptionMetrics>,
    pub(super) orders: Orders,
    slots: Arc<Slots>,
    pub(super) feed: Feed,
    /// Where operators are notified; `None` for sidehook's own, whose failures would only lead to more notifications.
    alerts: Option<Alerts>,
    /// Locked after `lane_status` where both are needed.
    last_report: Mutex<LastReport>,
    lane_status: Mutex<LaneStatus>,
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
        slots: Arc<Slots>,
        orders: Orders,
        Reports { feed, alerts }: Reports,
    ) -> Self {
        let number = store.subscription(&name);
        let lane_status = LaneStatus::new(store.state(number), clock.steady());
        Self {
            alerts: (!name.is_internal()).then_some(alerts),
            last_report: Mutex::default(),
            number,
            name,
            queue: store.queue(number),
            store,
            clock,
            metrics,
            orders,
            slots,
            feed,
            lane_status: Mutex::new(lane_status),
            is_full: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
            beat: AtomicU64::new(0),
        }
    }

    /// The state of the subscription; locked, never across an await.
    pub(super) fn lane_status(&self) -> MutexGuard<'_, LaneStatus> {
        self.lane_status.lock()
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
            let lane_status = self.lane_status();
            let failures = lane_status.state().consecutive_failures;
            (lane_status.is_held(), failures)
        };
        let (pending, held) = if is_held {
            (0, counts.pending)
        } else {
            (counts.pending, 0)
        };
        let oldest = counts.oldest_accepted_at.filter(|_| !is_held);
        let age = oldest.map_or(Duration::ZERO, |oldest| self.clock.steady().since(oldest));
        let metrics = &self.metrics;
        let flow = if is_held { Flow::Held } else { counts.flow };
        metrics.set_condition(Condition::of(flow, counts.blocked > 0));
        metrics.enabled.set(f64::from(!is_held));
        metrics.pending.set(gauge(pending));
        metrics.held.set(gauge(held));
        metrics.blocked.set(gauge(counts.blocked));
        metrics.oldest_pending_age.set(age);
        metrics.dead_deliveries.set(gauge(counts.dead));
        metrics.cancelled.absolute(counts.cancelled);
        for event in self.queue.take_unreadable() {
            metrics.given_up(DeadReason::Unreadable);
            self.tell_dead(event, DeadReason::Unreadable);
        }
        metrics.in_flight.set(gauge(counts.in_flight));
        metrics.consecutive_failures.set(failures);
    }

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

    /// Changes the lane_status at `now`, records at once what is to be recorded at once, and publishes it when it
    /// was enabled or disabled by that.
    pub(super) fn change<T>(&self, now: Timestamp, change: impl FnOnce(&mut LaneStatus) -> T) -> T {
        let mut lane_status = self.lane_status();
        let before = lane_status.state().status();
        let changed = change(&mut lane_status);
        self.record(lane_status.tend(now));
        let status = lane_status.state().status();
        // Sent under the lock: of two changes the later one has to arrive last.
        if let Some(alerts) = &self.alerts {
            let turns = self.last_report().look(&status);
            for turn in turns.into_iter().flatten() {
                alerts.status(&self.name, turn);
            }
        }
        if status.disabled != before.disabled {
            self.feed.publish(|| FeedEvent::Subscription {
                name: self.name.clone(),
                status,
            });
        }
        changed
    }

    /// Begins to notify operators of changes from what is recorded now, after `notify_after` failures in a row.
    pub(super) fn begin_telling(&self, notify_after: u32) {
        let status = self.lane_status().state().status();
        let notify_after = self.alerts.as_ref().map(|_| notify_after);
        self.last_report().begin(notify_after, &status);
    }

    /// Notifies operators of failing after so many failures in a row from now on.
    pub(super) fn tell_failing_after(&self, notify_after: u32) {
        self.last_report().set_notify_after(notify_after);
    }

    /// Remembers why an attempt failed, for a later notification.
    pub(super) fn attempt_failed(&self, reason: FailureReason, outcome: &Outcome) {
        if self.alerts.is_some() {
            self.last_report().failed(Failure {
                reason,
                response_code: outcome.response_code,
                error_message: outcome.error_message.clone(),
            });
        }
    }

    /// Notifies operators that the delivery of this event is dead.
    pub(super) fn tell_dead(&self, event: EventId, reason: DeadReason) {
        if let Some(alerts) = &self.alerts {
            alerts.dead(&self.name, event, reason);
        }
    }

    fn last_report(&self) -> MutexGuard<'_, LastReport> {
        self.last_report.lock()
    }

    /// Records a state of the lane_status, which is locked meanwhile: of two states the later one has to be the last.
    fn record(&self, state: Option<SubscriptionState>) {
        if let Some(state) = state {
            self.store.set_state(self.number, state);
        }
    }

    /// Logs that it was disabled at run time.
    pub(super) fn tell_disabled(&self, reason: DisabledReason) {
        warn!(subscription = %self.name, reason = reason.as_str(), "subscription is disabled");
    }

    /// Logs that it was enabled again.
    pub(super) fn tell_enabled(&self) {
        info!(subscription = %self.name, "subscription is enabled");
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

/// A number as a gauge shows it; beyond four billion it shows that.
fn gauge(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
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
