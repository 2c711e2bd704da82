//! The section `network`: which addresses may be dialled. The guard itself is in `egress`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use crate::config::document::Node;
use crate::config::form::{By, FLAG, List, Whole};
use crate::config::keyed::keys;
use crate::config::reader::{Context, text};
use crate::egress::AddressPolicy;

keys! {
    built_in of AddressPolicy {
        "Networks such as 10.0.0.0/8 that may be dialled although they are not public; loopback too has to be named."
        allow_private: Vec<IpNet> = Vec::new() => List { what: "a list of networks", item: NETWORK };
        "Cloud metadata addresses (169.254.169.254 and its kind) need this as well."
        allow_metadata: bool = false => FLAG;
        "Ports that may be dialled, besides any port of addresses inside allow_private."
        ports: Vec<u16> = vec![443, 8443] => List { what: "a list of ports", item: Whole::<u16>::of(1..=65_535) };
    } also {
        own_ports = Vec::new();
    }
}

/// A network of addresses.
const NETWORK: By<IpNet> = By {
    read: network,
    show: |value| json!(value.to_string()),
    schema: |_| json!({"type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$"}),
};

fn network(node: &Node, context: &mut Context<'_>) -> Option<IpNet> {
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
