//! The sections `log` and `metrics`.

use crate::config::form::Choice;
use crate::config::keyed::keys;
use crate::metrics::Histograms;

keys! {
    /// `log`
    #[derive(Debug, Clone, PartialEq, Eq)]
    section pub struct Log {
        "auto: pretty on a terminal, json otherwise."
        format: LogFormat = LogFormat::Auto => FORMATS;
        "The least severe level that is logged."
        level: LogLevel = LogLevel::Info => LEVELS;
    }
}

keys! {
    /// `metrics`
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    section pub struct MetricsConfig {
        "attempt_duration_seconds and delivery_delay_seconds: per_subscription adds the label subscription, 38 series each; shared is for all subscriptions together; none leaves them out; auto is per_subscription up to 1,000 subscriptions, else shared."
        histograms: Histograms = Histograms::Auto => HISTOGRAMS;
    }
}

const FORMATS: Choice<LogFormat> = Choice(&[
    ("auto", LogFormat::Auto),
    ("pretty", LogFormat::Pretty),
    ("json", LogFormat::Json),
]);

const LEVELS: Choice<LogLevel> = Choice(&[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
]);

const HISTOGRAMS: Choice<Histograms> = Choice(&[
    ("auto", Histograms::Auto),
    ("per_subscription", Histograms::PerSubscription),
    ("shared", Histograms::Shared),
    ("none", Histograms::None),
]);

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// An operator must act, or data is lost.
    Error,
    /// Dead letters, degraded work.
    Warn,
    /// Start, stop, configuration.
    Info,
    /// One delivery's details.
    Debug,
    /// Everything.
    Trace,
}
