//! Puts a new file in the place of another in one step, unless it changed meanwhile.
//!
//! The two files change places (`RENAME_EXCHANGE`), so the old file is then held whole, and is compared only then with
//! the one that the edit was made from. If they differ, the two change back. Editors of this kind wait for each other
//! by a lock on the folder, so only other programs can interfere; in the folder of the store, its lock is that lock.
//!
//! After a kill the file is the old or the new one, and a file named `.sidehook-…` may be left. Its name has the hashes
//! of both: the next edit removes it if it is one of them. If it is neither, another program wrote it at that moment:
//! it stays, and is logged.
//!
//! A program that writes into the file itself may have opened it before the exchange and write after it, into the old
//! file. So that one is checked for another 50 ms. A longer time between opening and writing is not
//! noticed.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, RenameFlags, XattrFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::config::edit::error::{EditError, refused};
use crate::config::file::{self, CONFIG_BYTES_MAX};
use crate::config::include::TEMPORARY;
use crate::domain::Secret;

const CHANGED: &str = "the file was changed meanwhile: look at it again";

/// How often the lock of a folder is tried, and the pause between: 5 s in all.
const LOCK_TRIES: usize = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// How often the replaced file is checked before it is removed, and the pause before each: 50 ms in all.
const LOOKS: usize = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// How often files change places at most until what was written last is in place.
const EXCHANGES_MAX: usize = 8;

/// The most bytes of the value of an extended attribute: what Linux has.
const ATTRIBUTE_MAX: usize = 64 * 1024;

/// Writes `new` in the place of `file`, which must contain `old`, or be absent if that is `None`; a new file gets mode
/// and owner of `like`. `store`: the folder of the relay's store.
pub(super) fn replace(
    file: &Path,
    old: Option<&Secret>,
    new: &Secret,
    like: &Path,
    store: &Path,
) -> Result<(), EditError> {
    // Through links, and to a path that does not depend on the working folder.
    let named = if old.is_some() {
        file
    } else {
        file.parent().unwrap_or(file)
    };
    let real = named
        .canonicalize()
        .map_err(|error| refused(file, &error))?;
    let target = match (old, file.file_name()) {
        (None, Some(name)) => real.join(name),
        (None | Some(_), _) => real,
    };
    let folder = target.parent().unwrap_or(&target).to_path_buf();
    let told = |error: io::Error| refused(&target, &error);
    let lock = lock(&folder, store).map_err(told)?;
    remove_leftovers(&folder).map_err(told)?;
    match old {
        Some(old) => {
            check(&target, old)?;
            let temporary = Temporary::write(&folder, Some(old), new, &target, Owner::Kept)?;
            exchange_checked(temporary, &target, old, &lock)
        }
        None => {
            let temporary = Temporary::write(&folder, None, new, like, Owner::Wanted)?;
            temporary.put_new(&target).map_err(told)?;
            lock.sync_all().map_err(told)
        }
    }
}

/// Whether the file is one that may be replaced, and has not changed.
fn check(target: &Path, old: &Secret) -> Result<(), EditError> {
    let told = |error: io::Error| refused(target, &error);
    let metadata = std::fs::metadata(target).map_err(told)?;
    let problem = if metadata.mode() & 0o222 == 0 {
        "is read-only"
    } else if metadata.nlink() > 1 {
        "has several hard links, of which only one would change"
    } else {
        ""
    };
    if !problem.is_empty() {
        let message = format!("{} {problem}", target.display());
        return Err(EditError::NotWritable(message));
    }
    rustix::fs::access(target, rustix::fs::Access::WRITE_OK).map_err(|error| told(error.into()))?;
    if Version::read(target).map_err(told)?.bytes != *old {
        return Err(EditError::Refused(CHANGED.to_owned()));
    }
    Ok(())
}

fn exchange_checked(
    temporary: Temporary,
    target: &Path,
    old: &Secret,
    folder: &File,
) -> Result<(), EditError> {
    let told = |error: io::Error| refused(target, &error);
    let ours = Version::read(&temporary.path).map_err(told)?;
    match exchange(&temporary.path, target) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            // This file system has no exchange. Only a moment is left between the check and the rename.
            check(target, old)?;
            temporary.put_over(target).map_err(told)?;
            return folder.sync_all().map_err(told);
        }
        Err(error) => return Err(told(error.into())),
    }
    let is_old = || Version::read(&temporary.path).is_ok_and(|version| version.bytes == *old);
    let outcome = if is_old() { folder.sync_all() } else { Ok(()) };
    let stays_old = || {
        (0..LOOKS).all(|_| {
            std::thread::sleep(LOOK_PAUSE);
            is_old()
        })
    };
    if outcome.is_ok() && stays_old() {
        return Ok(());
    }
    let back = change_back(&temporary.path, target, ours).and_then(|()| folder.sync_all());
    if let Err(error) = back {
        let path = temporary.left_in_place();
        let message = format!(
            "the file was changed meanwhile, and what it was then is in {}: {error}",
            path.display()
        );
        return Err(EditError::Refused(message));
    }
    Err(outcome.map_or_else(told, |()| EditError::Refused(CHANGED.to_owned())))
}

/// Brings the replaced file back, or a version written since; `placed` is the file there now.
fn change_back(temporary: &Path, target: &Path, mut placed: Version) -> io::Result<()> {
    for _ in 0..EXCHANGES_MAX {
        exchange(temporary, target)?;
        if Version::read(temporary)? == placed {
            return Ok(());
        }
        // Written a moment ago over ours, and now exchanged out: this is the newest version, so it is put back.
        placed = Version::read(target)?;
    }
    Err(io::Error::other("it changes too often"))
}

fn exchange(one: &Path, other: &Path) -> rustix::io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

/// Waits for other edits in this folder. That of the store is already locked by the running relay, whose edits
/// wait for each other.
fn lock(folder: &Path, store: &Path) -> io::Result<File> {
    let folder = File::open(folder)?;
    let (itself, store) = (folder.metadata()?, std::fs::metadata(store));
    if store.is_ok_and(|store| (store.dev(), store.ino()) == (itself.dev(), itself.ino())) {
        return Ok(folder);
    }
    for _ in 0..LOCK_TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(
        "another edit in its folder takes too long",
    ))
}

/// A file as it was at a moment.
#[derive(PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    bytes: Secret,
}

impl Version {
    fn read(path: &Path) -> io::Result<Self> {
        let (file, metadata) = file::open(path).map_err(io::Error::other)?;
        let limit = u64::try_from(CONFIG_BYTES_MAX).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: Secret::new(bytes),
        })
    }
}

/// A file beside the one that is to be replaced; removed when dropped.
struct Temporary {
    path: PathBuf,
    is_left: bool,
}

impl Temporary {
    /// Writes and syncs one, with mode, owner and attributes of another file.
    fn write(
        folder: &Path,
        old: Option<&Secret>,
        new: &Secret,
        like: &Path,
        owner: Owner,
    ) -> Result<Self, EditError> {
        let write = || -> io::Result<Self> {
            let id = random()?;
            let mut temporary = Self {
                path: folder.join(format!("{TEMPORARY}part-{id:016x}")),
                is_left: false,
            };
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&temporary.path)?;
            file.write_all(new.expose())?;
            copy_attributes(like, &file, owner)?;
            file.sync_all()?;
            let old = old.map_or(0, hash);
            let whole = format!("{TEMPORARY}{old:016x}-{:016x}-{id:016x}", hash(new));
            let whole = folder.join(whole);
            std::fs::rename(&temporary.path, &whole)?;
            temporary.path = whole;
            Ok(temporary)
        };
        write().map_err(|error| refused(&folder.join(TEMPORARY), &error))
    }

    /// Renames it to a path that does not exist.
    fn put_new(mut self, target: &Path) -> io::Result<()> {
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            Ok(()) => self.is_left = true,
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                std::fs::hard_link(&self.path, target)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn put_over(mut self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, target)?;
        self.is_left = true;
        Ok(())
    }

    fn left_in_place(mut self) -> PathBuf {
        self.is_left = true;
        self.path.clone()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_left {
            // One that stays is removed by the next edit.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Removes temporary files of edits that were killed, except those that another program wrote.
fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY)) else {
            continue;
        };
        let path = entry.path();
        let is_known = rest.starts_with("part-")
            || Version::read(&path).is_ok_and(|version| {
                let hash = format!("{:016x}", hash(&version.bytes));
                rest.split('-').take(2).any(|known| known == hash)
            });
        if is_known {
            std::fs::remove_file(&path)?;
        } else {
            let path = path.display();
            tracing::warn!(%path, "an edit by hand was in place when an edit of the relay was killed: its text is here");
        }
    }
    Ok(())
}

fn hash(secret: &Secret) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(secret.expose());
    hasher.finish()
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Whether a file must have owner and group of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// It replaces the other.
    Kept,
    /// It is new. A process that may not change owners, such as a service with root's configuration, keeps its own.
    Wanted,
}

/// Owner first, as a change of it may clear bits of the mode.
fn copy_attributes(like: &Path, file: &File, owner: Owner) -> io::Result<()> {
    let from = std::fs::metadata(like)?;
    let has = file.metadata()?;
    if (from.uid(), from.gid()) != (has.uid(), has.gid()) {
        let given = |has: u32, wanted: u32| (has != wanted).then_some(wanted);
        let changed = std::os::unix::fs::fchown(
            file,
            given(has.uid(), from.uid()),
            given(has.gid(), from.gid()),
        );
        match (changed, owner) {
            (Ok(()), _) => {}
            // As it was made: 0600.
            (Err(_), Owner::Wanted) => return Ok(()),
            (Err(_), Owner::Kept) => {
                return Err(io::Error::other("its owner and group cannot be kept"));
            }
        }
    }
    copy_extended(like, file)?;
    file.set_permissions(mode(&from))
}

fn mode(metadata: &Metadata) -> Permissions {
    Permissions::from_mode(metadata.mode() & 0o7777)
}

/// Extended attributes, access lists among them. The system itself sets those of `security.` again.
fn copy_extended(like: &Path, file: &File) -> io::Result<()> {
    let mut names = vec![0; ATTRIBUTE_MAX];
    let length = match rustix::fs::listxattr(like, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let names = names.get(..length).unwrap_or_default();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name.starts_with(b"security.") {
            continue;
        }
        let mut value = vec![0; ATTRIBUTE_MAX];
        let length = rustix::fs::getxattr(like, name, value.as_mut_slice())?;
        let value = value.get(..length).unwrap_or_default();
        rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())?;
    }
    Ok(())
}
