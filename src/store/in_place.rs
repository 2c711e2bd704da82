//! Whether the store's files are still where they were opened: what is written to others, nobody would find again.
//!
//! The journal's thread asks before it reports what it wrote. Those who replace a file of theirs on purpose say so.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// Files and folders with what they were when they were opened.
#[derive(Debug, Default)]
pub(crate) struct InPlace(Mutex<Vec<(PathBuf, Identity)>>);

/// A file that is not where it was.
#[derive(Debug, thiserror::Error)]
#[error("{} was removed or replaced while it was in use", .0.display())]
struct NotInPlace(PathBuf);

impl InPlace {
    /// Expects this file or folder to stay what it is now.
    ///
    /// # Errors
    /// When it cannot be looked at.
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
    /// Names what is not, or says why it cannot be looked at.
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

/// Compares what is at `path` now with what was opened there.
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

/// What is at `path`.
///
/// # Errors
/// When it cannot be looked at.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
