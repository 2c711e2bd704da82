//! `/v1/subscriptions`: their definitions and their state.
//!
//! Each is shown as one flat object: the fields as they would stand in the file, secrets redacted, and state from the
//! store and its queue.

mod edit;
mod retry;
mod test;
mod view;

use std::ops::Bound;

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::admin::answer::{self, Answer};
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::state::NO_SUBSCRIPTION;
use crate::admin::subscriptions::view::show;
use crate::api::{self, List};
use crate::config::Subscription;
use crate::domain::SubscriptionName;
use crate::store::Tally;

pub(super) use edit::{DELETE_PATIENCE, create, delete, patch, put, rotate};
pub(super) use retry::retry;
pub(super) use test::{TEST_PATIENCE, test};
pub(super) use view::{body_schema, new_body_schema, schema};

/// The prefix of a cursor of the list; the last name of the page follows.
const CURSOR: &str = "s-";

/// The list, by name.
pub(super) async fn all(call: Call) -> Result<Answer, Refusal> {
    let page = call.query.page()?;
    let after = page.cursor.as_deref().map(cursor).transpose()?;
    // Later pages are of the same moment.
    if after.is_none() {
        call.admin.exporter.published().await;
    }
    let config = call.admin.control.config();
    let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let rest = config.subscriptions.range((from, Bound::Unbounded));
    let mut rest = rest.map(|(_, it)| it);
    let shown: Vec<_> = rest.by_ref().take(page.limit).collect();
    let names: Vec<_> = shown.iter().map(|it| &it.name).collect();
    let tallies = call.admin.store.history().tallies(&names).await?;
    let none = Tally::default();
    let tally = |it: &Subscription| tallies.get(&it.name).unwrap_or(&none);
    let last = shown.last().filter(|_| rest.next().is_some());
    Ok(answer::json(&List {
        next_cursor: last.map(|last| format!("{CURSOR}{}", last.name)),
        data: shown
            .into_iter()
            .map(|it| api::Subscription::new(&call.admin, it, tally(it)))
            .collect(),
    }))
}

/// One.
pub(super) async fn one(call: Call) -> Result<Answer, Refusal> {
    let name: SubscriptionName = call.named(NO_SUBSCRIPTION)?;
    call.admin.exporter.published().await;
    let config = call.admin.control.config();
    let subscription = config.subscriptions.get(&name);
    let subscription = subscription.ok_or_else(|| call.admin.no_subscription(&name))?;
    let tally = call.admin.store.history().tally(&name).await?;
    let view = api::Subscription::new(&call.admin, subscription, &tally);
    Ok(show(subscription, &view))
}

/// Behind which name the page begins.
fn cursor(text: &str) -> Result<SubscriptionName, Refusal> {
    let name = text.strip_prefix(CURSOR).and_then(|name| name.parse().ok());
    let message = "not a cursor of this list: expected the next_cursor of a page before";
    name.ok_or_else(|| Refusal::invalid_at("cursor", message))
}

/// The schema of the list.
pub(super) fn list_schema(generator: &mut SchemaGenerator) -> Schema {
    let one = schema(generator);
    json_schema!({
        "type": "object",
        "required": ["data", "next_cursor"],
        "properties": {
            "data": {"type": "array", "items": one},
            "next_cursor": {"type": ["string", "null"]}
        }
    })
}
