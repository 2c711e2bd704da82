//! Where a sidecar listens, as it is given on the command line.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::config::ListenAddress;

/// An address of a sidecar, for events or its admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `host:port`
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Where a process on the same machine reaches a listener with this address; `None` if the configuration is silent.
    pub(crate) fn of_listener(address: &ListenAddress) -> Option<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                let (host, port) = address.rsplit_once(':')?;
                let host = match host {
                    "0.0.0.0" => "127.0.0.1",
                    "[::]" => "[::1]",
                    other => other,
                };
                (port != "0").then(|| Self::Tcp(format!("{host}:{port}")))
            }
            ListenAddress::Unix(path) => Some(Self::Unix(path.clone())),
            ListenAddress::Systemd(_) => None,
        }
    }

    /// Where a process on the same machine reaches a bound address: `host:port` or `unix:/path`; `None` for a
    /// socket without a path.
    pub(crate) fn of_bound(address: &str) -> Option<Self> {
        let address = match address.strip_prefix("unix:") {
            Some(path) => ListenAddress::Unix(PathBuf::from(path)),
            None if address.starts_with("systemd:") => return None,
            None => ListenAddress::Tcp(address.to_owned()),
        };
        Self::of_listener(&address)
    }

    /// Reads `http://host[:port]`, with or without `/events` behind it, or `unix:/path`.
    ///
    /// # Errors
    /// When it is neither.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        Self::parse_with(text, &["", "/events"])
    }

    /// Reads `http://host[:port]` or `unix:/path`.
    ///
    /// # Errors
    /// When it is neither.
    pub(crate) fn parse_admin(text: &str) -> anyhow::Result<Self> {
        Self::parse_with(text, &["", "/v1"])
    }

    fn parse_with(text: &str, paths: &[&str]) -> anyhow::Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(Path::new(path).to_owned()));
        }
        let uri: http::Uri = text
            .parse()
            .with_context(|| format!("not an address: {text}"))?;
        let known_path = paths.contains(&uri.path().trim_end_matches('/'));
        match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(host)) if known_path => Ok(Self::Tcp(format!(
                "{host}:{}",
                uri.port_u16().unwrap_or(80)
            ))),
            _ => bail!("expected http://host:port or unix:/path, found {text}"),
        }
    }
}

/// As it is given on the command line.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        let of = |text: &str| Target::of_listener(&ListenAddress::Tcp(text.to_owned()));
        assert_eq!(of("0.0.0.0:1"), Some(Target::Tcp("127.0.0.1:1".to_owned())));
        assert_eq!(of("[::]:1"), Some(Target::Tcp("[::1]:1".to_owned())));
        assert_eq!(
            of("localhost:1"),
            Some(Target::Tcp("localhost:1".to_owned()))
        );
    }

    #[test]
    fn an_address_that_is_known_only_at_run_time_is_none() {
        let systemd = ListenAddress::Systemd("events".to_owned());
        assert_eq!(Target::of_listener(&systemd), None);
        let any_port = ListenAddress::Tcp("127.0.0.1:0".to_owned());
        assert_eq!(Target::of_listener(&any_port), None);
    }

    #[test]
    fn an_address_that_is_listened_on_can_be_reached_unless_it_has_no_path() {
        let tcp = |text: &str| Some(Target::Tcp(text.to_owned()));
        assert_eq!(Target::of_bound("[::]:8780"), tcp("[::1]:8780"));
        assert_eq!(Target::of_bound("10.0.0.7:1"), tcp("10.0.0.7:1"));
        let unix = Some(Target::Unix("/run/a b.sock".into()));
        assert_eq!(Target::of_bound("unix:/run/a b.sock"), unix);
        assert_eq!(Target::of_bound("systemd:events"), None);
    }

    #[test]
    fn an_address_is_http_or_a_unix_socket() {
        let tcp = |text: &str| Target::Tcp(text.to_owned());
        assert_eq!(Target::parse("http://a:1").unwrap(), tcp("a:1"));
        assert_eq!(Target::parse("http://a:1/events").unwrap(), tcp("a:1"));
        assert_eq!(Target::parse("http://[::1]").unwrap(), tcp("[::1]:80"));
        let unix = Target::Unix(PathBuf::from("/run/a.sock"));
        assert_eq!(Target::parse("unix:/run/a.sock").unwrap(), unix);
        for wrong in ["https://a:1", "a:1", "http://a:1/other", "", "http://"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
