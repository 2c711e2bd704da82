//! TLS towards endpoints: rustls with aws-lc-rs, given explicitly; the system's roots or an endpoint's own.
//!
//! There is no switch that turns verification off. The system's roots are read once, when the first endpoint
//! that needs them is dialled.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, PeerIncompatible, RootCertStore,
    SupportedProtocolVersion, version,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::domain::{FailureReason, Timestamp};
use crate::egress::certificate;
use crate::egress::failure::SendError;
use crate::egress::roots::Roots;

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

/// An error of TLS, for people: nothing in it was written by the endpoint.
pub(super) fn failure_name(error: &rustls::Error) -> String {
    use rustls::Error;
    let name = match error {
        Error::InvalidCertificate(error) => return certificate_failure(error),
        Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls12NotOffered,
        )
        | Error::AlertReceived(AlertDescription::ProtocolVersion) => "no common TLS version",
        Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon,
        )
        | Error::AlertReceived(AlertDescription::InsufficientSecurity) => {
            "no common TLS cipher suite or key exchange"
        }
        // TLS 1.2 has no alert of its own for a missing client certificate.
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "the endpoint refused the handshake: it wants a client certificate, or there is no common TLS cipher suite"
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
        ) => "the endpoint wants a client certificate",
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the endpoint has no certificate for this name"
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        | Error::NoApplicationProtocol => "no common HTTP version (ALPN)",
        Error::InvalidMessage(_) => "the endpoint does not speak TLS on this port",
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => {
            "the endpoint breaks the TLS protocol: its TLS software must be mended"
        }
        Error::PeerIncompatible(_) => {
            "the endpoint lacks a part of TLS that is needed: its TLS software must be renewed"
        }
        Error::AlertReceived(_) => {
            "the endpoint ended the TLS connection with an alert: see its log"
        }
        Error::NoCertificatesPresented => "the endpoint sent no certificate: it needs one",
        Error::DecryptError => {
            "a TLS record of the endpoint is damaged: something on the way changes it"
        }
        _ => "the TLS connection failed within sidehook",
    };
    name.to_owned()
}

fn certificate_failure(error: &CertificateError) -> String {
    let name = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the endpoint's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the endpoint's certificate is not valid yet"
        }
        CertificateError::UnknownIssuer => {
            "the endpoint's certificate has an unknown issuer (self-signed, or a CA that is not trusted)"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the endpoint's certificate is for another name"
        }
        CertificateError::Other(inner) => {
            return invalid(&inner.to_string());
        }
        CertificateError::Revoked => "the endpoint's certificate is revoked",
        CertificateError::BadEncoding => {
            "the endpoint's certificate is not well-formed: it must be issued anew"
        }
        CertificateError::BadSignature => {
            "the endpoint's certificate or handshake has a wrong signature: its key or chain must be replaced"
        }
        CertificateError::UnhandledCriticalExtension => {
            "the endpoint's certificate has an unknown critical extension: it must be issued without"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the endpoint's certificate is not for servers: it needs the purpose serverAuth"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the endpoint's certificate is signed with an algorithm that is not supported (such as SHA-1): it must be issued anew"
        }
        _ => "the endpoint's certificate is not valid: it must be issued anew",
    };
    name.to_owned()
}

/// The necessary change of a certificate that the verifier refused by an error of its own, which has only this name.
fn invalid(name: &str) -> String {
    let change = match name {
        "CaUsedAsEndEntity" => {
            "is that of a CA: it needs one for a server, with CA:FALSE (a self-signed one as well)"
        }
        "EndEntityUsedAsCa" => {
            "is issued by a certificate that is no CA: its chain must be replaced"
        }
        "UnsupportedCertVersion" => "is not X.509 version 3: it must be issued anew",
        "NameConstraintViolation" => {
            "has a name that its CA may not vouch for: another CA is needed"
        }
        "PathLenConstraintViolated" | "MaximumPathDepthExceeded" => {
            "has a chain that is longer than allowed: it must be shortened"
        }
        _ => "is not well-formed or breaks RFC 5280: it must be issued anew",
    };
    format!("the endpoint's certificate {change}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_ciphers_without_overlap_are_named() {
        use rustls::Error;
        let version = Error::AlertReceived(AlertDescription::ProtocolVersion);
        assert_eq!(failure_name(&version), "no common TLS version");
        let suites = Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon);
        assert!(failure_name(&suites).contains("cipher suite"));
    }

    #[test]
    fn no_failure_is_shown_as_the_name_of_a_variant() {
        use rustls::Error;
        let alerts = (0..=u8::MAX).map(|code| Error::AlertReceived(code.into()));
        let certificates = [
            CertificateError::BadEncoding,
            CertificateError::BadSignature,
            CertificateError::UnhandledCriticalExtension,
            CertificateError::UnknownRevocationStatus,
            CertificateError::InvalidPurpose,
            CertificateError::InvalidOcspResponse,
            CertificateError::ApplicationVerificationFailure,
            CertificateError::Revoked,
        ];
        let certificates = certificates.map(Error::InvalidCertificate);
        let others = [
            Error::NoCertificatesPresented,
            Error::DecryptError,
            Error::HandshakeNotComplete,
            Error::PeerMisbehaved(rustls::PeerMisbehaved::MissingKeyShare),
            Error::PeerIncompatible(PeerIncompatible::KeyShareExtensionRequired),
        ];
        for error in alerts.chain(certificates).chain(others) {
            let shown = failure_name(&error);
            let is_raw = |word: &str| {
                word.chars().filter(|c| c.is_uppercase()).count() > 1
                    && word.chars().any(char::is_lowercase)
                    && word != "serverAuth"
            };
            assert!(!shown.split([' ', ':', '(']).any(is_raw), "{shown}");
        }
        for name in ["CaUsedAsEndEntity", "UnsupportedCertVersion", "BadDerTime"] {
            assert!(!invalid(name).contains(name));
        }
    }
}
