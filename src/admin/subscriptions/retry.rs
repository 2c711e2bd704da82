//! `POST …/{name}/retry`: attempts everything that waits for a retry now.

use crate::admin::answer::Answer;
use crate::admin::body::nothing;
use crate::admin::control::Command;
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::replays::begun;
use crate::admin::state::NO_SUBSCRIPTION;
use crate::admin::subscriptions::view::blocked;
use crate::api::{Begun, Retried};
use crate::domain::{DeliveryState, Flow, SubscriptionName};
use crate::store::{OperationError, ReplayRequest};

/// Ends a pause and probing, and begins to make due what waits for its retry.
pub(in crate::admin) async fn retry(call: Call) -> Result<Answer, Refusal> {
    let name: SubscriptionName = call.named(NO_SUBSCRIPTION)?;
    nothing(&call.body)?;
    let config = call.admin.control.config();
    if !config.subscriptions.contains_key(&name) {
        return Err(call.admin.no_subscription(&name));
    }
    if call.admin.flow(&name) == Flow::Held {
        return Err(OperationError::Disabled.into());
    }
    let hurried = call
        .admin
        .control
        .ask(|answer| Command::Hurry(name.clone(), answer));
    // It may be gone from the file since: then nothing is attempted anyway.
    let _gone = hurried.await.ok_or_else(Refusal::stopping)?;
    let request = ReplayRequest {
        subscription: name.clone(),
        state: DeliveryState::Pending,
        since: None,
        until: None,
        event_type: None,
        rate_limit: None,
    };
    let (id, matched) = call.admin.store.replays().begin(request).await?;
    let tally = call.admin.store.history().tally(&name).await?;
    let (blocked, blocked_by) = blocked(&call.admin, &name, &tally);
    let retried = Retried {
        begun: Begun {
            id: id.0.to_string(),
            matched,
        },
        blocked,
        blocked_by,
    };
    Ok(begun(id, &retried))
}
