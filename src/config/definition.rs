//! A subscription as it would stand in the file: all fields with the values in force, defaults filled in, in the notation
//! of the file and in the order of its documentation. What the API shows, what differences are made of, and what an
//! API client can put back.
//!
//! Invariant: no secret is in it. Of a secret it tells that it is set and the fingerprint, of a secret URL scheme and
//! host, of a secret header value nothing. Those keys that only tell ([`READ_ONLY`]) are no fields of the file.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::HeaderValue;
use serde_json::{Map, Value, json};

use crate::config::document::{Node, Value as NodeValue};
use crate::config::filter::WHEN_ERROR;
use crate::config::headers::Header;
use crate::config::model::{Endpoint, Subscription, WhenDisabled};
use crate::config::reader::Fields;
use crate::config::signature::{ALGORITHMS, ENCODINGS, KEY_FORMS};
use crate::config::tls::VERSIONS;
use crate::config::units::{written_duration, written_size};
use crate::domain::{
    AutoDisable, Order, RateLimit, Retry, RetryForm, Secret, SubscriptionName, WhenStuck,
};
use crate::egress::TlsVersion;
use crate::matching::{Condition, Expression};
use crate::signing::{CustomHmacOptions, Scheme};

/// The keys of a definition that only tell, and cannot be set.
pub const READ_ONLY: [&str; 3] = ["url_is_secret", "secret_set", "secret_fingerprint"];

/// All fields of a subscription. Of the thousands there may be each keeps only what it has other than a plain one, as JSON
/// text: as a map it would take ten times the memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definition(Arc<str>);

/// The fields of a subscription of which the file says nothing.
static PLAIN: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let plain = SubscriptionName::known("plain").map(Subscription::named);
    plain.map_or_else(
        |_| Map::new(),
        |plain| definition(&plain, &Written::default()),
    )
});

impl Definition {
    /// The fields, in the order of their documentation.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = PLAIN.clone();
        // It was made from a map; only that of the default is none.
        let own: Map<String, Value> = serde_json::from_str(&self.0).unwrap_or_default();
        fields.extend(own);
        fields
    }
}

impl From<Map<String, Value>> for Definition {
    fn from(mut fields: Map<String, Value>) -> Self {
        fields.retain(|key, value| PLAIN.get(key) != Some(value));
        Self(Value::Object(fields).to_string().into())
    }
}

/// What stands in the file and is not kept elsewhere in these words.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) url: Option<String>,
    pub(super) events: Vec<String>,
    pub(super) headers: Vec<(String, HeaderValue)>,
    pub(super) forward_headers: Vec<String>,
    pub(super) ca_file: Option<String>,
}

impl Written {
    /// The words of the subscription's own fields.
    pub(super) fn of(fields: Fields<'_>) -> Self {
        let url = fields.node("url").and_then(scalar);
        let events = match fields.node("events").map(|node| &node.value) {
            Some(NodeValue::Sequence(items)) => items.iter().filter_map(scalar).collect(),
            Some(NodeValue::Scalar(_) | NodeValue::Mapping(_)) | None => Vec::new(),
        };
        Self {
            url,
            events,
            ..Self::default()
        }
    }

    /// The headers, whose names are kept as they are written.
    pub(super) fn put_headers(&mut self, headers: &[Header]) {
        let pair = |header: &Header| (header.named.written.clone(), header.value.clone());
        self.headers = headers.iter().map(pair).collect();
    }
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        NodeValue::Scalar(scalar) => Some(scalar.text.clone()),
        NodeValue::Sequence(_) | NodeValue::Mapping(_) => None,
    }
}

/// All fields of a subscription.
pub(super) fn definition(of: &Subscription, written: &Written) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("title", json!(of.title));
    put("description", json!(of.description));
    put("url", url(of.url.as_ref(), written.url.as_deref()));
    put(
        "url_is_secret",
        json!(of.url.as_ref().is_some_and(|url| url.is_secret)),
    );
    put("events", json!(written.events));
    put("match", conditions(&of.matches));
    put("when", json!(of.when.as_ref().map(Expression::text)));
    put("when_error", json!(word(&WHEN_ERROR, &of.when_error)));
    put("active", json!(of.active));
    put("when_disabled", json!(when_disabled(of.when_disabled)));
    put("locked", json!(of.locked));
    put("secret_set", json!(of.secret.is_some()));
    put(
        "secret_fingerprint",
        json!(of.secret.as_ref().map(Secret::fingerprint)),
    );
    put("previous_secrets", previous_secrets(of));
    put("signature", signature(&of.signature));
    put("headers", headers(&written.headers));
    put("forward_headers", json!(written.forward_headers));
    put("method", json!(of.method.as_str()));
    put("timeout", duration(of.timeout));
    put("retry", retry(&of.retry));
    put("give_up_on", json!(of.give_up_on));
    put("order", json!(order(of.order)));
    put("when_stuck", json!(when_stuck(of.when_stuck)));
    put("concurrency", json!(of.concurrency));
    put("rate_limit", json!(of.rate_limit.map(rate_limit)));
    put("max_pending", json!(written_size(of.max_pending)));
    put("auto_disable", auto_disable(of.auto_disable));
    put("notify", json!(of.notify));
    put("notify_after", json!(of.notify_after));
    put("tls", tls(written.ca_file.as_deref(), of.min_tls_version));
    put("http2", json!(if of.http2 { "auto" } else { "never" }));
    fields
}

fn conditions(conditions: &[Condition]) -> Value {
    let pair = |it: &Condition| (it.selector.to_string(), json!(it.value));
    Value::Object(conditions.iter().map(pair).collect())
}

/// The version of a subscription's definition, secrets included: the value of `ETag`, strong and in its quotes. The same
/// as long as nothing in the files changes it, over restarts too.
#[must_use]
pub fn etag(subscription: &Subscription) -> String {
    let mut bytes = Value::Object(subscription.definition.fields())
        .to_string()
        .into_bytes();
    for (kind, hidden) in hidden(subscription) {
        bytes.push(kind);
        bytes.extend_from_slice(&hidden.digest());
    }
    let digest = Secret::new(bytes).digest();
    let hex: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{hex}\"")
}

/// Everything that a definition does not tell, each with the kind of it.
fn hidden(of: &Subscription) -> Vec<(u8, Secret)> {
    let mut hidden: Vec<(u8, Secret)> = Vec::new();
    let copy = |bytes: &[u8]| Secret::new(bytes.to_vec());
    hidden.extend(of.secret.iter().map(|secret| (b's', secret.clone())));
    let previous = of.previous_secrets.iter();
    hidden.extend(previous.map(|(secret, _)| (b'p', secret.clone())));
    let url = of.url.iter().filter(|url| url.is_secret);
    hidden.extend(url.map(|url| (b'u', copy(url.url.as_str().as_bytes()))));
    let values = of.headers.iter().map(|(_, value)| value);
    let values = values.filter(|value| value.is_sensitive());
    hidden.extend(values.map(|value| (b'h', copy(value.as_bytes()))));
    hidden.extend(of.roots.iter().map(|roots| (b'c', copy(roots.pem()))));
    hidden
}

fn url(endpoint: Option<&Endpoint>, written: Option<&str>) -> Value {
    match endpoint {
        None => Value::Null,
        Some(endpoint) if endpoint.is_secret => json!(shown_origin(endpoint)),
        Some(endpoint) => json!(written.unwrap_or(endpoint.url.as_str())),
    }
}

/// Scheme and host of an endpoint: what is shown of one that is secret.
pub(super) fn shown_origin(endpoint: &Endpoint) -> String {
    let url = &endpoint.url;
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}

pub(super) fn duration(duration: Duration) -> Value {
    json!(written_duration(duration))
}

fn previous_secrets(of: &Subscription) -> Value {
    let shown = of.previous_secrets.iter().map(|(secret, until)| {
        json!({"secret_fingerprint": secret.fingerprint(), "until": until.to_string()})
    });
    Value::Array(shown.collect())
}

/// `none`, one scheme, or a list of them.
fn signature(schemes: &[Scheme]) -> Value {
    match schemes {
        [] => json!("none"),
        [scheme] => one_scheme(scheme),
        several => Value::Array(several.iter().map(one_scheme).collect()),
    }
}

/// Its name, with options where they are not all at their defaults.
fn one_scheme(scheme: &Scheme) -> Value {
    let name = scheme.name();
    if Scheme::by_name(name).as_ref() == Some(scheme) {
        return json!(name);
    }
    match scheme {
        Scheme::Standard { prefix, key } => {
            json!({name: {"prefix": prefix, "key": word(&KEY_FORMS, key)}})
        }
        Scheme::Hookshot { algorithm } => {
            json!({name: {"algorithm": word(&ALGORITHMS, algorithm)}})
        }
        Scheme::Hmac(custom) => json!({name: hmac(custom.options())}),
        Scheme::Github
        | Scheme::Stripe
        | Scheme::Slack
        | Scheme::Shopify
        | Scheme::Opnform
        | Scheme::Opentrain => json!(name),
    }
}

fn hmac(options: &CustomHmacOptions) -> Value {
    let mut shown = json!({
        "header": options.header,
        "algorithm": word(&ALGORITHMS, &options.algorithm),
        "encoding": word(&ENCODINGS, &options.encoding),
        "signed": options.signed,
        "value": options.value,
    });
    if let (Some(name), Some(shown)) = (&options.timestamp_header, shown.as_object_mut()) {
        shown.insert("timestamp_header".to_owned(), json!(name));
    }
    shown
}

/// The word of a choice.
pub(super) fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    let found = words.iter().find(|(_, known)| known == value);
    found.map_or("", |(word, _)| word)
}

fn headers(headers: &[(String, HeaderValue)]) -> Value {
    let shown = headers.iter().map(|(name, value)| {
        let value = if value.is_sensitive() {
            json!({"redacted": true})
        } else {
            json!(String::from_utf8_lossy(value.as_bytes()))
        };
        (name.clone(), value)
    });
    Value::Object(shown.collect())
}

fn retry(retry: &Retry) -> Value {
    if *retry == Retry::standard() {
        return json!("standard");
    }
    match retry.form() {
        RetryForm::Schedule(pauses) if pauses.is_empty() => json!("none"),
        RetryForm::Schedule(pauses) => {
            let pauses: Vec<Value> = pauses.iter().copied().map(duration).collect();
            json!({"schedule": pauses, "jitter": number(retry.jitter())})
        }
        RetryForm::Exponential {
            initial,
            factor,
            max_interval,
            max_attempts,
            max_age,
        } => json!({
            "initial": duration(*initial),
            "factor": number(*factor),
            "max_interval": duration(*max_interval),
            "max_attempts": max_attempts,
            "max_age": duration(*max_age),
            "jitter": number(retry.jitter()),
        }),
    }
}

/// A number as people write it: 2 instead of 2.0.
fn number(number: f64) -> Value {
    match format!("{number}").parse::<u64>() {
        Ok(whole) => json!(whole),
        Err(_) => json!(number),
    }
}

/// As the file has it.
pub(crate) fn rate_limit(limit: RateLimit) -> String {
    let unit = match limit.per.as_secs() {
        3600 => "h",
        60 => "m",
        _ => "s",
    };
    format!("{}/{unit}", limit.attempts)
}

fn auto_disable(when: AutoDisable) -> Value {
    match when {
        AutoDisable::Never => json!("never"),
        AutoDisable::Failures { failures, lasting } => {
            json!({"failures": failures, "for": duration(lasting)})
        }
        AutoDisable::Dead(dead) => json!({"dead": dead}),
    }
}

fn tls(ca_file: Option<&str>, version: TlsVersion) -> Value {
    json!({"ca_file": ca_file, "min_version": word(&VERSIONS, &version)})
}

fn when_disabled(when: WhenDisabled) -> &'static str {
    match when {
        WhenDisabled::Hold => "hold",
        WhenDisabled::Skip => "skip",
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::None => "none",
        Order::Key => "key",
        Order::Strict => "strict",
    }
}

fn when_stuck(when: WhenStuck) -> &'static str {
    match when {
        WhenStuck::Block => "block",
        WhenStuck::Skip => "skip",
    }
}
