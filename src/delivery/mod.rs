//! Delivery: what is pending in the store becomes attempts, and their outcomes go back to the store.
//!
//! - `lanes`: one lane per subscription; starts them, hands them new settings, reports on them
//! - `lane`: one of them; `lane_loop`: when its attempts begin; `reports`: where it reports
//! - `attempt`: one attempt from request to recorded outcome; `outcome` classifies it, `retry` decides what follows
//! - `settings`: the prepared form of a subscription's definition for its lane
//! - `lane_status`: held, paused, failing in a row; `stops`: the spans that do not count towards `max_age`
//! - `disabling`: when it is disabled by itself
//! - `last_report`: alerts about a subscription; `own`: sidehook's own subscriptions, which deliver them
//! - `trial`: a test on request
//! - `probe`: an endpoint that is down is tried by one delivery at a time; `rate`: the field `rate_limit`
//!
//! Leaves to `store` what is ready, due and durable; to `request`, `signing` and `egress` what is sent and how.
//! Invariants: at most one attempt of a delivery is in flight; no lane waits for the index, for another lane beyond its
//! turn (`turns`), or for anything but its endpoint, its outcome being written, and the time; what an attempt leads to
//! is recorded in one step with its outcome; every task belongs to [`Lanes`].

mod attempt;
mod disabling;
mod lane;
mod lane_loop;
mod lane_status;
mod lanes;
mod last_report;
mod orders;
mod outcome;
mod own;
mod probe;
mod rate;
mod reports;
mod retry;
mod settings;
mod slots;
mod stops;
mod trial;
mod turns;

pub use lanes::{LaneError, Lanes};
pub use reports::Reports;
pub use settings::{SettingsError, SettingsProblem, check};
