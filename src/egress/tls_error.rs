//! Errors of TLS in words: what is wrong at the endpoint, and who can mend it.

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

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
