//! One lane: the deliveries of one subscription, and what is known of it.
//!
//! Leaves to `lane_loop` when an attempt begins, to `attempt` what it is, to `lane_status` when nothing is attempted, to
//! `lanes` the start. Invariant: one lane per queue, so that `concurrency` holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tracing::{info, warn};

use crate::alerts::{Alerts, Failure};
use crate::delivery::lane_status::LaneStatus;
use crate::delivery::last_report::LastReport;
use crate::delivery::orders::Orders;
use crate::delivery::reports::Reports;
use crate::delivery::slots::Slots;
use crate::domain::{
    Clock, Condition, DeadReason, DisabledReason, EventId, FailureReason, Flow, Outcome,
    SubscriptionName, SubscriptionNumber, Timestamp,
};
use crate::feed::{Feed, FeedEvent};
use crate::metrics::SubscriptionMetrics;
use crate::store::{Queue, Store, SubscriptionState};

/// The parts of a lane that are seen from outside too.
pub(super) struct Lane {
    pub(super) name: SubscriptionName,
    pub(super) number: SubscriptionNumber,
    pub(super) queue: Queue,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<SubscriptionMetrics>,
    pub(super) orders: Orders,
    pub(super) slots: Arc<Slots>,
    pub(super) feed: Feed,
    /// Where operators are notified; `None` for sidehook's own, whose failures would only lead to more notifications.
    alerts: Option<Alerts>,
    /// Locked after `lane_status` where both are needed.
    last_report: Mutex<LastReport>,
    lane_status: Mutex<LaneStatus>,
    pub(super) is_full: AtomicBool,
    pub(super) is_idle: AtomicBool,
    pub(super) beat: AtomicU64,
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

    /// Changes the status of the lane at `now`, records at once what is to be recorded at once, and publishes it when it
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

    /// From now on operators are notified after `notify_after` failures in a row.
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

    /// Records a state of the lane, whose status is locked meanwhile: of two states the later one has to be the last.
    pub(super) fn record(&self, state: Option<SubscriptionState>) {
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

/// A number as a gauge shows it; beyond four billion it shows that.
fn gauge(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
