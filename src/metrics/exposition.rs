//! The text that Prometheus scrapes (text format 0.0.4), merged from the renderings of several recorders.
//!
//! A family must be rendered in one block, with its help and type before it. Recorders do so for themselves; this puts
//! the samples of all of them together, in the order of the table, and leaves out families that have none.

use std::collections::HashMap;
use std::fmt::{Display, Write as _};

use crate::domain::Timestamp;
use crate::metrics::cells::{Buckets, Count, Level};
use crate::metrics::families;

/// When a series is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// From the start, at 0: `increase` then misses no later change.
    Always,
    /// Once it was other than 0, and then always.
    OnceHappened,
}

/// The samples of each family so far, as lines.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    samples: HashMap<&'static str, String>,
}

impl Exposition {
    /// Adds what a recorder rendered.
    pub(super) fn add(&mut self, rendered: &str) {
        let mut samples = None;
        for line in rendered.lines() {
            if let Some(comment) = line.strip_prefix("# TYPE ") {
                let name = comment.split(' ').next().unwrap_or_default();
                let family = families::ALL.iter().find(|family| family.name == name);
                samples = family.map(|family| self.samples.entry(family.name).or_default());
            } else if !line.is_empty()
                && let Some(samples) = &mut samples
            {
                samples.push_str(line);
                samples.push('\n');
            }
        }
    }

    /// Adds one sample. `labels` is empty or written out with its braces.
    pub(super) fn sample(&mut self, name: &'static str, labels: impl Display, value: impl Display) {
        let samples = self.samples.entry(name).or_default();
        // Writing to a string does not fail.
        writeln!(samples, "{name}{labels} {value}").ok();
    }

    /// Adds a count, if it is to be shown.
    pub(super) fn count(
        &mut self,
        name: &'static str,
        labels: impl Display,
        count: &Count,
        shown: Shown,
    ) {
        let value = count.get();
        if shown == Shown::Always || value > 0 {
            self.sample(name, labels, value);
        }
    }

    /// Adds a level, if it is to be shown.
    pub(super) fn level(
        &mut self,
        name: &'static str,
        labels: impl Display,
        level: &Level,
        shown: Shown,
    ) {
        if shown == Shown::Always || level.was_ever_set() {
            self.sample(name, labels, level.get());
        }
    }

    /// Adds a histogram. `labels` is empty or written out, without braces.
    pub(super) fn histogram(&mut self, name: &'static str, labels: &str, buckets: &Buckets) {
        buckets.render(name, labels, self.samples.entry(name).or_default());
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        let mut text = String::with_capacity(self.samples.values().map(String::len).sum());
        for family in families::ALL {
            // Taken out, so that no family stays in memory twice.
            if let Some(samples) = self.samples.remove(family.name) {
                text.push_str(&format!(
                    "# HELP {name} {help}\n# TYPE {name} {kind}\n",
                    name = family.name,
                    help = family.help,
                    kind = family.kind.as_str(),
                ));
                text.push_str(&samples);
            }
        }
        text
    }
}

/// Unix seconds with their fraction, as Prometheus counts time.
pub(super) fn seconds(at: Timestamp) -> f64 {
    let millis = at.since(Timestamp::default());
    millis.as_secs_f64()
}
