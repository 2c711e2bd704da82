//! The journal's disk operations, as a trait: tests substitute a disk that fails, or loses writes that were not synced.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::private;
use crate::store::in_place::{self, Identity};

/// The folder of the journal.
pub(super) trait Disk: Send + Sync + 'static {
    /// Names of the files in the folder.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file that must not exist. Its name is durable after [`Disk::sync_folder`] only.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names in the folder durable.
    fn sync_folder(&self) -> io::Result<()>;
    /// Checks that the file of this name still is the one that was opened. The default checks nothing.
    fn check_in_place(&self, _name: &str, _opened: &dyn DiskFile) -> io::Result<()> {
        Ok(())
    }
}

/// One file of the journal.
pub(super) trait DiskFile: Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads at `offset` until `bytes` is full or the file ends. Returns the number of bytes read.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes everything written durable, the length too.
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Device and inode of the file; `None` where the disk has no such thing.
    fn identity(&self) -> io::Result<Option<Identity>> {
        Ok(None)
    }
}

/// A folder of the machine.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder; makes it (0700), and its name durable, when it is absent.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        // Also when the folder was there: a process that was killed may have made it without getting here.
        sync_folder(path.parent().unwrap_or(path))?;
        private::open_folder(path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        Ok(Arc::new(private::open(&self.0.join(name), &mut options)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(Arc::new(private::open(&self.0.join(name), &mut options)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_folder(&self.0)
    }

    fn check_in_place(&self, name: &str, opened: &dyn DiskFile) -> io::Result<()> {
        let path = self.0.join(name);
        let there = in_place::identity(&path).map(Some);
        in_place::check(&path, opened.identity()?, there)
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(
                self,
                rest,
                offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX)),
            ) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn identity(&self) -> io::Result<Option<Identity>> {
        let metadata = self.metadata()?;
        Ok(Some((metadata.dev(), metadata.ino())))
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)?.sync_all()
}
