//! Which addresses of `listen` conflict, however they are written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::address::ListenAddress;
use crate::domain::is_localhost;

/// Whether two sockets that listen at these addresses would conflict. Port 0 never does.
pub(crate) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (first, second) = (one.ip().to_canonical(), other.ip().to_canonical());
    let is_same = first == second || covers(first, second) || covers(second, first);
    is_same && one.port() == other.port() && one.port() != 0
}

/// Whether the first stands for all addresses of this machine, the second among them. `[::]` is for IPv4, too, unless the
/// system is set otherwise. Source: ipv6(7), `IPV6_V6ONLY`.
fn covers(all: IpAddr, one: IpAddr) -> bool {
    match all {
        IpAddr::V4(all) => all.is_unspecified() && one.is_ipv4(),
        IpAddr::V6(all) => all.is_unspecified() && (one.is_ipv6() || is_for_both()),
    }
}

fn is_for_both() -> bool {
    let only = std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only");
    only.map_or(true, |only| only.trim() != "1")
}

/// Whether two listeners cannot have both addresses, as far as is known without
/// resolving names. `merges`: both are for events, where an address that is named twice is listened on once.
pub(super) fn is_in_the_way(one: &ListenAddress, other: &ListenAddress, merges: bool) -> bool {
    match (one, other) {
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => {
            let (first, second) = (literal(one), literal(other));
            let pairs = first
                .iter()
                .flat_map(|one| second.iter().map(move |other| (one, other)));
            let mut overlapping = pairs.filter(|(one, other)| overlap(**one, **other));
            let is_any_port = one.ends_with(":0");
            let is_named = first.is_empty() && one == other && !is_any_port;
            is_named && !merges || overlapping.any(|(one, other)| !merges || one != other)
        }
        (ListenAddress::Unix(one), ListenAddress::Unix(other)) => settled(one) == settled(other),
        (ListenAddress::Systemd(one), ListenAddress::Systemd(other)) => one == other,
        _ => false,
    }
}

/// The addresses of a host that is an address or `localhost`.
fn literal(written: &str) -> Vec<SocketAddr> {
    let Some((host, port)) = written.rsplit_once(':') else {
        return Vec::new();
    };
    let Ok(port) = port.parse() else {
        return Vec::new();
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ips = match bare.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) if is_localhost(bare) => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Err(_) => Vec::new(),
    };
    ips.into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect()
}

/// A path without links to its folder, or at least without redundant parts.
fn settled(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.components().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(written: &str) -> ListenAddress {
        ListenAddress::Tcp(written.to_owned())
    }

    #[test]
    fn one_address_has_many_spellings() {
        for (one, other) in [
            ("127.0.0.1:8780", "127.0.0.1:8780"),
            ("127.0.0.1:8780", "localhost:8780"),
            ("LOCALHOST:8780", "[::1]:8780"),
            ("0.0.0.0:8780", "127.0.0.1:8780"),
            ("0.0.0.0:8780", "localhost:8780"),
            ("[::]:8780", "[::1]:8780"),
            ("[0::0:1]:8780", "[::1]:8780"),
            ("[::ffff:127.0.0.1]:8780", "127.0.0.1:08780"),
            ("relay.internal:8780", "relay.internal:8780"),
        ] {
            let (one, other) = (tcp(one), tcp(other));
            assert!(is_in_the_way(&one, &other, false), "{one:?} {other:?}");
            assert!(is_in_the_way(&other, &one, false), "{other:?} {one:?}");
        }
        for (one, other) in [
            ("127.0.0.1:8780", "127.0.0.1:8781"),
            ("127.0.0.1:8780", "127.0.0.2:8780"),
            ("127.0.0.1:8780", "[::1]:8780"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("relay.internal:0", "relay.internal:0"),
            ("0.0.0.0:8780", "[::1]:8780"),
        ] {
            let (one, other) = (tcp(one), tcp(other));
            assert!(!is_in_the_way(&one, &other, false), "{one:?} {other:?}");
            assert!(!is_in_the_way(&other, &one, false), "{other:?} {one:?}");
        }
    }

    /// The expected results are those of the system, whatever its rules are.
    #[test]
    fn addresses_overlap_where_the_system_says_so() {
        let hosts = [
            "127.0.0.1",
            "127.0.0.2",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
        ];
        for (one, other) in hosts
            .iter()
            .flat_map(|one| hosts.map(|other| (*one, other)))
        {
            let at = |host: &str, port| SocketAddr::new(host.parse().unwrap(), port);
            let agrees = || {
                let Ok(first) = std::net::TcpListener::bind(at(one, 0)) else {
                    return true;
                };
                let port = first.local_addr().unwrap().port();
                let is_taken = match std::net::TcpListener::bind(at(other, port)) {
                    Ok(_) => false,
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => true,
                    Err(_) => return true,
                };
                overlap(at(one, port), at(other, port)) == is_taken
            };
            // Another process may listen on the port at the other address.
            assert!((0..8).any(|_| agrees()), "{one} {other}");
        }
    }

    #[test]
    fn events_are_listened_for_once_at_an_address_that_is_named_twice() {
        let local = tcp("127.0.0.1:1");
        assert!(!is_in_the_way(&local, &tcp("localhost:1"), true));
        assert!(!is_in_the_way(&local, &local, true));
        assert!(is_in_the_way(&local, &tcp("0.0.0.0:1"), true));
        let socket = ListenAddress::Systemd("a".to_owned());
        assert!(is_in_the_way(&socket, &socket, true));
    }

    #[test]
    fn paths_are_the_same_through_links_and_dots() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, root.path().join("link")).unwrap();
        let of = |path: &str| ListenAddress::Unix(root.path().join(path));
        for same in ["real/./a", "link/a", "real//a", "real/../link/a"] {
            assert!(is_in_the_way(&of("real/a"), &of(same), true), "{same}");
        }
        assert!(!is_in_the_way(&of("real/a"), &of("real/b"), true));
        assert!(is_in_the_way(&of("gone/./a"), &of("gone//a"), true));
    }
}
