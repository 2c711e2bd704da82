//! What operators are to be told, gathered from those who see it until somebody takes it.
//!
//! Who tells never waits. Invariants: what is gathered is bounded by the number of subscriptions, because what was not
//! taken yet is drawn together; of a subscription the last turn is never lost; dead deliveries are told at most once in
//! [`DEATHS_PAUSE`] per subscription. Nothing here is durable: `notify` makes events of it.

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

/// Turns of one subscription that are kept until they are taken; the oldest go first.
const TURNS_MAX: usize = 8;
/// How long is waited for further deaths before the first is told.
const DEATHS_LINGER: Duration = Duration::from_secs(1);
/// The least time between two times that deaths of one subscription are told.
pub const DEATHS_PAUSE: Duration = Duration::from_secs(60);
/// Ids that are told of the first dead deliveries, and as many of the last.
const DEATH_IDS: usize = 5;
/// Problems of a configuration that are told.
const PROBLEMS_MAX: usize = 20;

/// Something that operators are to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// When it happened, by the wall clock.
    pub at: Timestamp,
    /// What.
    pub news: News,
}

/// What operators are to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A subscription stands differently.
    Turn(SubscriptionName, Turn),
    /// Deliveries of a subscription are dead.
    Dead(SubscriptionName, Deaths),
    /// A configuration was not put in force.
    ReloadFailed(FailedReloads),
    /// Events are refused for want of room.
    StoreFull(Shortage),
}

/// How a subscription stands now and did not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// So many attempts in a row failed as it says in `notify_after`.
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
    /// An attempt succeeded after failing was told, or it is enabled again.
    Recovered {
        /// Why it was disabled; none: it was failing.
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
    /// How often since it was told last.
    pub count: u64,
    /// What is wrong with the last one, the first 20 problems.
    pub problems: Vec<Problem>,
    /// How many problems there are in all.
    pub problem_count: usize,
}

/// Why there is no room for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The disk is full.
    Disk,
    /// As much is pending as `store.max_pending` allows.
    Pending,
}

/// What was gathered, and when there is more.
#[derive(Debug, Default)]
pub struct Taken {
    /// In the order of subscriptions, of each in the order of time.
    pub notices: Vec<Notice>,
    /// When something that waits is to be taken, by [`Clock::steady`]; none: nothing waits.
    pub next_at: Option<Timestamp>,
}

/// Both ends of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notices(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    gathered: Mutex<Gathered>,
    told: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    subscriptions: BTreeMap<SubscriptionName, OfSubscription>,
    failed_reloads: Option<(Timestamp, FailedReloads)>,
    shortage: Option<(Timestamp, Shortage)>,
}

#[derive(Debug, Default)]
struct OfSubscription {
    turns: VecDeque<(Timestamp, Turn)>,
    deaths: Option<Deaths>,
    /// When the deaths that wait are to be taken, by the steady clock.
    deaths_due_at: Timestamp,
    /// When deaths were taken last.
    deaths_taken_at: Option<Timestamp>,
}

impl Notices {
    /// Nothing to tell yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            clock,
            gathered: Mutex::default(),
            told: Notify::new(),
        }))
    }

    /// Tells how a subscription stands now.
    pub fn turn(&self, name: &SubscriptionName, turn: Turn) {
        let at = self.0.clock.wall();
        let mut gathered = self.gathered();
        let turns = &mut gathered.of(name).turns;
        if turns.len() >= TURNS_MAX {
            turns.pop_front();
        }
        turns.push_back((at, turn));
        drop(gathered);
        self.0.told.notify_one();
    }

    /// Tells that a delivery of this event is dead.
    pub fn dead(&self, name: &SubscriptionName, event: EventId, reason: DeadReason) {
        let (wall, now) = (self.0.clock.wall(), self.0.clock.steady());
        let mut gathered = self.gathered();
        let is_first = gathered.of(name).die(event, reason, wall, now);
        drop(gathered);
        // Those that join others change no time that is waited for.
        if is_first {
            self.0.told.notify_one();
        }
    }

    /// Tells that a configuration was not put in force, and why.
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
        self.0.told.notify_one();
    }

    /// Tells that events are refused for want of room.
    pub fn store_full(&self, shortage: Shortage) {
        let at = self.0.clock.wall();
        self.gathered().shortage = Some((at, shortage));
        self.0.told.notify_one();
    }

    /// Resolves when something was told since it resolved last.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn told(&self) {
        self.0.told.notified().await;
    }

    /// Takes what is to be told now.
    #[must_use]
    pub fn take(&self) -> Taken {
        let now = self.0.clock.steady();
        self.gathered().take(self.0.clock.wall(), now, false)
    }

    /// Takes everything, also what would wait for more: nobody will take it later.
    #[must_use]
    pub fn take_all(&self) -> Vec<Notice> {
        let now = self.0.clock.steady();
        self.gathered().take(self.0.clock.wall(), now, true).notices
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
            taken.tell(at, News::StoreFull(shortage));
        }
        if let Some((at, failed)) = self.failed_reloads.take() {
            taken.tell(at, News::ReloadFailed(failed));
        }
        for (name, gathered) in &mut self.subscriptions {
            for (at, turn) in mem::take(&mut gathered.turns) {
                taken.tell(at, News::Turn(name.clone(), turn));
            }
            if let Some(deaths) = gathered
                .deaths
                .take_if(|_| all || gathered.deaths_due_at <= now)
            {
                gathered.deaths_taken_at = Some(now);
                taken.tell(wall, News::Dead(name.clone(), deaths));
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
    /// Adds a death; whether it is the first that waits.
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

    /// Whether something waits, or what was taken may still hold back what comes.
    fn is_needed(&self, now: Timestamp) -> bool {
        let holds_back = |at: &Timestamp| now.since(*at) < DEATHS_PAUSE;
        !self.turns.is_empty()
            || self.deaths.is_some()
            || self.deaths_taken_at.as_ref().is_some_and(holds_back)
    }
}

impl Taken {
    fn tell(&mut self, at: Timestamp, news: News) {
        self.notices.push(Notice { at, news });
    }
}

#[cfg(test)]
mod tests;
