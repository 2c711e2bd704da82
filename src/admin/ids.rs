//! Ids in paths, which may be cut short: the beginning of an event id stands for the one event that has it.

use std::str::FromStr;

use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::domain::{DeliveryId, EventId, EventIdRange, SubscriptionName};

/// Candidates that are named when a beginning is that of several.
const NAMED_MAX: usize = 5;

impl Call {
    /// Returns the id of the event that the path names; `nothing` is the detail of the 404.
    ///
    /// # Errors
    /// 404: no event has such an id; 409: several begin so.
    pub(super) async fn event_id(&self, nothing: &'static str) -> Result<EventId, Refusal> {
        self.event_id_of(&self.named::<String>(nothing)?, nothing)
            .await
    }

    /// The delivery that the path names; likewise. The name of the subscription may be cut short, too, or left out, as long as
    /// it is that of one delivery of the event.
    pub(super) async fn delivery_id(&self, nothing: &'static str) -> Result<DeliveryId, Refusal> {
        let text: String = self.named(nothing)?;
        let (event, name) = text.split_once('.').unwrap_or((&text, ""));
        let event = self.event_id_of(event, nothing).await?;
        if let Ok(subscription) = SubscriptionName::known(name)
            && self.admin.knows(&subscription)
        {
            return Ok(DeliveryId {
                event,
                subscription,
            });
        }
        let found = self.admin.store.history().event(&event).await?;
        let deliveries = found.map(|found| found.deliveries).unwrap_or_default();
        // As tables cut it.
        let begun = name.trim_end_matches('…');
        let ids = deliveries.into_iter().map(|delivery| delivery.id);
        let mut meant = ids.filter(|id| id.subscription.as_str().starts_with(begun));
        match (meant.next(), meant.next()) {
            (None, _) => Err(Refusal::not_found(nothing)),
            (Some(id), None) => Ok(id),
            (Some(first), Some(second)) => {
                let detail = format!(
                    "several deliveries of this event begin so, give more of the id: {first}, {second}"
                );
                Err(Refusal::conflict("ambiguous_id", detail))
            }
        }
    }

    async fn event_id_of(&self, text: &str, nothing: &'static str) -> Result<EventId, Refusal> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let range = EventIdRange::from_str(text).map_err(|_| Refusal::not_found(nothing))?;
        let found = self
            .admin
            .store
            .history()
            .ids_within(range, NAMED_MAX)
            .await?;
        match found.as_slice() {
            [] => Err(Refusal::not_found(nothing)),
            [id] => Ok(*id),
            several => {
                let named: Vec<_> = several.iter().map(ToString::to_string).collect();
                let detail = format!(
                    "several events begin so, give more of the id: {}",
                    named.join(", ")
                );
                Err(Refusal::conflict("ambiguous_id", detail))
            }
        }
    }
}
