//! The families of metrics: names, types and help as they are shown, in the order in which they are shown.
//!
//! Source for names: Prometheus, "Metric and label naming". Metrics of the process have the names that all clients of
//! Prometheus use, without the prefix.

/// How a family counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// One family.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

/// Defines a constant for each name and the table of all, so that neither can exist without the other.
macro_rules! families {
    ($($constant:ident = $name:literal, $kind:expr, $help:literal;)*) => {
        $(pub(super) const $constant: &str = $name;)*

        /// Every family, in the order of the rendering.
        pub(super) const ALL: &[Family] = &[$(Family { name: $name, kind: $kind, help: $help },)*];
    };
}

/// 5 ms to 60 s.
pub(super) const ATTEMPT_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// 5 ms to 5 days.
pub(super) const DELAY_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0,
    3_600.0, 21_600.0, 86_400.0, 432_000.0,
];
/// 0.25 ms to 30 s.
const INGEST_BUCKETS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
/// 0.1 ms to 5 s.
const COMMIT_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
const GROUP_BUCKETS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

families! {
    EVENTS_RECEIVED = "sidehook_events_received_total", Kind::Counter, "Events posted, by how they were answered.";
    EVENTS_UNMATCHED = "sidehook_events_unmatched_total", Kind::Counter, "Events accepted that no subscription matched.";
    INGEST_DURATION = "sidehook_ingest_duration_seconds", Kind::Histogram(INGEST_BUCKETS), "From the head of a request with events to its answer.";
    DELIVERIES = "sidehook_deliveries_total", Kind::Counter, "Deliveries that reached a final state, by which.";
    DEAD_LETTERS = "sidehook_dead_letters_total", Kind::Counter, "Deliveries given up, by reason; a reason is shown once it happened.";
    ALL_DEAD_LETTERS = "sidehook_all_dead_letters_total", Kind::Counter, "Deliveries given up, by reason, all subscriptions together.";
    ATTEMPTS = "sidehook_attempts_total", Kind::Counter, "Attempts that ended, by status.";
    ATTEMPT_FAILURES = "sidehook_attempt_failures_total", Kind::Counter, "Attempts that did not succeed, by reason; a reason is shown once it happened.";
    ALL_ATTEMPT_FAILURES = "sidehook_all_attempt_failures_total", Kind::Counter, "Attempts that did not succeed, by reason, all subscriptions together.";
    OWN_LACKS = "sidehook_attempt_lacks_total", Kind::Counter, "Times that an attempt was put off because this machine lacked descriptors, memory, ports or threads.";
    FILTER_ERRORS = "sidehook_filter_errors_total", Kind::Counter, "Expressions of `when` that could not be evaluated for an event.";
    ATTEMPT_DURATION = "sidehook_attempt_duration_seconds", Kind::Histogram(ATTEMPT_BUCKETS), "Duration of attempts, from dialling to the end of the response.";
    DELIVERY_DELAY = "sidehook_delivery_delay_seconds", Kind::Histogram(DELAY_BUCKETS), "From the acceptance of an event to its delivery.";
    PENDING = "sidehook_pending_deliveries", Kind::Gauge, "Deliveries that wait for an attempt or are in flight, without those held.";
    OLDEST_PENDING_AGE = "sidehook_oldest_pending_age_seconds", Kind::Gauge, "Age of the oldest pending delivery, without those held; 0 when there is none.";
    HELD = "sidehook_held_deliveries", Kind::Gauge, "Deliveries held because the subscription is disabled.";
    BLOCKED = "sidehook_blocked_deliveries", Kind::Gauge, "Deliveries that wait, by their order, for a dead one to be replayed or cancelled.";
    DEAD = "sidehook_dead_deliveries", Kind::Gauge, "Dead letters that can be replayed.";
    IN_FLIGHT = "sidehook_in_flight_attempts", Kind::Gauge, "Attempts under way.";
    CONSECUTIVE_FAILURES = "sidehook_consecutive_failures", Kind::Gauge, "Failed attempts since the last success.";
    ENABLED = "sidehook_subscription_enabled", Kind::Gauge, "1 while the subscription is enabled, else 0.";
    STATE = "sidehook_subscription_state", Kind::Gauge, "1 for the state that the subscription is in, else 0.";
    SECRET_EXPIRY = "sidehook_secret_expiry_timestamp_seconds", Kind::Gauge, "When a previous secret stops signing along, in unix seconds.";
    CERTIFICATE_EXPIRY = "sidehook_tls_certificate_expiry_timestamp_seconds", Kind::Gauge, "When the certificate that the endpoint last showed expires, in unix seconds.";
    STORE_COMMIT = "sidehook_store_commit_seconds", Kind::Histogram(COMMIT_BUCKETS), "Writing and syncing one group of records.";
    STORE_COMMIT_EVENTS = "sidehook_store_commit_events", Kind::Histogram(GROUP_BUCKETS), "Events in one group of records.";
    STORE_SIZE = "sidehook_store_size_bytes", Kind::Gauge, "What the store takes on disk.";
    STORE_PENDING = "sidehook_store_pending_bytes", Kind::Gauge, "Bodies of events that wait for delivery.";
    STORE_HEALTHY = "sidehook_store_healthy", Kind::Gauge, "1 while the store takes events, else 0.";
    CONFIG_RELOADS = "sidehook_config_reloads_total", Kind::Counter, "Reloads of the configuration, by outcome.";
    CONFIG_LAST_SUCCESSFUL = "sidehook_config_last_reload_successful", Kind::Gauge, "1 if the last load or reload of the configuration succeeded, else 0.";
    CONFIG_LAST_SUCCESS = "sidehook_config_last_reload_success_timestamp_seconds", Kind::Gauge, "When the configuration was last loaded or reloaded with success, in unix seconds.";
    LOG_LINES_DROPPED = "sidehook_log_lines_dropped_total", Kind::Counter, "Log lines lost: not read in time, or not writable.";
    BUILD_INFO = "sidehook_build_info", Kind::Gauge, "Always 1; the labels say what runs.";
    PROCESS_CPU = "process_cpu_seconds_total", Kind::Counter, "Total user and system CPU time spent in seconds.";
    PROCESS_RESIDENT = "process_resident_memory_bytes", Kind::Gauge, "Resident memory size in bytes.";
    PROCESS_VIRTUAL = "process_virtual_memory_bytes", Kind::Gauge, "Virtual memory size in bytes.";
    PROCESS_OPEN_FDS = "process_open_fds", Kind::Gauge, "Number of open file descriptors.";
    PROCESS_MAX_FDS = "process_max_fds", Kind::Gauge, "Maximum number of open file descriptors.";
    PROCESS_START = "process_start_time_seconds", Kind::Gauge, "Start time of the process since unix epoch in seconds.";
    PROCESS_THREADS = "process_threads", Kind::Gauge, "Number of OS threads in the process.";
    RUNTIME_TASKS = "sidehook_runtime_tasks", Kind::Gauge, "Tasks of the process that have not ended: lanes, connections and what they run.";
}
