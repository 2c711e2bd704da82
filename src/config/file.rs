//! Reads whole files of bounded size: configurations, secrets, CA certificates.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Says why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The system says no.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A folder, a pipe, a device.
    #[error("cannot be read: expected a regular file")]
    NotRegular,
    /// More bytes than it may have; carries the limit in bytes, whole KiB.
    #[error("is too large, expected at most {}", shown(*.0))]
    TooLarge(usize),
}

/// A file's bytes.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Whether its mode lets anyone but the owner at it.
    pub(super) is_open_to_others: bool,
}

/// Reads a regular file of at most `limit` bytes. Symbolic links are followed.
pub(super) fn read(path: &Path, limit: usize) -> Result<Content, FileError> {
    // Looked at before it is opened, as opening a pipe waits for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(FileError::NotRegular);
    }
    let file = File::open(path)?;
    let is_open_to_others = others_may(&file.metadata()?);
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge(limit));
    }
    Ok(Content {
        bytes,
        is_open_to_others,
    })
}

/// A size in the largest unit that fits.
fn shown(bytes: usize) -> String {
    let kib = bytes / 1024;
    if kib.is_multiple_of(1024) {
        format!("{}MiB", kib / 1024)
    } else {
        format!("{kib}KiB")
    }
}

fn others_may(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, [b'x'; 2048]).unwrap();
        assert_eq!(read(&path, 2048).unwrap().bytes.len(), 2048);
        assert!(matches!(read(&path, 2047), Err(FileError::TooLarge(2047))));
    }

    #[test]
    fn a_limit_is_shown_with_its_unit() {
        let shown = |limit| FileError::TooLarge(limit).to_string();
        assert_eq!(shown(64 * 1024), "is too large, expected at most 64KiB");
        assert_eq!(shown(4 << 20), "is too large, expected at most 4MiB");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            read(folder.path(), 10),
            Err(FileError::NotRegular)
        ));
        assert!(matches!(
            read(&folder.path().join("gone"), 10),
            Err(FileError::Io(_))
        ));
    }

    #[test]
    fn the_mode_says_whether_others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "x").unwrap();
        for (mode, open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(read(&path, 10).unwrap().is_open_to_others, open, "{mode:o}");
        }
    }
}
