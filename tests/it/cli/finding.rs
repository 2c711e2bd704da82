//! What commands say of relays that were killed, stopped, moved, or are not what they seem.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::cli::{OFF, folder, text};
use crate::support::program::{Program, output, sidehook};

/// A command of the user whose runtime files are in a folder.
fn command(user: &TempDir, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = sidehook(folder, arguments);
    command
        .env("XDG_RUNTIME_DIR", user.path())
        .output()
        .unwrap()
}

/// A program of the same.
fn program(user: &TempDir, folder: &Path, arguments: &[&str]) -> Program {
    let mut command = sidehook(folder, arguments);
    command.env("XDG_RUNTIME_DIR", user.path());
    command.env("TMPDIR", folder);
    Program::start(command)
}

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn said(done: &Output) -> String {
    format!("{}{}", text(&done.stdout), text(&done.stderr))
}

#[test]
fn a_socket_that_a_killed_relay_left_is_named() {
    let (user, folder) = (temporary(), folder(OFF));
    let relay = program(&user, folder.path(), &["run", "--config", "config.yaml"]);
    relay.log_line("accepting events");
    relay.signal(Signal::KILL);
    relay.end();
    for arguments in [
        &["status"][..],
        &["status", "-c", "config.yaml"],
        &["cancel", "evt_1.off", "-c", "config.yaml"],
    ] {
        let done = command(&user, folder.path(), arguments);
        let said = said(&done);
        assert_eq!(done.status.code(), Some(1), "{said}");
        let socket = user.path().join("sidehook/admin-");
        let expected = format!("no sidecar answers at unix:{}", socket.display());
        assert!(said.contains(&expected), "{said}");
        assert!(said.contains("any more: was it killed?"), "{said}");
    }
}

#[test]
fn a_relay_that_is_stopped_is_told_within_seconds() {
    let (user, folder) = (temporary(), folder(OFF));
    let relay = program(&user, folder.path(), &["run", "--config", "config.yaml"]);
    relay.log_line("accepting events");
    relay.signal(Signal::STOP);
    let elsewhere = temporary();
    // By its socket, by its configuration, and without a runtime folder.
    let ways: [&dyn Fn() -> Output; 3] = [
        &|| command(&user, elsewhere.path(), &["status"]),
        &|| command(&user, folder.path(), &["events", "-c", "config.yaml"]),
        &|| output(folder.path(), &["status", "-c", "config.yaml"]),
    ];
    for way in ways {
        let started = tokio::time::Instant::now();
        let done = way();
        let said = said(&done);
        assert!(started.elapsed() < Duration::from_secs(15), "{said}");
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("is the process stopped"), "{said}");
    }
    relay.signal(Signal::CONT);
}

#[test]
fn a_relay_is_found_although_its_file_says_another_address_by_now() {
    let folder = folder(OFF);
    let (relay, _) = Program::relay(folder.path());
    let path = folder.path().join("config.yaml");
    let config = fs::read_to_string(&path).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let moved = config.replace("admin: 127.0.0.1:0", &format!("admin: 127.0.0.1:{port}"));
    assert_ne!(moved, config);
    fs::write(&path, moved).unwrap();
    let arguments = ["status", "-c", "config.yaml"];
    let done = output(folder.path(), &["reload", "-c", "config.yaml"]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    let shown = said(&output(folder.path(), &arguments));
    assert!(
        shown.contains("is in force; a restart is needed for listen\n"),
        "{shown}"
    );
    relay.signal(Signal::TERM);
    relay.end();
    assert!(!folder.path().join("store/admin.address").exists());
    let done = output(folder.path(), &arguments);
    let said = said(&done);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("tried: as listen.admin says in "), "{said}");
}

#[test]
fn demo_and_dev_are_found_without_a_configuration() {
    let (user, folder) = (temporary(), temporary());
    let demo = program(&user, folder.path(), &["demo"]);
    demo.printed("sidehook status -c ");
    let done = command(&user, folder.path(), &["status"]);
    assert!(said(&done).contains("\naudit "), "{}", said(&done));
    let arguments = [
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--forward-to",
        "http://127.0.0.1:9/",
    ];
    let dev = program(&user, folder.path(), &arguments);
    dev.printed("sidehook status -c ");
    let done = command(&user, folder.path(), &["status"]);
    let both = said(&done);
    assert_eq!(done.status.code(), Some(1), "{both}");
    assert_eq!(both.matches("--config /").count(), 2, "{both}");
    demo.signal(Signal::INT);
    assert_eq!(demo.end().0, Some(0));
    let done = command(&user, folder.path(), &["send", "a.b"]);
    assert!(
        said(&done).contains("accepted, 1 delivery"),
        "{}",
        said(&done)
    );
    dev.signal(Signal::INT);
    assert_eq!(dev.end().0, Some(0));
}

#[test]
fn dev_does_not_forward_to_itself() {
    let folder = temporary();
    for (listen, url) in [
        ("127.0.0.1:18780", "http://localhost:18780/events"),
        ("localhost:18780", "http://127.0.0.1:18780"),
    ] {
        let done = output(
            folder.path(),
            &["dev", "--listen", listen, "--forward-to", url],
        );
        let said = said(&done);
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains("takes events itself"), "{said}");
    }
}

/// Answers one request and gives its head.
fn answered_once(stream: impl std::io::Read + std::io::Write, status: &str, body: &str) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    let mut posted = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut posted).unwrap();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    head
}

/// What answers may name any configuration, and any address to post to. Only root can make files of others.
#[test]
fn who_merely_answers_is_given_no_token_of_a_configuration_that_others_wrote() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (user, folder, elsewhere) = (temporary(), temporary(), temporary());
    let token = "t".repeat(40);
    let config = folder.path().join("config.yaml");
    let written =
        format!("ingest: {{tokens: [{token}]}}\nstore: {{path: store}}\nsubscriptions: {{}}\n");
    fs::write(&config, written).unwrap();
    fs::create_dir(user.path().join("sidehook")).unwrap();
    let socket = user.path().join("sidehook/x.sock");
    let admin = UnixListener::bind(&socket).unwrap();
    let events = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = events.local_addr().unwrap().to_string();
    let instance =
        serde_json::json!({"version": "0", "process_id": 1, "config": config, "store": "/",
        "events": [address], "admin": "", "metrics": null})
        .to_string();
    thread::spawn(move || {
        for stream in admin.incoming() {
            answered_once(stream.unwrap(), "200 OK", &instance);
        }
    });
    let sent = || {
        thread::scope(|scope| {
            let head = scope.spawn(|| {
                let (stream, _) = events.accept().unwrap();
                let receipt = r#"{"id":"evt_1","deliveries":0,"duplicate":false}"#;
                answered_once(stream, "202 Accepted", receipt)
            });
            let done = command(&user, elsewhere.path(), &["send", "a.b"]);
            assert_eq!(done.status.code(), Some(0), "{}", said(&done));
            head.join().unwrap()
        })
    };
    assert!(sent().contains(&token), "one of ours is sent");
    std::os::unix::fs::chown(&config, Some(4711), None).unwrap();
    assert!(!sent().contains(&token));
    // Ours again, but a stranger answers for it.
    std::os::unix::fs::chown(&config, Some(0), None).unwrap();
    std::os::unix::fs::chown(&socket, Some(4711), None).unwrap();
    let done = command(&user, elsewhere.path(), &["send", "a.b"]);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    assert!(said(&done).contains("user 4711"), "{}", said(&done));
}

#[test]
fn commands_beside_a_service_have_the_variables_of_its_environment_file() {
    let folder = temporary();
    let config = "listen: {events: 127.0.0.1:0, admin: 127.0.0.1:0}\nstore: {path: store}\nsubscriptions:\n  a: {url: 'https://a.example', events: ['*'], secret: {env: BILLING_SECRET}}\n";
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let check = || output(folder.path(), &["check", "--store", "-c", "config.yaml"]);
    let done = check();
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    assert!(said(&done).contains("BILLING_SECRET"), "{}", said(&done));
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let file = folder.path().join("environment");
    fs::write(
        &file,
        format!("# of the unit\nBILLING_SECRET=\"{secret}\"\n"),
    )
    .unwrap();
    let mut command = sidehook(folder.path(), &["run", "-c", "config.yaml"]);
    command.env("BILLING_SECRET", secret);
    let relay = Program::start(command);
    relay.log_line("accepting events");
    relay.signal(Signal::TERM);
    relay.end();
    let done = check();
    let shown = said(&done);
    assert_eq!(done.status.code(), Some(0), "{shown}");
    assert!(
        shown.contains("note: what is not set comes from environment"),
        "{shown}"
    );
    assert!(!shown.contains(secret), "{shown}");
    let done = output(folder.path(), &["explain", "a.b", "-c", "config.yaml"]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    // `run` has its own environment and nothing else.
    let done = output(folder.path(), &["run", "-c", "config.yaml"]);
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
}
