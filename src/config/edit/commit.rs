//! Writes an edit: first the files of new secrets, then the configuration, last goes what nothing names any more.
//!
//! Invariant: whatever fails, no new secret's file is left behind, and the configuration is what it was.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::edit::secrets::is_of_ours;
use crate::config::edit::swap::replace;
use crate::config::edit::{EditError, Edited};
use crate::config::load::Loaded;
use crate::domain::Secret;

/// What an edit writes.
#[derive(Debug)]
pub(super) struct Write {
    /// The configuration file, as it is named.
    pub(super) file: PathBuf,
    /// Its bytes as they were read; none: there is no such file.
    pub(super) old: Option<Secret>,
    pub(super) new: Secret,
    /// The file whose mode and owner a new one gets.
    pub(super) like: PathBuf,
    /// New files with secrets, which come first.
    pub(super) secrets: Vec<(PathBuf, Secret)>,
    pub(super) secrets_dir: PathBuf,
    /// Files that the configuration named before and does not name any more.
    pub(super) unnamed: Vec<PathBuf>,
}

impl Edited {
    /// Writes the edit and waits until it is on the disk. The file has either all of it or nothing, whatever happens.
    ///
    /// Blocks, on locks for a few seconds at most.
    ///
    /// # Errors
    /// [`EditError::Refused`]: the file changed since it was read, cannot be replaced, or the disk fails.
    pub fn commit(self) -> Result<Loaded, EditError> {
        let write = self.write;
        if write.old.as_ref() != Some(&write.new) {
            let mut made = Made::default();
            for (path, secret) in &write.secrets {
                made.write(path, secret)
                    .map_err(|error| refused(path, &error))?;
            }
            replace(&write.file, write.old.as_ref(), &write.new, &write.like)?;
            made.keep();
            write.remove_unnamed();
        }
        Ok(self.loaded)
    }
}

impl Write {
    /// Secrets that were put into the folder by earlier edits. Others are not ours to remove.
    fn remove_unnamed(&self) {
        let folder = std::path::absolute(&self.secrets_dir).ok();
        for path in &self.unnamed {
            let is_there = path
                .parent()
                .and_then(|parent| std::path::absolute(parent).ok())
                == folder;
            let name = path.file_name().map(|name| name.to_string_lossy());
            if is_there && name.is_some_and(|name| is_of_ours(&name)) {
                // A file that stays is of no harm: nothing names it.
                std::fs::remove_file(path).ok();
            }
        }
    }
}

/// Files that go again unless they are kept.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn write(&mut self, path: &Path, secret: &Secret) -> io::Result<()> {
        let folder = path.parent().unwrap_or(path);
        make_folder(folder)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        self.0.push(path.to_path_buf());
        file.write_all(secret.expose())?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    }

    fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // Nothing more can be done about one that stays.
            std::fs::remove_file(path).ok();
        }
    }
}

/// Makes a folder that only its owner can enter, and those above it.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => File::open(above)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

/// Why a file is not written.
pub(super) fn refused(path: &Path, error: &io::Error) -> EditError {
    let path = path.display();
    let reason = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only".to_owned(),
        io::ErrorKind::PermissionDenied => "the relay may not write there".to_owned(),
        io::ErrorKind::ResourceBusy => {
            "it is in use, such as a bind mount of the file alone".to_owned()
        }
        io::ErrorKind::CrossesDevices => "it is a mount of its own".to_owned(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "there is no room for it".to_owned()
        }
        _ => error.to_string(),
    };
    EditError::Refused(format!("{path} cannot be written: {reason}"))
}
