//! Writes an edit: first the files of new secrets, then the configuration; last it removes files no longer named.
//!
//! Invariant: whatever fails, no new secret's file is left behind, and the configuration is what it was. After a kill the
//! next edit removes such a file: a note in the folder, `.sidehook-…`, has the names of those that an edit makes and
//! gives up, as long as it is under way.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::config::edit::error::{EditError, refused};
use crate::config::edit::secrets::is_of_ours;
use crate::config::edit::swap::replace;
use crate::config::include::TEMPORARY;
use crate::config::loaded::Loaded;
use crate::domain::Secret;
use crate::private;

/// The most bytes of a note that are read: thousands of names.
const NOTE_BYTES_MAX: u64 = 1 << 20;

/// An edit that is valid and not written yet.
#[derive(Debug)]
pub struct Edited {
    /// The configuration with it.
    pub loaded: Loaded,
    /// The file that changes.
    pub file: PathBuf,
    /// A secret that was made for a new subscription: to be shown this once.
    pub generated_secret: Option<Secret>,
    /// The files to write.
    pub(super) write: Write,
}

/// The files that an edit writes.
#[derive(Debug)]
pub(super) struct Write {
    /// The configuration file, as it is named.
    pub(super) file: PathBuf,
    /// Its bytes as they were read; `None` if there is no such file.
    pub(super) old: Option<Secret>,
    pub(super) new: Secret,
    /// The file whose mode and owner a new one gets.
    pub(super) like: PathBuf,
    /// The folder of the store.
    pub(super) store: PathBuf,
    /// Advice if the file cannot be written; may be empty.
    pub(super) advice: String,
    /// New files with secrets, which come first.
    pub(super) secrets: Vec<(PathBuf, Secret)>,
    pub(super) secrets_dir: PathBuf,
    /// Files that the configuration named before.
    pub(super) named: Vec<PathBuf>,
    /// Those among them that it does not name any more.
    pub(super) unnamed: Vec<PathBuf>,
}

impl Edited {
    /// Writes the edit and waits until it is on the disk. The file has all of it or nothing, even after a crash.
    ///
    /// Blocks, on locks for a few seconds at most.
    ///
    /// # Errors
    /// [`EditError::NotWritable`]: the file cannot be replaced by this process. [`EditError::Refused`]: it changed since it
    /// was read, or the disk fails.
    pub fn commit(self) -> Result<Loaded, EditError> {
        let write = self.write;
        if write.old.as_ref() == Some(&write.new) {
            return Ok(self.loaded);
        }
        let note = Note::new(&write.secrets_dir, &write.like);
        let told = |error: io::Error| refused(&note.path, &error);
        let settled = note.settle(&write).map_err(told);
        let given_up = write.given_up();
        let made = write
            .secrets
            .iter()
            .filter_map(|(path, _)| path.file_name());
        let names: Vec<&OsStr> = made
            .chain(given_up.iter().filter_map(|path| path.file_name()))
            .collect();
        if !names.is_empty() {
            // An edit without secrets does not fail because of a problem in their folder.
            settled?;
            note.write(&names).map_err(told)?;
        }
        let mut made = Made::default();
        for (path, secret) in &write.secrets {
            made.write(path, secret)
                .map_err(|error| refused(path, &error))?;
        }
        let (old, store) = (write.old.as_ref(), &write.store);
        replace(&write.file, old, &write.new, &write.like, store)
            .map_err(|error| error.advised(&write.advice))?;
        made.keep();
        for path in given_up {
            // The next edit tries again, by the note.
            std::fs::remove_file(path).ok();
        }
        Ok(self.loaded)
    }
}

impl Write {
    /// Files of secrets that earlier edits made, and that are not named any more. Other files are not removed.
    fn given_up(&self) -> Vec<&PathBuf> {
        let is_ours = |path: &&PathBuf| {
            let name = path.file_name().map(OsStr::to_string_lossy);
            self.is_in_folder(path) && name.is_some_and(|name| is_of_ours(&name))
        };
        self.unnamed.iter().filter(is_ours).collect()
    }

    fn is_in_folder(&self, path: &Path) -> bool {
        let absolute = |path: &Path| std::path::absolute(path).ok();
        path.parent().and_then(absolute) == absolute(&self.secrets_dir)
    }
}

/// The names of the files that an edit of one configuration makes and removes, in the folder of secrets. Others may
/// have theirs there.
struct Note {
    folder: PathBuf,
    path: PathBuf,
}

impl Note {
    fn new(folder: &Path, config: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        config.canonicalize().unwrap_or_default().hash(&mut hasher);
        Self {
            folder: folder.to_path_buf(),
            path: folder.join(format!("{TEMPORARY}{:016x}", hasher.finish())),
        }
    }

    /// Removes the files of an edit that was killed, if the configuration does not name them.
    fn settle(&self, write: &Write) -> io::Result<()> {
        let mut text = String::new();
        match private::open(&self.path, OpenOptions::new().read(true)) {
            Ok(file) => file.take(NOTE_BYTES_MAX).read_to_string(&mut text)?,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let is_named = |name: &str| {
            let mut named = write.named.iter().filter(|path| write.is_in_folder(path));
            named.any(|path| path.file_name() == Some(OsStr::new(name)))
        };
        for name in text
            .lines()
            .filter(|name| is_of_ours(name) && !is_named(name))
        {
            match std::fs::remove_file(self.folder.join(name)) {
                Err(error) if !is_absent(&error) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        std::fs::remove_file(&self.path)
    }

    fn write(&self, names: &[&OsStr]) -> io::Result<()> {
        make_folder(&self.folder)?;
        let mut options = OpenOptions::new();
        // Truncated once it is known to be ours.
        let mut file = private::open(&self.path, options.write(true).create(true).truncate(false))?;
        file.set_len(0)?;
        for name in names {
            file.write_all(name.as_encoded_bytes())?;
            file.write_all(b"\n")?;
        }
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // Usually there is none; one that stays is handled by the next edit.
        std::fs::remove_file(&self.path).ok();
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Files that go again unless they are kept.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn write(&mut self, path: &Path, secret: &Secret) -> io::Result<()> {
        let folder = path.parent().unwrap_or(path);
        make_folder(folder)?;
        let opened = private::open(path, OpenOptions::new().write(true).create_new(true));
        // A file that fails after it was made is removed; one that existed before stays.
        if !matches!(&opened, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
            self.0.push(path.to_path_buf());
        }
        let mut file = opened?;
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
