//! The forms of URLs: of a subscription, and of the webhook for operational events.

use serde_json::{Map, Value as Json, json};

use crate::config::document::Node;
use crate::config::endpoint::{Endpoint, endpoint};
use crate::config::form::{Form, Key};
use crate::config::reader::Context;
use crate::config::schema::forms::{self, For};

/// An endpoint with its URL as it is written.
pub(super) type WrittenUrl = (Endpoint, String);

/// The URL of a subscription. A blank one is left to the reader of the subscription.
#[derive(Debug)]
pub(super) struct SubscriptionUrl;

impl Form for SubscriptionUrl {
    type Value = Option<WrittenUrl>;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Self::Value> {
        if node.is_blank() {
            return None;
        }
        let endpoint = endpoint(node, context)?;
        let written = node.text().map_or_else(|| endpoint.shown(), str::to_owned);
        Some(Some((endpoint, written)))
    }

    fn show(&self, value: &Self::Value) -> Json {
        json!(value.as_ref().map(|(_, written)| written))
    }

    fn schema(&self, writer: For) -> Json {
        let url = json!({"type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://[^\\s#\\\\]+$"});
        match writer {
            For::File => json!({"anyOf": [url, forms::reference()]}),
            For::Api => url,
        }
    }

    fn put(&self, key: &str, value: &Self::Value, shown: &mut Map<String, Json>) {
        shown.insert(key.to_owned(), self.show(value));
        let is_secret = value.as_ref().is_some_and(|(url, _)| url.is_secret);
        shown.insert("url_is_secret".to_owned(), json!(is_secret));
    }

    fn declare(&self, key: Key<'_>, writer: For, properties: &mut Map<String, Json>) {
        properties.insert(key.name.to_owned(), key.schema(self.schema(writer)));
        if writer == For::Api {
            let sentence = "The URL is a secret: scheme and host are shown.";
            let shown = forms::read_only(sentence, json!({"type": "boolean"}));
            properties.insert("url_is_secret".to_owned(), shown);
        }
    }
}

/// The URL of the webhook.
#[derive(Debug)]
pub(super) struct WebhookUrl;

impl Form for WebhookUrl {
    type Value = Endpoint;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Endpoint> {
        endpoint(node, context)
    }

    fn show(&self, value: &Endpoint) -> Json {
        json!(value.shown())
    }

    fn schema(&self, _: For) -> Json {
        forms::secret()
    }

    fn put(&self, key: &str, value: &Endpoint, shown: &mut Map<String, Json>) {
        shown.insert(key.to_owned(), self.show(value));
        shown.insert(format!("{key}_is_secret"), json!(value.is_secret));
    }
}
