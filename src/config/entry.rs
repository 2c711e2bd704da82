//! One entry of `subscriptions`: its keys over the defaults, and what must hold between them.

use crate::config::document::{Entry, Node};
use crate::config::given::Given;
use crate::config::headers::check_clashes;
use crate::config::keys::Keys;
use crate::config::reader::{Context, Fields, any_mapping, check_key, mapping, text};
use crate::config::subscription::{Draft, KEYS, Place, Subscription, names};
use crate::domain::SubscriptionName;

const BLANK: &str = "can't be blank";

const NO_MAIL: &str = "without effect, as notifications.smtp is not set";

/// Reads the section `defaults`.
pub(super) fn defaults(node: &Node, draft: &mut Draft, context: &mut Context<'_>) -> Option<()> {
    let fields = any_mapping(node, context)?;
    let known = names(Place::Shared);
    for entry in fields.entries {
        let declared = KEYS.iter().find(|key| key.name == entry.name());
        if declared.is_some_and(|key| key.place < Place::Shared) {
            let message = "not allowed in defaults: every subscription has its own";
            context.error(&entry.key, message);
        } else {
            check_key(entry, known, context);
        }
    }
    draft.read(fields, Place::Shared, context);
    Some(())
}

/// Reads one entry. Invalid values are reported, and replaced by the built-in defaults.
pub(super) fn subscription(
    name: SubscriptionName,
    entry: &Entry,
    defaults: &Draft,
    context: &mut Context<'_>,
) -> Option<Subscription> {
    let fields = mapping(&entry.value, names(Place::Route), context)?;
    let mut draft = defaults.clone();
    draft.subscription.name = name;
    draft.read(fields, Place::Route, context);
    report_blank(draft.subscription.active, entry, fields, context);
    if let (Some(mark), false) = (draft.notify.mark, draft.notify.addresses.is_empty())
        && !context.sends_mail
    {
        context.report.warning(mark, NO_MAIL);
    }
    let keys = Keys {
        secret: draft.secret.clone(),
        previous: draft.previous_secrets.clone(),
        signature: draft.signature.clone(),
    };
    let is_active = draft.subscription.active;
    let (secret, previous, schemes) = keys.judged(fields, entry.key.mark, is_active, context);
    check_clashes(
        &draft.headers,
        &draft.forward_headers,
        &schemes,
        fields,
        context,
    );
    draft.signature = Given::Value(schemes.clone());
    let definition = draft.definition();
    let mut subscription = draft.subscription;
    subscription.url = draft.url.map(|(endpoint, _)| endpoint);
    subscription.events = draft.events.patterns;
    subscription.secret = secret;
    subscription.previous_secrets = previous;
    subscription.signature = schemes;
    let headers = draft.headers.into_iter();
    subscription.headers = headers
        .map(|header| (header.named.name, header.value))
        .collect();
    subscription.authorization = draft.auth.and_then(|auth| auth.header());
    let forwarded = draft.forward_headers.into_iter();
    subscription.forward_headers = forwarded.map(|named| named.name).collect();
    subscription.notify = draft.notify.addresses;
    subscription.roots = draft.tls.ca_file.map(|file| file.roots);
    subscription.min_tls_version = draft.tls.min_version;
    subscription.definition = definition;
    Some(subscription)
}

/// An active subscription needs a url and events; of another a url that is given must be one.
fn report_blank(is_active: bool, entry: &Entry, fields: Fields<'_>, context: &mut Context<'_>) {
    for field in ["url", "events"] {
        match fields.given(field) {
            None if is_active => context.report.error_at_field(entry.key.mark, field, BLANK),
            Some(node) if is_active && node.is_blank() => context.error(node, BLANK),
            Some(node) if field == "url" && node.is_blank() && !node.is_null() => {
                text(node, context);
            }
            Some(_) | None => {}
        }
    }
}
