//! TLS towards endpoints: rustls with aws-lc-rs, given explicitly; the system's roots or an endpoint's own.
//!
//! There is no switch that turns verification off. The system's roots are read once, when the first endpoint
//! that needs them is dialled.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::domain::{FailureReason, Timestamp};
use crate::egress::certificate;
use crate::egress::failure::SendError;
use crate::egress::roots::Roots;
use crate::egress::tls_error::failure_name;

/// Sessions kept for resumption: one endpoint has one name.
const SESSIONS: usize = 4;

/// Lowest TLS version of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// 1.2, the default
    #[default]
    Tls12,
    /// 1.3
    Tls13,
}

static TLS13_ONLY: &[&SupportedProtocolVersion] = &[&version::TLS13];

impl TlsVersion {
    fn and_above(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => rustls::ALL_VERSIONS,
            Self::Tls13 => TLS13_ONLY,
        }
    }
}

/// The roots of the machine, read when first needed and shared by all clients.
#[derive(Debug, Default)]
pub(super) struct SystemRoots(OnceLock<Arc<RootCertStore>>);

impl SystemRoots {
    /// The roots; tried again at the next call when there were none.
    pub(super) fn get(&self) -> Result<Arc<RootCertStore>, SendError> {
        if let Some(roots) = self.0.get() {
            return Ok(Arc::clone(roots));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let cause = found.errors.first().map(|error| format!(": {error}"));
            let message = format!(
                "this machine has no trusted root certificates (install ca-certificates, or set tls.ca_file){}",
                cause.unwrap_or_default()
            );
            return Err(SendError::new(FailureReason::Tls, message));
        }
        Ok(Arc::clone(self.0.get_or_init(|| Arc::new(roots))))
    }
}

/// The TLS settings for one subscription's endpoint.
pub(super) struct Tls {
    system: Arc<SystemRoots>,
    own_roots: Option<Roots>,
    min_version: TlsVersion,
    http2: bool,
    config: OnceLock<Arc<ClientConfig>>,
}

/// A TLS connection and the results of its handshake.
pub(super) struct Secured {
    pub(super) stream: TlsStream<TcpStream>,
    /// ALPN chose HTTP/2.
    pub(super) is_http2: bool,
    /// The end of the endpoint's certificate.
    pub(super) certificate_expires: Option<Timestamp>,
}

impl Tls {
    /// `own_roots`, if given, replace the system's.
    pub(super) fn new(
        system: Arc<SystemRoots>,
        own_roots: Option<Roots>,
        min_version: TlsVersion,
        http2: bool,
    ) -> Self {
        Self {
            system,
            own_roots,
            min_version,
            http2,
            config: OnceLock::new(),
        }
    }

    /// Shakes hands with the endpoint that is called `name`.
    pub(super) async fn connect(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> Result<Secured, SendError> {
        let connector = TlsConnector::from(self.config()?);
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| failure(&error))?;
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        Ok(Secured {
            is_http2: session.alpn_protocol() == Some(b"h2"),
            certificate_expires: leaf.and_then(|leaf| certificate::expires_at(leaf)),
            stream,
        })
    }

    fn config(&self) -> Result<Arc<ClientConfig>, SendError> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let roots = match &self.own_roots {
            Some(roots) => roots.store(),
            None => self.system.get()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.min_version.and_above())
            .map_err(|error| SendError::new(FailureReason::Tls, failure_name(&error)))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        config.alpn_protocols = if self.http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }
}

/// A handshake that failed. rustls puts its errors into I/O errors.
pub(super) fn failure(error: &io::Error) -> SendError {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let message = match inner {
        Some(error) => failure_name(error),
        None => format!(
            "the connection broke during the TLS handshake: {}",
            error.kind()
        ),
    };
    SendError::new(FailureReason::Tls, message)
}
