//! `POST …/{name}/test`: sends a `sidehook.test` event and reports the outcome. Nothing of it is recorded.

use std::time::Duration;

use crate::admin::answer::{Answer, json};
use crate::admin::body::nothing;
use crate::admin::control::Command;
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::state::NO_SUBSCRIPTION;
use crate::api::TestAttempt;
use crate::domain::SubscriptionName;

/// Longer than the longest `timeout`, 1 h: the attempt itself ends before.
pub(in crate::admin) const TEST_PATIENCE: Duration = Duration::from_secs(3660);

/// Sends it, also to one that is disabled.
pub(in crate::admin) async fn test(call: Call) -> Result<Answer, Refusal> {
    let name: SubscriptionName = call.named(NO_SUBSCRIPTION)?;
    nothing(&call.body)?;
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
    Ok(json(&TestAttempt::new(&outcome)))
}
