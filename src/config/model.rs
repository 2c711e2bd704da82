//! The validated configuration for the rest of the relay: the sections of the main file, and the subscriptions.
//!
//! Every value here has passed its checks and has its defaults filled in: no `Option` means "not looked at yet".

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::config::admin::AdminConfig;
use crate::config::filter::TYPES;
use crate::config::form::Optional;
use crate::config::ingest::Ingest;
use crate::config::keyed::{Keyed as _, Mapping, keys};
use crate::config::listen::Listen;
use crate::config::log::{Log, MetricsConfig};
use crate::config::notifications::Notifications;
use crate::config::store::StoreConfig;
use crate::config::subscription::Subscription;
use crate::domain::{Label, SubscriptionName};
use crate::egress::AddressPolicy;

keys! {
    /// A whole, valid configuration. Immutable; swapped whole on reload.
    #[derive(Debug, Clone, PartialEq)]
    section pub struct Config {
        "Where sidehook listens."
        listen: Listen = Listen::default() => Mapping::<Listen>::NEW, restart;
        "Limits, tokens and JSON pointers of the events listener."
        ingest: Ingest = Ingest::default() => Mapping::<Ingest>::NEW;
        "The types that may be posted, at most 10,000; another is answered 422, and a pattern in events that matches none of them is an error. null: all."
        event_types: Option<Arc<HashSet<Label>>> = None => Optional(TYPES);
        "Where and how durably events are stored, how many and for how long."
        store: StoreConfig = StoreConfig::default() => Mapping::<StoreConfig>::NEW, restart;
        "Which addresses may be dialled."
        network: AddressPolicy = built_in_network() => Mapping::<AddressPolicy>::NEW;
        "Who may use the API, and what it may change."
        admin: AdminConfig = AdminConfig::default() => Mapping::<AdminConfig>::NEW;
        "Where alerts go when subscriptions fail, are disabled or recover."
        notifications: Notifications = Notifications::default() => Mapping::<Notifications>::NEW;
        "The log."
        log: Log = Log::default() => Mapping::<Log>::NEW, restart;
        "The metrics at /metrics."
        metrics: MetricsConfig = MetricsConfig::default() => Mapping::<MetricsConfig>::NEW;
    } also {
        /// `subscriptions`, those of included files and inactive ones among them.
        subscriptions: BTreeMap<SubscriptionName, Arc<Subscription>> = BTreeMap::new();
    }
}

/// The keys of the main file that are not sections.
const OTHERS: [&str; 3] = ["defaults", "include", "subscriptions"];

fn built_in_network() -> AddressPolicy {
    AddressPolicy {
        own_ports: Listen::default().ports(),
        ..AddressPolicy::built_in()
    }
}

/// Returns the keys of the main file.
pub(super) fn sections() -> Vec<&'static str> {
    [Config::NAMES, &OTHERS].concat()
}

impl Config {
    /// All sections with the values in force, in the notation of the file and with paths resolved. Secrets are shown by
    /// their fingerprints, tokens of the API also by their names.
    #[must_use]
    pub fn redacted(&self) -> Value {
        let mut shown = self.show();
        let subscriptions = self.subscriptions.iter();
        let subscriptions: Map<_, _> = subscriptions
            .map(|(name, one)| (name.to_string(), Value::Object(one.definition.fields())))
            .collect();
        shown.insert("subscriptions".to_owned(), Value::Object(subscriptions));
        Value::Object(shown)
    }
}
