//! The store's folder: made so that it survives a power cut, and held by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::private;
use crate::store::StoreError;

/// The file that is locked beside the folder itself: earlier versions lock only this file.
pub(super) const FILE: &str = "lock";

/// Holds the folder; other processes are refused until this is dropped or its process has ended. The folder itself is
/// locked too: a lock file can be removed, and made again by the next process.
#[derive(Debug)]
pub(super) struct FolderLock(
    #[expect(dead_code, reason = "the open files are the lock")] [File; 2],
);

impl FolderLock {
    /// Makes the folder if it is absent (0700, parents too, all synced), and takes its lock.
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
                        process: holder(folder),
                    });
                }
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Ok(Self(locks))
    }
}

/// The process that holds a folder; `None` where the system does not show it.
pub(super) fn holder(folder: &Path) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let inodes = [folder.to_owned(), folder.join(FILE)];
    let inodes = inodes.map(|path| fs::metadata(path).map_or(0, |it| it.ino()));
    holder_in(&locks, inodes)
}

/// The process that has locked both of these files.
/// Source: proc_locks(5): `1: FLOCK  ADVISORY  WRITE 708 08:01:13548 0 EOF`.
fn holder_in(locks: &str, inodes: [u64; 2]) -> Option<u32> {
    let of = |inode: u64| {
        let processes = locks.lines().filter_map(move |line| {
            let mut fields = line.split_whitespace().skip(1);
            let is_flock = fields.next()? == "FLOCK";
            let process = fields.nth(2)?.parse().ok()?;
            let place = fields.next()?.rsplit_once(':')?.1;
            // 0: a process that this one cannot see.
            (is_flock && process != 0 && place.parse() == Ok(inode)).then_some(process)
        });
        processes.collect::<Vec<u32>>()
    };
    let [first, second] = inodes.map(of);
    first.into_iter().find(|process| second.contains(process))
}

/// Makes the missing folders one by one, and syncs the parent of each: if a folder's entry is lost, so is everything
/// in it. Opens the folder.
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
        assert!(matches!(&error, StoreError::InUse { path, .. } if path == root.path()));
        // Where the system does not show locks, the process is unknown.
        if fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.contains("FLOCK")) {
            let process = format!("in use by process {}", std::process::id());
            assert!(error.to_string().ends_with(&process), "{error}");
        }
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

    #[test]
    fn locks_are_read_as_the_kernel_shows_them() {
        let locks = "1: POSIX  ADVISORY  READ 5 08:01:10 0 EOF\n2: FLOCK  ADVISORY  WRITE 7 08:01:10 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 9 08:01:10 0 EOF\n3: FLOCK  ADVISORY  WRITE 7 08:01:11 0 EOF\n";
        assert_eq!(holder_in(locks, [10, 11]), Some(7));
        assert_eq!(holder_in(locks, [10, 12]), None);
        assert_eq!(holder_in("nonsense", [10, 11]), None);
    }
}
