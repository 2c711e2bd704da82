//! The main configuration from a pipe: standard input (`-`), `<(…)` of a shell, a named pipe. It can be read only once, so
//! only the start of a command reads it: never a reload or an edit, and no path inside a configuration may be one.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};

use crate::config::file::FileError;
use crate::config::problem::{ConfigError, Problem};

/// The name of standard input, as other programs have it.
const STDIN: &str = "-";

/// Paths of standard input. It is read from its descriptor, as its path may belong to another user.
const STDIN_PATHS: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// How long to wait for a writer of a pipe.
const WRITER_PATIENCE: Duration = Duration::from_secs(5);

/// How long a pipe may take until it ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// The message where it would have to be read again.
const ONCE: &str = "the configuration came through a pipe, which cannot be read again: what runs stays, start sidehook anew for another";

/// Whether a path given by an operator is something that can be read only once: standard input, whatever it is, or a pipe.
pub(crate) fn is_pipe(path: &Path) -> bool {
    let kind = path.metadata().map(|it| it.file_type());
    is_stdin(path) || kind.is_ok_and(|it| it.is_fifo())
}

fn is_stdin(path: &Path) -> bool {
    let paths = STDIN_PATHS.iter().chain(&[STDIN]);
    paths.into_iter().any(|it| path == Path::new(it))
}

/// Reads a pipe to its end: at most `limit` bytes, within half a minute, and a few seconds if it has no writer.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    read_within(path, limit, (WRITER_PATIENCE, PATIENCE))
}

fn read_within(
    path: &Path,
    limit: usize,
    (for_writer, patience): (Duration, Duration),
) -> Result<Vec<u8>, FileError> {
    let (begun, pipe) = if !is_stdin(path) {
        open(path, for_writer)?
    } else if io::stdin().is_terminal() {
        return Err(FileError::Terminal);
    } else {
        (None, File::from(io::stdin().as_fd().try_clone_to_owned()?))
    };
    let (done, bytes) = sync_channel(1);
    // A thread that still waits for more ends with the process: without a configuration, soon.
    let read = move || drop(done.send(read_to_end(begun, pipe, limit)));
    thread::Builder::new()
        .name("read-pipe".to_owned())
        .spawn(read)?;
    let bytes = bytes.recv_timeout(patience);
    bytes.unwrap_or(Err(FileError::Endless(patience.as_secs())))
}

/// Opens a pipe, with its first byte if there is one; waits up to `patience` for a writer, unlike a plain open.
fn open(path: &Path, patience: Duration) -> Result<(Option<u8>, File), FileError> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut pipe = File::options().read(true).custom_flags(flags).open(path)?;
    let limit = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut waited_for = [PollFd::new(&pipe, PollFlags::IN)];
    let is_ready = poll(&mut waited_for, Some(&limit)).map_err(io::Error::from)? > 0;
    let mut first = [0];
    let begun = match pipe.read(&mut first) {
        // No writer has it open; if it is ready, one had, and wrote nothing.
        Ok(0) if !is_ready => return Err(FileError::NoWriter(patience.as_secs())),
        Ok(read) => (read > 0).then_some(first).map(|[byte]| byte),
        // A writer has it open, but wrote nothing yet.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => return Err(error.into()),
    };
    fcntl_setfl(&pipe, OFlags::empty()).map_err(io::Error::from)?;
    Ok((begun, pipe))
}

fn read_to_end(begun: Option<u8>, pipe: File, limit: usize) -> Result<Vec<u8>, FileError> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::from_iter(begun);
    pipe.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge(limit));
    }
    Ok(bytes)
}

/// The error of an operation that would have to read it again.
#[must_use]
pub fn read_once(path: &Path) -> ConfigError {
    let problem = Problem {
        file: path.to_path_buf(),
        line: 1,
        column: 1,
        path: String::new(),
        message: ONCE.to_owned(),
        excerpt: None,
    };
    ConfigError(vec![problem].into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn named_pipe(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path
    }

    fn written(path: &Path, bytes: Vec<u8>) -> thread::JoinHandle<()> {
        let path = path.to_path_buf();
        thread::spawn(move || {
            let mut file = File::options().write(true).open(path).unwrap();
            // The reader goes away early where it is too much.
            file.write_all(&bytes).unwrap_or_default();
        })
    }

    #[test]
    fn only_pipes_can_be_read_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = named_pipe(folder.path());
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(is_pipe(&pipe) && is_pipe(Path::new("-")));
        for path in [&*file, folder.path(), Path::new("/dev/null")] {
            assert!(!is_pipe(path), "{}", path.display());
        }
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_limit() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = named_pipe(folder.path());
        // More than a pipe holds.
        let writer = written(&pipe, vec![b'x'; 200_000]);
        assert_eq!(read(&pipe, 200_000).unwrap().len(), 200_000);
        writer.join().unwrap();
        let writer = written(&pipe, vec![b'x'; 200_000]);
        let error = read(&pipe, 1024).unwrap_err();
        assert!(matches!(error, FileError::TooLarge(1024)), "{error}");
        writer.join().unwrap();
    }

    #[test]
    fn a_pipe_without_a_writer_or_an_end_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = named_pipe(folder.path());
        let patience = Duration::from_millis(50);
        let read = || read_within(&pipe, 1024, (patience, patience));
        let error = read().unwrap_err();
        assert!(matches!(error, FileError::NoWriter(_)), "{error}");
        // Without it, opening would wait for a reader.
        let both = File::options().read(true).write(true).open(&pipe).unwrap();
        let mut open = File::options().write(true).open(&pipe).unwrap();
        drop(both);
        let error = read().unwrap_err();
        assert!(matches!(error, FileError::Endless(_)), "{error}");
        open.write_all(b"x").unwrap();
        let error = read().unwrap_err();
        assert!(matches!(error, FileError::Endless(_)), "{error}");
    }

    #[test]
    fn a_writer_that_comes_late_or_writes_late_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = named_pipe(folder.path());
        let path = pipe.clone();
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            let mut file = File::options().write(true).open(path).unwrap();
            for byte in [b"a", b"b"] {
                thread::sleep(Duration::from_millis(50));
                file.write_all(byte).unwrap();
            }
        });
        assert_eq!(read(&pipe, 2).unwrap(), b"ab");
        writer.join().unwrap();
    }
}
