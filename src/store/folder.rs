//! Examines a store's folder without opening the store, and without making or locking anything.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::private;
use crate::store::{StoreError, lock};

/// The files beside the lock that a start opens, if they are there.
const FILES: [&str; 3] = [lock::FILE, "reserve", "index.sqlite3"];

/// Bytes of a digest that distinguish one store from another.
const DIGEST_BYTES: usize = 8;

/// The state of a folder that a start could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderState {
    /// No process has it open, as far as the system shows.
    Free,
    /// A process has it open.
    Held {
        /// The id of the process.
        process: u32,
    },
    /// Another user owns it; only that user can start with it.
    OfUser(u32),
}

/// Reports whether a start could use this folder.
///
/// # Errors
/// [`StoreError::Folder`]: it cannot be made, or cannot be used.
pub fn examine(folder: &Path) -> Result<FolderState, StoreError> {
    let failed = |path: &Path, source: io::Error| StoreError::Folder {
        path: path.to_owned(),
        source: Arc::new(source),
    };
    let existing = nearest(folder).map_err(|(path, error)| failed(path, error))?;
    let metadata = fs::metadata(existing).map_err(|error| failed(existing, error))?;
    if !metadata.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(failed(existing, error));
    }
    let is_there = existing == folder;
    let own = rustix::process::geteuid().as_raw();
    if is_there && metadata.uid() != 0 && metadata.uid() != own {
        return Ok(FolderState::OfUser(metadata.uid()));
    }
    private::check_writable(existing).map_err(|error| failed(existing, error))?;
    if !is_there {
        check_names(folder, existing).map_err(|error| failed(folder, error))?;
        return Ok(FolderState::Free);
    }
    private::open_folder(folder).map_err(|error| failed(folder, error))?;
    for path in FILES.iter().map(|name| folder.join(name)) {
        private::check(&path).map_err(|error| failed(&path, error))?;
    }
    Ok(match lock::holder(folder) {
        Some(process) => FolderState::Held { process },
        None => FolderState::Free,
    })
}

/// The folder, or its nearest existing ancestor; or the path that cannot be examined, and why.
fn nearest(folder: &Path) -> Result<&Path, (&Path, io::Error)> {
    for path in folder.ancestors() {
        let path = if path == Path::new("") {
            Path::new(".")
        } else {
            path
        };
        match fs::symlink_metadata(path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err((path, error)),
        }
    }
    Ok(folder)
}

/// Checks that the folders missing below `existing` have names that its file system allows.
fn check_names(folder: &Path, existing: &Path) -> io::Result<()> {
    let longest = rustix::fs::statfs(existing)?.f_namelen;
    match fit(folder, usize::try_from(longest).unwrap_or(0)) {
        true => Ok(()),
        false => Err(Errno::NAMETOOLONG.into()),
    }
}

/// Whether no name of a path is longer than its file system allows; some, such as FUSE, report 0.
fn fit(path: &Path, longest: usize) -> bool {
    longest == 0 || path.iter().all(|name| name.len() <= longest)
}

/// An id that distinguishes the store in a folder from others, 16 hex digits; `None` while there is no folder.
#[must_use]
pub fn instance(folder: &Path) -> Option<String> {
    let metadata = fs::metadata(folder).ok()?;
    let name = format!("{}:{}", metadata.dev(), metadata.ino());
    let digest = Sha256::digest(name.as_bytes());
    let digits = digest.iter().take(DIGEST_BYTES);
    Some(digits.map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::lock::FolderLock;

    #[test]
    fn a_folder_that_a_start_would_make_is_free_and_not_made() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        assert_eq!(examine(&folder).unwrap(), FolderState::Free);
        assert!(!root.path().join("a").exists());
        assert_eq!(instance(&folder), None);
    }

    #[test]
    fn names_fit_unless_the_file_system_says_that_they_are_too_long() {
        let path = Path::new("/abc/de");
        assert!(fit(path, 3) && !fit(path, 2));
        assert!(fit(path, 0), "it does not say");
    }

    #[test]
    fn a_folder_that_is_in_use_says_by_whom() {
        let root = tempfile::tempdir().unwrap();
        let lock = FolderLock::acquire(root.path()).unwrap();
        let process = std::process::id();
        let held = FolderState::Held { process };
        // Where the system does not show locks, the process is unknown.
        if fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.contains("FLOCK")) {
            assert_eq!(examine(root.path()).unwrap(), held);
        }
        drop(lock);
        assert_eq!(examine(root.path()).unwrap(), FolderState::Free);
        FolderLock::acquire(root.path()).unwrap();
    }

    #[test]
    fn what_a_start_refuses_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        for path in [file.clone(), file.join("below")] {
            assert!(FolderLock::acquire(&path).is_err());
            let error = examine(&path).unwrap_err().to_string();
            assert!(error.contains("file"), "{error}");
        }
        let open = root.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(FolderLock::acquire(&open).is_err());
        assert!(examine(&open).is_err());
        let linked = root.path().join("linked");
        fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink(&file, linked.join(lock::FILE)).unwrap();
        assert!(FolderLock::acquire(&linked).is_err());
        assert!(examine(&linked).is_err());
        let dangling = root.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(FolderLock::acquire(&dangling).is_err());
        assert!(examine(&dangling).is_err());
        let turning = root.path().join("turning");
        std::os::unix::fs::symlink("turning", &turning).unwrap();
        let long = "x".repeat(256);
        let names = ["\0", &long, &format!("missing/{long}"), "turning/below"];
        for path in names.map(|name| root.path().join(name)) {
            assert!(FolderLock::acquire(&path).is_err(), "{}", path.display());
            assert!(examine(&path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_file_system_that_stores_nothing_is_refused() {
        let there = ["/proc", "/sys", "/dev/pts", "/dev/mqueue", "/sys/fs/cgroup"];
        let there = there.iter().map(Path::new).filter(|path| path.is_dir());
        let mut looked_at = 0;
        for path in there {
            let is_mount = rustix::fs::statfs(path).is_ok_and(|it| private::is_of_kernel(&it));
            if !is_mount {
                continue;
            }
            for path in [path.to_owned(), path.join("sidehook"), path.join("a/b")] {
                assert!(examine(&path).is_err(), "{}", path.display());
                looked_at += 1;
            }
        }
        assert!(looked_at > 0);
    }
}
