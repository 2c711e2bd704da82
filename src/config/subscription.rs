//! Subscriptions: each key declared once, the values of a subscription, and their output.
//!
//! A declaration defines where the key may stand (`shared` in `defaults` and subscriptions; `route` and `own` in
//! subscriptions only), its sentence, its name, the type of its value, the built-in default, and its form. The value of
//! a key is a field of [`Subscription`], or in parentheses of [`Draft`], if it depends on other keys.
//!
//! Invariant: no secret is shown. Of a secret only its presence and fingerprint are shown, of a secret URL scheme and
//! host, of a secret header value nothing.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

use crate::config::auth::{AUTH, Auth};
use crate::config::document::Node;
use crate::config::endpoint::Endpoint;
use crate::config::filter::{CONDITIONS, EVENTS, EXPRESSION, WHEN_ERROR, WrittenPatterns};
use crate::config::form::{
    Choice, FLAG, Form as _, Key, Lasting, Optional, SIZE, TEXT, Text, Whole,
};
use crate::config::given::Given;
use crate::config::headers::{FORWARDED, HEADERS, Header, Named};
use crate::config::keys::{PREVIOUS_SECRETS, Previous, SigningSecret};
use crate::config::notifications::{ADDRESSES, Notify};
use crate::config::policy::{AUTO_DISABLE, GIVE_UP_ON, RATE_LIMIT};
use crate::config::reader::{Context, Fields};
use crate::config::retry::RETRY;
use crate::config::schema::forms::For;
use crate::config::signature::Signature;
use crate::config::tls::{TLS, Tls};
use crate::config::url::{SubscriptionUrl, WrittenUrl};
use crate::domain::{
    AutoDisable, Order, Patterns, RateLimit, Retry, Secret, SubscriptionName, Timestamp, WhenStuck,
};
use crate::egress::{Roots, TlsVersion};
use crate::matching::{Condition, Expression, Filter, WhenError};
use crate::signing::Scheme;

/// Where a key may stand, in the order in which messages list the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In each subscription: which events it gets, and where they go.
    Route,
    /// In each subscription.
    Own,
    /// In `defaults` and in each subscription.
    Shared,
}

/// A key of a subscription.
pub(super) struct SubscriptionKey {
    pub(super) name: &'static str,
    pub(super) place: Place,
    read: fn(&mut Draft, &Node, &mut Context<'_>),
    reset: fn(&mut Draft),
    put: fn(&Draft, &mut Map<String, Value>),
    declare: fn(For, &mut Map<String, Value>),
}

macro_rules! subscription {
    (
        keys { $(
            $place:ident $sentence:literal
            $($kept:ident)? $(($drafted:ident))? $([$key:literal])?: $type:ty = $default:expr => $form:expr;
        )* }
        also { $( $(#[$more:meta])* $other:ident: $other_type:ty = $value:expr; )* }
    ) => {
        /// One subscription, its defaults filled in.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Subscription {
            /// Its name.
            pub name: SubscriptionName,
            $($( #[doc = $sentence] pub $kept: $type, )?)*
            $( $(#[$more])* pub $other: $other_type, )*
        }

        /// A subscription while it is read.
        #[derive(Debug, Clone)]
        pub(super) struct Draft {
            pub(super) subscription: Subscription,
            $($( #[doc = $sentence] pub(super) $drafted: $type, )?)*
        }

        impl Subscription {
            /// A subscription with only a name: active, and without url and events not yet valid.
            #[must_use]
            pub fn named(name: SubscriptionName) -> Self {
                Self {
                    name,
                    $($( $kept: $default, )?)*
                    $( $other: $value, )*
                }
            }
        }

        impl Draft {
            pub(super) fn named(name: SubscriptionName) -> Self {
                Self {
                    subscription: Subscription::named(name),
                    $($( $drafted: $default, )?)*
                }
            }
        }

        /// All keys, in the order of their documentation.
        pub(super) static KEYS: &[SubscriptionKey] = &[$(
            SubscriptionKey {
                name: subscription!(@name $($kept)? $($drafted)? $([$key])?),
                place: subscription!(@place $place),
                read: |draft, node, context| {
                    let value = $form.read(node, context);
                    let at = &mut subscription!(@at draft $($kept)? $(($drafted))?);
                    *at = value.unwrap_or_else(|| $default);
                },
                reset: |draft| {
                    let at = &mut subscription!(@at draft $($kept)? $(($drafted))?);
                    *at = $default;
                },
                put: |draft, shown| {
                    let name = subscription!(@name $($kept)? $($drafted)? $([$key])?);
                    $form.put(name, &subscription!(@at draft $($kept)? $(($drafted))?), shown);
                },
                declare: |writer, properties| {
                    let form = $form;
                    let key = Key {
                        name: subscription!(@name $($kept)? $($drafted)? $([$key])?),
                        sentence: $sentence,
                        restart: false,
                        default: Some(form.documented(&$default)),
                    };
                    form.declare(key, writer, properties);
                },
            },
        )*];
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident [$key:literal]) => { $key };
    (@place route) => { Place::Route };
    (@place own) => { Place::Own };
    (@place shared) => { Place::Shared };
    (@at $draft:ident $kept:ident) => { $draft.subscription.$kept };
    (@at $draft:ident ($drafted:ident)) => { $draft.$drafted };
}

subscription! {
    keys {
        own "At most 64 characters."
        title: Option<String> = None => Optional(Text { most: Some(64) });
        own "For people."
        description: Option<String> = None => Optional(TEXT);
        route "Where deliveries go; required while active. https; http for localhost, loopback and allowed private addresses. No userinfo, no fragment."
        (url): Option<WrittenUrl> = None => SubscriptionUrl;
        route "Types of events, required while active: patterns such as invoice.*, *, and !invoice.draft to exclude."
        (events): WrittenPatterns = WrittenPatterns::default() => EVENTS;
        route "Values that an event must have, all of them: JSON pointers into the body (/tenant_id), or header: and a header's name, each with a text. At most 16."
        matches ["match"]: Vec<Condition> = Vec::new() => CONDITIONS;
        route "What else must be true of an event, in CEL: data.amount > 100. An expression over type, id, source, subject, key, headers and data (the JSON body, else null)."
        when: Option<Expression> = None => Optional(EXPRESSION);
        shared "skip or deliver an event for which when cannot be evaluated; the error is logged and counted either way."
        when_error: WhenError = WhenError::Skip => WHEN_ERROR;
        shared "false: disabled, nothing is delivered."
        active: bool = true => FLAG;
        shared "hold: events that match meanwhile wait; skip: they are counted and not delivered."
        when_disabled: WhenDisabled = WhenDisabled::Hold =>
            Choice(&[("hold", WhenDisabled::Hold), ("skip", WhenDisabled::Skip)]);
        own "true: nothing but the file edits, disables or rotates it."
        locked: bool = false => FLAG;
        own "Signs deliveries, at least 12 characters; \"\" means none."
        (secret): Given<Secret> = Given::Absent => SigningSecret;
        own "Sign along until their time, in schemes that carry several signatures."
        (previous_secrets): Vec<Previous> = Vec::new() => PREVIOUS_SECRETS;
        shared "Signature schemes: one or a list, each its name or name: {options}; standard if a secret is set, else none."
        (signature): Given<Vec<Scheme>> = Given::Absent => Signature;
        shared "Static headers, at most 32: names with texts or secrets, or a list of Name: value."
        (headers): Vec<Header> = Vec::new() => HEADERS;
        shared "How to authenticate at the endpoint: {bearer: token}, {basic: {username, password}} or {scheme: ApiKey, value: key}, with texts or secrets. Nothing else sets Authorization."
        (auth): Option<Auth> = None => Optional(AUTH);
        shared "Names of headers of the application's request that are passed on."
        (forward_headers): Vec<Named> = Vec::new() => FORWARDED;
        shared "The method of requests."
        method: Method = Method::POST =>
            Choice(&[("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH)]);
        shared "From dialling to the end of the response head, up to 1h."
        timeout: Duration = Duration::from_secs(15) =>
            Lasting { may_be_zero: false, most: Some(Duration::from_secs(3600)) };
        shared "When failed deliveries are attempted again. standard: pauses of 5s 5m 30m 2h 5h 10h 14h 20h 24h."
        retry: Retry = Retry::standard() => RETRY;
        shared "Statuses that make a delivery dead at once, such as [400, 404]."
        give_up_on: Vec<u16> = Vec::new() => GIVE_UP_ON;
        shared "none; key: in order per event key, a failing one holds back only its own key; strict: in order, one at a time."
        order: Order = Order::None =>
            Choice(&[("none", Order::None), ("key", Order::Key), ("strict", Order::Strict)]);
        shared "With an order, when a delivery is dead: block what follows until it is replayed or cancelled, or skip it."
        when_stuck: WhenStuck = WhenStuck::Block =>
            Choice(&[("block", WhenStuck::Block), ("skip", WhenStuck::Skip)]);
        shared "Attempts in flight."
        concurrency: usize = 16 => Whole::<usize>::of(1..=10_000);
        shared "Attempts in a period, such as 100/s, 5000/m or 20000/h, bursts of one second's worth; null: no limit."
        rate_limit: Option<RateLimit> = None => Optional(RATE_LIMIT);
        shared "Bodies pending; beyond it new deliveries are dead, reason overflow."
        max_pending: u64 = 1 << 30 => SIZE;
        shared "When it is disabled for failing."
        auto_disable: AutoDisable = AutoDisable::Failures { failures: 10, lasting: Duration::from_secs(5 * 86_400) } =>
            AUTO_DISABLE;
        shared "E-mail addresses that get an alert when it fails, is disabled or recovers, at most 32; needs notifications.smtp."
        (notify): Notify = Notify::default() => ADDRESSES;
        shared "Failed attempts in a row before the first alert."
        notify_after: u32 = 5 => Whole::<u32>::of(1..=1000);
        shared "Whose certificates are trusted, and the lowest version."
        (tls): Tls = Tls::default() => TLS;
        shared "auto (ALPN) or never."
        http2: bool = true => Choice(&[("auto", true), ("never", false)]);
    }
    also {
        /// Where deliveries go. `None` only while inactive.
        url: Option<Endpoint> = None;
        /// Which types. Empty only while inactive.
        events: Patterns = Patterns::default();
        /// The signing secret, at least 12 characters.
        secret: Option<Secret> = None;
        /// Secrets that sign along until their time, in schemes that carry several signatures.
        previous_secrets: Vec<(Secret, Timestamp)> = Vec::new();
        /// Signature schemes, empty for `none`.
        signature: Vec<Scheme> = Vec::new();
        /// Static headers, checked against the policy; at most 32, each name once.
        headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        /// The value of `Authorization`, secret.
        authorization: Option<HeaderValue> = None;
        /// Names of headers that are passed on, checked against the policy.
        forward_headers: Vec<HeaderName> = Vec::new();
        /// The certificates of `tls.ca_file`, read at load.
        roots: Option<Roots> = None;
        /// `tls.min_version`
        min_tls_version: TlsVersion = TlsVersion::Tls12;
        /// E-mail addresses that get alerts.
        notify: Vec<String> = Vec::new();
        /// All keys as they would stand in the file, defaults filled in, without secrets; for the API and `diff`.
        definition: Definition = Definition::default();
    }
}

/// `when_disabled`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDisabled {
    /// Deliveries wait.
    Hold,
    /// Events are counted and not delivered.
    Skip,
}

impl Subscription {
    /// The headers that every request has, secret ones among them.
    #[must_use]
    pub fn request_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let authorization = self.authorization.iter();
        let authorization = authorization.map(|value| (AUTHORIZATION, value.clone()));
        self.headers.iter().cloned().chain(authorization).collect()
    }

    /// The filter of its events.
    #[must_use]
    pub fn filter(&self) -> Filter<'_> {
        Filter {
            events: &self.events,
            matches: &self.matches,
            when: self.when.as_ref(),
            when_error: self.when_error,
        }
    }
}

impl Draft {
    /// Reads the keys of a mapping that may stand in it. A null or wrong value puts the built-in one back.
    pub(super) fn read(&mut self, fields: Fields<'_>, from: Place, context: &mut Context<'_>) {
        for key in KEYS.iter().filter(|key| key.place >= from) {
            match fields.given(key.name) {
                None => {}
                Some(node) if node.is_null() => (key.reset)(self),
                Some(node) => (key.read)(self, node, context),
            }
        }
    }

    /// Returns all keys as the API shows them.
    pub(super) fn definition(&self) -> Definition {
        Definition::of(self.shown())
    }

    fn shown(&self) -> Map<String, Value> {
        let mut shown = Map::new();
        for key in KEYS {
            (key.put)(self, &mut shown);
        }
        shown
    }
}

/// The names of the keys that may stand in a mapping, in the order of messages.
pub(super) fn names(from: Place) -> &'static [&'static str] {
    static BY_PLACE: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let mut keys: Vec<_> = KEYS.iter().collect();
        keys.sort_by_key(|key| key.place);
        keys.into_iter().map(|key| key.name).collect()
    });
    let first = KEYS.iter().filter(|key| key.place < from).count();
    BY_PLACE.get(first..).unwrap_or_default()
}

/// The schemas of the keys: first those of subscriptions only, then those that `defaults` has as well.
pub(super) fn properties(from: Place, writer: For) -> Map<String, Value> {
    let mut properties = Map::new();
    let (shared, own): (Vec<_>, Vec<_>) = KEYS.iter().partition(|key| key.place == Place::Shared);
    let keys = own.into_iter().chain(shared);
    for key in keys.filter(|key| key.place >= from) {
        (key.declare)(writer, &mut properties);
    }
    properties
}

/// The keys of a definition that are only shown, and cannot be set.
pub const READ_ONLY: [&str; 3] = ["url_is_secret", "secret_set", "secret_fingerprint"];

/// All keys of a subscription. Of the thousands there may be each keeps only what it has other than a plain one, as JSON
/// text: as a map it would take ten times the memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definition(Arc<str>);

/// The keys of a subscription with only built-in values.
static PLAIN: LazyLock<Map<String, Value>> =
    LazyLock::new(|| Draft::named(SubscriptionName::unnamed()).shown());

impl Definition {
    fn of(mut shown: Map<String, Value>) -> Self {
        shown.retain(|key, value| PLAIN.get(key) != Some(value));
        Self(Value::Object(shown).to_string().into())
    }

    /// The keys, in the order of their documentation.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = PLAIN.clone();
        // It was made from a map; only the default one is empty.
        let own: Map<String, Value> = serde_json::from_str(&self.0).unwrap_or_default();
        fields.extend(own);
        fields
    }
}
