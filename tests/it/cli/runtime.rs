//! How commands find the running relay by its runtime folder, and what a closed terminal means to it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::cli::{OFF, folder, text};
use crate::support::DEADLINE;
use crate::support::program::{Program, sidehook};

/// The folder of a user's runtime files.
fn user() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A relay of this user on `config.yaml` of a folder.
fn relay(user: &TempDir, folder: &Path) -> Program {
    let mut command = sidehook(folder, &["run", "--config", "config.yaml"]);
    let program = Program::start({
        command.env("XDG_RUNTIME_DIR", user.path());
        command
    });
    program.log_line("accepting events");
    program
}

/// A command of this user, in a folder that has no configuration.
fn command(user: &TempDir, arguments: &[&str]) -> Output {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = sidehook(elsewhere.path(), arguments);
    command
        .env("XDG_RUNTIME_DIR", user.path())
        .output()
        .unwrap()
}

fn sockets(user: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(user.path().join("sidehook")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn assert_done(done: &Output, shown: &str) {
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{out}{err}");
    assert!(out.contains(shown), "{out}{err}");
}

fn until(condition: impl Fn() -> bool) {
    let pause = std::time::Duration::from_millis(20);
    let tries = DEADLINE.as_millis() / pause.as_millis();
    for _ in 0..tries {
        if condition() {
            return;
        }
        std::thread::sleep(pause);
    }
    panic!("waited in vain");
}

#[test]
fn the_only_relay_is_found_without_token_configuration_or_port() {
    let (user, folder) = (user(), folder(OFF));
    let relay = relay(&user, folder.path());
    fs::remove_file(folder.path().join("store/admin.token")).unwrap();
    let [socket] = &sockets(&user)[..] else {
        panic!()
    };
    let metadata = fs::metadata(socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o7777, 0o660);
    let above = fs::metadata(user.path().join("sidehook")).unwrap();
    assert_eq!(above.mode() & 0o7777, 0o700);
    assert_done(&command(&user, &["status"]), "off");
    assert_done(&command(&user, &["send", "a.b"]), "accepted");
    assert_done(&command(&user, &["events"]), "a.b");
    let config = folder.path().join("config.yaml");
    let config = config.to_str().unwrap();
    assert_done(&command(&user, &["reload", "--config", config]), "");
    assert_done(
        &command(&user, &["send", "a.b", "--config", config]),
        "accepted",
    );
    // An explicit address comes before everything.
    let done = command(&user, &["status", "--admin", "unix:/nowhere"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("unix:/nowhere"));
    relay.signal(Signal::TERM);
    assert_eq!(relay.end().0, Some(0));
    assert!(sockets(&user).is_empty(), "it is removed at the end");
}

#[test]
fn of_several_relays_the_configuration_says_which() {
    let user = user();
    let folders = [folder(OFF), folder("  other: {active: false}\n")];
    let relays = folders.each_ref().map(|folder| relay(&user, folder.path()));
    assert_eq!(sockets(&user).len(), 2);
    let done = command(&user, &["status"]);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    for folder in &folders {
        let config = folder.path().join("config.yaml");
        assert!(
            said.contains(&format!("--config {}\n", config.display())),
            "{said}"
        );
    }
    let config = |folder: &TempDir| folder.path().join("config.yaml").display().to_string();
    assert_done(
        &command(&user, &["status", "--config", &config(&folders[0])]),
        "off",
    );
    assert_done(
        &command(&user, &["status", "-c", &config(&folders[1])]),
        "other",
    );
    // By another spelling, by the variable, and by the folder one is in.
    let spelling = folders[1].path().join("./store/../config.yaml");
    assert_done(
        &command(&user, &["status", "-c", spelling.to_str().unwrap()]),
        "other",
    );
    let run = |change: &dyn Fn(&mut Command)| {
        let mut command = sidehook(folders[0].path(), &["status"]);
        change(command.env("XDG_RUNTIME_DIR", user.path()));
        command.output().unwrap()
    };
    let by_variable = run(&|it| {
        it.env("SIDEHOOK_CONFIG", config(&folders[1]));
    });
    assert_done(&by_variable, "other");
    if !Path::new("/etc/sidehook/config.yaml").exists() {
        assert_done(&run(&|_| {}), "off");
    }
    // A configuration of which none runs is not answered by another.
    let third = folder(OFF);
    let done = command(&user, &["status", "--config", &config(&third)]);
    assert_eq!(done.status.code(), Some(1));
    let [first, _second] = relays;
    // Killed, it leaves its socket; the other is the only one then.
    first.signal(Signal::KILL);
    first.end();
    assert_eq!(sockets(&user).len(), 2);
    assert_done(&command(&user, &["status"]), "other");
    let again = relay(&user, folders[0].path());
    assert_eq!(sockets(&user).len(), 2);
    assert_done(
        &command(&user, &["status", "-c", &config(&folders[0])]),
        "off",
    );
    drop(again);
}

#[test]
fn the_socket_of_a_running_relay_is_never_taken_away() {
    let runtime = tempfile::tempdir().unwrap();
    let start = |folder: &TempDir| {
        let mut command = sidehook(folder.path(), &["run", "--config", "config.yaml"]);
        command.env("RUNTIME_DIRECTORY", runtime.path());
        Program::start(command)
    };
    let status = || {
        let mut command = sidehook(runtime.path(), &["status"]);
        command
            .env("RUNTIME_DIRECTORY", runtime.path())
            .output()
            .unwrap()
    };
    let (one, other) = (folder(OFF), folder("  other: {active: false}\n"));
    let first = start(&one);
    first.log_line("accepting events");
    let second = start(&other);
    second.log_line("no socket in the runtime folder: commands need --config and a token");
    second.log_line("accepting events");
    assert_done(&status(), "off");
    second.signal(Signal::TERM);
    assert_eq!(second.end().0, Some(0));
    assert_done(&status(), "off");
    // A file that is no socket stays, too.
    first.signal(Signal::TERM);
    assert_eq!(first.end().0, Some(0));
    let socket = runtime.path().join("admin.sock");
    fs::write(&socket, "mine").unwrap();
    let third = start(&one);
    third.log_line("accepting events");
    drop(third);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
}

#[test]
fn send_asks_where_a_socket_of_systemd_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = "listen: {events: 'systemd:events', admin: 'unix:admin.sock'}\nstore: {path: store}\nsubscriptions: {}\n";
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let socket = UnixListener::bind(folder.path().join("events.sock")).unwrap();
    let mut command = sidehook(folder.path(), &["run", "--config", "config.yaml"]);
    command
        .env_remove("LISTEN_PID")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDS_FIRST_FD", "0")
        .env("LISTEN_FDNAMES", "events")
        .stdin(std::os::fd::OwnedFd::from(socket));
    let relay = Program::start(command);
    let line = relay.log_line("accepting events");
    let events = format!("unix:{}", folder.path().join("events.sock").display());
    assert_eq!(line["events"], events);
    let done = sidehook(folder.path(), &["send", "a.b", "-c", "config.yaml"])
        .output()
        .unwrap();
    assert_done(&done, "accepted");
}

/// `run` on a terminal, which is closed when what this gives is killed.
fn on_terminal(folder: &Path, prefix: &str) -> std::process::Child {
    let binary = env!("CARGO_BIN_EXE_sidehook");
    let shell = format!("{prefix} {binary} run --config config.yaml");
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", &shell, "/dev/null"])
        .current_dir(folder)
        .env("RUNTIME_DIRECTORY", folder)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().unwrap();
    until(|| folder.join("admin.sock").exists());
    child
}

/// Which process answers on a socket.
fn process_of(socket: &Path) -> Pid {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = "GET /v1/instance HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let instance: serde_json::Value = serde_json::from_str(body).unwrap();
    let id = instance["process_id"].as_i64().unwrap();
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

#[test]
fn a_closed_terminal_ends_the_relay_in_order() {
    let folder = folder(OFF);
    let mut terminal = on_terminal(folder.path(), "exec");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    // Removed at the end of an orderly stop only.
    until(|| !folder.path().join("admin.sock").exists());
}

#[test]
fn under_nohup_the_relay_outlives_its_terminal() {
    let folder = folder(OFF);
    let mut terminal = on_terminal(folder.path(), "exec nohup");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = sidehook(folder.path(), arguments);
        command
            .env("RUNTIME_DIRECTORY", folder.path())
            .output()
            .unwrap()
    };
    assert_done(&ask(&["status", "--config", "config.yaml"]), "off");
    let pid = process_of(&folder.path().join("admin.sock"));
    kill_process(pid, Signal::HUP).unwrap();
    assert_done(&ask(&["status", "--config", "config.yaml"]), "off");
    kill_process(pid, Signal::TERM).unwrap();
    until(|| !folder.path().join("admin.sock").exists());
}
