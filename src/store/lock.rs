//! The store's folder: made so that it survives a power cut, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::private;
use crate::store::StoreError;

/// The file that is locked beside the folder itself: earlier versions look at that alone.
pub(super) const FILE: &str = "lock";

/// Holds the folder; another process that tries is refused until this is dropped, or its process has ended. The folder
/// itself is locked, too: a file can be removed, and made again by the next one.
#[derive(Debug)]
pub(super) struct FolderLock(
    #[expect(dead_code, reason = "the open files are the lock")] [File; 2],
);

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
        let itself = make(folder).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = private::open(&folder.join(FILE), &mut options).map_err(failed)?;
        let locks = [itself, file];
        for lock in &locks {
            match flock(lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Err(StoreError::InUse {
                        path: folder.to_owned(),
                    });
                }
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Ok(Self(locks))
    }
}

/// Makes the missing folders one by one, and syncs the parent of each: a folder whose entry is lost takes
/// everything in it along. Opens the folder.
fn make(folder: &Path) -> io::Result<File> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .filter(|path| !path.as_os_str().is_empty())
        .take_while(|path| !path.exists())
        .collect();
    for path in missing.into_iter().rev() {
        DirBuilder::new().mode(0o700).create(path)?;
        File::open(parent(path))?.sync_all()?;
    }
    private::open_folder(folder)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
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
    fn removing_the_lock_file_lets_nobody_in() {
        let root = tempfile::tempdir().unwrap();
        let _first = FolderLock::acquire(root.path()).unwrap();
        fs::remove_file(root.path().join(FILE)).unwrap();
        let error = FolderLock::acquire(root.path()).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
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
