//! Dialling out: which addresses may be dialled, how names become addresses, TLS, and a pooled client per subscription.
//!
//! Requests are made by `request`; their answers are interpreted by `delivery`. Invariants: the guard sees the very
//! socket address that is dialled; no redirect is followed; no proxy of the environment is used; a request is written
//! at most once; everything that comes from an endpoint has a bound in bytes and time.

mod certificate;
mod client;
mod connection;
mod dial;
mod failure;
mod guard;
mod http1;
mod http2;
mod mail_tls;
mod origin;
mod pool;
mod resolver;
mod roots;
mod tls;
mod tls_error;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod pooling_tests;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

pub use client::{Answer, Client};
pub use failure::SendError;
pub use guard::{AddressPolicy, Denied};
pub(crate) use mail_tls::MailTls;
pub use roots::{Roots, RootsError};
pub use tls::TlsVersion;

use dial::{CONNECT_LIMIT, Dialer};
use pool::{Places, Pool};
use resolver::Resolver;
use tls::{SystemRoots, Tls};

/// How one subscription's endpoint is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// ALPN may choose HTTP/2.
    pub http2: bool,
    /// The only roots to trust; `None` for the system's.
    pub roots: Option<Roots>,
    /// Lowest TLS version.
    pub min_version: TlsVersion,
    /// Idle connections kept at most; fewer where all clients together have too many.
    pub idle_connections: usize,
}

/// The state shared by all clients: resolver and cache, system roots, places for idle connections. A cheap handle.
#[derive(Debug, Clone)]
pub struct Egress {
    resolver: Arc<Resolver>,
    roots: Arc<SystemRoots>,
    places: Arc<Places>,
}

impl Egress {
    /// Prepares what is shared. The system's roots are read when the first endpoint needs them.
    #[must_use]
    pub fn new() -> Self {
        Self::with_resolver(Resolver::system())
    }

    fn with_resolver(resolver: Resolver) -> Self {
        Self {
            resolver: Arc::new(resolver),
            roots: Arc::default(),
            places: Arc::new(Places::new()),
        }
    }

    /// A pooled client for one subscription. It opens connections only by `policy`: a changed policy needs a new client,
    /// which also leaves the old one's connections behind.
    #[must_use]
    pub fn client(&self, options: &ClientOptions, policy: Arc<AddressPolicy>) -> Client {
        self.client_within(options, policy, CONNECT_LIMIT)
    }

    fn client_within(
        &self,
        options: &ClientOptions,
        policy: Arc<AddressPolicy>,
        limit: Duration,
    ) -> Client {
        let tls = Tls::new(
            Arc::clone(&self.roots),
            options.roots.clone(),
            options.min_version,
            options.http2,
        );
        let dialer = Dialer {
            policy,
            resolver: Arc::clone(&self.resolver),
            tls,
            limit,
        };
        let pool = Pool::new(options.idle_connections, Arc::clone(&self.places));
        Client::new(dialer, pool)
    }
}

impl Default for Egress {
    fn default() -> Self {
        Self::new()
    }
}
