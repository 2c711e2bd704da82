//! Which callers may post: no web page, and no caller without the token when there are tokens.
//!
//! A browser on the machine reaches loopback ports, and a name that an attacker rebinds to 127.0.0.1 makes it take our
//! listener for his own site. So whatever a page sends is refused by what browsers cannot hide: `Origin`,
//! `Sec-Fetch-Site`, and on loopback a `Host` that is neither this machine's nor in `admin.allowed_hosts`. There are no CORS
//! headers.

use http::header::HeaderValue;
use http::request::Parts;
use http::{Uri, Version};
use subtle::ConstantTimeEq;

use crate::config::Config;
use crate::domain::Secret;
use crate::http_server::Peer;
use crate::ingest::head::RequestHead;
use crate::ingest::refusal::Refusal;

/// Lets a request pass.
///
/// # Errors
/// 400 without a Host, 403 for web pages, 401 for a missing or wrong token.
pub(super) fn check(
    parts: &Parts,
    head: &RequestHead<'_>,
    peer: Peer,
    config: &Config,
) -> Result<(), Refusal> {
    if head.has_origin {
        return Err(Refusal::Origin);
    }
    if head.fetch_site.is_some_and(is_other_site) {
        return Err(Refusal::CrossSite);
    }
    if head.host.is_none() && parts.version >= Version::HTTP_11 {
        return Err(Refusal::NoHost);
    }
    let loopback = peer == Peer::Tcp { loopback: true };
    let allowed = &config.admin.allowed_hosts;
    if loopback && !(is_local(head.host, allowed) && is_local_authority(&parts.uri, allowed)) {
        return Err(Refusal::ForeignHost);
    }
    let tokens = &config.ingest.tokens;
    if !tokens.is_empty() && !has_token(head.authorization, tokens) {
        return Err(Refusal::Token);
    }
    Ok(())
}

/// `same-site` is another origin too: any other port of localhost. Unknown values are not trusted either.
fn is_other_site(fetch_site: &HeaderValue) -> bool {
    !matches!(fetch_site.as_bytes(), b"same-origin" | b"none")
}

fn is_local(host: Option<&HeaderValue>, allowed: &[String]) -> bool {
    let Some(host) = host else { return true };
    host.to_str().is_ok_and(|host| is_local_host(host, allowed))
}

/// A target that names its host itself (`POST http://name/events`) goes before the header.
fn is_local_authority(target: &Uri, allowed: &[String]) -> bool {
    let Some(authority) = target.authority() else {
        return true;
    };
    is_local_host(authority.as_str(), allowed)
}

/// Whether a `host[:port]` is this machine's own, or one of `admin.allowed_hosts`.
fn is_local_host(host: &str, allowed: &[String]) -> bool {
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    name == "127.0.0.1"
        || name == "[::1]"
        || name.eq_ignore_ascii_case("localhost")
        || allowed
            .iter()
            .any(|allowed| name.eq_ignore_ascii_case(allowed))
}

/// Compares with every token in a time that does not depend on where they differ.
fn has_token(authorization: Option<&HeaderValue>, tokens: &[Secret]) -> bool {
    let Some((scheme, presented)) = authorization.and_then(|value| {
        let space = value.as_bytes().iter().position(|byte| *byte == b' ')?;
        value.as_bytes().split_at_checked(space)
    }) else {
        return false;
    };
    let presented = presented.trim_ascii();
    let matches = tokens
        .iter()
        .fold(subtle::Choice::from(0), |matches, token| {
            matches | token.expose().ct_eq(presented)
        });
    scheme.eq_ignore_ascii_case(b"bearer") && bool::from(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in [
            "localhost",
            "LocalHost:8780",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8780",
            "localhost:",
        ] {
            assert!(is_local_host(host, &[]), "{host}");
        }
        for host in [
            "",
            ":8780",
            "evil.example",
            "evil.example:8780",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "0.0.0.0",
            "localhost:80:80",
            "user@localhost",
            "[::1",
            "::1",
            "localhost:80x",
        ] {
            assert!(!is_local_host(host, &[]), "{host}");
        }
    }

    #[test]
    fn names_that_the_file_allows_are_local_too() {
        let allowed = ["hooks.internal".to_owned(), "[fd00::1]".to_owned()];
        for host in [
            "hooks.internal",
            "Hooks.Internal:8780",
            "[fd00::1]:1",
            "localhost",
        ] {
            assert!(is_local_host(host, &allowed), "{host}");
        }
        for host in [
            "internal",
            "a.hooks.internal",
            "hooks.internal.",
            "[fd00::2]",
        ] {
            assert!(!is_local_host(host, &allowed), "{host}");
        }
    }

    #[test]
    fn only_its_own_site_and_the_user_are_no_other_site() {
        let is_other = |text| is_other_site(&HeaderValue::from_static(text));
        assert!(!is_other("same-origin") && !is_other("none"));
        for other in [
            "cross-site",
            "same-site",
            "CROSS-SITE",
            "cross-site, none",
            "",
            "new",
        ] {
            assert!(is_other(other), "{other}");
        }
    }

    #[test]
    fn a_token_is_the_whole_token_and_one_of_those_configured() {
        let tokens = [
            Secret::new(b"first".to_vec()),
            Secret::new(b"second".to_vec()),
        ];
        let has = |text: &str| has_token(Some(&HeaderValue::from_str(text).unwrap()), &tokens);
        assert!(has("Bearer first") && has("bearer second") && has("BEARER  second"));
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer firs",
            "Bearer firstx",
            "Basic first",
            "first",
            "",
        ] {
            assert!(!has(wrong), "{wrong}");
        }
        assert!(!has_token(None, &tokens));
    }
}
