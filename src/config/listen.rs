//! The section `listen`: where the relay listens.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use crate::config::document::{Node, Value};
use crate::config::model::{Listen, ListenAddress};
use crate::config::reader::{Context, items, mapping, text};

const EXPOSED_EVENTS: &str = "other machines can reach this address: set ingest.tokens, or listen on 127.0.0.1 or a unix socket";
const EXPOSED_ADMIN: &str = "other machines can reach this address: set admin.tokens, or listen on 127.0.0.1 or a unix socket; for scrapers from outside there is listen.metrics";

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
    if let Some(node) = fields.node("events") {
        listen.events = events(node, guarded.events, context);
    }
    if let Some(node) = fields.node("admin")
        && let Some(admin) = own_address(node, context)
    {
        if admin.is_exposed() && !guarded.admin {
            context.error(node, EXPOSED_ADMIN);
        }
        report_taken(node, &admin, &listen.events, context);
        listen.admin = admin;
    }
    if let Some(node) = fields.node("metrics")
        && let Some(metrics) = own_address(node, context)
    {
        let others: Vec<_> = listen
            .events
            .iter()
            .chain([&listen.admin])
            .cloned()
            .collect();
        report_taken(node, &metrics, &others, context);
        listen.metrics = Some(metrics);
    }
    Some(listen)
}

fn events(node: &Node, has_tokens: bool, context: &mut Context<'_>) -> Vec<ListenAddress> {
    let read = |node: &Node, context: &mut Context<'_>| {
        let address = address(node, context)?;
        if address.is_exposed() && !has_tokens {
            context.error(node, EXPOSED_EVENTS);
        }
        Some(address)
    };
    match &node.value {
        Value::Sequence(nodes) => {
            if nodes.is_empty() {
                context.error(node, "expected at least one address");
            }
            items(node, "a list of addresses", context, read).unwrap_or_default()
        }
        Value::Scalar(_) | Value::Mapping(_) => read(node, context).into_iter().collect(),
    }
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
            Some(ListenAddress::Unix(path))
        }
        Some(address) => Some(address),
        None => {
            context.error(
                node,
                "expected host:port such as 127.0.0.1:8780, unix:/path, or systemd:NAME",
            );
            None
        }
    }
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
    matches!(host.parse(), Ok(IpAddr::V4(_))) || (!host.is_empty() && is_name())
}

fn report_taken(
    node: &Node,
    address: &ListenAddress,
    others: &[ListenAddress],
    context: &mut Context<'_>,
) {
    let is_any_port = matches!(address, ListenAddress::Tcp(written) if written.ends_with(":0"));
    if others.contains(address) && !is_any_port {
        context.error(node, "another listener has this address already");
    }
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
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
