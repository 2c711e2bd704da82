//! Which socket addresses may be dialled: the defence against requests to the inside of a network (SSRF).
//!
//! The check is made on the address that is about to be dialled, after every spelling of a host has become
//! an address and after the resolver has answered. It leaves names, URLs and the resolver to others.
//!
//! Invariants: an IPv4 address inside an IPv6 one is judged as the IPv4 address it stands for; in IPv6 only
//! what is listed as public is allowed, so an unforeseen block is denied; a cloud metadata address needs
//! both switches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Which addresses may be dialled: `network` of the configuration. One value per configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPolicy {
    /// Networks that may be dialled although they are not public.
    pub allow_private: Vec<IpNet>,
    /// Cloud metadata addresses need this as well.
    pub allow_metadata: bool,
    /// Ports that may be dialled, besides any port of addresses inside `allow_private`.
    pub ports: Vec<u16>,
    /// Ports that sidehook itself listens on: not dialled on this machine, where an event would be posted to the relay
    /// that delivers it, again and again.
    pub own_ports: Vec<u16>,
}

/// Why an address may not be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It serves credentials to any caller inside a cloud machine.
    #[error(
        "{0} is a cloud metadata address: it needs network.allow_metadata beside network.allow_private"
    )]
    Metadata(IpAddr),
    /// Sidehook itself listens there.
    #[error("{0} is a listener of sidehook itself")]
    Own(SocketAddr),
    /// It is not a public address.
    #[error("{0} is not a public address and not in network.allow_private")]
    NotPublic(IpAddr),
    /// It is public, and the connection would not be encrypted.
    #[error("{0} is a public address: http is for addresses in network.allow_private, use https")]
    Plain(IpAddr),
    /// The port is not one that may be dialled.
    #[error("port {0} is not in network.ports")]
    Port(u16),
}

impl AddressPolicy {
    /// Checks one address that is about to be dialled, for TLS (`encrypted`) or plain HTTP.
    ///
    /// # Errors
    /// The reason why the address may not be dialled.
    pub fn check(&self, address: SocketAddr, encrypted: bool) -> Result<(), Denied> {
        let ip = address.ip().to_canonical();
        let allowed = self
            .allow_private
            .iter()
            .any(|network| network.contains(&ip));
        if is_metadata(ip) && !(allowed && self.allow_metadata) {
            return Err(Denied::Metadata(ip));
        }
        if ip.is_loopback() && self.own_ports.contains(&address.port()) {
            return Err(Denied::Own(SocketAddr::new(ip, address.port())));
        }
        if allowed {
            return Ok(());
        }
        if !is_public(ip) {
            return Err(Denied::NotPublic(ip));
        }
        if !encrypted {
            return Err(Denied::Plain(ip));
        }
        if !self.ports.contains(&address.port()) {
            return Err(Denied::Port(address.port()));
        }
        Ok(())
    }
}

/// Addresses at which clouds hand out credentials or configuration to the machine that asks.
///
/// Source: the vendors' documentation of their instance metadata services.
const METADATA: [IpAddr; 12] = [
    // AWS, Google Cloud, Azure, OpenStack, DigitalOcean, Oracle, Hetzner and most others: instance metadata.
    v4(169, 254, 169, 254),
    // AWS: instance metadata over IPv6 (EC2 user guide, "Access instance metadata").
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]),
    // AWS ECS: task metadata and credentials.
    v4(169, 254, 170, 2),
    // AWS EKS: Pod Identity agent, both families.
    v4(169, 254, 170, 23),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]),
    // Azure: the wire server, a public address (Azure, "What is IP address 168.63.129.16").
    v4(168, 63, 129, 16),
    // Alibaba Cloud: instance metadata.
    v4(100, 100, 100, 200),
    // Google Cloud: instance metadata of machines with IPv6 only.
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]),
    // OpenStack: instance metadata over IPv6.
    v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]),
    // Scaleway: instance metadata, both families.
    v4(169, 254, 42, 42),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]),
    // Tencent Cloud: instance metadata.
    v4(169, 254, 0, 23),
];

/// IPv4 blocks that are not public.
///
/// Source: IANA IPv4 Special-Purpose Address Registry, multicast (RFC 5771), and Azure's wire server.
const V4_DENIED: [Ipv4Net; 19] = [
    net4(0, 0, 0, 0, 8),        // this network
    net4(10, 0, 0, 0, 8),       // private use
    net4(100, 64, 0, 0, 10),    // shared by carriers (CGNAT)
    net4(127, 0, 0, 0, 8),      // loopback
    net4(168, 63, 129, 16, 32), // Azure wire server
    net4(169, 254, 0, 0, 16),   // link local
    net4(172, 16, 0, 0, 12),    // private use
    net4(192, 0, 0, 0, 24),     // protocol assignments
    net4(192, 0, 2, 0, 24),     // documentation 1
    net4(192, 31, 196, 0, 24),  // AS112
    net4(192, 52, 193, 0, 24),  // AMT
    net4(192, 88, 99, 0, 24),   // 6to4 relays, deprecated
    net4(192, 168, 0, 0, 16),   // private use
    net4(192, 175, 48, 0, 24),  // AS112 direct delegation
    net4(198, 18, 0, 0, 15),    // benchmarks
    net4(198, 51, 100, 0, 24),  // documentation 2
    net4(203, 0, 113, 0, 24),   // documentation 3
    net4(224, 0, 0, 0, 4),      // multicast
    net4(240, 0, 0, 0, 4),      // reserved, and the limited broadcast
];

/// The only IPv6 block that has public addresses.
///
/// Source: IANA IPv6 Global Unicast Address Assignments.
const V6_GLOBAL: Ipv6Net = net6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Blocks inside [`V6_GLOBAL`] that are not public.
///
/// Source: IANA IPv6 Special-Purpose Address Registry.
const V6_DENIED: [Ipv6Net; 5] = [
    net6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // Teredo, ORCHID, benchmarks and other protocols
    net6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    net6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4: an IPv4 address inside
    net6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), // AS112 direct delegation
    net6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !V4_DENIED.iter().any(|block| block.contains(&ip)),
        IpAddr::V6(ip) => {
            V6_GLOBAL.contains(&ip)
                && !V6_DENIED.iter().any(|block| block.contains(&ip))
                && isatap(ip).is_none()
        }
    }
}

/// Whether the address, or an IPv4 address that it carries, is one of [`METADATA`]: a gateway may translate it.
fn is_metadata(ip: IpAddr) -> bool {
    let carries = match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => carried_v4(ip).any(|ip| METADATA.contains(&IpAddr::V4(ip))),
    };
    carries || METADATA.contains(&ip)
}

/// Every IPv4 address inside an IPv6 one of the transition mechanisms: IPv4-compatible, SIIT (RFC 2765), NAT64
/// (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214). IPv4-mapped ones are gone by then. One address
/// may carry several: a gateway takes out any of them.
fn carried_v4(ip: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = ip.segments();
    let last = join(high, low);
    let behind_prefix = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => {
            [Some(last), None, None, None]
        }
        [0x64, 0xff9b, 1, ..] => local_nat64(ip),
        [0x2002, high, low, ..] => [Some(join(high, low)), None, None, None],
        // The server, and the client, whose bits are inverted.
        [0x2001, 0, high, low, ..] => [
            Some(join(high, low)),
            Some(Ipv4Addr::from_bits(!last.to_bits())),
            None,
            None,
        ],
        _ => [None; 4],
    };
    behind_prefix.into_iter().flatten().chain(isatap(ip))
}

/// The addresses that a local NAT64 address (RFC 8215) may carry: its prefix has 48, 56, 64 or 96 bits, and the ninth
/// byte is left out (RFC 6052).
fn local_nat64(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let [.., g, h, _, i, j, k, l, m, n, o] = ip.octets();
    [[g, h, i, j], [h, i, j, k], [i, j, k, l], [l, m, n, o]].map(|bytes| Some(bytes.into()))
}

/// The IPv4 address of an ISATAP interface identifier, which may stand behind any prefix.
fn isatap(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [_, _, _, _, scope, marker, high, low] = ip.segments();
    (matches!(scope, 0 | 0x200) && marker == 0x5efe).then(|| join(high, low))
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(segments: [u16; 8]) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = segments;
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

const fn net4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn net6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
