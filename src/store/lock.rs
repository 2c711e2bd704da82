//! The store's folder: made so that it survives a power cut, and held by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::store::StoreError;

/// Holds the folder; another process that tries is refused until this is dropped, or its process has ended.
#[derive(Debug)]
pub(super) struct FolderLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl FolderLock {
    /// Makes the folder (0700, parents too, all synced) if need be, and takes its lock.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process holds it, [`StoreError::Folder`] when it cannot be made or written.
    pub(super) fn acquire(folder: &Path) -> Result<Self, StoreError> {
        let failed = |source: io::Error| StoreError::Folder {
            path: folder.to_owned(),
            source: Arc::new(source),
        };
        make(folder).map_err(failed)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => Err(StoreError::InUse {
                path: folder.to_owned(),
            }),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

/// Makes the missing folders one by one, and syncs the parent of each: a folder whose entry is lost takes
/// everything in it along.
fn make(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .filter(|path| !path.as_os_str().is_empty())
        .take_while(|path| !path.exists())
        .collect();
    for path in missing.into_iter().rev() {
        DirBuilder::new().mode(0o700).create(path)?;
        File::open(parent(path))?.sync_all()?;
    }
    if fs::metadata(folder)?.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn missing_folders_are_made_for_their_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let _lock = FolderLock::acquire(&folder).unwrap();
        for path in [&folder, &root.path().join("a")] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
    }

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = FolderLock::acquire(root.path()).unwrap();
        let error = FolderLock::acquire(root.path()).unwrap_err();
        assert!(matches!(&error, StoreError::InUse { path } if path == root.path()));
        drop(first);
        FolderLock::acquire(root.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, b"").unwrap();
        let error = FolderLock::acquire(&path).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
        assert!(matches!(error, StoreError::Folder { .. }));
    }
}
