//! `GET /v1/events` and `GET /v1/events/{id}`. Headers and the body of an event need the scope `manage`.

use crate::admin::answer::{self, Answer};
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::views::list;
use crate::api;
use crate::store::EventFilter;

const NO_EVENT: &str = "there is no such event, or it is no longer kept";

/// The list.
pub(super) async fn all(call: Call) -> Result<Answer, Refusal> {
    let filter = EventFilter {
        event_type: call.query.label("type")?,
        given_id: call.query.label("given_id")?,
        since: call.query.time("since")?,
        until: call.query.time("until")?,
    };
    let page = call.query.page()?;
    let found = call.admin.store.history().events(filter, page).await?;
    Ok(list(found, |it| api::Event::new(&it)))
}

/// One.
pub(super) async fn one(call: Call) -> Result<Answer, Refusal> {
    let id = call.event_id(NO_EVENT).await?;
    let found = call.admin.store.history().event(&id).await?;
    let found = found.ok_or_else(|| Refusal::not_found(NO_EVENT))?;
    let deliveries = found
        .deliveries
        .iter()
        .map(|it| api::Delivery::new(it, call.admin.flow(&it.id.subscription)));
    let deliveries = deliveries.collect();
    Ok(answer::json(&api::EventWithDeliveries::new(
        &found,
        deliveries,
        call.scopes.manage,
    )))
}
