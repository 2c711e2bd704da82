//! Reads whole files of bounded size: configurations, secrets, CA certificates.
//!
//! Invariant: nothing that a path can name blocks or swells the reader. Only regular files are opened, those of the
//! kernel's own file systems are refused, and at most the limit is read, also of a file that grows meanwhile.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::private::is_of_kernel;

/// The most bytes of a configuration file: 16 MiB.
pub(super) const CONFIG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The system refuses it.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A folder, a pipe, a device, a file of the kernel.
    #[error("cannot be read: expected a regular file")]
    NotRegular,
    /// Standard input from a terminal.
    #[error("cannot be read: standard input is a terminal, expected a pipe or file")]
    Terminal,
    /// A pipe without a writer; carries seconds.
    #[error(
        "cannot be read: it is a pipe that no program opened for writing within {0} s, expected one that writes the configuration into it, or a regular file"
    )]
    NoWriter(u64),
    /// A pipe that its writer does not close; carries seconds.
    #[error("cannot be read: the pipe did not end within {0} s")]
    Endless(u64),
    /// More bytes than it may have; carries the limit in bytes, whole KiB.
    #[error("is too large, expected at most {}", shown(*.0))]
    TooLarge(usize),
    /// One of many that have too many bytes together; carries the limit in bytes, whole KiB.
    #[error(
        "is too much, expected at most {} of a configuration and all files and variables that it names",
        shown(*.0)
    )]
    TooMuch(usize),
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
    let (file, metadata) = open(path)?;
    let bytes = read_open(file, &metadata, limit)?;
    Ok(Content {
        bytes,
        is_open_to_others: others_may(&metadata),
    })
}

/// Opens a regular file for reading, without waiting for anything.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), FileError> {
    // Checked before, as opening a device may already have effects.
    if !std::fs::metadata(path)?.is_file() {
        return Err(FileError::NotRegular);
    }
    // Another may be in its place by now: opening a pipe would wait for a writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = flags.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    let system = rustix::fs::fstatfs(&file).map_err(io::Error::from)?;
    if metadata.is_file() && !is_of_kernel(&system) {
        Ok((file, metadata))
    } else {
        Err(FileError::NotRegular)
    }
}

/// Reads a file that is open.
pub(super) fn read_open(
    file: File,
    metadata: &Metadata,
    limit: usize,
) -> Result<Vec<u8>, FileError> {
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if length > limit {
        return Err(FileError::TooLarge(limit));
    }
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    // One more byte, so that the end is seen without growing.
    let mut bytes = Vec::with_capacity(length.saturating_add(1));
    file.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge(limit));
    }
    Ok(bytes)
}

/// Whether a folder is in a file system of the kernel's own, or cannot be looked at.
pub(super) fn is_kernel_folder(folder: &Path) -> bool {
    rustix::fs::statfs(folder).map_or(true, |it| is_of_kernel(&it))
}

/// A size of whole KiB in the larger unit that fits.
pub(super) fn shown(bytes: usize) -> String {
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

    /// Each is refused at once: pipes without a writer, endless devices, sockets, folders, files of the kernel.
    #[test]
    fn nothing_that_a_path_can_name_blocks_or_swells() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let loops = folder.path().join("loops");
        std::os::unix::fs::symlink(&loops, &loops).unwrap();
        let named = [
            "/dev/zero",
            "/dev/random",
            "/dev/null",
            "/dev/tty",
            "/proc/self/environ",
            "/proc/kmsg",
            "/proc/kcore",
            "/proc/self/mem",
            "/proc/self/fd",
            "/sys/kernel/uevent_seqnum",
            "/",
        ];
        let named = named.iter().map(std::path::PathBuf::from);
        for path in named.chain([pipe, socket, link, loops]) {
            assert!(
                matches!(
                    read(&path, 1 << 20),
                    Err(FileError::NotRegular | FileError::Io(_))
                ),
                "{}",
                path.display()
            );
        }
        let real = folder.path().join("real");
        std::fs::write(&real, "x").unwrap();
        let open = File::open(&real).unwrap();
        let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        assert_eq!(read(Path::new(&through), 10).unwrap().bytes, b"x");
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_cut_off_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "x").unwrap();
        let (file, metadata) = open(&path).unwrap();
        std::fs::write(&path, [b'x'; 4096]).unwrap();
        assert!(matches!(
            read_open(file, &metadata, 1024),
            Err(FileError::TooLarge(1024))
        ));
        // One without bytes on the disk, of any size.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(read(&path, 1024), Err(FileError::TooLarge(1024))));
    }
}
