//! The section `listen`: where the relay listens.

use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use url::Host;

use crate::config::document::{Node, Value};
use crate::config::model::{Listen, ListenAddress};
use crate::config::overlap::is_in_the_way;
use crate::config::reader::{Context, mapping, text};

const EXPOSED_EVENTS: &str = "other machines can reach this address: set ingest.tokens, or listen on 127.0.0.1 or a unix socket";
const EXPOSED_ADMIN: &str = "other machines can reach this address: set admin.tokens, or listen on 127.0.0.1 or a unix socket; for scrapers from outside there is listen.metrics";

/// The longest path of a unix socket, bytes.
const PATH_MAX: usize = 107;

/// What the names of addresses for events begin with.
const EVENTS: &str = "listen.events";

/// The keys of the section.
pub(super) const KNOWN: [&str; 3] = ["events", "admin", "metrics"];

/// Who has to show a token, so that others than this machine may be listened to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guarded {
    /// `ingest.tokens` is set.
    pub(super) events: bool,
    /// `admin.tokens` is set.
    pub(super) admin: bool,
}

/// Reads the section.
pub(super) fn listen(node: &Node, guarded: Guarded, context: &mut Context<'_>) -> Option<Listen> {
    let fields = mapping(node, &KNOWN, context)?;
    let mut listen = Listen::default();
    // Where each address stands: those of events first, none of what is left out.
    let mut nodes: Vec<Option<&Node>> = vec![None];
    if let Some(node) = fields.node("events") {
        let (read, at) = events(node, guarded.events, context);
        listen.events = read;
        nodes = at.into_iter().map(Some).collect();
    }
    let admin = fields.node("admin");
    if let Some(node) = admin
        && let Some(address) = own_address(node, context)
    {
        if address.is_exposed() && !guarded.admin {
            context.error(node, EXPOSED_ADMIN);
        }
        listen.admin = address;
    }
    nodes.push(admin);
    let metrics = fields.node("metrics");
    listen.metrics = metrics.and_then(|node| own_address(node, context));
    nodes.push(metrics);
    let placed: Vec<_> = listen.addresses().into_iter().zip(nodes).collect();
    for ((name, _), node) in &placed {
        if let Some(node) = node {
            context.note(name, node);
        }
    }
    report_taken(&placed, context);
    Some(listen)
}

/// The addresses, with the nodes of those that can be read.
fn events<'n>(
    node: &'n Node,
    has_tokens: bool,
    context: &mut Context<'_>,
) -> (Vec<ListenAddress>, Vec<&'n Node>) {
    let nodes = match &node.value {
        Value::Sequence(nodes) => {
            if nodes.is_empty() {
                context.error(node, "expected at least one address");
            }
            nodes.as_slice()
        }
        Value::Scalar(_) | Value::Mapping(_) => std::slice::from_ref(node),
    };
    let read = |node: &'n Node| {
        let address = address(node, context)?;
        if address.is_exposed() && !has_tokens {
            context.error(node, EXPOSED_EVENTS);
        }
        Some((address, node))
    };
    nodes.iter().filter_map(read).unzip()
}

/// An address that the relay binds itself.
fn own_address(node: &Node, context: &mut Context<'_>) -> Option<ListenAddress> {
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

fn address(node: &Node, context: &mut Context<'_>) -> Option<ListenAddress> {
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

/// Says what is wrong with an address, and what would be right.
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

/// Whether a host can only be an IPv4 address, in whatever notation. Source: URL Standard, "ends in a number checker".
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
    // As a start has it, whose path of the configuration is absolute.
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

/// Reports each address that another listener is in the way of: at the later one, unless only the earlier is in the file.
fn report_taken(placed: &[((String, &ListenAddress), Option<&Node>)], context: &mut Context<'_>) {
    for (index, ((name, address), node)) in placed.iter().enumerate() {
        let is_for_events = name.starts_with(EVENTS);
        let taken = placed.iter().take(index).find(|((other, earlier), _)| {
            let merges = is_for_events && other.starts_with(EVENTS);
            is_in_the_way(earlier, address, merges)
        });
        let Some(((other, _), earlier)) = taken else {
            continue;
        };
        match (node, earlier) {
            (Some(node), _) => context.error(node, taken_by(other)),
            (None, Some(node)) => context.error(node, taken_by(name)),
            (None, None) => {}
        }
    }
}

/// Says that an address is not free.
pub(crate) fn taken_by(other: &str) -> String {
    format!("another listener has this address already: {other}")
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
}
