//! Files and folders that nobody else could have put there or can change: what the store is made of.
//!
//! Who can write a file here decides what is delivered, and who may use the API. So a file is opened without following a
//! link, and is taken only if it is a regular one of this user or root with one name, that no others may write.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Permission bits that let others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// That of everybody.
const WRITABLE_BY_ALL: u32 = 0o002;
/// The permission bits.
const PERMISSIONS: u32 = 0o7777;

/// Why a file or folder is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {wrong}", path.display())]
pub struct NotPrivate {
    path: PathBuf,
    wrong: Wrong,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error("is a link: expected the file itself")]
    Link,
    #[error("is no regular file: expected one")]
    Kind,
    #[error("is no folder: expected one")]
    NoFolder,
    #[error("belongs to user {0}: expected user {1}, who runs this process, or root")]
    Owner(u32, u32),
    #[error("may be written by others (mode {0:04o}): expected {1:04o}")]
    Mode(u32, u32),
    #[error("has {0} names (hard links): expected one")]
    Names(u64),
}

/// Opens a file of ours. What `options` make gets the mode 0600.
///
/// # Errors
/// What the system says, and [`NotPrivate`] inside of an error of the kind `PermissionDenied`.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let opened = options.mode(0o600).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => refused(path, Wrong::Link),
        Some(Errno::NXIO) => refused(path, Wrong::Kind),
        _ => error,
    })?;
    check_file(path, &file.metadata()?)?;
    Ok(file)
}

/// Checks a file that somebody else opens by its path; one that is absent is fine.
///
/// # Errors
/// As for [`open`].
pub fn check(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) => check_file(path, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a folder of ours. It may be named by a link, as systemd does for `DynamicUser`. Its group may be able to write, as a
/// volume of Kubernetes may demand: files that others put there are refused one by one.
///
/// # Errors
/// As for [`open`].
pub fn open_folder(path: &Path) -> io::Result<File> {
    let folder = File::open(path)?;
    let metadata = folder.metadata()?;
    if !metadata.is_dir() {
        return Err(refused(path, Wrong::NoFolder));
    }
    check_owner(path, &metadata)?;
    let mode = metadata.mode() & PERMISSIONS;
    if mode & WRITABLE_BY_ALL != 0 {
        return Err(refused(path, Wrong::Mode(mode, 0o700)));
    }
    Ok(folder)
}

fn check_file(path: &Path, metadata: &Metadata) -> io::Result<()> {
    if metadata.is_symlink() {
        return Err(refused(path, Wrong::Link));
    }
    if !metadata.is_file() {
        return Err(refused(path, Wrong::Kind));
    }
    check_owner(path, metadata)?;
    let mode = metadata.mode() & PERMISSIONS;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(refused(path, Wrong::Mode(mode, 0o600)));
    }
    match metadata.nlink() {
        0 | 1 => Ok(()),
        names => Err(refused(path, Wrong::Names(names))),
    }
}

fn check_owner(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    match metadata.uid() {
        0 => Ok(()),
        owner if owner == own => Ok(()),
        owner => Err(refused(path, Wrong::Owner(owner, own))),
    }
}

fn refused(path: &Path, wrong: Wrong) -> io::Error {
    let kind = match wrong {
        Wrong::NoFolder => io::ErrorKind::NotADirectory,
        Wrong::Link | Wrong::Kind | Wrong::Owner(..) | Wrong::Mode(..) | Wrong::Names(_) => {
            io::ErrorKind::PermissionDenied
        }
    };
    let path = path.to_owned();
    io::Error::new(kind, NotPrivate { path, wrong })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn wrong_of(path: &Path) -> String {
        let opened = open(path, OpenOptions::new().read(true));
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        assert_eq!(check(path).unwrap_err().to_string(), error.to_string());
        assert!(error.to_string().starts_with(&path.display().to_string()));
        error.to_string()
    }

    #[test]
    fn only_a_plain_file_of_ours_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        check(&file).unwrap();
        open(&file, OpenOptions::new().write(true).create(true)).unwrap();
        check(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & PERMISSIONS, 0o600);

        let link = folder.path().join("link");
        symlink(&file, &link).unwrap();
        assert!(wrong_of(&link).contains("link: expected"));
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .unwrap();
        assert!(wrong_of(&pipe).contains("no regular file"));
        assert!(wrong_of(folder.path()).contains("no regular file"));
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert!(wrong_of(&file).contains(&format!("mode {mode:04o}")));
        }
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        check(&file).unwrap();
        fs::hard_link(&file, folder.path().join("second")).unwrap();
        assert!(wrong_of(&file).contains("2 names"));
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        // Only root can give a file away.
        if chown(&file, Some(12_345), None).is_ok() {
            assert!(wrong_of(&file).contains("belongs to user 12345"));
            chown(folder.path(), Some(12_345), None).unwrap();
            let error = open_folder(folder.path()).unwrap_err().to_string();
            assert!(error.contains("belongs to user 12345"), "{error}");
        }
    }

    #[test]
    fn a_folder_may_be_named_by_a_link_and_not_be_writable_by_all() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let link = root.path().join("link");
        symlink(&folder, &link).unwrap();
        for (mode, is_taken) in [
            (0o700, true),
            (0o755, true),
            (0o2770, true),
            (0o1777, false),
        ] {
            fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            assert_eq!(open_folder(&link).is_ok(), is_taken, "{mode:o}");
        }
    }
}
