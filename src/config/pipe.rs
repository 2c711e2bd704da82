//! The main configuration from a pipe: standard input (`-`), `<(…)` of a shell, a named pipe. It can be read only once, so
//! that only who starts a command reads it: never a reload or an edit, nor anything that a configuration names.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use crate::config::file::FileError;
use crate::config::problem::{ConfigError, Problem};

/// The name of standard input, as other programs have it.
const STDIN: &str = "-";

/// Paths of standard input. It is read from its descriptor, as its path may belong to another user.
const STDIN_PATHS: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// How long a pipe may take until it ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// Said where it would have to be read again.
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

/// Reads a pipe to its end: at most `limit` bytes, within half a minute.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    read_within(path, limit, PATIENCE)
}

fn read_within(path: &Path, limit: usize, patience: Duration) -> Result<Vec<u8>, FileError> {
    if is_stdin(path) && io::stdin().is_terminal() {
        return Err(FileError::Terminal);
    }
    let path = path.to_path_buf();
    let (done, bytes) = sync_channel(1);
    // Opening waits for a writer. A thread that still waits ends with the process: without a configuration, soon.
    let read = move || drop(done.send(read_to_end(&path, limit)));
    thread::Builder::new()
        .name("read-pipe".to_owned())
        .spawn(read)?;
    let bytes = bytes.recv_timeout(patience);
    bytes.unwrap_or(Err(FileError::Endless(patience.as_secs())))
}

fn read_to_end(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let pipe = if is_stdin(path) {
        File::from(io::stdin().as_fd().try_clone_to_owned()?)
    } else {
        File::open(path)?
    };
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    pipe.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge(limit));
    }
    Ok(bytes)
}

/// The error of what would have to read it again.
#[must_use]
pub fn read_once(path: &Path) -> ConfigError {
    let problem = Problem {
        file: path.to_path_buf(),
        line: 1,
        column: 1,
        path: String::new(),
        message: ONCE.to_owned(),
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
    fn a_pipe_that_does_not_end_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = named_pipe(folder.path());
        let patience = Duration::from_millis(50);
        let given_up = || {
            let error = read_within(&pipe, 1024, patience).unwrap_err();
            assert!(matches!(error, FileError::Endless(_)), "{error}");
        };
        given_up();
        let mut open = File::options().write(true).open(&pipe).unwrap();
        open.write_all(b"x").unwrap();
        given_up();
    }
}
