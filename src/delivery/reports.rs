//! Where lanes report.

use crate::alerts::Alerts;
use crate::feed::Feed;

/// Where lanes report.
#[derive(Debug, Clone)]
pub struct Reports {
    /// Live events.
    pub feed: Feed,
    /// Operators.
    pub alerts: Alerts,
}
