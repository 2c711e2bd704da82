//! Whether the listener at an address of this machine may be the sidecar that a token is for.
//!
//! Any user can listen on a port while the sidecar is not there. So a token goes to an address that a configuration or
//! a store named, and not the caller, only if the listener is of root, of this user, or of the owner of that store.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tokio::net::lookup_host;

use crate::cli::target::Target;
use crate::http_server::listening_users;

/// The listener does not belong to the user of the sidecar.
#[derive(Debug, thiserror::Error)]
#[error(
    "{target} belongs to user {user}, who is not the user of the sidecar with the store {}: no token is sent there",
    store.display()
)]
pub(crate) struct Stranger {
    target: Target,
    user: u32,
    store: PathBuf,
}

/// Refuses a target whose listener cannot be the sidecar with this store, as far as the system reports.
///
/// It holds for a moment only, so it is for each connection that a token goes by.
///
/// # Errors
/// The listener belongs to another user.
pub(crate) async fn check_listener(target: &Target, store: &Path) -> Result<(), Stranger> {
    let owner = std::fs::metadata(store).map(|found| found.uid()).ok();
    let own = rustix::process::geteuid().as_raw();
    // A user who cannot look at the store cannot judge; root can.
    if owner.is_none() && own != 0 {
        return Ok(());
    }
    let is_stranger = |user: &u32| ![Some(0), Some(own), owner].contains(&Some(*user));
    match listeners(target).await.into_iter().find(is_stranger) {
        None => Ok(()),
        Some(user) => Err(Stranger {
            target: target.clone(),
            user,
            store: store.to_owned(),
        }),
    }
}

/// Whether only root or this user can have written a file.
pub(crate) fn is_ours(file: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let found = std::fs::metadata(file);
    found.is_ok_and(|found| [0, own].contains(&found.uid()) && found.mode() & 0o022 == 0)
}

/// The users who listen there; empty where the system does not report them, as of other machines.
async fn listeners(target: &Target) -> Vec<u32> {
    let text = match target {
        Target::Unix(path) => {
            // The user of a link counts too, because he can lead it elsewhere.
            let found = [path.symlink_metadata(), path.metadata()];
            return found.into_iter().flatten().map(|it| it.uid()).collect();
        }
        Target::Tcp(text) => text,
    };
    // A connection goes to any of the addresses of a name.
    let Ok(addresses) = lookup_host(text).await else {
        return Vec::new();
    };
    let own = addresses.map(as_connected).filter(is_of_this_machine);
    own.flat_map(listening_users).collect()
}

/// Where a connection to an address arrives: that of all addresses is the machine itself.
fn as_connected(mut at: SocketAddr) -> SocketAddr {
    let ip = at.ip().to_canonical();
    at.set_ip(match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    });
    at
}

/// Whether an address is one of this machine: only such a one can be bound.
fn is_of_this_machine(at: &SocketAddr) -> bool {
    let mut any_port = *at;
    any_port.set_port(0);
    at.ip().is_loopback() || UdpSocket::bind(any_port).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn listeners_of_this_user_are_trusted_wherever_they_are() {
        let store = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let all = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = all.local_addr().unwrap().port();
        let mut hosts = vec![
            "127.0.0.1",
            "127.9.8.7",
            "localhost",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
        ];
        let outer = outer_address();
        hosts.extend(outer.as_deref());
        for host in hosts {
            let target = Target::Tcp(format!("{host}:{port}"));
            let found = listeners(&target).await;
            assert!(
                !found.is_empty() && found.iter().all(|user| *user == own),
                "{host}"
            );
            check_listener(&target, store.path()).await.unwrap();
        }
        for elsewhere in [
            format!("192.0.2.1:{port}"),
            "nobody.invalid:80".to_owned(),
            "nonsense".to_owned(),
        ] {
            let target = Target::Tcp(elsewhere);
            assert!(listeners(&target).await.is_empty(), "{target}");
            check_listener(&target, store.path()).await.unwrap();
        }
    }

    /// The address of this machine by which it would reach another, if it has a way there; nothing is sent.
    fn outer_address() -> Option<String> {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("192.0.2.1:9").ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    }

    /// Only root can make files of others.
    #[tokio::test]
    async fn a_socket_of_another_user_gets_no_token_unless_the_store_is_his() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (path, store) = (folder.path().join("a.sock"), folder.path().join("store"));
        std::fs::create_dir(&store).unwrap();
        let _listener = UnixListener::bind(&path).unwrap();
        let target = Target::Unix(path.clone());
        check_listener(&target, &store).await.unwrap();
        chown(&path, Some(4711), None).unwrap();
        let error = check_listener(&target, &store)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("user 4711") && error.ends_with("no token is sent there"),
            "{error}"
        );
        assert!(
            check_listener(&target, Path::new("/nowhere"))
                .await
                .is_err()
        );
        chown(&store, Some(4711), None).unwrap();
        check_listener(&target, &store).await.unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "").unwrap();
        assert!(is_ours(&file));
        chown(&file, Some(4711), None).unwrap();
        assert!(!is_ours(&file) && !is_ours(Path::new("/nowhere")));
    }
}
