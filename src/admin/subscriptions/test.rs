//! `POST …/{name}/test`: sends a `sidehook.test` event and tells how that went. Nothing of it is recorded.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::answer::{Answer, json};
use crate::admin::body::only;
use crate::admin::control::Command;
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::subscriptions::NO_SUBSCRIPTION;
use crate::admin::views::{Ended, Failure, Time, millis, text_or_base64};
use crate::domain::{Outcome, SubscriptionName};

/// Longer than the longest `timeout`, 1 h: the attempt itself ends before.
pub(in crate::admin) const TEST_PATIENCE: Duration = Duration::from_secs(3660);

/// An attempt of an event that is not recorded.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TestAttempt")]
pub(in crate::admin) struct TestAttemptView {
    /// `sidehook.test`
    event: &'static str,
    /// Always 1
    attempt: u32,
    /// How it ended
    status: Ended,
    /// Why it failed
    reason: Option<Failure>,
    /// The status code of the response, if one came
    response_code: Option<u16>,
    /// What went wrong; of a response the phrase of its status
    error_message: Option<String>,
    /// How long it took, milliseconds
    duration_ms: u64,
    /// When it began
    created_at: Time,
    /// The beginning of the response body; null if it is no UTF-8
    response_body: Option<String>,
    /// The same in base64, if it is no UTF-8
    response_body_base64: Option<String>,
}

impl TestAttemptView {
    fn new(outcome: &Outcome) -> Self {
        let (response_body, response_body_base64) = text_or_base64(&outcome.response_prefix);
        Self {
            event: "sidehook.test",
            attempt: 1,
            status: Ended(outcome.status),
            reason: outcome.reason.map(Failure),
            response_code: outcome.response_code,
            error_message: outcome.error_message.as_deref().map(str::to_owned),
            duration_ms: millis(outcome.duration),
            created_at: Time(outcome.started_at),
            response_body,
            response_body_base64,
        }
    }
}

/// Sends it, also to one that is disabled.
pub(in crate::admin) async fn test(call: Call) -> Result<Answer, Refusal> {
    let name: SubscriptionName = call.named(NO_SUBSCRIPTION)?;
    only(&call.body, &[])?;
    if !call
        .admin
        .control
        .config()
        .subscriptions
        .contains_key(&name)
    {
        return Err(call.admin.no_subscription(&name));
    }
    let asked = call.admin.control.ask(|answer| Command::Test(name, answer));
    let attempt = asked.await.ok_or_else(Refusal::stopping)?;
    let no_url = || Refusal::conflict("no_url", "it has no url: there is nothing to send to");
    let outcome = attempt.ok_or_else(no_url)?.await;
    Ok(json(&TestAttemptView::new(&outcome)))
}
