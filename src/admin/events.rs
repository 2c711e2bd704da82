//! `GET /v1/events` and `GET /v1/events/{id}`. Headers and the body of an event need the scope `manage`.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::admin::answer::{self, Answer};
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::views::{DeliveryRow, EventRow, Time, list};
use crate::domain::Label;
use crate::store::{EventFilter, EventView};

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
    let found = call.admin.store.events(filter, page).await?;
    Ok(list(found, |it| EventRow::new(&it)))
}

/// One.
pub(super) async fn one(call: Call) -> Result<Answer, Refusal> {
    let id = call.event_id(NO_EVENT).await?;
    let found = call.admin.store.event(&id).await?;
    let found = found.ok_or_else(|| Refusal::not_found(NO_EVENT))?;
    let deliveries = found
        .deliveries
        .iter()
        .map(|it| DeliveryRow::new(it, call.admin.flow(&it.id.subscription)));
    let deliveries = deliveries.collect();
    let content = call.scopes.manage.then(|| Content::new(&found));
    Ok(answer::json(&EventWithDeliveries::new(
        &found, deliveries, content,
    )))
}

/// An event with its deliveries.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EventWithDeliveries {
    #[serde(flatten)]
    event: EventRow,
    /// Where it comes from (`source` of CloudEvents)
    source: Option<String>,
    /// What it is about (`subject` of CloudEvents)
    subject: Option<String>,
    /// The Content-Type of the body
    content_type: String,
    /// Its deliveries
    deliveries: Vec<DeliveryRow>,
    #[serde(flatten)]
    content: Option<Content>,
}

/// What only the scope `manage` shows.
#[derive(Debug, Serialize, JsonSchema)]
struct Content {
    /// Headers that were kept; only with the scope `manage`
    headers: Vec<Header>,
    /// The body as text, null if it is no UTF-8; only with the scope `manage`
    body: Option<String>,
    /// The body in base64, if it is no UTF-8; only with the scope `manage`
    body_base64: Option<String>,
}

/// A header that was kept.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "KeptHeader")]
struct Header {
    /// In lower case
    name: String,
    /// What is no UTF-8 in it is replaced
    value: String,
}

impl Content {
    fn new(found: &EventView) -> Self {
        let event = &found.event;
        let headers = event.head.headers.iter().map(|header| Header {
            name: header.name.to_string(),
            value: String::from_utf8_lossy(&header.value).into_owned(),
        });
        // Unlike the beginning of a response, a body is not cut: what does not end a character is no text.
        let (body, body_base64) = match str::from_utf8(&event.body) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(base64_of(&event.body))),
        };
        Self {
            headers: headers.collect(),
            body,
            body_base64,
        }
    }
}

/// The schema of one.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<EventWithDeliveries>()
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

impl EventWithDeliveries {
    fn new(found: &EventView, deliveries: Vec<DeliveryRow>, content: Option<Content>) -> Self {
        let head = &found.event.head;
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Self {
            event: EventRow {
                id: head.id.to_string(),
                r#type: head.event_type.to_string(),
                given_id: head.given_id.as_ref().map(Label::to_string),
                key: head.key.as_ref().map(Label::to_string),
                created_at: Time(head.accepted_at),
                body_bytes: u64::try_from(found.event.body.len()).unwrap_or(u64::MAX),
                delivery_count: deliveries.len(),
            },
            source: text(&head.source),
            subject: text(&head.subject),
            content_type: head.content_type.to_string(),
            deliveries,
            content,
        }
    }
}
