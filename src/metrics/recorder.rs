//! A recorder of metrics-exporter-prometheus with its handles, without its listener and not installed.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::metrics::families::{self, Kind};

/// Labels of a series: name and value.
pub(super) type Labels<'l> = [(&'static str, &'l str)];

/// Makes handles and renders what they recorded.
#[derive(Debug)]
pub(super) struct Recorder {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Recorder {
    /// A recorder with the buckets of every histogram.
    pub(super) fn new() -> Self {
        let builder = families::ALL
            .iter()
            .fold(PrometheusBuilder::new(), with_buckets);
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    /// The counter with these labels, at 0 from now on.
    pub(super) fn counter(&self, name: &'static str, labels: &Labels<'_>) -> Counter {
        self.recorder
            .register_counter(&key(name, labels), &metadata())
    }

    /// The gauge with these labels, at 0 from now on.
    pub(super) fn gauge(&self, name: &'static str, labels: &Labels<'_>) -> Gauge {
        self.recorder
            .register_gauge(&key(name, labels), &metadata())
    }

    /// The histogram with these labels, empty from now on.
    pub(super) fn histogram(&self, name: &'static str, labels: &Labels<'_>) -> Histogram {
        self.recorder
            .register_histogram(&key(name, labels), &metadata())
    }

    /// The recorded metrics, in Prometheus text format.
    pub(super) fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds what histograms recorded into their buckets.
    pub(super) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

#[expect(
    clippy::expect_used,
    reason = "fails for empty lists only, and the table has none"
)]
fn with_buckets(builder: PrometheusBuilder, family: &families::Family) -> PrometheusBuilder {
    match family.kind {
        Kind::Counter | Kind::Gauge => builder,
        Kind::Histogram(buckets) => builder
            .set_buckets_for_metric(Matcher::Full(family.name.to_owned()), buckets)
            .expect("a histogram has buckets"),
    }
}

fn key(name: &'static str, labels: &Labels<'_>) -> Key {
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect();
    Key::from_parts(name, labels)
}

/// The exporter does not use it.
const fn metadata() -> Metadata<'static> {
    Metadata::new("sidehook", Level::INFO, None)
}
