//! Alerts to operators, gathered until `notify` takes them and makes durable events of them.
//!
//! Raising an alert never waits. Invariants: memory is bounded by the number of subscriptions, because alerts not yet
//! taken are merged; the last status alert of a subscription is never lost; dead deliveries are reported at most once
//! per subscription and [`DEATHS_PAUSE`].

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::config::{Problem, Problems};
use crate::domain::{
    Clock, DeadReason, DisabledReason, EventId, FailureReason, SubscriptionName, Timestamp,
};

/// Status alerts of one subscription that wait; beyond it the oldest are dropped.
const STATUSES_MAX: usize = 8;
/// How long dead deliveries wait for more before they are reported.
const DEATHS_LINGER: Duration = Duration::from_secs(1);
/// The least time between two reports of dead deliveries of one subscription.
pub const DEATHS_PAUSE: Duration = Duration::from_secs(60);
/// Ids reported of the first dead deliveries, and as many of the last.
const DEATH_IDS: usize = 5;
/// Problems of a configuration that are reported.
const PROBLEMS_MAX: usize = 20;

/// One alert to operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// When it happened, by the wall clock.
    pub at: Timestamp,
    /// Its content.
    pub kind: AlertKind,
}

/// The content of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertKind {
    /// The status of a subscription changed.
    Status(SubscriptionName, StatusAlert),
    /// Deliveries of a subscription are dead.
    Dead(SubscriptionName, Deaths),
    /// A configuration was not put in force.
    ReloadFailed(FailedReloads),
    /// Events are refused for lack of space.
    StoreFull(Shortage),
}

/// A change of a subscription's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusAlert {
    /// `notify_after` attempts in a row failed.
    Failing {
        /// Attempts that failed in a row.
        consecutive_failures: u32,
        /// Why the last of them did.
        last: Option<Failure>,
    },
    /// It is disabled.
    Disabled {
        /// Why.
        reason: DisabledReason,
        /// Attempts that failed in a row.
        consecutive_failures: u32,
        /// Why the last of them did, if one did.
        last: Option<Failure>,
    },
    /// An attempt succeeded after failing was reported, or it is enabled again.
    Recovered {
        /// Why it was disabled; `None` if it was failing.
        disabled: Option<DisabledReason>,
    },
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The class.
    pub reason: FailureReason,
    /// The status code, if a response head came.
    pub response_code: Option<u16>,
    /// For people; at most 256 bytes, no secrets.
    pub error_message: Option<Box<str>>,
}

/// Deliveries that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deaths {
    /// How many.
    pub count: u64,
    /// How many for which reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// When the first died, by the wall clock.
    pub since: Timestamp,
    /// Events of the first ones, at most 5.
    pub first: Vec<EventId>,
    /// Events of the last ones that are not among the first, at most 5.
    pub last: VecDeque<EventId>,
}

/// Configurations that were not put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedReloads {
    /// How often since the last report.
    pub count: u64,
    /// The first 20 problems of the last one.
    pub problems: Vec<Problem>,
    /// How many problems there are in all.
    pub problem_count: usize,
}

/// Why there is no space for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The disk is full.
    Disk,
    /// As much is pending as `store.max_pending` allows.
    Pending,
}

/// Alerts that were taken, and when to look again.
#[derive(Debug, Default)]
pub struct Taken {
    /// In the order of subscriptions, of each in the order of time.
    pub alerts: Vec<Alert>,
    /// When waiting alerts are to be taken, by [`Clock::steady`]; `None` if none wait.
    pub next_at: Option<Timestamp>,
}

/// Raises and takes alerts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Alerts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    gathered: Mutex<Gathered>,
    raised: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    subscriptions: BTreeMap<SubscriptionName, OfSubscription>,
    failed_reloads: Option<(Timestamp, FailedReloads)>,
    shortage: Option<(Timestamp, Shortage)>,
}

#[derive(Debug, Default)]
struct OfSubscription {
    statuses: VecDeque<(Timestamp, StatusAlert)>,
    deaths: Option<Deaths>,
    /// When the waiting deaths are due, by the steady clock.
    deaths_due_at: Timestamp,
    /// When deaths were taken last.
    deaths_taken_at: Option<Timestamp>,
}

impl Alerts {
    /// Makes an empty set of alerts.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            clock,
            gathered: Mutex::default(),
            raised: Notify::new(),
        }))
    }

    /// Reports that the status of a subscription changed.
    pub fn status(&self, name: &SubscriptionName, alert: StatusAlert) {
        let at = self.0.clock.wall();
        let mut gathered = self.gathered();
        let waiting = &mut gathered.of(name).statuses;
        if waiting.len() >= STATUSES_MAX {
            waiting.pop_front();
        }
        waiting.push_back((at, alert));
        drop(gathered);
        self.0.raised.notify_one();
    }

    /// Reports that a delivery of this event is dead.
    pub fn dead(&self, name: &SubscriptionName, event: EventId, reason: DeadReason) {
        let (wall, now) = (self.0.clock.wall(), self.0.clock.steady());
        let mut gathered = self.gathered();
        let is_first = gathered.of(name).die(event, reason, wall, now);
        drop(gathered);
        // Later ones do not change when they are due.
        if is_first {
            self.0.raised.notify_one();
        }
    }

    /// Reports that a configuration was not put in force, and why.
    pub fn reload_failed(&self, problems: &Problems) {
        let at = self.0.clock.wall();
        let mut gathered = self.gathered();
        let earlier = gathered.failed_reloads.take();
        let failed = FailedReloads {
            count: earlier.map_or(0, |(_, earlier)| earlier.count) + 1,
            problems: problems.iter().take(PROBLEMS_MAX).cloned().collect(),
            problem_count: problems.total(),
        };
        gathered.failed_reloads = Some((at, failed));
        drop(gathered);
        self.0.raised.notify_one();
    }

    /// Reports that events are refused for lack of space.
    pub fn store_full(&self, shortage: Shortage) {
        let at = self.0.clock.wall();
        self.gathered().shortage = Some((at, shortage));
        self.0.raised.notify_one();
    }

    /// Resolves when an alert was raised since it resolved last.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn raised(&self) {
        self.0.raised.notified().await;
    }

    /// Takes the alerts that are due.
    #[must_use]
    pub fn take(&self) -> Taken {
        let now = self.0.clock.steady();
        self.gathered().take(self.0.clock.wall(), now, false)
    }

    /// Takes all alerts, also those that wait for more: for the end of the process.
    #[must_use]
    pub fn take_all(&self) -> Vec<Alert> {
        let now = self.0.clock.steady();
        self.gathered().take(self.0.clock.wall(), now, true).alerts
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        let gathered = &self.0.gathered;
        gathered.lock()
    }
}

impl Gathered {
    fn of(&mut self, name: &SubscriptionName) -> &mut OfSubscription {
        self.subscriptions.entry(name.clone()).or_default()
    }

    fn take(&mut self, wall: Timestamp, now: Timestamp, all: bool) -> Taken {
        let mut taken = Taken::default();
        if let Some((at, shortage)) = self.shortage.take() {
            taken.push(at, AlertKind::StoreFull(shortage));
        }
        if let Some((at, failed)) = self.failed_reloads.take() {
            taken.push(at, AlertKind::ReloadFailed(failed));
        }
        for (name, gathered) in &mut self.subscriptions {
            for (at, alert) in mem::take(&mut gathered.statuses) {
                taken.push(at, AlertKind::Status(name.clone(), alert));
            }
            if let Some(deaths) = gathered
                .deaths
                .take_if(|_| all || gathered.deaths_due_at <= now)
            {
                gathered.deaths_taken_at = Some(now);
                taken.push(wall, AlertKind::Dead(name.clone(), deaths));
            }
        }
        self.subscriptions
            .retain(|_, gathered| gathered.is_needed(now));
        let waiting = self.subscriptions.values();
        let waiting = waiting.filter(|gathered| gathered.deaths.is_some());
        taken.next_at = waiting.map(|gathered| gathered.deaths_due_at).min();
        taken
    }
}

impl OfSubscription {
    /// Adds a dead delivery; returns whether it is the first that waits.
    fn die(&mut self, event: EventId, reason: DeadReason, wall: Timestamp, now: Timestamp) -> bool {
        let is_first = self.deaths.is_none();
        if is_first {
            let soon = now.plus(DEATHS_LINGER);
            let pause_ends = self.deaths_taken_at.map(|at| at.plus(DEATHS_PAUSE));
            self.deaths_due_at = pause_ends.map_or(soon, |ends| ends.max(soon));
        }
        let deaths = self.deaths.get_or_insert_with(|| Deaths {
            count: 0,
            reasons: BTreeMap::new(),
            since: wall,
            first: Vec::new(),
            last: VecDeque::new(),
        });
        deaths.count += 1;
        *deaths.reasons.entry(reason.as_str()).or_default() += 1;
        if deaths.first.len() < DEATH_IDS {
            deaths.first.push(event);
        } else {
            if deaths.last.len() >= DEATH_IDS {
                deaths.last.pop_front();
            }
            deaths.last.push_back(event);
        }
        is_first
    }

    /// Whether alerts wait, or the pause since the last report of dead deliveries has not ended.
    fn is_needed(&self, now: Timestamp) -> bool {
        let holds_back = |at: &Timestamp| now.since(*at) < DEATHS_PAUSE;
        !self.statuses.is_empty()
            || self.deaths.is_some()
            || self.deaths_taken_at.as_ref().is_some_and(holds_back)
    }
}

impl Taken {
    fn push(&mut self, at: Timestamp, kind: AlertKind) {
        self.alerts.push(Alert { at, kind });
    }
}

#[cfg(test)]
mod tests;
