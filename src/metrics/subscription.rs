//! The metrics of one subscription.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use metrics::{Counter, Gauge, Histogram, HistogramFn};

use crate::domain::{AttemptStatus, DeadReason, FailureReason, SubscriptionName, Timestamp};
use crate::metrics::exposition::Exposition;
use crate::metrics::families::{self, Kind};
use crate::metrics::recorder::Recorder;
use crate::metrics::seconds;

/// Handles of one subscription's metrics; every series exists, at 0, from the start.
pub struct SubscriptionMetrics {
    /// `deliveries_total`: arrived.
    pub delivered: Counter,
    /// `deliveries_total`: given up.
    pub dead: Counter,
    /// `deliveries_total`: cancelled.
    pub cancelled: Counter,
    /// `deliveries_total`: matched while the subscription was disabled with `when_disabled: skip`.
    pub skipped: Counter,
    /// `filter_errors_total`: `when` could not be evaluated.
    pub filter_errors: Counter,
    /// `attempt_lacks_total`
    pub own_lacks: Counter,
    /// `attempt_duration_seconds`
    pub attempt_duration: Histogram,
    /// `delivery_delay_seconds`: from acceptance to arrival.
    pub delivery_delay: Histogram,
    /// `pending_deliveries`, without held ones.
    pub pending: Gauge,
    /// `oldest_pending_age_seconds`, without held ones.
    pub oldest_pending_age: Gauge,
    /// `held_deliveries`
    pub held: Gauge,
    /// `blocked_deliveries`: behind a dead one.
    pub blocked: Gauge,
    /// `dead_deliveries`: dead letters that can be replayed.
    pub dead_deliveries: Gauge,
    /// `in_flight_attempts`
    pub in_flight: Gauge,
    /// `consecutive_failures`
    pub consecutive_failures: Gauge,
    /// `subscription_enabled`: 1 or 0.
    pub enabled: Gauge,
    attempts: ByCode,
    failures: ByCode,
    dead_letters: ByCode,
    secret_expiry: Expiry,
    certificate_expiry: Expiry,
    label: String,
    recorder: Recorder,
}

impl SubscriptionMetrics {
    pub(super) fn new(name: &SubscriptionName, shared: &SharedHistograms) -> Self {
        let recorder = Recorder::new();
        let own = ("subscription", name.as_str());
        let counter = |family, label, value| recorder.counter(family, &[own, (label, value)]);
        let gauge = |family| recorder.gauge(family, &[own]);
        let histogram = |family, common: &Histogram| {
            Histogram::from_arc(Arc::new(OwnOrShared {
                own: recorder.histogram(family, &[own]),
                shared: common.clone(),
                use_shared: Arc::clone(&shared.in_use),
            }))
        };
        let outcome = |outcome| counter(families::DELIVERIES, "outcome", outcome);
        Self {
            delivered: outcome("delivered"),
            dead: outcome("dead"),
            cancelled: outcome("cancelled"),
            skipped: outcome("skipped"),
            filter_errors: recorder.counter(families::FILTER_ERRORS, &[own]),
            own_lacks: recorder.counter(families::OWN_LACKS, &[own]),
            attempt_duration: histogram(families::ATTEMPT_DURATION, &shared.attempt_duration),
            delivery_delay: histogram(families::DELIVERY_DELAY, &shared.delivery_delay),
            pending: gauge(families::PENDING),
            oldest_pending_age: gauge(families::OLDEST_PENDING_AGE),
            held: gauge(families::HELD),
            blocked: gauge(families::BLOCKED),
            dead_deliveries: gauge(families::DEAD),
            in_flight: gauge(families::IN_FLIGHT),
            consecutive_failures: gauge(families::CONSECUTIVE_FAILURES),
            enabled: gauge(families::ENABLED),
            attempts: ByCode::new(AttemptStatus::ALL.iter().map(|status| {
                let text = status.as_str();
                (status.code(), counter(families::ATTEMPTS, "status", text))
            })),
            failures: ByCode::new(FailureReason::ALL.iter().map(|reason| {
                let text = reason.as_str();
                (
                    reason.code(),
                    counter(families::ATTEMPT_FAILURES, "reason", text),
                )
            })),
            dead_letters: ByCode::new(DeadReason::ALL.iter().map(|reason| {
                let text = reason.as_str();
                (
                    reason.code(),
                    counter(families::DEAD_LETTERS, "reason", text),
                )
            })),
            secret_expiry: Expiry::default(),
            certificate_expiry: Expiry::default(),
            label: format!("{{subscription=\"{name}\"}}"),
            recorder,
        }
    }

    /// Counter of `attempts_total`.
    pub fn attempts(&self, status: AttemptStatus) -> &Counter {
        self.attempts.get(status.code())
    }

    /// Counter of `attempt_failures_total`.
    pub fn failures(&self, reason: FailureReason) -> &Counter {
        self.failures.get(reason.code())
    }

    /// Counter of `dead_letters_total`.
    pub fn dead_letters(&self, reason: DeadReason) -> &Counter {
        self.dead_letters.get(reason.code())
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
        exposition.add_if(&self.recorder.render(), |kind| {
            !(without_histograms && matches!(kind, Kind::Histogram(_)))
        });
        for (name, expiry) in [
            (families::SECRET_EXPIRY, &self.secret_expiry),
            (families::CERTIFICATE_EXPIRY, &self.certificate_expiry),
        ] {
            if let Some(at) = expiry.get() {
                exposition.sample(name, &self.label, seconds(at));
            }
        }
    }

    pub(super) fn upkeep(&self) {
        self.recorder.upkeep();
    }
}

impl fmt::Debug for SubscriptionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubscriptionMetrics")
            .field(&self.label)
            .finish()
    }
}

/// Counters of one family by the code of their label: an array lookup.
struct ByCode(Box<[Counter]>);

impl ByCode {
    fn new(counters: impl Iterator<Item = (u8, Counter)>) -> Self {
        let mut by_code = Vec::new();
        for (code, counter) in counters {
            let place = usize::from(code);
            if by_code.len() <= place {
                by_code.resize(place + 1, Counter::noop());
            }
            if let Some(slot) = by_code.get_mut(place) {
                *slot = counter;
            }
        }
        Self(by_code.into())
    }

    fn get(&self, code: u8) -> &Counter {
        static NONE: Counter = Counter::noop();
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
    pub(super) recorder: Recorder,
    pub(super) in_use: Arc<AtomicBool>,
    attempt_duration: Histogram,
    delivery_delay: Histogram,
}

impl SharedHistograms {
    pub(super) fn new() -> Self {
        let recorder = Recorder::new();
        Self {
            attempt_duration: recorder.histogram(families::ATTEMPT_DURATION, &[]),
            delivery_delay: recorder.histogram(families::DELIVERY_DELAY, &[]),
            in_use: Arc::new(AtomicBool::new(false)),
            recorder,
        }
    }
}

/// Records where the number of subscriptions says at that moment, so that a kept handle stays right over reloads.
struct OwnOrShared {
    own: Histogram,
    shared: Histogram,
    use_shared: Arc<AtomicBool>,
}

impl HistogramFn for OwnOrShared {
    fn record(&self, value: f64) {
        if self.use_shared.load(Ordering::Relaxed) {
            self.shared.record(value);
        } else {
            self.own.record(value);
        }
    }
}
