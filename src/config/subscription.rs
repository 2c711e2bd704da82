//! One entry of `subscriptions`: its fields over the defaults, and what must hold between them.

use crate::config::definition::{Written, definition};
use crate::config::document::{Entry, Node, Value};
use crate::config::endpoint::endpoint;
use crate::config::filter::{check_posted, conditions, expression};
use crate::config::headers::check_clashes;
use crate::config::keys::keys;
use crate::config::model::Subscription;
use crate::config::reader::{Context, Fields, boolean, list, mapping, text};
use crate::config::settings::{OWN, SHARED, Settings};
use crate::domain::{PatternError, Patterns, SubscriptionName};
use crate::egress::AddressPolicy;

/// The most characters of a title.
const MAX_TITLE: usize = 64;

/// The most patterns of one subscription.
const MAX_PATTERNS: usize = 1000;

const BLANK: &str = "can't be blank";

const NO_MAIL: &str = "without effect, as notifications.smtp is not set";

/// What the sections say that concerns each subscription.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'s> {
    /// `defaults`
    pub(super) defaults: &'s Settings,
    /// `network`
    pub(super) policy: &'s AddressPolicy,
    /// `notifications.smtp` is set.
    pub(super) sends_mail: bool,
}

/// Reads one entry. What is wrong in it is reported, and its place taken by the default.
pub(super) fn subscription(
    name: SubscriptionName,
    entry: &Entry,
    around: Around<'_>,
    context: &mut Context<'_>,
) -> Option<Subscription> {
    let fields = mapping(&entry.value, &[OWN.as_slice(), &SHARED].concat(), context)?;
    let settings = Settings::read(fields, context).over(around.defaults);
    let mut subscription = Subscription::named(name);
    subscription.title = fields.read("title", context, title);
    subscription.description = fields.read("description", context, text).map(str::to_owned);
    subscription.locked = fields
        .read("locked", context, boolean)
        .unwrap_or(subscription.locked);
    settings.put(&mut subscription);
    if let Some(notify) = settings.notify.value() {
        if !notify.addresses.is_empty() && !around.sends_mail {
            context.report.warning(notify.mark, NO_MAIL);
        }
        subscription.notify = notify.addresses;
    }
    let mut written = Written::of(fields);
    if let Some(tls) = settings.tls.value() {
        written.ca_file = tls.ca_file;
        subscription.roots = tls.roots;
        subscription.min_tls_version = tls.min_version;
    }
    subscription.url = fields.read("url", context, |node, context| {
        // One that is blank is reported below.
        let is_reported = subscription.active && is_blank(node);
        if is_reported {
            return None;
        }
        endpoint(node, around.policy, context)
    });
    subscription.events = fields.read("events", context, events).unwrap_or_default();
    subscription.matches = fields
        .read("match", context, conditions)
        .unwrap_or_default();
    subscription.when = fields.read("when", context, expression);
    if subscription.active {
        report_blank(entry, fields, context);
    }
    let signing = (settings.signature, subscription.active);
    let keys = keys(fields, entry.key.mark, signing, context);
    let headers = settings.headers.value().unwrap_or_default();
    let forwarded = settings.forward_headers.value().unwrap_or_default();
    written.put_headers(&headers);
    written.forward_headers = forwarded
        .iter()
        .map(|named| named.written.clone())
        .collect();
    check_clashes(&headers, &forwarded, &keys.schemes, fields, context);
    subscription.headers = headers
        .into_iter()
        .map(|header| (header.named.name, header.value))
        .collect();
    subscription.forward_headers = forwarded.into_iter().map(|named| named.name).collect();
    subscription.secret = keys.secret;
    subscription.previous_secrets = keys.previous;
    subscription.signature = keys.schemes;
    subscription.definition = definition(&subscription, &written).into();
    Some(subscription)
}

fn title(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let title = text(node, context)?;
    let characters = title.chars().count();
    if characters > MAX_TITLE {
        context.error(
            node,
            format!("expected at most {MAX_TITLE} characters, found {characters}"),
        );
    }
    Some(title.to_owned())
}

/// An active subscription needs a url and events.
fn report_blank(entry: &Entry, fields: Fields<'_>, context: &mut Context<'_>) {
    for field in ["url", "events"] {
        match fields.given(field) {
            None => context.report.error_at_field(entry.key.mark, field, BLANK),
            Some(node) if is_blank(node) => context.error(node, BLANK),
            Some(_) => {}
        }
    }
}

fn is_blank(node: &Node) -> bool {
    let is_empty = match &node.value {
        Value::Sequence(items) => items.is_empty(),
        Value::Scalar(scalar) => scalar.text.is_empty(),
        Value::Mapping(_) => false,
    };
    node.is_null() || is_empty
}

fn events(node: &Node, context: &mut Context<'_>) -> Option<Patterns> {
    let nodes = list(node, "a list of patterns such as [\"invoice.*\"]", context)?;
    if nodes.len() > MAX_PATTERNS {
        let found = nodes.len();
        context.error(
            node,
            format!("expected at most {MAX_PATTERNS} patterns, found {found}"),
        );
        return None;
    }
    let mut patterns = Patterns::default();
    for node in nodes {
        let Some(written) = text(node, context) else {
            continue;
        };
        match one_pattern(written) {
            Ok(mut pattern) => {
                check_posted(node, &pattern, context);
                patterns.included.append(&mut pattern.included);
                patterns.excluded.append(&mut pattern.excluded);
            }
            Err(error) => context.error(node, error.to_string()),
        }
    }
    let is_all_excluded = nodes.len() == patterns.excluded.len();
    if is_all_excluded && !nodes.is_empty() {
        context.error(node, PatternError::OnlyExclusions.to_string());
    }
    Some(patterns)
}

/// One item of the list, which alone may be an exclusion.
fn one_pattern(written: &str) -> Result<Patterns, PatternError> {
    match written.strip_prefix('!') {
        Some(rest) => Ok(Patterns {
            included: Vec::new(),
            excluded: vec![rest.parse()?],
        }),
        None => Ok(Patterns {
            included: vec![written.parse()?],
            excluded: Vec::new(),
        }),
    }
}
