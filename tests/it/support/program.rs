//! The real binary, in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::DEADLINE;

/// Lines that may wait to be looked at.
const LINES_MAX: usize = 10_000;

/// A command of the binary in a folder, without anything of our environment that it would heed.
pub(crate) fn sidehook(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidehook"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("SIDEHOOK_CONFIG")
        .env_remove("SIDEHOOK_TOKEN")
        .env_remove("STATE_DIRECTORY")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn output(folder: &Path, arguments: &[&str]) -> Output {
    sidehook(folder, arguments).output().unwrap()
}

/// A command that runs on. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Program {
    /// Starts a command.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Starts `run` on `config.yaml` of a folder and waits until it accepts events; gives the log line that says so.
    pub(crate) fn relay(folder: &Path) -> (Self, Value) {
        let program = Self::start(sidehook(folder, &["run", "--config", "config.yaml"]));
        let line = program.log_line("accepting events");
        (program, line)
    }

    /// Waits for the log line (JSON) with this text.
    pub(crate) fn log_line(&self, text: &str) -> Value {
        loop {
            let line = next(&self.stderr, text);
            let line: Value = serde_json::from_str(&line).unwrap();
            if line.get("message").is_some_and(|message| message == text) {
                return line;
            }
        }
    }

    /// Waits for a line of standard output that contains this text.
    pub(crate) fn printed(&self, text: &str) -> String {
        loop {
            let line = next(&self.stdout, text);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for a line of standard error that contains this text.
    pub(crate) fn complained(&self, text: &str) -> String {
        loop {
            let line = next(&self.stderr, text);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; gives the exit code and the lines of standard error that nobody looked at.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>) {
        let mut rest = Vec::new();
        // The stream ends with the process.
        loop {
            match self.stderr.recv_timeout(DEADLINE) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end: {rest:?}"),
            }
        }
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn next(lines: &Receiver<String>, awaited: &str) -> String {
    match lines.recv_timeout(DEADLINE) {
        Ok(line) => line,
        Err(error) => panic!("waited in vain for {awaited:?}: {error}"),
    }
}

/// The lines of a stream, read by a thread that ends with it.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (read, lines) = sync_channel(LINES_MAX);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if read.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
