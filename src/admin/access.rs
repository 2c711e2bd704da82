//! Which callers are accepted: no web page of another site, and no caller without a token that allows the call.
//!
//! A browser on the machine reaches loopback ports, and a name that an attacker rebinds to 127.0.0.1 makes it take our
//! listener for his own site. So whatever such a page sends is refused by what browsers cannot hide: `Host`, `Origin`
//! and `Sec-Fetch-Site`. There are no CORS headers. A unix socket needs no token: its mode decides which users connect,
//! and no browser can; its `Host` means nothing.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{StatusCode, Version};

use crate::admin::refusal::Refusal;
use crate::admin::token::Tokens;
use crate::config::{AdminConfig, Scopes};
use crate::http_server::Peer;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Keeps web pages of other sites out.
///
/// # Errors
/// 400 for a head that names no host or several, 403 for a foreign `Host`, `Origin` or `Sec-Fetch-Site`.
pub(super) fn check_site(head: &Parts, peer: Peer, admin: &AdminConfig) -> Result<(), Refusal> {
    let host = single(&head.headers, &HOST)?;
    if host.is_none() && head.version >= Version::HTTP_11 {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "missing_host",
            "expected a Host header",
        ));
    }
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let host = host.map(|value| value.to_str().unwrap_or("")).or(authority);
    let named = [host, authority];
    let is_foreign = |host: &str| !is_known(host, peer, &admin.allowed_hosts);
    if named.into_iter().flatten().any(is_foreign) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "foreign_host",
            "expected a Host of this machine, or one of admin.allowed_hosts",
        ));
    }
    let is_cross_site = |value: &HeaderValue| !matches!(value.as_bytes(), b"same-origin" | b"none");
    let is_other_origin = |value: &HeaderValue| !is_same_origin(value, host);
    if single(&head.headers, &FETCH_SITE)?.is_some_and(is_cross_site)
        || single(&head.headers, &ORIGIN)?.is_some_and(is_other_origin)
    {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "web pages of other sites may not use this API",
        ));
    }
    Ok(())
}

/// Returns the scopes of the caller.
///
/// # Errors
/// 401 for a missing or wrong token, 400 for several.
pub(super) fn scopes(
    headers: &HeaderMap,
    peer: Peer,
    tokens: &Tokens,
    admin: &AdminConfig,
) -> Result<Scopes, Refusal> {
    if peer == Peer::Unix {
        return Ok(Scopes {
            read: true,
            manage: true,
        });
    }
    single(headers, &AUTHORIZATION)?
        .and_then(bearer)
        .and_then(|presented| tokens.scopes_of(presented, &admin.tokens))
        .ok_or_else(Refusal::token)
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, section 2.1).
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let bytes = value.as_bytes();
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = bytes.split_at_checked(space)?;
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| token.trim_ascii())
}

/// The value of a header that may be there once only.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "repeated_header",
            format!("expected {name} once"),
        )),
    }
}

/// Whether a page that was loaded from this `host[:port]` can only be ours. Where other machines can reach the listener,
/// addresses are taken too: a name can be rebound, an address cannot.
fn is_known(host: &str, peer: Peer, allowed: &[String]) -> bool {
    let name = without_port(host);
    let is_local =
        || name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost");
    let is_allowed = || allowed.iter().any(|known| known.eq_ignore_ascii_case(name));
    let is_address = || {
        let bare = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        bare.unwrap_or(name).parse::<IpAddr>().is_ok()
    };
    match peer {
        Peer::Unix => true,
        Peer::Tcp { loopback } => is_local() || is_allowed() || (!loopback && is_address()),
    }
}

fn without_port(host: &str) -> &str {
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    }
}

/// Whether an origin is that of a page that was loaded from this host; `null` is not.
fn is_same_origin(origin: &HeaderValue, host: Option<&str>) -> bool {
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    // A proxy in front may speak TLS, so either scheme may be ours.
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    match (authority, host) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LOOPBACK: Peer = Peer::Tcp { loopback: true };
    const OUTSIDE: Peer = Peer::Tcp { loopback: false };

    fn admin() -> AdminConfig {
        AdminConfig {
            tokens: Vec::new(),
            edit_config: true,
            write_to: None,
            secrets_dir: "secrets".into(),
            allowed_hosts: vec!["relay.internal".to_owned()],
        }
    }

    fn checked(peer: Peer, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::get("/v1/events");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        match check_site(&head, peer, &admin()) {
            Ok(()) => 200,
            Err(refusal) => refusal.status().as_u16(),
        }
    }

    #[test]
    fn only_names_of_this_machine_and_allowed_ones_are_known() {
        for host in [
            "localhost",
            "LocalHost:1",
            "127.0.0.1:1",
            "[::1]:8781",
            "relay.internal",
            "Relay.Internal:80",
        ] {
            assert_eq!(checked(LOOPBACK, &[("host", host)]), 200, "{host}");
            assert_eq!(checked(OUTSIDE, &[("host", host)]), 200, "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "x.relay.internal",
            "user@localhost",
            "localhost:80x",
        ] {
            assert_eq!(checked(LOOPBACK, &[("host", host)]), 403, "{host}");
            assert_eq!(checked(OUTSIDE, &[("host", host)]), 403, "{host}");
        }
        for host in ["10.0.0.1:8781", "[fd00::1]"] {
            assert_eq!(checked(LOOPBACK, &[("host", host)]), 403, "{host}");
            assert_eq!(checked(OUTSIDE, &[("host", host)]), 200, "{host}");
        }
        assert_eq!(checked(Peer::Unix, &[("host", "anything")]), 200);
        assert_eq!(checked(LOOPBACK, &[]), 400);
        assert_eq!(
            checked(LOOPBACK, &[("host", "localhost"), ("host", "localhost")]),
            400
        );
    }

    #[test]
    fn the_page_may_call_and_other_sites_may_not() {
        let with = |name, value| checked(LOOPBACK, &[("host", "127.0.0.1:8781"), (name, value)]);
        assert_eq!(with("origin", "http://127.0.0.1:8781"), 200);
        for origin in [
            "null",
            "http://127.0.0.1:9000",
            "http://localhost:8781",
            "https://evil.example",
            "127.0.0.1:8781",
            "ftp://127.0.0.1:8781",
        ] {
            assert_eq!(with("origin", origin), 403, "{origin}");
        }
        for site in ["same-origin", "none"] {
            assert_eq!(with("sec-fetch-site", site), 200, "{site}");
        }
        for site in ["cross-site", "same-site", "", "NONE"] {
            assert_eq!(with("sec-fetch-site", site), 403, "{site}");
        }
    }

    #[test]
    fn a_token_comes_after_the_word_bearer() {
        let token =
            |text: &'static str| bearer(&HeaderValue::from_static(text)).map(<[u8]>::to_vec);
        assert_eq!(token("Bearer abc"), Some(b"abc".to_vec()));
        assert_eq!(token("bearer  abc"), Some(b"abc".to_vec()));
        for wrong in ["Bearer", "Basic abc", "abc", ""] {
            assert_eq!(token(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_unix_socket_needs_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(folder.path(), &[]).unwrap();
        let ask = |peer| scopes(&HeaderMap::new(), peer, &tokens, &admin());
        assert!(ask(Peer::Unix).unwrap().manage);
        assert_eq!(ask(LOOPBACK).unwrap_err().status(), 401);
    }
}
