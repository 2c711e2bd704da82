//! Metrics without a recorder: one number each, read when they are rendered.
//!
//! A series of a recorder of metrics-exporter-prometheus costs some 400 bytes, and a subscription has about fifty of them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::IntoF64;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds.
    pub fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Raises it to `value`, if that is more.
    pub fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls. Remembers whether it was ever other than 0.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// The bits of a level that was other than 0 and is 0 again: those of -0.0, which counts as 0.
    const BACK_AT_ZERO: u64 = (-0.0_f64).to_bits();

    /// Sets it.
    pub fn set(&self, value: impl IntoF64) {
        let value = value.into_f64();
        if value != 0.0 {
            self.0.store(value.to_bits(), Ordering::Relaxed);
        } else if self.was_ever_set() {
            self.0.store(Self::BACK_AT_ZERO, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self) -> f64 {
        // Without the sign that 0 may have.
        f64::from_bits(self.0.load(Ordering::Relaxed)) + 0.0
    }

    /// Whether it was ever other than 0.
    pub(super) fn was_ever_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

/// How often values were at most each of some bounds, and their sum.
#[derive(Debug)]
pub(super) struct Buckets {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above; each value is counted in one.
    counts: Box<[AtomicU64]>,
    /// Bits of the sum.
    sum: AtomicU64,
}

impl Buckets {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // Always some: it never fails.
        self.sum
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .ok();
    }

    /// Adds the lines of a histogram; `labels` are written out, without braces.
    pub(super) fn render(&self, name: &str, labels: &str, out: &mut String) {
        let (mut total, comma) = (0, if labels.is_empty() { "" } else { "," });
        let bounds = self.bounds.iter().map(f64::to_string);
        let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
        for (count, bound) in self.counts.iter().zip(bounds) {
            total += count.load(Ordering::Relaxed);
            // Writing to a string does not fail.
            writeln!(
                out,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}"
            )
            .ok();
        }
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed));
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        writeln!(
            out,
            "{name}_sum{braces} {sum}\n{name}_count{braces} {total}"
        )
        .ok();
    }
}
