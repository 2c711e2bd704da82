//! Where an endpoint is: scheme, host and port of a URL, with what follows from them, made once per client.

use std::net::IpAddr;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;

use crate::domain::FailureReason;
use crate::egress::failure::SendError;

/// The origin (RFC 6454) of an endpoint's URL.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    pub(super) host: Host,
    pub(super) port: u16,
    /// The `Host` header of requests without one.
    pub(super) host_header: HeaderValue,
    /// The name that the certificate must have; `None` for plain HTTP.
    pub(super) server_name: Option<ServerName<'static>>,
}

/// A host as it is dialled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// An address literal: no resolver is asked.
    Address(IpAddr),
    /// A name for the resolver.
    Name(String),
}

impl Origin {
    /// The origin of an absolute `http` or `https` URI.
    pub(super) fn of(uri: &Uri) -> Result<Self, SendError> {
        let unusable = || {
            SendError::new(
                FailureReason::Connect,
                "the URL needs http or https and a host",
            )
        };
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or_else(unusable)?;
        let is_https = *scheme == Scheme::HTTPS;
        if !is_https && *scheme != Scheme::HTTP {
            return Err(unusable());
        }
        let host = authority.host();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        // A certificate names hosts without the root's dot (RFC 6066 section 3).
        let name = bare.strip_suffix('.').unwrap_or(bare);
        let server_name = is_https
            .then(|| ServerName::try_from(name.to_owned()))
            .transpose()
            .map_err(|_| unusable())?;
        let shown = host_and_port(authority);
        Ok(Self {
            host: bare
                .parse()
                .map_or_else(|_| Host::Name(bare.to_owned()), Host::Address),
            port: authority
                .port_u16()
                .unwrap_or(if is_https { 443 } else { 80 }),
            host_header: HeaderValue::from_str(shown).map_err(|_| unusable())?,
            server_name,
            scheme: scheme.clone(),
            authority: authority.clone(),
        })
    }

    /// Whether a URI has this origin.
    pub(super) fn is_of(&self, uri: &Uri) -> bool {
        uri.authority() == Some(&self.authority) && uri.scheme() == Some(&self.scheme)
    }
}

/// An authority without userinfo, which belongs in no header.
fn host_and_port(authority: &Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(uri: &str) -> Result<Origin, SendError> {
        Origin::of(&uri.parse().unwrap())
    }

    #[test]
    fn ports_follow_from_the_scheme_unless_given() {
        assert_eq!(origin("https://a.example/x").unwrap().port, 443);
        assert_eq!(origin("http://a.example/x").unwrap().port, 80);
        assert_eq!(origin("https://a.example:8443/x").unwrap().port, 8443);
    }

    #[test]
    fn address_literals_are_told_from_names() {
        let v6 = origin("https://[2001:4860::1]:8443/").unwrap();
        assert_eq!(v6.host, Host::Address("2001:4860::1".parse().unwrap()));
        assert_eq!(v6.host_header, "[2001:4860::1]:8443");
        assert!(matches!(v6.server_name, Some(ServerName::IpAddress(_))));
        let name = origin("https://a.example./").unwrap();
        assert_eq!(name.host, Host::Name("a.example.".into()));
        assert_eq!(
            name.server_name,
            Some(ServerName::try_from("a.example").unwrap())
        );
    }

    #[test]
    fn userinfo_reaches_no_header() {
        let origin = origin("http://user:secret@a.example:81/").unwrap();
        assert_eq!(origin.host_header, "a.example:81");
    }

    #[test]
    fn a_url_that_cannot_be_dialled_is_a_failure() {
        for uri in ["/path", "ftp://a.example/", "https://-_-!/"] {
            assert_eq!(
                origin(uri).unwrap_err().reason,
                FailureReason::Connect,
                "{uri}"
            );
        }
    }
}
