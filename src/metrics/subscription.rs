//! The metrics of one subscription.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use crate::domain::{
    AttemptStatus, Condition, DeadReason, FailureReason, SubscriptionName, Timestamp,
};
use crate::metrics::cells::{Count, Level};
use crate::metrics::exposition::{Exposition, Shown, seconds};
use crate::metrics::families;
use crate::metrics::histograms::{OwnOrShared, SharedHistograms, Which};
use crate::metrics::reasons::{ByCode, Names, Reasons};

/// Metrics of one subscription. Those that alerts use are shown at 0 from the start, all others once they happened, so
/// that thousands of idle subscriptions fit into a scrape.
pub struct SubscriptionMetrics {
    /// `deliveries_total`: arrived.
    pub delivered: Count,
    /// `deliveries_total`: cancelled.
    pub cancelled: Count,
    /// `deliveries_total`: matched while the subscription was disabled with `when_disabled: skip`.
    pub skipped: Count,
    /// `filter_errors_total`: `when` could not be evaluated.
    pub filter_errors: Count,
    /// `attempt_lacks_total`: attempts put off because this machine lacked something.
    pub own_lacks: Count,
    /// `attempt_duration_seconds`
    pub attempt_duration: OwnOrShared,
    /// `delivery_delay_seconds`: from acceptance to arrival.
    pub delivery_delay: OwnOrShared,
    /// `pending_deliveries`, without held ones.
    pub pending: Level,
    /// `oldest_pending_age_seconds`, without held ones.
    pub oldest_pending_age: Level,
    /// `held_deliveries`
    pub held: Level,
    /// `blocked_deliveries`: behind a dead one.
    pub blocked: Level,
    /// `dead_deliveries`: dead letters that can be replayed.
    pub dead_deliveries: Level,
    /// `in_flight_attempts`
    pub in_flight: Level,
    /// `consecutive_failures`
    pub consecutive_failures: Level,
    /// `subscription_enabled`: 1 or 0.
    pub enabled: Level,
    dead: Count,
    condition: States,
    attempts: ByCode,
    reasons: Reasons,
    /// Those of all subscriptions together.
    all_reasons: Arc<Reasons>,
    secret_expiry: Expiry,
    certificate_expiry: Expiry,
    /// The label `subscription`, written out.
    label: Box<str>,
}

impl SubscriptionMetrics {
    pub(super) fn new(
        name: &SubscriptionName,
        histograms: &Arc<SharedHistograms>,
        all_reasons: &Arc<Reasons>,
    ) -> Self {
        Self {
            delivered: Count::default(),
            dead: Count::default(),
            cancelled: Count::default(),
            skipped: Count::default(),
            filter_errors: Count::default(),
            own_lacks: Count::default(),
            attempt_duration: OwnOrShared::new(Which::AttemptDuration, histograms),
            delivery_delay: OwnOrShared::new(Which::DeliveryDelay, histograms),
            pending: Level::default(),
            oldest_pending_age: Level::default(),
            held: Level::default(),
            blocked: Level::default(),
            dead_deliveries: Level::default(),
            in_flight: Level::default(),
            consecutive_failures: Level::default(),
            enabled: Level::default(),
            condition: States::default(),
            attempts: ByCode::new(AttemptStatus::ALL.iter().map(|status| status.code())),
            reasons: Reasons::new(),
            all_reasons: Arc::clone(all_reasons),
            secret_expiry: Expiry::default(),
            certificate_expiry: Expiry::default(),
            label: format!("subscription=\"{name}\"").into(),
        }
    }

    /// Counter of `attempts_total`.
    pub fn attempts(&self, status: AttemptStatus) -> &Count {
        self.attempts.get(status.code())
    }

    /// Counts a failed attempt by its reason.
    pub fn failed(&self, reason: FailureReason) {
        for reasons in [&self.reasons, &self.all_reasons] {
            reasons.failures(reason).increment(1);
        }
    }

    /// Counts a delivery given up, also by its reason.
    pub fn given_up(&self, reason: DeadReason) {
        self.dead.increment(1);
        for reasons in [&self.reasons, &self.all_reasons] {
            reasons.dead_letters(reason).increment(1);
        }
    }

    /// Sets `subscription_state`.
    pub fn set_condition(&self, condition: Condition) {
        self.condition.set(condition);
    }

    /// Sets `secret_expiry_timestamp_seconds`: when the next of the previous secrets ends. Without one it is not shown.
    pub fn set_secret_expiry(&self, at: Option<Timestamp>) {
        self.secret_expiry.set(at);
    }

    /// Sets `tls_certificate_expiry_timestamp_seconds`: that of the endpoint's certificate as last seen. Until one was
    /// seen it is not shown.
    pub fn set_certificate_expiry(&self, at: Option<Timestamp>) {
        self.certificate_expiry.set(at);
    }

    /// Adds everything that is to be shown.
    pub(super) fn render(&self, exposition: &mut Exposition) {
        self.render_counts(exposition);
        self.render_levels(exposition);
        self.attempt_duration.render_own(exposition, &self.label);
        self.delivery_delay.render_own(exposition, &self.label);
    }

    fn render_counts(&self, exposition: &mut Exposition) {
        const NAMES: Names = Names {
            failures: families::ATTEMPT_FAILURES,
            dead_letters: families::DEAD_LETTERS,
        };
        let own = &self.label;
        for (outcome, count, shown) in [
            ("delivered", &self.delivered, Shown::Always),
            ("dead", &self.dead, Shown::Always),
            ("cancelled", &self.cancelled, Shown::OnceHappened),
            ("skipped", &self.skipped, Shown::OnceHappened),
        ] {
            let labels = format_args!("{{{own},outcome=\"{outcome}\"}}");
            exposition.count(families::DELIVERIES, labels, count, shown);
        }
        for status in AttemptStatus::ALL {
            let labels = format_args!("{{{own},status=\"{}\"}}", status.as_str());
            let count = self.attempts(*status);
            exposition.count(families::ATTEMPTS, labels, count, Shown::Always);
        }
        let labels = format_args!("{own},");
        self.reasons
            .render(exposition, NAMES, labels, Shown::OnceHappened);
        let labels = format_args!("{{{own}}}");
        for (name, count) in [
            (families::FILTER_ERRORS, &self.filter_errors),
            (families::OWN_LACKS, &self.own_lacks),
        ] {
            exposition.count(name, labels, count, Shown::OnceHappened);
        }
    }

    fn render_levels(&self, exposition: &mut Exposition) {
        use Shown::{Always, OnceHappened};
        let own = &self.label;
        for (condition, is_current) in self.condition.shown() {
            let labels = format_args!("{{{own},state=\"{}\"}}", condition.as_str());
            exposition.sample(families::STATE, labels, u8::from(is_current));
        }
        let labels = format_args!("{{{own}}}");
        for (name, level, shown) in [
            (families::PENDING, &self.pending, Always),
            (
                families::OLDEST_PENDING_AGE,
                &self.oldest_pending_age,
                Always,
            ),
            (families::HELD, &self.held, OnceHappened),
            (families::BLOCKED, &self.blocked, OnceHappened),
            (families::DEAD, &self.dead_deliveries, Always),
            (families::IN_FLIGHT, &self.in_flight, Always),
            (
                families::CONSECUTIVE_FAILURES,
                &self.consecutive_failures,
                Always,
            ),
            (families::ENABLED, &self.enabled, Always),
        ] {
            exposition.level(name, labels, level, shown);
        }
        for (name, expiry) in [
            (families::SECRET_EXPIRY, &self.secret_expiry),
            (families::CERTIFICATE_EXPIRY, &self.certificate_expiry),
        ] {
            if let Some(at) = expiry.get() {
                exposition.sample(name, labels, seconds(at));
            }
        }
    }
}

impl fmt::Debug for SubscriptionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubscriptionMetrics")
            .field(&self.label)
            .finish()
    }
}

/// The state it is in, and a bit for each in which it was.
#[derive(Debug, Default)]
struct States {
    current: AtomicU8,
    seen: AtomicU8,
}

impl States {
    fn set(&self, condition: Condition) {
        self.current.store(condition.code(), Ordering::Relaxed);
        self.seen.fetch_or(1 << condition.code(), Ordering::Relaxed);
    }

    /// Active, and every other state once it was in it, with whether it is in it now.
    fn shown(&self) -> impl Iterator<Item = (Condition, bool)> {
        let current = self.current.load(Ordering::Relaxed);
        let seen = self.seen.load(Ordering::Relaxed) | 1 << Condition::Active.code();
        let all = Condition::ALL.iter().copied();
        let shown = all.filter(move |condition| seen >> condition.code() & 1 == 1);
        shown.map(move |condition| (condition, condition.code() == current))
    }
}

/// A point in time that may not be known. A gauge of the recorder could not be taken back.
struct Expiry(AtomicI64);

impl Expiry {
    const UNKNOWN: i64 = i64::MIN;

    fn set(&self, at: Option<Timestamp>) {
        let millis = at.map_or(Self::UNKNOWN, Timestamp::as_millis);
        self.0.store(millis, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Timestamp> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis != Self::UNKNOWN).then(|| Timestamp::from_millis(millis))
    }
}

impl Default for Expiry {
    fn default() -> Self {
        Self(AtomicI64::new(Self::UNKNOWN))
    }
}
