//! The built-in defaults, all in one place: what a key means when it is left out.
//!
//! `config.example.yaml` shows the same values; a test holds the two together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Method;

use crate::config::definition::Definition;
use crate::config::model::{
    AdminConfig, Config, Durability, Ingest, Listen, ListenAddress, Log, LogFormat, LogLevel,
    MetricsConfig, Notifications, Retention, StoreConfig, Subscription, WhenDisabled,
};
use crate::domain::{AutoDisable, Order, Patterns, Retry, SubscriptionName, WhenStuck};
use crate::egress::{AddressPolicy, TlsVersion};
use crate::matching::WhenError;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
const DAY: Duration = Duration::from_secs(86_400);

/// The configuration of a file that says nothing, without subscriptions.
impl Default for Config {
    fn default() -> Self {
        let listen = Listen::default();
        let mut network = network();
        network.own_ports = listen.ports();
        Self {
            listen,
            ingest: Ingest::default(),
            store: StoreConfig::default(),
            network,
            admin: AdminConfig::default(),
            notifications: Notifications::default(),
            log: Log::default(),
            metrics: MetricsConfig::default(),
            event_types: None,
            subscriptions: BTreeMap::new(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            events: vec![ListenAddress::Tcp("127.0.0.1:8780".to_owned())],
            admin: ListenAddress::Tcp("127.0.0.1:8781".to_owned()),
            metrics: None,
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            max_body: MIB,
            tokens: Vec::new(),
            type_pointer: Some("/type".to_owned()),
            id_pointer: None,
            key_pointer: None,
            dedup_window: Duration::from_secs(3600),
            dedup_max: 1_000_000,
        }
    }
}

/// With the store's folder when $STATE_DIRECTORY is not set.
impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("sidehook-data"),
            durability: Durability::Fsync,
            max_pending: 10 * GIB,
            retention: Retention::default(),
            removed_after: 7 * DAY,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            delivered: 3 * DAY,
            dead: 30 * DAY,
            max_size: 4 * GIB,
        }
    }
}

/// With the store's folder when nothing says another.
impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            edit_config: true,
            write_to: None,
            secrets_dir: StoreConfig::default().path.join("secrets"),
            allowed_hosts: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: LogLevel::Info,
        }
    }
}

/// `network` when it is left out: public addresses on the ports of HTTPS.
pub(super) fn network() -> AddressPolicy {
    AddressPolicy {
        own_ports: Vec::new(),
        allow_private: Vec::new(),
        allow_metadata: false,
        ports: vec![443, 8443],
    }
}

impl Subscription {
    /// The most attempts in flight when `concurrency` is left out.
    const CONCURRENCY: usize = 16;

    /// A subscription of which nothing is said but its name: active, and without url and events not yet valid.
    #[must_use]
    pub fn named(name: SubscriptionName) -> Self {
        Self {
            name,
            title: None,
            description: None,
            url: None,
            events: Patterns::default(),
            matches: Vec::new(),
            when: None,
            when_error: WhenError::Skip,
            active: true,
            when_disabled: WhenDisabled::Hold,
            locked: false,
            secret: None,
            previous_secrets: Vec::new(),
            signature: Vec::new(),
            headers: Vec::new(),
            forward_headers: Vec::new(),
            method: Method::POST,
            timeout: Duration::from_secs(15),
            retry: Retry::standard(),
            give_up_on: Vec::new(),
            order: Order::None,
            when_stuck: WhenStuck::Block,
            concurrency: Self::CONCURRENCY,
            rate_limit: None,
            max_pending: GIB,
            auto_disable: AutoDisable::Failures {
                failures: 10,
                lasting: 5 * DAY,
            },
            http2: true,
            roots: None,
            min_tls_version: TlsVersion::Tls12,
            notify: Vec::new(),
            notify_after: 5,
            definition: Definition::default(),
        }
    }
}
