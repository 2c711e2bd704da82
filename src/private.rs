//! Files and folders that no other user could have put there or can change: the store is made of these.
//!
//! A user who can write a file here decides what is delivered, and who may use the API. So no file is opened through a
//! link, and each is taken only if it is a regular one of this user or root with one name, that no others may write.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FsWord, OFlags, PROC_SUPER_MAGIC, StatFs, accessat};
use rustix::io::Errno;

/// Permission bits that let others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// That of everybody.
const WRITABLE_BY_ALL: u32 = 0o002;
/// The permission bits.
const PERMISSIONS: u32 = 0o7777;

/// File systems whose files are answers of the kernel or mean something to it: reading one may block or change something, and
/// nothing is stored there, whatever the permissions say. Source: linux/magic.h.
const OF_KERNEL: [FsWord; 21] = [
    PROC_SUPER_MAGIC,
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0x1980_0202, // mqueue
    0x1cd1,      // devpts
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x6573_5543, // fusectl
    0x4249_4e4d, // binfmt_misc
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x9584_58f6, // hugetlbfs
    0x6e73_6673, // nsfs
    0x6759_6969, // rpc_pipefs
    0x0765_5821, // resctrl
];

/// The reason why nothing can be stored in such a file system.
const NOT_STORED: &str =
    "is in a file system of the kernel, which stores nothing: expected a folder on a disk";

/// Why a file or folder is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {wrong}", path.display())]
pub(crate) struct NotPrivate {
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

/// Opens a file of ours. A file that `options` create gets the mode 0600.
///
/// # Errors
/// The error of the system, and [`NotPrivate`] inside of an error of the kind `PermissionDenied`.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
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

/// Checks a file that other code opens by its path; one that is absent is fine.
///
/// # Errors
/// As for [`open`].
pub(crate) fn check(path: &Path) -> io::Result<()> {
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
pub(crate) fn open_folder(path: &Path) -> io::Result<File> {
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

/// Checks whether this process could create files in an existing folder, as far as possible without doing so.
///
/// # Errors
/// Why it could not.
pub(crate) fn check_writable(folder: &Path) -> io::Result<()> {
    if is_of_kernel(&rustix::fs::statfs(folder)?) {
        let message = format!("{} {NOT_STORED}", folder.display());
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let access = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, folder, access, AtFlags::EACCESS)?;
    Ok(())
}

/// Whether a file system is one of the kernel's own.
#[must_use]
pub(crate) fn is_of_kernel(system: &StatFs) -> bool {
    OF_KERNEL.contains(&system.f_type)
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
        rustix::fs::mkfifoat(CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
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
