//! `/v1/deliveries`: the list, one with its attempts, and what can be done with it: replay, cancel.

use crate::admin::answer::{self, Answer};
use crate::admin::body::nothing;
use crate::admin::operation::Call;
use crate::admin::query::{Kind, Parameter};
use crate::admin::refusal::Refusal;
use crate::admin::views::list;
use crate::api;
use crate::domain::{DeliveryId, DeliveryState};
use crate::feed::FeedEvent;
use crate::store::{DeliveryFilter, DeliveryView};

const NO_DELIVERY: &str = "there is no such delivery, or its event is no longer kept";

/// The parameter `state`.
pub(super) const STATE: Parameter = Parameter {
    name: "state",
    kind: Kind::OneOf(|| DeliveryState::ALL.iter().map(|it| it.as_str()).collect()),
    about: "Only those in this state",
};

/// The list.
pub(super) async fn all(call: Call) -> Result<Answer, Refusal> {
    let filter = DeliveryFilter {
        subscription: call.query.name("subscription")?,
        state: call
            .query
            .one_of("state", DeliveryState::ALL, DeliveryState::as_str)?,
        since: call.query.time("since")?,
        until: call.query.time("until")?,
    };
    let page = call.query.page()?;
    let found = call.admin.store.history().deliveries(filter, page).await?;
    let flow = |it: &DeliveryId| call.admin.flow(&it.subscription);
    Ok(list(found, |it| api::Delivery::new(&it, flow(&it.id))))
}

/// One.
pub(super) async fn one(call: Call) -> Result<Answer, Refusal> {
    let id = call.delivery_id(NO_DELIVERY).await?;
    show(&call, &id).await
}

/// Makes it pending again, or due now.
pub(super) async fn replay(call: Call) -> Result<Answer, Refusal> {
    let id = call.delivery_id(NO_DELIVERY).await?;
    nothing(&call.body)?;
    if let Err(error) = call.admin.store.replay(&id).await {
        // The store refuses for a disabled subscription before it looks for the delivery.
        show(&call, &id).await?;
        return Err(error.into());
    }
    tell(&call, &id, DeliveryState::Pending);
    show(&call, &id).await
}

/// Takes it back.
pub(super) async fn cancel(call: Call) -> Result<Answer, Refusal> {
    let id = call.delivery_id(NO_DELIVERY).await?;
    nothing(&call.body)?;
    call.admin.store.cancel(&id).await?;
    tell(&call, &id, DeliveryState::Cancelled);
    show(&call, &id).await
}

fn tell(call: &Call, id: &DeliveryId, state: DeliveryState) {
    call.admin.feed.publish(|| FeedEvent::Delivery {
        id: id.clone(),
        state,
    });
}

async fn show(call: &Call, id: &DeliveryId) -> Result<Answer, Refusal> {
    let found = call.admin.store.history().delivery(id).await?;
    let found = found.ok_or_else(|| Refusal::not_found(NO_DELIVERY))?;
    let DeliveryView { summary, attempts } = &found;
    let flow = call.admin.flow(&summary.id.subscription);
    let attempt = |attempt| api::AttemptWithResponse::new(summary, attempt, flow);
    Ok(answer::json(&api::DeliveryWithAttempts {
        delivery: api::Delivery::new(summary, flow),
        attempts: attempts.iter().map(attempt).collect(),
    }))
}
