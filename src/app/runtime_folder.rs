//! The runtime folder: where the commands of this machine find a running relay and need no token.
//!
//! A relay that has such a folder serves its admin API on one more unix socket there: `admin.sock` in the folder that systemd
//! made for it (`RuntimeDirectory=`), or `admin-<hash of the store's path>.sock` in a folder that all relays of a user share.
//! A store belongs to one process, so no two running relays have the same name there. Access follows the modes of the
//! folder and the socket (0660): root, the user of the relay and its group; with `admin.tokens` (0600) not the group.
//! The socket is an addition: a relay that cannot make it runs without.

use std::fs::{DirBuilder, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::Environment;
use crate::http_server::Listener;
use crate::private;

/// The folder that the shipped unit gives to its relay; only root can make it.
const OF_SYSTEM: &str = "/run/sidehook";
/// The socket in a folder that belongs to one relay.
const SOCKET: &str = "admin.sock";
/// The most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 1024;

/// The runtime folder of one relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeFolder {
    /// It belongs to this relay: `$RUNTIME_DIRECTORY`.
    Own(PathBuf),
    /// It belongs to a user, whose relays share it: `$XDG_RUNTIME_DIR/sidehook`.
    OfUser(PathBuf),
}

impl RuntimeFolder {
    /// The one that the environment names, if it names one.
    #[must_use]
    pub fn of(environment: &Environment) -> Option<Self> {
        let own = named(environment, "RUNTIME_DIRECTORY").map(Self::Own);
        own.or_else(|| of_user(environment).map(Self::OfUser))
    }

    /// Whether the configuration names the socket that would be bound, in a folder of its own.
    pub(super) fn is_socket(&self, path: &Path) -> bool {
        match self {
            Self::Own(folder) => folder.join(SOCKET) == path,
            Self::OfUser(_) => false,
        }
    }

    /// Binds the socket of the relay that has the store in `store` open; returns its path too. A stale socket without
    /// a listener is replaced, that of another process is not.
    ///
    /// # Errors
    /// [`RuntimeFolderError`]: the relay has to go without.
    pub(super) async fn bind(
        &self,
        store: &Path,
        is_for_group: bool,
    ) -> Result<(Listener, PathBuf), RuntimeFolderError> {
        let path = match self {
            Self::Own(folder) => folder.join(SOCKET),
            Self::OfUser(folder) => {
                match DirBuilder::new().mode(0o700).create(folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error.into());
                    }
                    Ok(()) | Err(_) => {}
                }
                private::open_folder(folder)?;
                let mut hasher = DefaultHasher::new();
                store.canonicalize()?.hash(&mut hasher);
                folder.join(format!("admin-{:016x}.sock", hasher.finish()))
            }
        };
        let listener = Listener::unix(&path).await?;
        if !is_for_group {
            std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        }
        Ok((listener, path))
    }
}

/// Why there is no socket in the runtime folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeFolderError {
    /// The folder cannot be used.
    #[error("the runtime folder cannot be used")]
    Folder(#[from] io::Error),
    /// The socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] crate::http_server::BindError),
}

/// The sockets in those runtime folders that a user with this environment can read.
#[derive(Debug, Default)]
pub struct RuntimeSockets {
    /// Sockets; some may have no listener any more.
    pub sockets: Vec<PathBuf>,
    /// Folders that this user may not look into.
    pub closed: Vec<PathBuf>,
}

impl RuntimeSockets {
    /// Looks for them: in the system's folder and in that of the user. A folder below is that of one instance of several of
    /// a unit (`RuntimeDirectory=sidehook/%i`).
    #[must_use]
    pub fn find(environment: &Environment) -> Self {
        let mut found = Self::default();
        found.look_into(Path::new(OF_SYSTEM), true);
        if let Some(own) = named(environment, "RUNTIME_DIRECTORY") {
            found.add(&own.join(SOCKET));
        }
        // A user who could put a socket there could pass for the relay.
        if let Some(folder) = of_user(environment).filter(|it| private::open_folder(it).is_ok()) {
            found.look_into(&folder, true);
        }
        found
    }

    fn look_into(&mut self, folder: &Path, is_outer: bool) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return self.closed.push(folder.to_path_buf());
            }
            Err(_) => return,
        };
        let entries = entries.take(ENTRIES_MAX).filter_map(Result::ok);
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let is_named = path.extension().is_some_and(|it| it == "sock");
            if is_named {
                self.add(&path);
            } else if is_outer && path.is_dir() {
                self.look_into(&path, false);
            }
        }
    }

    fn add(&mut self, path: &Path) {
        let is_socket = std::fs::metadata(path).is_ok_and(|it| it.file_type().is_socket());
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if is_socket && !self.sockets.contains(&path) {
            self.sockets.push(path);
        }
    }
}

fn of_user(environment: &Environment) -> Option<PathBuf> {
    Some(named(environment, "XDG_RUNTIME_DIR")?.join("sidehook"))
}

/// The first folder of a variable, which systemd separates by `:`. Source: systemd.exec(5), XDG Base Directory: paths that
/// are not absolute are to be ignored.
fn named(environment: &Environment, variable: &str) -> Option<PathBuf> {
    let first = environment.variables.get(variable)?.split(':').next()?;
    Some(PathBuf::from(first)).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Environment {
            variables: variables.iter().map(owned).collect(),
        }
    }

    #[test]
    fn the_folder_of_systemd_comes_before_that_of_the_user() {
        let of = |variables: &[_]| RuntimeFolder::of(&environment(variables));
        let user = ("XDG_RUNTIME_DIR", "/run/user/7");
        let own = ("RUNTIME_DIRECTORY", "/run/sidehook:/run/other");
        assert_eq!(
            of(&[user, own]),
            Some(RuntimeFolder::Own("/run/sidehook".into()))
        );
        assert_eq!(
            of(&[user]),
            Some(RuntimeFolder::OfUser("/run/user/7/sidehook".into()))
        );
        for nothing in ["", "run", "./run", ":"] {
            assert_eq!(of(&[("RUNTIME_DIRECTORY", nothing)]), None, "{nothing}");
            assert_eq!(of(&[("XDG_RUNTIME_DIR", nothing)]), None, "{nothing}");
        }
        assert_eq!(of(&[]), None);
    }

    #[tokio::test]
    async fn relays_of_a_user_share_a_folder_and_are_told_apart_by_their_stores() {
        let root = tempfile::tempdir().unwrap();
        let [one, other] = ["a", "b"].map(|name| root.path().join(name));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&other).unwrap();
        let variable = ("XDG_RUNTIME_DIR", root.path().to_str().unwrap());
        let environment = environment(&[variable]);
        let folder = RuntimeFolder::of(&environment).unwrap();
        let first = folder.bind(&one, true).await.unwrap();
        let second = folder.bind(&other, true).await.unwrap();
        assert_ne!(first.1, second.1);
        assert!(
            folder.bind(&one, true).await.is_err(),
            "one that is alive stays"
        );
        let found = RuntimeSockets::find(&environment).sockets;
        assert!(
            found.contains(&first.1) && found.contains(&second.1),
            "{found:?}"
        );
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&first.1), 0o660);
        assert_eq!(mode(first.1.parent().unwrap()), 0o700);
        let own = folder.bind(root.path(), false).await.unwrap();
        assert_eq!(mode(&own.1), 0o600, "with tokens it is not for the group");
        drop((first, own));
        let found = RuntimeSockets::find(&environment).sockets;
        assert!(found.contains(&second.1) && found.len() < 3, "{found:?}");
    }

    #[tokio::test]
    async fn a_folder_that_others_can_write_is_neither_used_nor_searched() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sidehook");
        std::fs::create_dir(&folder).unwrap();
        let variable = ("XDG_RUNTIME_DIR", root.path().to_str().unwrap());
        let environment = environment(&[variable]);
        let own = RuntimeFolder::of(&environment).unwrap();
        let (listener, path) = own.bind(root.path(), true).await.unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        assert!(!RuntimeSockets::find(&environment).sockets.contains(&path));
        drop(listener);
        assert!(own.bind(root.path(), true).await.is_err());
    }

    #[tokio::test]
    async fn instances_of_a_unit_are_found_in_folders_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let instance = root.path().join("sidehook").join("a");
        std::fs::create_dir_all(&instance).unwrap();
        let own = RuntimeFolder::Own(instance.clone());
        let (_listener, path) = own.bind(root.path(), true).await.unwrap();
        assert_eq!(path, instance.join("admin.sock"));
        let variable = ("XDG_RUNTIME_DIR", root.path().to_str().unwrap());
        let found = RuntimeSockets::find(&environment(&[variable])).sockets;
        assert!(found.contains(&path), "{found:?}");
    }
}
