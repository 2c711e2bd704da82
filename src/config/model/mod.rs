//! The validated configuration, as the rest of the relay sees it.
//!
//! Every value here has passed its checks and has its defaults filled in: no `Option` means "not looked at yet".
//! How it is read from YAML is told by the other files of this room.

mod operation;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use url::Url;

use crate::config::definition::Definition;
use crate::domain::{
    AutoDisable, Label, Order, Patterns, RateLimit, Retry, Secret, SubscriptionName, Timestamp,
    WhenStuck, is_localhost,
};
use crate::egress::{AddressPolicy, Roots, TlsVersion};
use crate::matching::{Condition, Expression, Filter, WhenError};
use crate::metrics::Histograms;
use crate::signing::Scheme;

pub(super) use operation::name_and_address;
pub use operation::{
    AdminConfig, AdminToken, NotificationWebhook, Notifications, Scopes, Smtp, SmtpTls,
};

/// A whole, valid configuration. Immutable; swapped whole on reload.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `listen`
    pub listen: Listen,
    /// `ingest`
    pub ingest: Ingest,
    /// `store`
    pub store: StoreConfig,
    /// `network`
    pub network: AddressPolicy,
    /// `admin`
    pub admin: AdminConfig,
    /// `notifications`
    pub notifications: Notifications,
    /// `log`
    pub log: Log,
    /// `metrics`
    pub metrics: MetricsConfig,
    /// `event_types`: those that may be posted; none: all. At most 10,000.
    pub event_types: Option<Arc<HashSet<Label>>>,
    /// `subscriptions`, those of included files and inactive ones among them.
    pub subscriptions: BTreeMap<SubscriptionName, Arc<Subscription>>,
}

/// `listen`: where the relay listens. Changes need a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where events are posted; at least one.
    pub events: Vec<ListenAddress>,
    /// Admin API, /metrics, /healthz, /readyz: loopback or a unix socket.
    pub admin: ListenAddress,
    /// One more listener with only /metrics, /healthz, /readyz.
    pub metrics: Option<ListenAddress>,
}

impl Listen {
    /// Every address with its name, such as `listen.events[0]`: those for events first.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, &ListenAddress)> {
        let events = self.events.iter().enumerate();
        let events = events.map(|(index, address)| (format!("listen.events[{index}]"), address));
        let metrics = self.metrics.iter();
        let metrics = metrics.map(|address| ("listen.metrics".to_owned(), address));
        let admin = ("listen.admin".to_owned(), &self.admin);
        events.chain([admin]).chain(metrics).collect()
    }

    /// The ports that it names; not those that the system or systemd chooses.
    pub(super) fn ports(&self) -> Vec<u16> {
        let port = |(_, address): (String, &ListenAddress)| match address {
            ListenAddress::Tcp(text) => text.rsplit_once(':')?.1.parse().ok(),
            ListenAddress::Unix(_) | ListenAddress::Systemd(_) => None,
        };
        let addresses = self.addresses().into_iter();
        addresses
            .filter_map(port)
            .filter(|port| *port != 0)
            .collect()
    }
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `host:port`, as written; port 0 is any free one.
    Tcp(String),
    /// `unix:/path`, resolved against the folder of the file.
    Unix(PathBuf),
    /// `systemd:NAME`: a socket handed over by systemd under this name. What it is bound to is known only then, so
    /// who takes it over has to refuse one that is open to other machines while no tokens are set.
    Systemd(String),
}

impl ListenAddress {
    /// Whether other machines may reach it as far as the text tells: a TCP address that is not loopback.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Tcp(address) => {
                let host = address.rsplit_once(':').map_or("", |(host, _)| host);
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                match bare.parse::<IpAddr>() {
                    Ok(ip) => !ip.to_canonical().is_loopback(),
                    Err(_) => !is_localhost(bare),
                }
            }
            Self::Unix(_) | Self::Systemd(_) => false,
        }
    }
}

/// `ingest`: what is accepted on the events listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// Largest body of one event, bytes; 1 to [`BODY_BYTES_MAX`](crate::domain::BODY_BYTES_MAX).
    pub max_body: u64,
    /// Bearer tokens, visible ASCII; none is asked for when empty.
    pub tokens: Vec<Secret>,
    /// JSON pointer (RFC 6901) of the type; none: not looked for.
    pub type_pointer: Option<String>,
    /// JSON pointer of the given id; none: not looked for.
    pub id_pointer: Option<String>,
    /// JSON pointer of the key; none: not looked for.
    pub key_pointer: Option<String>,
    /// How long a given id is remembered.
    pub dedup_window: Duration,
    /// How many given ids are remembered at most; up to 10,000,000.
    pub dedup_max: usize,
}

/// `store`. Changes need a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder, resolved ($STATE_DIRECTORY, else sidehook-data in the working folder).
    pub path: PathBuf,
    /// When an event counts as accepted.
    pub durability: Durability,
    /// Bytes of bodies pending at most, all subscriptions together; beyond it no new events are accepted.
    pub max_pending: u64,
    /// How long what is over is kept.
    pub retention: Retention,
    /// How long deliveries of a subscription that is gone from the file are held; then they are cancelled.
    pub removed_after: Duration,
}

/// `store.durability`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk.
    Fsync,
    /// When it is written; it is on the disk within a second.
    Relaxed,
}

/// `store.retention`: when events whose deliveries are all in a final state are removed, with their attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Delivered and cancelled ones after so long.
    pub delivered: Duration,
    /// Dead ones after so long.
    pub dead: Duration,
    /// Bytes that all of them may take; beyond it delivered and cancelled ones go first, earlier.
    pub max_size: u64,
}

/// `log`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is worth a line.
    pub level: LogLevel,
}

/// `metrics`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetricsConfig {
    /// Whose histograms there are.
    pub histograms: Histograms,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// An operator must act, or data is lost.
    Error,
    /// Dead letters, degraded work.
    Warn,
    /// Start, stop, configuration.
    Info,
    /// One delivery's details.
    Debug,
    /// Everything.
    Trace,
}

/// One subscription, its defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its name.
    pub name: SubscriptionName,
    /// At most 64 characters.
    pub title: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Where deliveries go. None only while inactive.
    pub url: Option<Endpoint>,
    /// Which types. Empty only while inactive.
    pub events: Patterns,
    /// `match`: what the event must be equal to, all of it; each selector once, at most 16.
    pub matches: Vec<Condition>,
    /// `when`: what else must be true of the event.
    pub when: Option<Expression>,
    /// What an error while `when` is evaluated means.
    pub when_error: WhenError,
    /// false: disabled, reason `config`.
    pub active: bool,
    /// What happens to events that match while disabled.
    pub when_disabled: WhenDisabled,
    /// Never edited or disabled by anything but the file.
    pub locked: bool,
    /// The signing secret, at least 12 characters.
    pub secret: Option<Secret>,
    /// Secrets that sign along until their time, in schemes that carry several signatures.
    pub previous_secrets: Vec<(Secret, Timestamp)>,
    /// Signature schemes, empty for `none`.
    pub signature: Vec<Scheme>,
    /// Static headers, checked against the policy; at most 32, each name once.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Names of headers that are passed on, checked against the policy.
    pub forward_headers: Vec<HeaderName>,
    /// POST, PUT or PATCH.
    pub method: Method,
    /// From dialling to the end of the response head; 1 ms to 1 h.
    pub timeout: Duration,
    /// When failed deliveries are attempted again.
    pub retry: Retry,
    /// Statuses that make a delivery dead at once, 300 to 599, in order and each once.
    pub give_up_on: Vec<u16>,
    /// What waits for what.
    pub order: Order,
    /// With an order, what a dead delivery does to those behind it.
    pub when_stuck: WhenStuck,
    /// Attempts in flight, 1 to 10,000.
    pub concurrency: usize,
    /// Attempts in a period at most; none: as many as `concurrency` gives.
    pub rate_limit: Option<RateLimit>,
    /// Bytes of bodies pending at most.
    pub max_pending: u64,
    /// When it is disabled for failing.
    pub auto_disable: AutoDisable,
    /// `auto` is true, `never` false.
    pub http2: bool,
    /// The certificates of `tls.ca_file`, read at load.
    pub roots: Option<Roots>,
    /// `tls.min_version`
    pub min_tls_version: TlsVersion,
    /// E-mail addresses that are told when it fails, is disabled and recovers.
    pub notify: Vec<String>,
    /// So many attempts in a row must have failed before they are told; at least 1.
    pub notify_after: u32,
    /// All its fields as they would stand in the file, defaults filled in, secrets redacted; for the API and `diff`.
    pub definition: Definition,
}

impl Subscription {
    /// What it says of its events.
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

/// An endpoint's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL as dialled: http or https, with a host, without userinfo and fragment.
    pub url: Url,
    /// It came from a secret reference: shown as scheme and host only.
    pub is_secret: bool,
}

/// `when_disabled`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDisabled {
    /// Deliveries wait.
    Hold,
    /// Events are counted and not delivered.
    Skip,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_addresses_are_not_exposed() {
        let exposed = |address: &str| ListenAddress::Tcp(address.to_owned()).is_exposed();
        for local in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "localhost:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(!exposed(local), "{local}");
        }
        for open in [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "example.com:1",
            "localhost.example.com:1",
        ] {
            assert!(exposed(open), "{open}");
        }
        assert!(!ListenAddress::Unix(PathBuf::from("/run/x")).is_exposed());
    }
}
