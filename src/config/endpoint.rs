//! The key `url`: where a subscription delivers to.
//!
//! Only the text is checked here. Whether the address of a name may be dialled is decided when it is dialled,
//! in `egress`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use url::{Host, Url};

use crate::config::document::Node;
use crate::config::reader::{Context, text};
use crate::config::secrets;
use crate::domain::{is_format, is_localhost};
use crate::egress::{AddressPolicy, Denied};
use crate::request::{TargetError, target};

/// Why a text is not an endpoint. Contains nothing of the text: a URL can be a secret.
#[derive(Debug, thiserror::Error)]
enum EndpointError {
    /// It cannot be parsed.
    #[error("expected a URL such as https://partner.example.com/hooks ({0})")]
    Parse(#[from] url::ParseError),
    /// Characters that browsers repair without notice.
    #[error(
        "a URL has no spaces, control or invisible characters or backslashes: remove them, or write them as %20 and so on"
    )]
    Characters,
    /// `%` in the host.
    #[error("a host is written without %: a name of other letters as it is, or with xn--")]
    Escape,
    /// A host that is read as another one; carries that.
    #[error("the host is read as {0}: write that if it is meant")]
    ReadAs(String),
    /// Slashes that browsers add or remove without notice.
    #[error("expected two slashes behind the scheme, such as https://partner.example.com/hooks")]
    Slashes,
    /// Not https, and not http where that is allowed.
    #[error(
        "expected https, or http for localhost, loopback addresses and those in network.allow_private"
    )]
    Scheme,
    /// `user:password@`
    #[error("a URL with a user name or password is not allowed")]
    UserInfo,
    /// `#…`
    #[error("a URL with a fragment is not allowed: remove # and what follows, or write it as %23")]
    Fragment,
    /// More than a request can carry.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A port that is not allowed.
    #[error(
        "port {0} is not allowed: add it to network.ports, or the address to network.allow_private"
    )]
    Port(u16),
}

/// The message for a secret URL.
const SECRET_READ_AS: &str = "the host is read as another than what is written: write an address as four numbers, and a name in letters that stand for themselves";

/// An endpoint's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL as dialled: http or https, with a host, without userinfo and fragment.
    pub url: Url,
    /// It came from a secret reference: shown as scheme and host only.
    pub is_secret: bool,
}

impl Endpoint {
    /// Returns the part that may be shown: of a secret one scheme and host.
    pub(super) fn shown(&self) -> String {
        let url = &self.url;
        if self.is_secret {
            format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
        } else {
            url.as_str().to_owned()
        }
    }
}

/// Reads a URL, or a secret reference to one.
pub(super) fn endpoint(node: &Node, context: &mut Context<'_>) -> Option<Endpoint> {
    let policy = Arc::clone(&context.network);
    let policy = &*policy;
    let is_secret = secrets::is_reference(node);
    let checked = if is_secret {
        let bytes = secrets::referred(node, context)?;
        let written = str::from_utf8(&bytes).map_err(|_| EndpointError::Characters);
        let checked = written.and_then(|written| check(written, policy));
        checked.map_err(|error| match error {
            EndpointError::ReadAs(_) => SECRET_READ_AS.to_owned(),
            error => secrets::refused(&bytes, &error),
        })
    } else {
        check(text(node, context)?, policy).map_err(|error| error.to_string())
    };
    match checked {
        Ok(url) => {
            if let Some(denied) = never_dialled(&url, policy) {
                let why = if is_secret {
                    "the address in it is not allowed by network".to_owned()
                } else {
                    denied.to_string()
                };
                let message = format!("nothing can be delivered there: {why}");
                context.report.warning(node.mark, message);
            }
            Some(Endpoint { url, is_secret })
        }
        Err(message) => {
            context.error(node, message);
            None
        }
    }
}

fn check(written: &str, policy: &AddressPolicy) -> Result<Url, EndpointError> {
    let is_repaired = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || is_format(character)
            || is_variant(character)
            || character == '\\'
    };
    if written.chars().any(is_repaired) {
        return Err(EndpointError::Characters);
    }
    let url = Url::parse(written)?;
    // The parser passes over an empty user name, and over slashes that are missing or too many.
    let behind = written.get(url.scheme().len() + 1..).unwrap_or_default();
    let authority = behind.trim_start_matches('/').split(['/', '?', '#']).next();
    if authority.is_some_and(|authority| authority.contains('@')) {
        return Err(EndpointError::UserInfo);
    }
    if authority.is_some_and(|authority| authority.contains('%')) {
        return Err(EndpointError::Escape);
    }
    let has_two_slashes = behind.starts_with("//") && !behind.starts_with("///");
    if matches!(url.scheme(), "http" | "https") && !has_two_slashes {
        return Err(EndpointError::Slashes);
    }
    let host = match (url.scheme(), url.host()) {
        ("https", Some(host)) => host,
        ("http", Some(host)) if may_be_plain(&host, policy) => host,
        _ => return Err(EndpointError::Scheme),
    };
    if url.fragment().is_some() {
        return Err(EndpointError::Fragment);
    }
    let port = url.port_or_known_default().unwrap_or(0);
    let is_allowed = policy.ports.contains(&port) || may_have_any_port(&host, policy);
    if port == 0 || !is_allowed {
        return Err(EndpointError::Port(port));
    }
    target(&url)?;
    if let Some(other) = read_as(authority.unwrap_or_default(), &host) {
        return Err(EndpointError::ReadAs(other));
    }
    Ok(url)
}

/// The host that is dialled, if it is not the one that is visible: an address that is no four numbers, such as `1.1` or
/// `0x7f000001`, and letters that stand for ASCII ones, such as `８` (UTS 46). Names of other scripts are as they are written.
pub(super) fn read_as<S: AsRef<str>>(authority: &str, host: &Host<S>) -> Option<String> {
    match host {
        Host::Ipv4(ip) => {
            let written = authority.split(':').next().unwrap_or_default();
            (written != ip.to_string()).then(|| ip.to_string())
        }
        Host::Ipv6(_) => None,
        Host::Domain(name) => {
            let mut letters = authority.chars().filter(|letter| !letter.is_ascii());
            letters
                .any(stands_for_ascii)
                .then(|| name.as_ref().to_owned())
        }
    }
}

/// Whether a letter of a host is read as others of ASCII.
fn stands_for_ascii(letter: char) -> bool {
    // A dot alone is not a host.
    matches!(letter, '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
        || Host::parse(&format!("a{letter}a"))
            .is_ok_and(|host| matches!(host, Host::Domain(name) if !name.starts_with("xn--")))
}

/// Whether names are read without this character (UTS 46), beside those that are invisible: what selects variants of a letter.
fn is_variant(character: char) -> bool {
    matches!(character, '\u{34f}' | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Why an address, or the name of this machine, will be refused each time it is dialled; of other names nothing is known.
fn never_dialled(url: &Url, policy: &AddressPolicy) -> Option<Denied> {
    let host = url.host()?;
    let addresses = match address(&host) {
        Some(ip) => vec![ip],
        None if matches!(host, Host::Domain(name) if is_localhost(name)) => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        None => return None,
    };
    let port = url.port_or_known_default()?;
    let is_encrypted = url.scheme() == "https";
    let judge = |ip| policy.check(SocketAddr::new(ip, port), is_encrypted).err();
    let denied: Option<Vec<Denied>> = addresses.into_iter().map(judge).collect();
    denied?.into_iter().next()
}

/// Whether a host may be spoken to without TLS.
fn may_be_plain(host: &Host<&str>, policy: &AddressPolicy) -> bool {
    match address(host) {
        Some(ip) => ip.is_loopback() || is_inside(ip, policy),
        None => {
            matches!(host, Host::Domain(name) if is_localhost(name))
                || !policy.allow_private.is_empty()
        }
    }
}

/// Any port is allowed of addresses inside `allow_private`; for a name that is decided when it is dialled.
fn may_have_any_port(host: &Host<&str>, policy: &AddressPolicy) -> bool {
    match address(host) {
        Some(ip) => is_inside(ip, policy),
        None => !policy.allow_private.is_empty(),
    }
}

fn address(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip).to_canonical()),
    }
}

fn is_inside(ip: IpAddr, policy: &AddressPolicy) -> bool {
    policy
        .allow_private
        .iter()
        .any(|network| network.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public() -> AddressPolicy {
        AddressPolicy::built_in()
    }

    fn private() -> AddressPolicy {
        AddressPolicy {
            allow_private: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            ..public()
        }
    }

    fn assert_refused(written: &str, policy: &AddressPolicy, expected: &EndpointError) {
        let error = check(written, policy).unwrap_err();
        assert_eq!(error.to_string(), expected.to_string(), "{written}");
    }

    #[test]
    fn https_on_allowed_ports_is_an_endpoint() {
        for good in [
            "https://a.example/h?x=1",
            "HTTPS://A.example:8443",
            "https://203.0.113.9/",
            "https://xn--bcher-kva.example/",
        ] {
            assert!(check(good, &public()).is_ok(), "{good}");
        }
        for (port, wrong) in [
            (444, "https://a.example:444/"),
            (0, "https://a.example:0/"),
            (80, "http://localhost/"),
        ] {
            assert_refused(wrong, &public(), &EndpointError::Port(port));
        }
    }

    #[test]
    fn http_is_for_this_machine_and_allowed_networks() {
        for wrong in [
            "http://a.example/",
            "http://203.0.113.9/",
            "http://10.0.0.1/",
            "ftp://a.example/",
            "data:x",
        ] {
            assert_refused(wrong, &public(), &EndpointError::Scheme);
        }
        let open = AddressPolicy {
            ports: vec![443, 9000],
            ..public()
        };
        for good in [
            "http://localhost:9000/",
            "http://127.0.0.1:9000",
            "http://[::1]:9000/",
            "http://a.localhost:9000/",
        ] {
            assert!(check(good, &open).is_ok(), "{good}");
        }
    }

    #[test]
    fn allowed_networks_open_http_and_any_port() {
        for good in [
            "http://10.1.2.3:1234/",
            "http://[fd00::1]:99/",
            "http://service.internal:8080/",
            "http://[::ffff:10.0.0.1]:5/",
        ] {
            assert!(check(good, &private()).is_ok(), "{good}");
        }
        assert_refused("http://192.168.0.1/", &private(), &EndpointError::Scheme);
        assert_refused(
            "https://192.168.0.1:99/",
            &private(),
            &EndpointError::Port(99),
        );
    }

    #[test]
    fn addresses_that_are_never_dialled_are_known_in_every_spelling() {
        let denied = |written: &str, policy: &AddressPolicy| {
            never_dialled(&Url::parse(written).unwrap(), policy).is_some()
        };
        for written in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/",
            "https://localhost/",
        ] {
            assert!(denied(written, &public()), "{written}");
        }
        for written in ["https://a.example/", "https://8.8.8.8/"] {
            assert!(!denied(written, &public()), "{written}");
        }
        assert!(!denied("http://10.1.2.3:99/", &private()));
        let loopback = AddressPolicy {
            allow_private: vec!["127.0.0.0/8".parse().unwrap()],
            ..public()
        };
        assert!(!denied("http://localhost:9000/", &loopback));
    }

    #[test]
    fn a_host_that_is_read_as_another_is_refused() {
        for (host, meant) in [
            ("1.1", "1.0.0.1"),
            ("1.1.1", "1.1.0.1"),
            ("134744072", "8.8.8.8"),
            ("0x08080808", "8.8.8.8"),
            ("0x8.8.8.8", "8.8.8.8"),
            ("010.8.8.8", "8.8.8.8"),
            ("8.8.8.8.", "8.8.8.8"),
            ("\u{ff18}.8.8.8", "8.8.8.8"),
            ("8\u{3002}8\u{ff0e}8\u{ff61}8", "8.8.8.8"),
            ("a\u{3002}example", "a.example"),
            ("\u{ff41}.example", "a.example"),
            ("o\u{fb03}ce.example", "office.example"),
            ("\u{212a}.example", "k.example"),
            ("b\u{fc}\u{ff43}her.example", "xn--bcher-kva.example"),
            ("\u{2460}.example", "1.example"),
        ] {
            for rest in ["", "/x", ":8443/x", "?x"] {
                let url = format!("https://{host}{rest}");
                let meant = EndpointError::ReadAs(meant.to_owned());
                assert_refused(&url, &public(), &meant);
            }
        }
        for good in [
            "8.8.8.8",
            "A.Example",
            "a.example.",
            "b\u{fc}cher.example",
            "B\u{dc}CHER.example",
            "bu\u{308}cher.example",
            "fa\u{df}.example",
            "\u{4f8b}\u{3048}.example",
            "\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.example",
            "1.a.example",
            "[2001:DB8:0::1]",
        ] {
            assert!(
                check(&format!("https://{good}/"), &public()).is_ok(),
                "{good}"
            );
        }
    }

    #[test]
    fn what_a_url_may_not_contain_is_said() {
        for wrong in [
            "https://u@a.example/",
            "https://u:p@a.example/",
            "https://:p@a.example/",
            "https://@a.example/",
            "https://:@a.example/",
            "https:a@a.example/",
        ] {
            assert_refused(wrong, &public(), &EndpointError::UserInfo);
        }
        for wrong in [
            "https:a.example",
            "https:/a.example/",
            "https:///a.example/",
            "http:localhost",
        ] {
            assert_refused(wrong, &public(), &EndpointError::Slashes);
        }
        for wrong in ["https://a%C2%ADb.example/", "https://a%2eexample/"] {
            assert_refused(wrong, &public(), &EndpointError::Escape);
        }
        assert!(check("https://b\u{fc}cher.example/h%20x", &public()).is_ok());
        assert!(check("https://a.example/@x?y=@#", &public()).is_err());
        assert!(check("https://a.example/@x?y=@", &public()).is_ok());
        assert_refused("https://a.example/#x", &public(), &EndpointError::Fragment);
        for wrong in [
            " https://a.example/",
            "https://a.example/a b",
            "https://a.example\\h",
            "https://a.ex\nample/",
            "https://a.example/h\u{200b}",
            "https://a\u{ad}b.example/",
            "\u{feff}https://a.example/",
            "https://a\u{fe0f}b.example/",
            "https://a\u{34f}b.example/",
        ] {
            assert_refused(wrong, &public(), &EndpointError::Characters);
        }
        for wrong in [
            "a.example/hooks",
            "/hooks",
            "https://",
            "https://[::1/",
            "https://a.example:99999/",
        ] {
            let error = check(wrong, &public()).unwrap_err();
            assert!(matches!(error, EndpointError::Parse(_)), "{wrong}");
        }
        let long = format!("https://a.example/{}", "x".repeat(70_000));
        assert!(matches!(
            check(&long, &public()),
            Err(EndpointError::Target(_))
        ));
    }
}
