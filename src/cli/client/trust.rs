//! Whether who listens at an address of this machine may be the sidecar that a token is for.
//!
//! Any user can listen on a port while the sidecar is not there. So a token that comes from a configuration goes only to a
//! listener of root, of this user, or of the user who owns the store of that configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::bail;

use crate::cli::post::Target;
use crate::http_server::listening_users;

/// Refuses a target at which somebody else than the sidecar with this store listens, as far as the system tells.
///
/// # Errors
/// Somebody else does.
pub(crate) fn check_listener(target: &Target, store: &Path) -> anyhow::Result<()> {
    let owner = std::fs::metadata(store).map(|found| found.uid()).ok();
    let own = rustix::process::geteuid().as_raw();
    // Who cannot look at the store cannot tell; root can.
    if owner.is_none() && own != 0 {
        return Ok(());
    }
    let is_stranger = |user: &u32| ![Some(0), Some(own), owner].contains(&Some(*user));
    if let Some(user) = listeners(target).iter().find(|user| is_stranger(user)) {
        bail!(
            "{target} belongs to user {user}, who is not the user of the sidecar with the store {}: no token is sent there",
            store.display()
        );
    }
    Ok(())
}

/// Whether only root or this user can have written a file.
pub(crate) fn is_ours(file: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let found = std::fs::metadata(file);
    found.is_ok_and(|found| [0, own].contains(&found.uid()) && found.mode() & 0o022 == 0)
}

/// The users who listen there; none where the system does not tell, as of other machines.
fn listeners(target: &Target) -> Vec<u32> {
    let text = match target {
        Target::Unix(path) => {
            // Of a link its own user, too, who can lead it elsewhere.
            let found = [path.symlink_metadata(), path.metadata()];
            return found.into_iter().flatten().map(|it| it.uid()).collect();
        }
        Target::Tcp(text) => text,
    };
    let Some((host, port)) = text.rsplit_once(':') else {
        return Vec::new();
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ips: Vec<IpAddr> = match bare.parse::<IpAddr>() {
        Ok(ip) if ip.to_canonical().is_loopback() => vec![ip],
        Ok(_) => return Vec::new(),
        Err(_) if crate::domain::is_localhost(bare) => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Err(_) => return Vec::new(),
    };
    let Ok(port) = port.parse() else {
        return Vec::new();
    };
    let users = ips.into_iter().map(|ip| SocketAddr::new(ip, port));
    users.flat_map(listening_users).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn listeners_of_this_user_are_trusted_wherever_they_are() {
        let store = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target = Target::Tcp(address.to_string());
        assert_eq!(listeners(&target), [rustix::process::geteuid().as_raw()]);
        check_listener(&target, store.path()).unwrap();
        let by_name = Target::Tcp(format!("localhost:{}", address.port()));
        assert!(!listeners(&by_name).is_empty());
        for elsewhere in ["192.0.2.1:80", "partner.example.com:80", "nonsense"] {
            let target = Target::Tcp(elsewhere.to_owned());
            assert!(listeners(&target).is_empty(), "{elsewhere}");
            check_listener(&target, store.path()).unwrap();
        }
    }

    /// Only root can make files of others.
    #[test]
    fn a_socket_of_another_user_gets_no_token_unless_the_store_is_his() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (path, store) = (folder.path().join("a.sock"), folder.path().join("store"));
        std::fs::create_dir(&store).unwrap();
        let _listener = UnixListener::bind(&path).unwrap();
        let target = Target::Unix(path.clone());
        check_listener(&target, &store).unwrap();
        chown(&path, Some(4711), None).unwrap();
        let error = check_listener(&target, &store).unwrap_err().to_string();
        assert!(
            error.contains("user 4711") && error.ends_with("no token is sent there"),
            "{error}"
        );
        assert!(check_listener(&target, Path::new("/nowhere")).is_err());
        chown(&store, Some(4711), None).unwrap();
        check_listener(&target, &store).unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "").unwrap();
        assert!(is_ours(&file));
        chown(&file, Some(4711), None).unwrap();
        assert!(!is_ours(&file) && !is_ours(Path::new("/nowhere")));
    }
}
