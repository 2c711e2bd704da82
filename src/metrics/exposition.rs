//! The text that Prometheus scrapes (text format 0.0.4), merged from the renderings of several recorders.
//!
//! A family must be rendered in one block, with its help and type before it. Recorders do so for themselves; this puts
//! the samples of all of them together, in the order of the table, and leaves out families that have none.

use std::collections::HashMap;
use std::fmt::{Display, Write as _};

use crate::metrics::cells::Buckets;
use crate::metrics::families;

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

    /// Adds a histogram. `labels` is empty or written out, without braces.
    pub(super) fn histogram(&mut self, name: &'static str, labels: &str, buckets: &Buckets) {
        buckets.render(name, labels, self.samples.entry(name).or_default());
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        let mut text = String::with_capacity(self.samples.values().map(String::len).sum());
        for family in families::ALL {
            if let Some(samples) = self.samples.get(family.name) {
                text.push_str(&format!(
                    "# HELP {name} {help}\n# TYPE {name} {kind}\n",
                    name = family.name,
                    help = family.help,
                    kind = family.kind.as_str(),
                ));
                text.push_str(samples);
            }
        }
        text
    }
}
