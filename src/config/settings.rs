//! The fields that `defaults` and subscriptions share.
//!
//! A subscription's own value replaces the whole default; a null removes it, and the built-in default is back.

use std::time::Duration;

use http::Method;

use crate::config::document::Node;
use crate::config::filter::WHEN_ERROR;
use crate::config::headers::{Header, Named, forward_headers, static_headers};
use crate::config::model::{Subscription, WhenDisabled};
use crate::config::notifications::{Notify, notify, notify_after};
use crate::config::policy::{auto_disable, give_up_on, rate_limit};
use crate::config::reader::{Context, Fields, any_mapping, boolean, check_key, choice, whole};
use crate::config::retry::{positive, retry};
use crate::config::signature::signature;
use crate::config::store::positive_size;
use crate::config::tls::{Tls, tls};
use crate::domain::{AutoDisable, Order, RateLimit, Retry, WhenStuck};
use crate::matching::WhenError;
use crate::signing::Scheme;

/// The fields that may stand in `defaults`.
pub(super) const SHARED: [&str; 20] = [
    "when_error",
    "active",
    "when_disabled",
    "signature",
    "headers",
    "forward_headers",
    "method",
    "timeout",
    "retry",
    "give_up_on",
    "order",
    "when_stuck",
    "concurrency",
    "rate_limit",
    "max_pending",
    "auto_disable",
    "notify",
    "notify_after",
    "tls",
    "http2",
];

/// The fields that each subscription has of its own.
pub(super) const OWN: [&str; 9] = [
    "url",
    "events",
    "match",
    "when",
    "title",
    "description",
    "locked",
    "secret",
    "previous_secrets",
];

/// The longest `timeout`: an hour.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// The most attempts in flight of one subscription.
const MAX_CONCURRENCY: u64 = 10_000;

/// What was said of a field.
#[derive(Debug, Clone, Default)]
pub(super) enum Given<T> {
    /// Nothing.
    #[default]
    Absent,
    /// `null`: no default either.
    Null,
    /// Something that was reported as wrong.
    Wrong,
    /// This.
    Value(T),
}

impl<T: Clone> Given<T> {
    /// This over a default.
    pub(super) fn over(self, default: &Self) -> Self {
        match self {
            Self::Absent => default.clone(),
            Self::Null | Self::Wrong | Self::Value(_) => self,
        }
    }

    /// The value, if there is one that is right.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null | Self::Wrong => None,
        }
    }

    /// Puts a value into its place, where the built-in default is.
    pub(super) fn replace(self, place: &mut T) {
        if let Self::Value(value) = self {
            *place = value;
        }
    }
}

/// The shared fields of `defaults` or of one subscription.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) when_error: Given<WhenError>,
    pub(super) active: Given<bool>,
    pub(super) when_disabled: Given<WhenDisabled>,
    pub(super) signature: Given<Vec<Scheme>>,
    pub(super) headers: Given<Vec<Header>>,
    pub(super) forward_headers: Given<Vec<Named>>,
    pub(super) method: Given<Method>,
    pub(super) timeout: Given<Duration>,
    pub(super) retry: Given<Retry>,
    pub(super) give_up_on: Given<Vec<u16>>,
    pub(super) order: Given<Order>,
    pub(super) when_stuck: Given<WhenStuck>,
    pub(super) concurrency: Given<usize>,
    pub(super) rate_limit: Given<RateLimit>,
    pub(super) max_pending: Given<u64>,
    pub(super) auto_disable: Given<AutoDisable>,
    pub(super) notify: Given<Notify>,
    pub(super) notify_after: Given<u32>,
    pub(super) tls: Given<Tls>,
    pub(super) http2: Given<bool>,
}

impl Settings {
    /// Reads the shared fields of a mapping.
    pub(super) fn read(fields: Fields<'_>, context: &mut Context<'_>) -> Self {
        let disabled = [("hold", WhenDisabled::Hold), ("skip", WhenDisabled::Skip)];
        let order = [
            ("none", Order::None),
            ("key", Order::Key),
            ("strict", Order::Strict),
        ];
        let stuck = [("block", WhenStuck::Block), ("skip", WhenStuck::Skip)];
        Self {
            when_error: given(fields, "when_error", context, choice(&WHEN_ERROR)),
            active: given(fields, "active", context, boolean),
            when_disabled: given(fields, "when_disabled", context, choice(&disabled)),
            signature: given(fields, "signature", context, signature),
            headers: given(fields, "headers", context, static_headers),
            forward_headers: given(fields, "forward_headers", context, forward_headers),
            method: given(fields, "method", context, method),
            timeout: given(fields, "timeout", context, timeout),
            retry: given(fields, "retry", context, retry),
            give_up_on: given(fields, "give_up_on", context, give_up_on),
            order: given(fields, "order", context, choice(&order)),
            when_stuck: given(fields, "when_stuck", context, choice(&stuck)),
            concurrency: given(fields, "concurrency", context, concurrency),
            rate_limit: given(fields, "rate_limit", context, rate_limit),
            max_pending: given(fields, "max_pending", context, positive_size),
            auto_disable: given(fields, "auto_disable", context, auto_disable),
            notify: given(fields, "notify", context, notify),
            notify_after: given(fields, "notify_after", context, notify_after),
            http2: given(
                fields,
                "http2",
                context,
                choice(&[("auto", true), ("never", false)]),
            ),
            tls: given(fields, "tls", context, tls),
        }
    }

    /// These over the defaults, field by field.
    pub(super) fn over(self, defaults: &Self) -> Self {
        Self {
            when_error: self.when_error.over(&defaults.when_error),
            active: self.active.over(&defaults.active),
            when_disabled: self.when_disabled.over(&defaults.when_disabled),
            signature: self.signature.over(&defaults.signature),
            headers: self.headers.over(&defaults.headers),
            forward_headers: self.forward_headers.over(&defaults.forward_headers),
            method: self.method.over(&defaults.method),
            timeout: self.timeout.over(&defaults.timeout),
            retry: self.retry.over(&defaults.retry),
            give_up_on: self.give_up_on.over(&defaults.give_up_on),
            order: self.order.over(&defaults.order),
            when_stuck: self.when_stuck.over(&defaults.when_stuck),
            concurrency: self.concurrency.over(&defaults.concurrency),
            rate_limit: self.rate_limit.over(&defaults.rate_limit),
            max_pending: self.max_pending.over(&defaults.max_pending),
            auto_disable: self.auto_disable.over(&defaults.auto_disable),
            notify: self.notify.over(&defaults.notify),
            notify_after: self.notify_after.over(&defaults.notify_after),
            http2: self.http2.over(&defaults.http2),
            tls: self.tls.over(&defaults.tls),
        }
    }

    /// Puts the fields that stand for themselves into a subscription.
    pub(super) fn put(&self, subscription: &mut Subscription) {
        self.when_error
            .clone()
            .replace(&mut subscription.when_error);
        self.active.clone().replace(&mut subscription.active);
        self.when_disabled
            .clone()
            .replace(&mut subscription.when_disabled);
        self.method.clone().replace(&mut subscription.method);
        self.timeout.clone().replace(&mut subscription.timeout);
        self.retry.clone().replace(&mut subscription.retry);
        self.give_up_on
            .clone()
            .replace(&mut subscription.give_up_on);
        self.order.clone().replace(&mut subscription.order);
        self.when_stuck
            .clone()
            .replace(&mut subscription.when_stuck);
        self.concurrency
            .clone()
            .replace(&mut subscription.concurrency);
        subscription.rate_limit = self.rate_limit.clone().value();
        self.max_pending
            .clone()
            .replace(&mut subscription.max_pending);
        self.auto_disable
            .clone()
            .replace(&mut subscription.auto_disable);
        self.notify_after
            .clone()
            .replace(&mut subscription.notify_after);
        self.http2.clone().replace(&mut subscription.http2);
    }

    /// Reads the section `defaults`.
    pub(super) fn read_defaults(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let fields = any_mapping(node, context)?;
        for entry in fields.entries {
            if OWN.contains(&entry.name()) {
                let message = "not allowed in defaults: every subscription has its own";
                context.error(&entry.key, message);
            } else {
                check_key(entry, &SHARED, context);
            }
        }
        Some(Self::read(fields, context))
    }
}

fn given<T>(
    fields: Fields<'_>,
    key: &str,
    context: &mut Context<'_>,
    read: impl FnOnce(&Node, &mut Context<'_>) -> Option<T>,
) -> Given<T> {
    match fields.given(key) {
        None => Given::Absent,
        Some(node) if node.is_null() => Given::Null,
        Some(node) => read(node, context).map_or(Given::Wrong, Given::Value),
    }
}

fn method(node: &Node, context: &mut Context<'_>) -> Option<Method> {
    let name = choice(&[("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH")])(node, context)?;
    name.parse().ok()
}

fn timeout(node: &Node, context: &mut Context<'_>) -> Option<Duration> {
    let timeout = positive(node, context)?;
    if timeout > MAX_TIMEOUT {
        context.error(node, "expected at most 1h");
        return None;
    }
    Some(timeout)
}

fn concurrency(node: &Node, context: &mut Context<'_>) -> Option<usize> {
    let count = whole(1..=MAX_CONCURRENCY)(node, context)?;
    usize::try_from(count).ok()
}
