//! TLS towards a mail server: the system's roots, no ALPN.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::domain::FailureReason;
use crate::egress::failure::SendError;
use crate::egress::tls::{SystemRoots, failure};
use crate::egress::tls_error::failure_name;

/// The parts needed to begin TLS with a mail server, made when first needed.
#[derive(Default)]
pub(crate) struct MailTls {
    roots: SystemRoots,
    config: OnceLock<Arc<ClientConfig>>,
}

impl MailTls {
    /// Shakes hands with the server that is called `name`.
    ///
    /// # Errors
    /// The error in its certificate or in the handshake.
    pub(crate) async fn connect<S>(
        &self,
        name: ServerName<'static>,
        stream: S,
    ) -> Result<TlsStream<S>, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(self.config()?);
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| failure(&error))
    }

    fn config(&self) -> Result<Arc<ClientConfig>, SendError> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| SendError::new(FailureReason::Tls, failure_name(&error)))?
            .with_root_certificates(self.roots.get()?)
            .with_no_client_auth();
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }
}

impl fmt::Debug for MailTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailTls").finish_non_exhaustive()
    }
}
