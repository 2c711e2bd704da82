//! The guard against every special block and every spelling of an address.

use std::collections::BTreeSet;

use proptest::prelude::*;
use url::{Host, Url};

use super::*;

fn public() -> AddressPolicy {
    AddressPolicy {
        ports: vec![443, 8443],
        ..AddressPolicy::default()
    }
}

fn allowing(networks: &[&str]) -> AddressPolicy {
    AddressPolicy {
        allow_private: networks
            .iter()
            .map(|network| network.parse().unwrap())
            .collect(),
        ..public()
    }
}

fn check(policy: &AddressPolicy, ip: &str) -> Result<(), Denied> {
    policy.check(SocketAddr::new(ip.parse().unwrap(), 443), true)
}

/// First, second, middle, last but one and last address of each denied IPv4 block.
fn denied_v4() -> BTreeSet<Ipv4Addr> {
    let of_block = |block: &Ipv4Net| {
        let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
        let middle = first + (last - first) / 2;
        let picked = [
            first,
            first + (last - first).min(1),
            middle,
            last.max(first + 1) - 1,
            last,
        ];
        picked.map(Ipv4Addr::from_bits)
    };
    V4_DENIED.iter().flat_map(of_block).collect()
}

/// Hosts of URLs that lead, one way or another, to this IPv4 address.
fn spellings(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let bits = ip.to_bits();
    let (high, low) = (bits >> 16, bits & 0xffff);
    let three = bits & 0xff_ffff;
    let full_width = |text: String| -> String {
        text.chars()
            .map(|c| match c {
                '0'..='9' => char::from_u32(u32::from(c) - 0x30 + 0xff10).unwrap(),
                '.' => '。',
                other => other,
            })
            .collect()
    };
    let percent = |text: String| -> String { text.bytes().map(|b| format!("%{b:02x}")).collect() };
    vec![
        format!("{ip}"),
        format!("{ip}."),
        format!("user:password@{ip}"),
        format!("{bits}"),
        format!("{bits}."),
        format!("0x{bits:x}"),
        format!("0X{bits:X}"),
        format!("0{bits:o}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("0000{a:o}.{b}.{c}.{d}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0x{a:02X}.{b}.0{c:o}.{d}"),
        format!("{a}.{three}"),
        format!("{a}.{b}.{low}"),
        format!("{a}.0x{three:x}"),
        format!("0{a:o}.{b}.0x{low:x}"),
        full_width(format!("{ip}")),
        full_width(format!("{bits}")),
        format!("{a}。{b}．{c}｡{d}"),
        percent(format!("{ip}")),
        format!("[::ffff:{ip}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[0:0:0:0:0:FFFF:{high:X}:{low:X}]"),
        format!("[::{ip}]"),
        format!("[::ffff:0:{ip}]"),
        format!("[64:ff9b::{ip}]"),
        format!("[64:ff9b:1::{high:x}:{low:x}]"),
        format!("[2002:{high:x}:{low:x}::1]"),
        format!("[2002:{high:x}:{low:x}::{high:x}:{low:x}]"),
        format!("[2001:0:{high:x}:{low:x}:8000:63bf:3fff:fdd2]"),
        format!(
            "[2001:0:4136:e378:8000:63bf:{:x}:{:x}]",
            !high & 0xffff,
            !low & 0xffff
        ),
        format!("[2600:1f00::5efe:{ip}]"),
        format!("[2600:1f00::200:5efe:{high:x}:{low:x}]"),
        format!("[fe80::5efe:{ip}]"),
        format!("[fe80::5efe:{ip}%25eth0]"),
    ]
}

#[test]
fn no_spelling_of_a_denied_address_gets_past_the_guard() {
    let (mut urls, mut dialled) = (0, 0);
    for ip in denied_v4() {
        for host in spellings(ip) {
            urls += 1;
            // Hosts that the URL parser refuses never get to the guard; those it takes must be addresses, not names.
            let Ok(url) = Url::parse(&format!("https://{host}/hook")) else {
                continue;
            };
            let ip = match url.host().unwrap() {
                Host::Ipv4(ip) => IpAddr::V4(ip),
                Host::Ipv6(ip) => IpAddr::V6(ip),
                Host::Domain(name) => panic!("{host} became the name {name}"),
            };
            dialled += 1;
            let verdict = public().check(SocketAddr::new(ip, 443), true);
            assert!(verdict.is_err(), "{host} is {ip}");
        }
    }
    assert!(urls >= 2_000, "only {urls} spellings");
    assert!(
        dialled * 10 > urls * 9,
        "only {dialled} of {urls} spellings are URLs"
    );
}

#[test]
fn first_last_and_middle_of_each_denied_ipv6_block_are_denied() {
    let beside_global = [
        "::/128",
        "::1/128",
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "4000::/2",
        "1000::/4",
    ];
    let beside_global = beside_global
        .iter()
        .map(|block| block.parse::<Ipv6Net>().unwrap());
    for block in V6_DENIED.into_iter().chain(beside_global) {
        let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
        for bits in [first, first + (last - first) / 2, last] {
            let ip = Ipv6Addr::from_bits(bits).to_string();
            assert!(check(&public(), &ip).is_err(), "{ip} of {block}");
        }
    }
}

#[test]
fn neighbours_of_denied_blocks_are_public() {
    let neighbours = [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.31.195.255",
        "192.31.197.0",
        "192.52.192.255",
        "192.52.194.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "192.175.47.255",
        "192.175.49.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::",
        "2001:200::",
        "2001:db7:ffff::1",
        "2001:db9::",
        "2003::",
        "2620:4f:7fff::1",
        "2620:4f:8001::",
        "3ffe:ffff::1",
        "3fff:1000::",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
    ];
    for ip in neighbours {
        assert_eq!(check(&public(), ip), Ok(()), "{ip}");
    }
}

#[test]
fn allowed_networks_may_be_dialled_at_any_port_and_in_plain_text() {
    let policy = allowing(&["10.1.0.0/16", "::1/128"]);
    for address in [
        "10.1.2.3:80",
        "10.1.255.255:6000",
        "[::1]:8080",
        "[::ffff:10.1.2.3]:80",
    ] {
        let address = address.parse().unwrap();
        assert_eq!(policy.check(address, false), Ok(()), "{address}");
        assert_eq!(policy.check(address, true), Ok(()), "{address}");
    }
    assert!(matches!(
        check(&policy, "10.2.0.0"),
        Err(Denied::NotPublic(_))
    ));
    assert!(matches!(
        check(&policy, "127.0.0.1"),
        Err(Denied::NotPublic(_))
    ));
}

#[test]
fn public_addresses_need_a_listed_port_and_tls() {
    let address = |port| SocketAddr::from(([1, 1, 1, 1], port));
    assert_eq!(public().check(address(8443), true), Ok(()));
    assert_eq!(public().check(address(25), true), Err(Denied::Port(25)));
    assert!(matches!(
        public().check(address(443), false),
        Err(Denied::Plain(_))
    ));
}

#[test]
fn metadata_addresses_need_both_switches() {
    let everything = allowing(&["0.0.0.0/0", "::/0"]);
    let both = AddressPolicy {
        allow_metadata: true,
        ..everything.clone()
    };
    let metadata_alone = AddressPolicy {
        allow_metadata: true,
        ..public()
    };
    let carried = [
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::169.254.169.254",
        "::ffff:169.254.169.254",
        "::ffff:0:169.254.169.254",
        "::ffff:0:168.63.129.16",
        "64:ff9b:1:a9fe:a9:fe00::",
        "2001:0:a9fe:a9fe:8000:63bf:3fff:fdd2",
        "2001:0:4136:e378:8000:63bf:5601:5601",
        "2002:6464:64c8::5efe:101:101",
        "2600::5efe:a9fe:a9fe",
        "fe80::200:5efe:6464:64c8",
    ];
    let carried = carried.iter().map(|ip| ip.parse().unwrap());
    for ip in METADATA.into_iter().chain(carried) {
        let ip = ip.to_string();
        assert!(
            matches!(check(&everything, &ip), Err(Denied::Metadata(_))),
            "{ip}"
        );
        assert!(
            matches!(check(&metadata_alone, &ip), Err(Denied::Metadata(_))),
            "{ip}"
        );
        assert_eq!(check(&both, &ip), Ok(()), "{ip}");
    }
}

#[test]
fn no_embedding_of_a_metadata_address_is_dialled() {
    let everything = allowing(&["0.0.0.0/0", "::/0"]);
    for ip in METADATA {
        let IpAddr::V4(ip) = ip else { continue };
        let [a, b, c, d] = ip.octets();
        let (high, low) = (ip.to_bits() >> 16, ip.to_bits() & 0xffff);
        let (not_high, not_low) = (!high & 0xffff, !low & 0xffff);
        let embeddings = [
            format!("::ffff:{ip}"),
            format!("::{ip}"),
            format!("::ffff:0:{ip}"),
            format!("64:ff9b::{ip}"),
            format!("64:ff9b:1::{ip}"),
            format!("64:ff9b:1:7:8:9:{ip}"),
            format!("64:ff9b:1:{high:x}:{c:x}:{d:02x}00::"),
            format!("64:ff9b:1:{a:x}:{b:x}:{c:02x}{d:02x}::"),
            format!("64:ff9b:1:0:{a:x}:{b:02x}{c:02x}:{d:02x}00:0"),
            format!("2002:{high:x}:{low:x}::1"),
            format!("2001:0:{high:x}:{low:x}:8000:1:2:3"),
            format!("2001:0:101:101:0:1:{not_high:x}:{not_low:x}"),
            format!("2600::5efe:{ip}"),
            format!("2600::200:5efe:{ip}"),
            // One inside what another mechanism carries, whose own address is harmless.
            format!("2002:101:101:0:0:5efe:{ip}"),
            format!("2002:{high:x}:{low:x}:0:200:5efe:101:101"),
            format!("2001:0:101:101:0:5efe:{ip}"),
            format!("2001:0:101:101:200:5efe:{not_high:x}:{not_low:x}"),
            format!("64:ff9b:1:0:200:5efe:{ip}"),
        ];
        for carrier in embeddings {
            let verdict = check(&everything, &carrier);
            assert!(matches!(verdict, Err(Denied::Metadata(_))), "{carrier}");
        }
    }
    for harmless in [
        "2001:0:101:101::fefe:fefe",
        "::ffff:0:1.1.1.1",
        "2002:101:101::1",
    ] {
        assert_eq!(check(&everything, harmless), Ok(()), "{harmless}");
    }
}

#[test]
fn reasons_say_which_setting_would_allow_the_address() {
    let reason = |ip| check(&public(), ip).unwrap_err().to_string();
    assert_eq!(
        reason("10.0.0.1"),
        "10.0.0.1 is not a public address and not in network.allow_private"
    );
    assert!(reason("169.254.169.254").contains("network.allow_metadata"));
}

proptest! {
    #[test]
    fn an_ipv4_address_is_judged_the_same_when_mapped_into_ipv6(bits: u32) {
        let ip = Ipv4Addr::from_bits(bits);
        let (plain, mapped) = (ip.to_string(), ip.to_ipv6_mapped().to_string());
        prop_assert_eq!(check(&public(), &plain), check(&public(), &mapped));
    }

    #[test]
    fn ipv6_outside_the_global_block_is_never_public(bits: u128) {
        let ip = Ipv6Addr::from_bits(bits);
        let verdict = check(&public(), &ip.to_string());
        let mapped = ip.to_ipv4_mapped().is_some();
        prop_assert!(mapped || bits >> 125 == 1 || verdict.is_err());
    }
}

#[test]
fn the_relays_own_listeners_are_never_dialled_on_this_machine() {
    let policy = AddressPolicy {
        allow_private: vec![
            "127.0.0.0/8".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        ],
        allow_metadata: false,
        ports: vec![443],
        own_ports: vec![8780],
    };
    let check = |address: &str| policy.check(address.parse().unwrap(), false);
    for own in [
        "127.0.0.1:8780",
        "127.9.9.9:8780",
        "[::ffff:127.0.0.1]:8780",
        "[::1]:8780",
    ] {
        assert!(matches!(check(own), Err(Denied::Own(_))), "{own}");
    }
    assert_eq!(check("127.0.0.1:8790"), Ok(()));
    assert_eq!(check("10.0.0.1:8780"), Ok(()));
}
