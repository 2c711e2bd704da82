//! The metrics of one subscription.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::IntoF64;

use crate::domain::{
    AttemptStatus, Condition, DeadReason, FailureReason, SubscriptionName, Timestamp,
};
use crate::metrics::cells::{Buckets, Count, Level};
use crate::metrics::exposition::Exposition;
use crate::metrics::families;
use crate::metrics::seconds;

/// Metrics of one subscription; every series exists, at 0, from the start.
pub struct SubscriptionMetrics {
    /// `deliveries_total`: arrived.
    pub delivered: Count,
    /// `deliveries_total`: given up.
    pub dead: Count,
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
    /// The code of the [`Condition`].
    condition: AtomicU8,
    attempts: ByCode,
    failures: ByCode,
    dead_letters: ByCode,
    secret_expiry: Expiry,
    certificate_expiry: Expiry,
    /// The label `subscription`, written out.
    label: Box<str>,
}

impl SubscriptionMetrics {
    pub(super) fn new(name: &SubscriptionName, shared: &Arc<SharedHistograms>) -> Self {
        Self {
            delivered: Count::default(),
            dead: Count::default(),
            cancelled: Count::default(),
            skipped: Count::default(),
            filter_errors: Count::default(),
            own_lacks: Count::default(),
            attempt_duration: OwnOrShared::new(Which::AttemptDuration, shared),
            delivery_delay: OwnOrShared::new(Which::DeliveryDelay, shared),
            pending: Level::default(),
            oldest_pending_age: Level::default(),
            held: Level::default(),
            blocked: Level::default(),
            dead_deliveries: Level::default(),
            in_flight: Level::default(),
            consecutive_failures: Level::default(),
            enabled: Level::default(),
            condition: AtomicU8::new(Condition::Active.code()),
            attempts: ByCode::new(AttemptStatus::ALL.iter().map(|status| status.code())),
            failures: ByCode::new(FailureReason::ALL.iter().map(|reason| reason.code())),
            dead_letters: ByCode::new(DeadReason::ALL.iter().map(|reason| reason.code())),
            secret_expiry: Expiry::default(),
            certificate_expiry: Expiry::default(),
            label: format!("subscription=\"{name}\"").into(),
        }
    }

    /// Counter of `attempts_total`.
    pub fn attempts(&self, status: AttemptStatus) -> &Count {
        self.attempts.get(status.code())
    }

    /// Counter of `attempt_failures_total`.
    pub fn failures(&self, reason: FailureReason) -> &Count {
        self.failures.get(reason.code())
    }

    /// Counter of `dead_letters_total`.
    pub fn dead_letters(&self, reason: DeadReason) -> &Count {
        self.dead_letters.get(reason.code())
    }

    /// Sets `subscription_state`.
    pub fn set_condition(&self, condition: Condition) {
        self.condition.store(condition.code(), Ordering::Relaxed);
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

    /// Adds everything, or without its histograms where the shared ones stand for them.
    pub(super) fn render(&self, exposition: &mut Exposition, without_histograms: bool) {
        self.render_counts(exposition);
        self.render_levels(exposition);
        if !without_histograms {
            self.attempt_duration.render_own(exposition, &self.label);
            self.delivery_delay.render_own(exposition, &self.label);
        }
    }

    fn render_counts(&self, exposition: &mut Exposition) {
        let own = &self.label;
        let outcomes = [
            ("delivered", &self.delivered),
            ("dead", &self.dead),
            ("cancelled", &self.cancelled),
            ("skipped", &self.skipped),
        ];
        for (outcome, count) in outcomes {
            let labels = format_args!("{{{own},outcome=\"{outcome}\"}}");
            exposition.sample(families::DELIVERIES, labels, count.get());
        }
        for status in AttemptStatus::ALL {
            let labels = format_args!("{{{own},status=\"{}\"}}", status.as_str());
            exposition.sample(families::ATTEMPTS, labels, self.attempts(*status).get());
        }
        for reason in FailureReason::ALL {
            let labels = format_args!("{{{own},reason=\"{}\"}}", reason.as_str());
            let count = self.failures(*reason).get();
            exposition.sample(families::ATTEMPT_FAILURES, labels, count);
        }
        for reason in DeadReason::ALL {
            let labels = format_args!("{{{own},reason=\"{}\"}}", reason.as_str());
            let count = self.dead_letters(*reason).get();
            exposition.sample(families::DEAD_LETTERS, labels, count);
        }
        let labels = format_args!("{{{own}}}");
        exposition.sample(families::FILTER_ERRORS, labels, self.filter_errors.get());
        exposition.sample(families::OWN_LACKS, labels, self.own_lacks.get());
    }

    fn render_levels(&self, exposition: &mut Exposition) {
        let own = &self.label;
        let current = self.condition.load(Ordering::Relaxed);
        for condition in Condition::ALL {
            let labels = format_args!("{{{own},state=\"{}\"}}", condition.as_str());
            let is_current = u8::from(condition.code() == current);
            exposition.sample(families::STATE, labels, is_current);
        }
        let labels = format_args!("{{{own}}}");
        for (name, level) in [
            (families::PENDING, &self.pending),
            (families::OLDEST_PENDING_AGE, &self.oldest_pending_age),
            (families::HELD, &self.held),
            (families::BLOCKED, &self.blocked),
            (families::DEAD, &self.dead_deliveries),
            (families::IN_FLIGHT, &self.in_flight),
            (families::CONSECUTIVE_FAILURES, &self.consecutive_failures),
            (families::ENABLED, &self.enabled),
        ] {
            exposition.sample(name, labels, level.get());
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

/// Counts of one family by the code of their label: an array lookup.
struct ByCode(Box<[Count]>);

impl ByCode {
    fn new(codes: impl Iterator<Item = u8>) -> Self {
        let length = codes.max().map_or(0, |code| usize::from(code) + 1);
        Self((0..length).map(|_| Count::default()).collect())
    }

    fn get(&self, code: u8) -> &Count {
        static NONE: Count = Count::new();
        self.0.get(usize::from(code)).unwrap_or(&NONE)
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

/// The histograms of all subscriptions together, used while there are too many for each to have its own.
pub(super) struct SharedHistograms {
    pub(super) in_use: AtomicBool,
    attempt_duration: Buckets,
    delivery_delay: Buckets,
}

impl SharedHistograms {
    pub(super) fn new() -> Self {
        Self {
            in_use: AtomicBool::new(false),
            attempt_duration: Which::AttemptDuration.buckets(),
            delivery_delay: Which::DeliveryDelay.buckets(),
        }
    }

    pub(super) fn render(&self, exposition: &mut Exposition) {
        for which in [Which::AttemptDuration, Which::DeliveryDelay] {
            exposition.histogram(which.family(), "", self.get(which));
        }
    }

    fn get(&self, which: Which) -> &Buckets {
        match which {
            Which::AttemptDuration => &self.attempt_duration,
            Which::DeliveryDelay => &self.delivery_delay,
        }
    }
}

/// The histograms that a subscription has.
#[derive(Debug, Clone, Copy)]
enum Which {
    AttemptDuration,
    DeliveryDelay,
}

impl Which {
    const fn family(self) -> &'static str {
        match self {
            Self::AttemptDuration => families::ATTEMPT_DURATION,
            Self::DeliveryDelay => families::DELIVERY_DELAY,
        }
    }

    fn buckets(self) -> Buckets {
        Buckets::new(match self {
            Self::AttemptDuration => families::ATTEMPT_BUCKETS,
            Self::DeliveryDelay => families::DELAY_BUCKETS,
        })
    }
}

/// A histogram of one subscription. Records where the number of subscriptions says at that moment, so that a kept handle
/// stays right over reloads; its own buckets are made when they are first needed.
pub struct OwnOrShared {
    which: Which,
    own: OnceLock<Buckets>,
    shared: Arc<SharedHistograms>,
}

impl OwnOrShared {
    fn new(which: Which, shared: &Arc<SharedHistograms>) -> Self {
        Self {
            which,
            own: OnceLock::new(),
            shared: Arc::clone(shared),
        }
    }

    /// Counts a value.
    pub fn record(&self, value: impl IntoF64) {
        let value = value.into_f64();
        if self.shared.in_use.load(Ordering::Relaxed) {
            self.shared.get(self.which).record(value);
        } else {
            self.own().record(value);
        }
    }

    fn own(&self) -> &Buckets {
        self.own.get_or_init(|| self.which.buckets())
    }

    fn render_own(&self, exposition: &mut Exposition, labels: &str) {
        exposition.histogram(self.which.family(), labels, self.own());
    }
}
