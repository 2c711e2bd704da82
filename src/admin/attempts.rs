//! `GET /v1/subscriptions/{name}/attempts`: the log of a subscription.

use crate::admin::answer::Answer;
use crate::admin::operation::Call;
use crate::admin::query::{Kind, Parameter};
use crate::admin::refusal::Refusal;
use crate::admin::state::NO_SUBSCRIPTION;
use crate::admin::views::list;
use crate::api;
use crate::domain::{AttemptStatus, SubscriptionName};
use crate::store::AttemptFilter;

/// The parameter `status`.
pub(super) const STATUS: Parameter = Parameter {
    name: "status",
    kind: Kind::OneOf(|| AttemptStatus::ALL.iter().map(|it| it.as_str()).collect()),
    about: "Only those that ended so",
};

/// Newest first; also of one that is gone from the file, as long as its attempts are kept.
pub(super) async fn of_subscription(call: Call) -> Result<Answer, Refusal> {
    let name: SubscriptionName = call.named(NO_SUBSCRIPTION)?;
    let filter = AttemptFilter {
        status: call
            .query
            .one_of("status", AttemptStatus::ALL, AttemptStatus::as_str)?,
        since: call.query.time("since")?,
        until: call.query.time("until")?,
    };
    let page = call.query.page()?;
    if !call.admin.knows(&name) {
        return Err(call.admin.no_subscription(&name));
    }
    let mut found = call
        .admin
        .store
        .history()
        .attempts(&name, filter, page)
        .await?;
    // Kept in the order in which they ended; attempts side by side may have begun in another.
    found
        .items
        .sort_by_key(|it| std::cmp::Reverse(it.attempt.started_at));
    let flow = call.admin.flow(&name);
    Ok(list(found, |it| {
        api::Attempt::new(&it.delivery, &it.attempt, flow)
    }))
}
