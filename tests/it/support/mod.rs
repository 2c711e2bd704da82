//! What integration tests share.

pub(crate) mod certificates;
pub(crate) mod http;
pub(crate) mod lanes;
pub(crate) mod program;
pub(crate) mod receiver;
mod receiver_tests;
pub(crate) mod relay;
pub(crate) mod smtp;

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
