//! Addresses to listen on: `host:port`, `unix:/path`, `systemd:NAME`.

use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use url::Host;

use crate::config::document::Node;
use crate::config::reader::{Context, text};
use crate::domain::is_localhost;

/// The longest path of a unix socket, bytes.
const PATH_MAX: usize = 107;

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `host:port`, as written; port 0 is any free one.
    Tcp(String),
    /// `unix:/path`, resolved against the folder of the file.
    Unix(PathBuf),
    /// `systemd:NAME`: a socket handed over by systemd under this name. Its address is known only then, so the code
    /// that takes it over must refuse one that is open to other machines while no tokens are set.
    Systemd(String),
}

impl ListenAddress {
    /// Whether other machines may reach it, judging by the text: a TCP address that is not loopback.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Tcp(address) => {
                let host = address.rsplit_once(':').map_or("", |(host, _)| host);
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                match bare.parse::<IpAddr>() {
                    Ok(ip) => !ip.to_canonical().is_loopback(),
                    Err(_) => !is_localhost(bare),
                }
            }
            Self::Unix(_) | Self::Systemd(_) => false,
        }
    }
}

/// Returns an address in the notation of the file.
pub(super) fn shown(address: &ListenAddress) -> Json {
    match address {
        ListenAddress::Tcp(address) => json!(address),
        ListenAddress::Unix(path) => json!(format!("unix:{}", path.display())),
        ListenAddress::Systemd(name) => json!(format!("systemd:{name}")),
    }
}

/// Reads an address that the relay binds itself.
pub(super) fn own_address(node: &Node, context: &mut Context<'_>) -> Option<ListenAddress> {
    let address = address(node, context)?;
    match address {
        ListenAddress::Tcp(_) | ListenAddress::Unix(_) => Some(address),
        ListenAddress::Systemd(_) => {
            context.error(
                node,
                "expected host:port or unix:/path; systemd: is for listen.events",
            );
            None
        }
    }
}

/// Reads an address.
pub(super) fn address(node: &Node, context: &mut Context<'_>) -> Option<ListenAddress> {
    let written = text(node, context)?;
    match parse(written) {
        Some(ListenAddress::Unix(path)) => {
            let path = context.resolve(node.mark, &path.to_string_lossy());
            if let Some(message) = unfit(&path) {
                context.error(node, message);
                return None;
            }
            Some(ListenAddress::Unix(path))
        }
        Some(address) => Some(address),
        None => {
            context.error(node, no_address(written));
            None
        }
    }
}

/// Describes what is wrong with an address, and what would be right.
fn no_address(written: &str) -> String {
    let what = "expected host:port such as 127.0.0.1:8780, unix:/path, or systemd:NAME";
    let hint = |hint: &str| format!("{what}: {hint}");
    if written.contains("://") {
        return hint("leave out what is before ://, and a path");
    }
    if written.starts_with("unix:") || written.starts_with("systemd:") {
        return what.to_owned();
    }
    if written.parse::<Ipv6Addr>().is_ok()
        || written.matches(':').count() > 1 && !written.starts_with('[')
    {
        return hint("an IPv6 address stands in brackets, such as [::1]:8780");
    }
    let (host, port) = match written.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, Some(port)),
        _ => (written, None),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (host, port) {
        (host, None) if is_number(host) => hint("the host is missing"),
        (_, None) => hint("the port is missing"),
        ("", _) => hint("the host is missing"),
        ("*", _) => hint("all addresses of this machine are 0.0.0.0 and [::]"),
        (_, Some(port)) if !is_number(port) || port.parse::<u16>().is_err() => {
            hint("a port is a number from 0 to 65535")
        }
        (host, Some(port)) => match ends_in_number(host).then(|| Host::parse(host)) {
            Some(Ok(Host::Ipv4(ip))) => hint(&format!(
                "an IPv4 address has four numbers, this is read as {ip}: write {ip}:{port}"
            )),
            Some(_) => hint("an IPv4 address has four numbers from 0 to 255"),
            None => what.to_owned(),
        },
    }
}

/// Whether a host can only be an IPv4 address, in any notation. Source: URL Standard, "ends in a number checker".
fn ends_in_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next();
    last.is_some_and(|last| {
        let hex = last.strip_prefix("0x").or(last.strip_prefix("0X"));
        let is_hex = |hex: &str| hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.is_some_and(is_hex)
            || !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Why no socket can have this path. Source: unix(7).
fn unfit(path: &Path) -> Option<String> {
    // As at a start, where the path from the configuration is absolute.
    let absolute = std::path::absolute(path);
    let path = absolute.as_deref().unwrap_or(path);
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > PATH_MAX {
        let (length, shown) = (bytes.len(), path.display());
        return Some(format!(
            "expected a path of at most {PATH_MAX} bytes, found {length}: {shown}"
        ));
    }
    let is_file = !bytes.contains(&0) && !bytes.ends_with(b"/") && path.file_name().is_some();
    (!is_file).then(|| "expected the path of a file, such as unix:/run/sidehook.sock".to_owned())
}

fn parse(written: &str) -> Option<ListenAddress> {
    if let Some(path) = written.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| ListenAddress::Unix(PathBuf::from(path)));
    }
    if let Some(name) = written.strip_prefix("systemd:") {
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b':');
        return is_name.then(|| ListenAddress::Systemd(name.to_owned()));
    }
    let (host, port) = written.rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (is_port && is_host(host)).then(|| ListenAddress::Tcp(written.to_owned()))
}

fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .strip_suffix(']')
            .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    }
    let is_name = || {
        host.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    // A resolver takes a shorthand such as 127.1 for an address.
    matches!(host.parse(), Ok(IpAddr::V4(_)))
        || (!host.is_empty() && is_name() && !ends_in_number(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port_or_a_socket() {
        for good in [
            "127.0.0.1:8780",
            "[::1]:0",
            "localhost:1",
            "host-1.example:65535",
        ] {
            assert_eq!(
                parse(good),
                Some(ListenAddress::Tcp(good.to_owned())),
                "{good}"
            );
        }
        assert_eq!(
            parse("unix:/run/x"),
            Some(ListenAddress::Unix(PathBuf::from("/run/x")))
        );
        assert_eq!(
            parse("systemd:a.socket"),
            Some(ListenAddress::Systemd("a.socket".to_owned()))
        );
        for wrong in [
            "",
            "8780",
            ":8780",
            "a:",
            "a:65536",
            "a:+1",
            "::1:80",
            "[::1]",
            "[a]:1",
            "http://a:1",
            "unix:",
            "systemd:",
            "systemd:a:b",
            "a b:1",
            "127.1:80",
            "0x7f000001:80",
            "127.0.0.0x1:80",
            "127.0.0.1.:80",
            "256.0.0.1:80",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        for (wrong, why) in [
            ("127.1:8780", "read as 127.0.0.1: write 127.0.0.1:8780"),
            ("2130706433:80", "read as 127.0.0.1: write 127.0.0.1:80"),
            ("0x7f.1:80", "read as 127.0.0.1"),
            ("127.0.0.256:80", "four numbers from 0 to 255"),
            ("8780", "the host is missing"),
            (":8780", "the host is missing"),
            ("127.0.0.1", "the port is missing"),
            ("localhost", "the port is missing"),
            ("[::1]", "the port is missing"),
            ("::1", "in brackets"),
            ("::1:8780", "in brackets"),
            ("*:8780", "0.0.0.0"),
            ("http://127.0.0.1:8780", "before ://"),
            ("127.0.0.1:http", "from 0 to 65535"),
            ("127.0.0.1:65536", "from 0 to 65535"),
            ("a:", "from 0 to 65535"),
            ("unix:", "unix:/path"),
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
            let message = no_address(wrong);
            assert!(message.contains(why), "{wrong}: {message}");
        }
    }

    #[test]
    fn only_loopback_and_unix_addresses_are_not_exposed() {
        let exposed = |address: &str| ListenAddress::Tcp(address.to_owned()).is_exposed();
        for local in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "localhost:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(!exposed(local), "{local}");
        }
        for open in [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "example.com:1",
            "localhost.example.com:1",
        ] {
            assert!(exposed(open), "{open}");
        }
        assert!(!ListenAddress::Unix(PathBuf::from("/run/x")).is_exposed());
    }
}
