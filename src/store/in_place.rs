//! Checks that the store's files are still where they were opened: data written to removed files would be lost.
//!
//! The journal's thread checks before it reports a write. Code that replaces a file on purpose calls `release` first.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// Files and folders with their identity when they were opened.
#[derive(Debug, Default)]
pub(crate) struct InPlace(Mutex<Vec<(PathBuf, Identity)>>);

/// A file that is not where it was.
#[derive(Debug, thiserror::Error)]
#[error("{} was removed or replaced while it was in use", .0.display())]
struct NotInPlace(PathBuf);

impl InPlace {
    /// Expects this path to stay the file or folder that it is now.
    ///
    /// # Errors
    /// When it cannot be examined.
    pub(crate) fn expect(&self, path: &Path) -> io::Result<()> {
        let identity = identity(path)?;
        let mut expected = self.lock();
        expected.retain(|(known, _)| known != path);
        expected.push((path.to_owned(), identity));
        Ok(())
    }

    /// Expects nothing of this path any more: it is about to be replaced.
    pub(crate) fn release(&self, path: &Path) {
        self.lock().retain(|(known, _)| known != path);
    }

    /// Whether everything is in its place.
    ///
    /// # Errors
    /// Names the file that is not, or why it cannot be examined.
    pub(crate) fn check(&self) -> io::Result<()> {
        let expected = self.lock();
        for (path, known) in expected.iter() {
            check(path, Some(*known), identity(path).map(Some))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(PathBuf, Identity)>> {
        self.0.lock()
    }
}

/// Compares the file at `path` now with the one that was opened there.
///
/// # Errors
/// As for [`InPlace::check`].
pub(crate) fn check(
    path: &Path,
    opened: Option<Identity>,
    there: io::Result<Option<Identity>>,
) -> io::Result<()> {
    match there {
        Ok(there) if there == opened => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Err(io::Error::other(NotInPlace(path.to_owned()))),
    }
}

/// Identifies the file at `path`.
///
/// # Errors
/// When it cannot be examined.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
