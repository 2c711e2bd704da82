//! Binds the addresses of `listen` and serves them, each in a task of its own.

use std::error::Error as _;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Surface};
use crate::app::AppError;
use crate::app::runtime_folder::RuntimeFolder;
use crate::config::{Config, Listen, ListenAddress};
use crate::descriptors::{self, Limit};
use crate::http_server::{Limits, Listener, serve};
use crate::ingest::Ingest;
use crate::systemd::ActivatedSockets;

/// Requests under way at a stop have this long: together with the grace period of attempts less than the 30 s after which
/// orchestrators kill.
const EVENTS_DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// The same for operators, whose clients can ask again.
const ADMIN_DRAIN_TIMEOUT: Duration = Duration::from_millis(200);
/// Connections of operators at the same time.
const ADMIN_CONNECTIONS_MAX: usize = 512;
/// Connections of operators on which nothing is asked are closed after this: probes and scrapers must find a place. More than a
/// heartbeat of the stream.
const ADMIN_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Operators' programs that take nothing of an answer are cut off after this.
const ADMIN_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a listener can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `host:port`
    Tcp(SocketAddr),
    /// `unix:/path`
    Unix(PathBuf),
    /// `systemd:NAME`: a unix socket without a path.
    Systemd(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl Address {
    /// Whether other machines may reach it.
    fn is_open(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().to_canonical().is_loopback())
    }
}

/// Where a relay listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Where events are posted; at least one.
    pub events: Vec<Address>,
    /// The admin API, `/healthz`, `/readyz`, `/metrics`.
    pub admin: Address,
    /// `/healthz`, `/readyz` and `/metrics` once more, for scrapers from outside.
    pub metrics: Option<Address>,
}

impl Addresses {
    /// The first address for events that other machines may reach: there must be tokens for it. More precise than the
    /// file, which does not contain what a name resolves to and what systemd listens on.
    pub(super) fn open_for_events(&self) -> Option<&Address> {
        self.events.iter().find(|address| address.is_open())
    }

    /// The same of the address of the API.
    pub(super) fn open_for_admin(&self) -> Option<&Address> {
        Some(&self.admin).filter(|address| address.is_open())
    }
}

/// Everything that `listen` names, bound and not served yet.
pub(super) struct Bound {
    pub(super) addresses: Addresses,
    events: Vec<Listener>,
    admin: Vec<(Surface, Listener)>,
}

impl Bound {
    /// Binds every address, or none.
    pub(super) async fn new(
        listen: &Listen,
        sockets: &mut Option<ActivatedSockets>,
    ) -> Result<Self, AppError> {
        let mut events = Vec::new();
        let mut addresses = Vec::new();
        for address in &listen.events {
            for (listener, address) in bind("listen.events", address, sockets, &addresses).await? {
                events.push(listener);
                addresses.push(address);
            }
        }
        let mut admin = Vec::new();
        let mut of_surface =
            async |configured: &ListenAddress, field: &'static str, surface: Surface| {
                let bound = bind(field, configured, sockets, &[]).await?;
                // Of several the one that asks for tokens, if one does.
                let open = bound.iter().find(|(_, address)| address.is_open());
                let shown = open.or(bound.first()).map(|(_, address)| address.clone());
                admin.extend(bound.into_iter().map(|(listener, _)| (surface, listener)));
                shown.ok_or_else(|| AppError::NoSocket(field.to_owned()))
            };
        let admin_address = of_surface(&listen.admin, "listen.admin", Surface::Whole).await?;
        let metrics = match &listen.metrics {
            Some(address) => Some(of_surface(address, "listen.metrics", Surface::Open).await?),
            None => None,
        };
        let addresses = Addresses {
            events: addresses,
            admin: admin_address,
            metrics,
        };
        Ok(Self {
            addresses,
            events,
            admin,
        })
    }

    /// Adds the socket in the runtime folder, where commands look, unless the configuration has it already; a relay that
    /// cannot have it goes without.
    pub(super) async fn add_runtime_socket(&mut self, folder: &RuntimeFolder, config: &Config) {
        if matches!(&config.listen.admin, ListenAddress::Unix(path) if folder.is_socket(path)) {
            return;
        }
        // A user with tokens must not get more than these allow by being in the group of the relay.
        let is_for_group = config.admin.tokens.is_empty();
        match folder.bind(&config.store.path, is_for_group).await {
            Ok((listener, path)) => {
                tracing::debug!(path = %path.display(), "commands find this sidecar by its socket");
                self.admin.push((Surface::Whole, listener));
            }
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                tracing::warn!(%error, cause, "no socket in the runtime folder: commands need --config and a token");
            }
        }
    }

    /// Serves all of them: those for events, and those for operators, which stop later.
    pub(super) fn serve(
        self,
        ingest: &Ingest,
        admin: &Admin,
        stop_events: &CancellationToken,
        stop_admin: &CancellationToken,
        files: usize,
    ) -> (Listeners, Listeners) {
        let (event_places, admin_places) = descriptors::client_places(files, self.events.len());
        let limits = Limits {
            connections: Limits::default().connections.min(event_places),
            drain_timeout: EVENTS_DRAIN_TIMEOUT,
            ..Limits::default()
        };
        let mut for_events = Listeners::default();
        for listener in self.events {
            let (ingest, stop) = (ingest.clone(), stop_events.clone());
            let service = move |peer| ingest.service(peer);
            for_events
                .tasks
                .spawn(serve(listener, service, limits, stop));
        }
        let limits = Limits {
            connections: ADMIN_CONNECTIONS_MAX.min(admin_places),
            idle_timeout: ADMIN_IDLE_TIMEOUT,
            answer_timeout: ADMIN_ANSWER_TIMEOUT,
            drain_timeout: ADMIN_DRAIN_TIMEOUT,
            ..Limits::default()
        };
        let mut for_operators = Listeners::default();
        for (surface, listener) in self.admin {
            let (admin, stop) = (admin.clone(), stop_admin.clone());
            let service = move |peer| admin.clone().into_service(surface, peer);
            for_operators
                .tasks
                .spawn(serve(listener, service, limits, stop));
        }
        (for_events, for_operators)
    }
}

/// Raises the limit of open files, and warns when it is small for the configuration.
pub(super) fn raise_limit(config: &Config) -> usize {
    let Limit { files, refused } = descriptors::raise_limit();
    if let Some(error) = refused {
        tracing::warn!(%error, files, "the limit of open files cannot be raised");
    }
    let active = config.subscriptions.values().filter(|it| it.active);
    let deliveries: usize = active.map(|it| it.concurrency).sum();
    let clients = config.listen.events.len() * Limits::default().connections;
    let wanted = 2 * (clients + 2 * ADMIN_CONNECTIONS_MAX).max(deliveries);
    if files < wanted {
        tracing::warn!(
            files,
            wanted,
            "the limit of open files is small for the configuration: raise it (ulimit -Hn, LimitNOFILE=)"
        );
    }
    files
}

/// Binds the configured address, which may resolve to several, or takes systemd's; also returns where each can be
/// reached. Addresses in `taken` are passed over.
async fn bind(
    name: &'static str,
    configured: &ListenAddress,
    sockets: &mut Option<ActivatedSockets>,
    taken: &[Address],
) -> Result<Vec<(Listener, Address)>, AppError> {
    let failed = |source| AppError::Listen { name, source };
    match configured {
        ListenAddress::Tcp(text) => {
            let taken = taken.iter().filter_map(|address| match address {
                Address::Tcp(address) => Some(*address),
                Address::Unix(_) | Address::Systemd(_) => None,
            });
            let taken: Vec<_> = taken.collect();
            let listeners = Listener::tcp(text, &taken).await.map_err(failed)?;
            let bound = listeners.into_iter().map(|listener| {
                let address = listener.tcp_address().map(Address::Tcp);
                let address = address.ok_or_else(|| AppError::NoSocket(text.clone()))?;
                Ok((listener, address))
            });
            bound.collect()
        }
        ListenAddress::Unix(path) => {
            let listener = Listener::unix(path).await.map_err(failed)?;
            Ok(vec![(listener, Address::Unix(path.clone()))])
        }
        ListenAddress::Systemd(name) => {
            let taken = match sockets {
                Some(sockets) => sockets.take(name).map_err(AppError::Socket)?,
                None => Vec::new(),
            };
            if taken.is_empty() {
                return Err(AppError::NoSocket(name.clone()));
            }
            let with_address = |listener: Listener| {
                let path = || listener.unix_path().map(Address::Unix);
                let address = listener.tcp_address().map(Address::Tcp).or_else(path);
                let address = address.unwrap_or_else(|| Address::Systemd(name.clone()));
                (listener, address)
            };
            Ok(taken.into_iter().map(with_address).collect())
        }
    }
}

/// Listeners that stop together. Dropped, their connections are closed.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    tasks: JoinSet<()>,
}

impl Listeners {
    /// Waits until one of them has ended, which none does before it is stopped.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn ended(&mut self) -> AppError {
        match self.tasks.join_next().await {
            Some(Ok(())) => AppError::ListenerEnded,
            Some(Err(error)) => AppError::Panicked(error),
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended after they were stopped.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn join(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a listener panicked while stopping");
            }
        }
    }

    /// Ends them at once.
    pub(super) async fn abort(&mut self) {
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_api_beyond_loopback_is_open() {
        let open = |admin: &str| {
            let addresses = Addresses {
                events: Vec::new(),
                admin: Address::Tcp(admin.parse().unwrap()),
                metrics: None,
            };
            addresses.open_for_admin().is_some()
        };
        assert!(open("0.0.0.0:1") && open("[::]:1") && open("10.0.0.7:1"));
        assert!(!open("127.0.0.1:1") && !open("[::1]:1") && !open("[::ffff:127.0.0.1]:1"));
    }
}
