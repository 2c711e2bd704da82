//! `attempt_duration_seconds` and `delivery_delay_seconds`: of each subscription, of all together, or not at all.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::IntoF64;

use crate::metrics::cells::Buckets;
use crate::metrics::exposition::Exposition;
use crate::metrics::families;

/// With more configured subscriptions than this, [`Histograms::Auto`] is as [`Histograms::Shared`].
pub(super) const OWN_HISTOGRAMS_MAX: usize = 1_000;

/// `metrics.histograms`: which histograms there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Histograms {
    /// Those of each subscription up to 1,000 of them, of all together above.
    #[default]
    Auto,
    /// Those of each subscription, with the label `subscription`.
    PerSubscription,
    /// Those of all subscriptions together, without labels.
    Shared,
    /// None.
    None,
}

impl Histograms {
    const fn place(self, subscriptions: usize) -> Place {
        match self {
            Self::Auto if subscriptions <= OWN_HISTOGRAMS_MAX => Place::Own,
            Self::PerSubscription => Place::Own,
            Self::Auto | Self::Shared => Place::Shared,
            Self::None => Place::Nowhere,
        }
    }
}

/// Where values are recorded, and what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Own,
    Shared,
    Nowhere,
}

impl Place {
    const ALL: [Self; 3] = [Self::Own, Self::Shared, Self::Nowhere];

    const fn code(self) -> u8 {
        match self {
            Self::Own => 0,
            Self::Shared => 1,
            Self::Nowhere => 2,
        }
    }
}

/// The histograms of all subscriptions together, and whether they are in use.
pub(super) struct SharedHistograms {
    /// Code of the place.
    place: AtomicU8,
    attempt_duration: Buckets,
    delivery_delay: Buckets,
}

impl SharedHistograms {
    pub(super) fn new() -> Self {
        Self {
            place: AtomicU8::new(Place::Own.code()),
            attempt_duration: Which::AttemptDuration.buckets(),
            delivery_delay: Which::DeliveryDelay.buckets(),
        }
    }

    /// Sets where values are recorded from now on, with this number of subscriptions.
    pub(super) fn use_as(&self, histograms: Histograms, subscriptions: usize) {
        let place = histograms.place(subscriptions);
        self.place.store(place.code(), Ordering::Relaxed);
    }

    pub(super) fn place(&self) -> Place {
        let code = self.place.load(Ordering::Relaxed);
        let place = Place::ALL.into_iter().find(|place| place.code() == code);
        place.unwrap_or(Place::Own)
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
pub(super) enum Which {
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

/// A histogram of one subscription. Records at the place configured at that moment, so that a kept handle stays
/// right over reloads; its own buckets are made, and shown, from the first value on.
pub struct OwnOrShared {
    which: Which,
    own: OnceLock<Buckets>,
    shared: Arc<SharedHistograms>,
}

impl OwnOrShared {
    pub(super) fn new(which: Which, shared: &Arc<SharedHistograms>) -> Self {
        Self {
            which,
            own: OnceLock::new(),
            shared: Arc::clone(shared),
        }
    }

    /// Counts a value.
    pub fn record(&self, value: impl IntoF64) {
        let value = value.into_f64();
        match self.shared.place() {
            Place::Own => self.own.get_or_init(|| self.which.buckets()).record(value),
            Place::Shared => self.shared.get(self.which).record(value),
            Place::Nowhere => {}
        }
    }

    /// Adds its own buckets, if they are in use.
    pub(super) fn render_own(&self, exposition: &mut Exposition, labels: &str) {
        if self.shared.place() == Place::Own
            && let Some(own) = self.own.get()
        {
            exposition.histogram(self.which.family(), labels, own);
        }
    }
}
