//! The section `network`: which addresses may be dialled. The guard itself is in `egress`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::defaults;
use crate::config::document::Node;
use crate::config::reader::{Context, boolean, items, mapping, text, whole};
use crate::egress::AddressPolicy;

/// The keys of the section.
pub(super) const KNOWN: [&str; 3] = ["allow_private", "allow_metadata", "ports"];

/// Reads the section.
pub(super) fn network(node: &Node, context: &mut Context<'_>) -> Option<AddressPolicy> {
    let fields = mapping(node, &KNOWN, context)?;
    let mut policy = defaults::network();
    if let Some(networks) = fields.read("allow_private", context, |node, context| {
        items(node, "a list of networks", context, one_network)
    }) {
        policy.allow_private = networks;
    }
    if let Some(allowed) = fields.read("allow_metadata", context, boolean) {
        policy.allow_metadata = allowed;
    }
    if let Some(ports) = fields.read("ports", context, |node, context| {
        items(node, "a list of ports", context, port)
    }) {
        policy.ports = ports;
    }
    Some(policy)
}

fn one_network(node: &Node, context: &mut Context<'_>) -> Option<IpNet> {
    let written = text(node, context)?;
    if let Ok(network) = written.parse::<IpNet>() {
        return Some(network.trunc());
    }
    let example = match written.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip).to_string(),
        Err(_) => "10.0.0.0/8".to_owned(),
    };
    context.error(node, format!("expected a network such as {example}"));
    None
}

fn port(node: &Node, context: &mut Context<'_>) -> Option<u16> {
    let number = whole(1..=65_535)(node, context)?;
    u16::try_from(number).ok()
}
