//! Limits log lines: per minute, a number of each kind, and fewer of them about one subscription. The rest is counted
//! and reported once a minute, so that neither traffic nor an endpoint, a client or a file can fill the log.
//!
//! A kind is a place in the code. Lines of `debug` and `trace` are not limited. Memory is bounded by the number of
//! places in the code and [`SUBSCRIPTIONS_MAX`].

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::domain::{Clock, Timestamp};

/// Lines are counted for this long.
const PERIOD: Duration = Duration::from_secs(60);
/// Lines of one kind in a period.
const LINES: u64 = 100;
/// Of those, lines about one subscription.
const LINES_OF_SUBSCRIPTION: u64 = 5;
/// Subscriptions that are counted separately, for each kind.
const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Subscriptions whose left-out lines are reported separately, for each kind; those with the most.
const TOLD_MAX: usize = 20;

/// The target of the writer's own lines, which have their own limit.
pub(super) const OWN_TARGET: &str = "sidehook::logs";

/// Lets lines pass, or counts them. A cheap handle.
#[derive(Clone)]
pub(crate) struct Limit {
    clock: Arc<dyn Clock>,
    counts: Arc<Mutex<Counts>>,
}

/// Lines that were not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// The text of the lines.
    pub(super) text: String,
    /// The subscription concerned; `None` if it is none, or several.
    pub(super) subscription: Option<String>,
    /// How many.
    pub(super) count: u64,
}

#[derive(Default)]
struct Counts {
    began_at: Timestamp,
    kinds: HashMap<Identifier, Kind>,
}

#[derive(Default)]
struct Kind {
    text: String,
    passed: u64,
    /// About no subscription, or one that is not counted separately.
    left_out: u64,
    subscriptions: HashMap<Box<str>, Count>,
}

#[derive(Default)]
struct Count {
    passed: u64,
    left_out: u64,
}

impl Limit {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let counts = Arc::default();
        Self { clock, counts }
    }

    /// When there may be something to report; `None` if nothing is counted.
    pub(super) fn due_in(&self, now: Timestamp) -> Option<Duration> {
        let counts = self.counts();
        let is_needed = !counts.kinds.is_empty();
        is_needed.then(|| PERIOD.saturating_sub(now.since(counts.began_at)))
    }

    /// Takes what was left out in the period that has ended; with `all`, also in the current one.
    pub(super) fn take(&self, now: Timestamp, all: bool) -> Vec<LeftOut> {
        let mut counts = self.counts();
        if !all && now.since(counts.began_at) < PERIOD {
            return Vec::new();
        }
        let kinds = mem::take(&mut counts.kinds);
        drop(counts);
        kinds.into_values().flat_map(Kind::told).collect()
    }

    fn passes(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        let is_own = metadata.target() == OWN_TARGET;
        if is_own || *metadata.level() > Level::INFO {
            return true;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let now = self.clock.steady();
        let mut counts = self.counts();
        counts.begin(now);
        let kind = counts.kinds.entry(metadata.callsite()).or_default();
        if kind.text.is_empty() {
            kind.text = line.text;
        }
        kind.passes(line.subscription)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }
}

/// Above the layer that writes: what does not pass is not written.
impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.passes(event)
    }
}

impl Counts {
    /// Begins a period if the last one has ended. Left-out lines of the old period that are not reported yet stay.
    fn begin(&mut self, now: Timestamp) {
        if self.kinds.is_empty() {
            self.began_at = now;
        } else if now.since(self.began_at) >= PERIOD {
            self.began_at = now;
            for kind in self.kinds.values_mut() {
                kind.passed = 0;
                for count in kind.subscriptions.values_mut() {
                    count.passed = 0;
                }
            }
        }
    }
}

impl Kind {
    fn passes(&mut self, subscription: Option<String>) -> bool {
        let has_room = self.passed < LINES;
        let count = subscription.and_then(|name| self.count(name));
        let passes = match count {
            None => has_room,
            Some(count) => {
                let passes = has_room && count.passed < LINES_OF_SUBSCRIPTION;
                count.passed += u64::from(passes);
                count.left_out += u64::from(!passes);
                self.passed += u64::from(passes);
                return passes;
            }
        };
        self.passed += u64::from(passes);
        self.left_out += u64::from(!passes);
        passes
    }

    fn count(&mut self, subscription: String) -> Option<&mut Count> {
        let is_full = self.subscriptions.len() >= SUBSCRIPTIONS_MAX;
        if is_full && !self.subscriptions.contains_key(subscription.as_str()) {
            return None;
        }
        let name = subscription.into_boxed_str();
        Some(self.subscriptions.entry(name).or_default())
    }

    fn told(self) -> Vec<LeftOut> {
        let mut counts: Vec<_> = self.subscriptions.into_iter().collect();
        counts.retain(|(_, count)| count.left_out > 0);
        counts.sort_by(|a, b| b.1.left_out.cmp(&a.1.left_out).then(a.0.cmp(&b.0)));
        let others = counts.split_off(counts.len().min(TOLD_MAX));
        let others: u64 = others.iter().map(|(_, count)| count.left_out).sum();
        let apart = counts
            .into_iter()
            .map(|(name, count)| (Some(name.into()), count.left_out));
        let together = Some((None, self.left_out + others)).filter(|(_, count)| *count > 0);
        apart
            .chain(together)
            .map(|(subscription, count)| LeftOut {
                text: self.text.clone(),
                subscription,
                count,
            })
            .collect()
    }
}

/// The fields of a line that decide its kind.
#[derive(Default)]
struct Line {
    text: String,
    subscription: Option<String>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => write!(self.text, "{value:?}").unwrap_or_default(),
            "subscription" => self.subscription = Some(format!("{value:?}")),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.text),
            "subscription" => self.subscription = Some(value.to_owned()),
            _ => {}
        }
    }
}
