//! Posting an event to a sidecar over HTTP/1.1, by TCP or unix socket: what `send` and `demo` share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::cli::client::wire::begin;
use crate::config::ListenAddress;

/// Connecting and the whole answer have this long, beyond what the sidecar is asked to wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// At most this much of an answer is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The characters of a type that need no escape in a path. Source: RFC 3986, section 2.3.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/');

/// Where a sidecar accepts events.
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

/// The answer of a sidecar to an event that it accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Receipt {
    /// The event id.
    pub(crate) id: String,
    /// How many deliveries the event has.
    pub(crate) deliveries: usize,
    /// It was accepted before.
    pub(crate) duplicate: bool,
    /// How the first attempts went, if the sidecar waited for them.
    pub(crate) results: Option<Vec<FirstAttempt>>,
}

/// The state of a delivery after its first attempt, in the words of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct FirstAttempt {
    /// For which subscription.
    pub(crate) subscription: String,
    /// The present state of the delivery.
    pub(crate) state: String,
    /// How the attempt ended; `None` if there was none.
    pub(crate) status: Option<String>,
    /// The status code of the response, if there was one.
    pub(crate) response_code: Option<u16>,
    /// The error, if there was one.
    pub(crate) error_message: Option<String>,
}

/// An event to post.
#[derive(Debug, Clone)]
pub(crate) struct Posting {
    /// Its type.
    pub(crate) event_type: String,
    /// The headers of the request, Content-Type included.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
    /// How long the sidecar is asked to wait for first attempts.
    pub(crate) wait: Option<u8>,
}

impl Posting {
    /// A JSON event of a type.
    pub(crate) fn json(event_type: &str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self {
            event_type: event_type.to_owned(),
            headers,
            body: body.into(),
            wait: None,
        }
    }
}

/// Posts an event and returns the answer, whatever it is.
///
/// # Errors
/// When the sidecar cannot be reached, or gives no HTTP answer within 30 s and the time that it is asked to wait.
pub(crate) async fn post(target: &Target, posting: Posting) -> anyhow::Result<(StatusCode, Bytes)> {
    let patience = TIMEOUT + Duration::from_secs(posting.wait.unwrap_or(0).into());
    let exchange = async {
        let response = begin(target, request(posting)?).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut answer = Vec::new();
        while let Some(bytes) = body.next().await? {
            ensure!(
                answer.len() + bytes.len() <= ANSWER_BYTES_MAX,
                "the answer is too long"
            );
            answer.extend_from_slice(&bytes);
        }
        Ok((status, answer.into()))
    };
    tokio::time::timeout(patience, exchange)
        .await
        .with_context(|| format!("no answer within {} s", patience.as_secs()))?
}

fn request(posting: Posting) -> anyhow::Result<Request<Full<Bytes>>> {
    let path = utf8_percent_encode(&posting.event_type, PATH);
    let mut request = Request::new(Full::new(posting.body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("/events/{path}").parse()?;
    *request.headers_mut() = posting.headers;
    if let Some(seconds) = posting.wait {
        let wait = HeaderValue::try_from(format!("wait={seconds}"))?;
        request.headers_mut().insert("prefer", wait);
    }
    Ok(request)
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
