//! `sidehook check` says what `sidehook run` would refuse, and nothing else.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use rustix::process::Signal;

use crate::cli::text;
use crate::support::certificates::Authority;
use crate::support::program::{Program, output};

const NONE: &str = "subscriptions: {}\n";

/// A port that nobody listens on.
fn free() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A configuration with these addresses for events and operators.
fn listen(events: &str, admin: &str) -> String {
    format!("listen: {{events: {events}, admin: '{admin}'}}\nstore: {{path: store}}\n{NONE}")
}

fn write(folder: &Path, config: &str) {
    fs::write(folder.join("config.yaml"), config).unwrap();
}

/// The exit code of `check`, and what it says.
fn check(folder: &Path) -> (Option<i32>, String) {
    let done = output(folder, &["check", "--config", "config.yaml"]);
    assert!(done.stderr.is_empty(), "{done:?}");
    (done.status.code(), text(&done.stdout).to_owned())
}

/// `check` and `run` refuse a configuration, `check` at this path and for this reason.
fn refused(folder: &Path, config: &str, path: &str, reason: &str) {
    write(folder, config);
    let (code, said) = check(folder);
    assert_eq!(code, Some(2), "{config}{said}");
    let is_said = |line: &str| {
        line.starts_with("error: config.yaml:") && line.contains(path) && line.contains(reason)
    };
    assert!(said.lines().any(is_said), "{config}{said}");
    let run = output(folder, &["run", "--config", "config.yaml"]);
    assert_ne!(run.status.code(), Some(0), "{config}");
}

#[test]
fn addresses_that_a_start_refuses_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, port) = (taken.local_addr().unwrap(), free());
    let any = "127.0.0.1:0";
    let in_use = format!("{taken} is in use by process ");
    refused(
        folder,
        &listen(&format!("'{taken}'"), any),
        "listen.events: ",
        &in_use,
    );
    refused(
        folder,
        &listen(any, &taken.to_string()),
        "listen.admin: ",
        &in_use,
    );
    let second = format!("['{any}', '{taken}']");
    refused(folder, &listen(&second, any), "listen.events[1]: ", &in_use);
    let local = format!("'127.0.0.1:{port}'");
    let already = "another listener has this address already: listen.events[0]";
    for admin in [
        format!("localhost:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
    ] {
        refused(folder, &listen(&local, &admin), "listen.admin: ", already);
    }
    let exposed = format!(
        "ingest: {{tokens: [a-token-of-thirty-two-characters]}}\n{}",
        listen(&format!("['0.0.0.0:{port}', {local}]"), any)
    );
    refused(folder, &exposed, "listen.events[1]: ", already);
    let metrics = format!(
        "listen: {{events: {local}, admin: '{any}', metrics: '0.0.0.0:{port}'}}\nstore: {{path: store}}\n{NONE}"
    );
    refused(folder, &metrics, "listen.metrics: ", already);
    // The one that is left out is 127.0.0.1:8781.
    let left_out = format!("listen: {{events: 'localhost:8781'}}\nstore: {{path: store}}\n{NONE}");
    refused(
        folder,
        &left_out,
        "listen.events: ",
        "already: listen.admin",
    );
    // What a name stands for is seen only when it is resolved.
    let tokens = "ingest: {tokens: [a-token-of-thirty-two-characters]}\n";
    for (written, reason) in [
        ("no-such-host.invalid:1", "no-such-host.invalid:1: "),
        ("192.0.2.1:1", "192.0.2.1:1: "),
    ] {
        let config = format!("{tokens}{}", listen(&format!("'{written}'"), any));
        refused(folder, &config, "listen.events: ", reason);
    }
}

#[test]
fn unix_sockets_that_a_start_refuses_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let any = "127.0.0.1:0";
    let long = format!("'unix:{}'", "x".repeat(108));
    refused(
        folder,
        &listen(&long, any),
        "listen.events: ",
        "at most 107 bytes",
    );
    let missing = "'unix:missing/a.sock'";
    refused(
        folder,
        &listen(missing, any),
        "listen.events: ",
        "missing/a.sock: No such file",
    );
    fs::write(folder.join("file"), "precious").unwrap();
    refused(
        folder,
        &listen("'unix:file'", any),
        "listen.events: ",
        "no socket",
    );
    assert_eq!(fs::read(folder.join("file")).unwrap(), b"precious");
    fs::create_dir(folder.join("real")).unwrap();
    std::os::unix::fs::symlink("real", folder.join("link")).unwrap();
    let config = listen("'unix:real/a.sock'", "unix:./link/a.sock");
    let already = "another listener has this address already: listen.events[0]";
    refused(folder, &config, "listen.admin: ", already);
    let _living = std::os::unix::net::UnixListener::bind(folder.join("living")).unwrap();
    let config = listen("'unix:living'", any);
    refused(
        folder,
        &config,
        "listen.events: ",
        "living is in use by process ",
    );
    // One that a dead process has left is no fault, and stays.
    drop(std::os::unix::net::UnixListener::bind(folder.join("stale")).unwrap());
    write(folder, &listen("'unix:stale'", any));
    assert_eq!(check(folder).0, Some(0));
    assert!(folder.join("stale").exists());
}

#[test]
fn a_store_that_a_start_refuses_is_refused_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = |path: &str| {
        format!(
            "listen: {{events: '127.0.0.1:0', admin: '127.0.0.1:0'}}\nstore:\n  path: {path}\n{NONE}"
        )
    };
    write(folder, &config("new/store"));
    let (code, said) = check(folder);
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    assert!(!folder.join("new").exists());
    fs::write(folder.join("file"), "").unwrap();
    for path in ["file", "file/below"] {
        refused(
            folder,
            &config(path),
            ":3:9: store.path: ",
            "the store folder ",
        );
    }
    fs::create_dir(folder.join("made")).unwrap();
    fs::write(folder.join("made/admin.token"), "short").unwrap();
    refused(folder, &config("made"), "store.path: ", "holds no token");
}

#[test]
fn a_ca_file_that_a_start_refuses_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pem = Authority::new().pem();
    let config = "listen: {events: '127.0.0.1:0', admin: '127.0.0.1:0'}\nstore: {path: store}\nsubscriptions:\n  billing:\n    url: https://a.example\n    events: ['*']\n    signature: none\n    tls: {ca_file: ca.pem}\n";
    fs::write(folder.join("ca.pem"), pem.replace('\n', "\\n")).unwrap();
    write(folder, config);
    let (code, said) = check(folder);
    assert_eq!(code, Some(0), "{said}");
    let half = pem.get(..pem.len() / 2).unwrap();
    fs::write(folder.join("ca.pem"), format!("{pem}{half}")).unwrap();
    let path = ":8:20: subscriptions.billing.tls.ca_file: ";
    refused(folder, config, path, "ca.pem cannot be used: certificate 2");
}

#[test]
fn what_the_running_sidecar_holds_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (events, admin) = (free(), free());
    let config = format!(
        "listen: {{events: ['127.0.0.1:{events}', 'unix:e.sock'], admin: 'localhost:{admin}', metrics: 'unix:m.sock'}}\ningest: {{tokens: [{{file: token}}]}}\nstore: {{path: store}}\n{NONE}"
    );
    fs::write(folder.join("token"), "a-token-of-thirty-two-characters").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    write(folder, &config);
    let (relay, _) = Program::relay(folder);
    let strict = output(folder, &["check", "--strict", "--config", "config.yaml"]);
    let said = text(&strict.stdout);
    assert_eq!(said, "config.yaml: valid, 0 subscriptions\n");
    assert_eq!(strict.status.code(), Some(0));
    // Another one, with a store of its own, is told by whom each of them is taken.
    let version = env!("CARGO_PKG_VERSION");
    let other = config.replace("path: store", "path: other");
    write(folder, &other);
    let (code, said) = check(folder);
    assert_eq!(code, Some(2), "{said}");
    let holder = format!("is in use by another sidehook (version {version}");
    for name in [
        "listen.events[0]",
        "listen.events[1]",
        "listen.admin",
        "listen.metrics",
    ] {
        let is_said = |line: &str| line.contains(&format!(" {name}: ")) && line.contains(&holder);
        assert!(said.lines().any(is_said), "{name} {said}");
    }
    let run = output(folder, &["run", "--config", "config.yaml"]);
    assert_eq!(run.status.code(), Some(1));
    let expected = format!("listen.events: 127.0.0.1:{events} {holder}");
    assert!(
        text(&run.stderr).contains(&expected),
        "{}",
        text(&run.stderr)
    );
    // With its store and addresses of one's own, a start has to wait for its end.
    let moved = "listen: {events: '127.0.0.1:0', admin: '127.0.0.1:0'}\nstore: {path: store}\n";
    write(folder, &format!("{moved}{NONE}"));
    let (code, said) = check(folder);
    assert_eq!(code, Some(0), "{said}");
    let is_told = said.contains("store.path: the store folder store is in use by process");
    assert!(is_told || !Path::new("/proc/locks").exists(), "{said}");
    // A reload keeps what it has, and refuses what the next start would.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    write(
        folder,
        &config.replace(&format!("127.0.0.1:{events}"), &taken),
    );
    relay.signal(Signal::HUP);
    let refusal = relay.log_line("the configuration is wrong");
    assert_eq!(refusal["path"], "listen.events[0]");
    write(folder, &format!("log: {{level: debug}}\n{config}"));
    relay.signal(Signal::HUP);
    relay.log_line("configuration reloaded");
    relay.signal(Signal::TERM);
    assert_eq!(relay.end().0, Some(0));
}

#[test]
fn one_that_signs_nothing_without_saying_so_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = |more: &str| {
        format!(
            "listen: {{events: '127.0.0.1:0', admin: '127.0.0.1:0'}}\nsubscriptions:\n  a: {{url: https://a.example, events: ['*']{more}}}\n"
        )
    };
    for more in ["", ", secret: null", ", signature: null"] {
        write(folder, &config(more));
        let (code, said) = check(folder);
        assert_eq!(code, Some(0), "{said}");
        let expected = "warning: config.yaml:3:3: subscriptions.a: nothing is signed";
        assert!(said.starts_with(expected), "{said}");
        let strict = output(folder, &["check", "--strict", "--config", "config.yaml"]);
        assert_eq!(strict.status.code(), Some(2));
    }
    for more in [", signature: none", ", secret: ''", ", active: false"] {
        write(folder, &config(more));
        assert_eq!(check(folder).1, "config.yaml: valid, 1 subscription\n");
    }
    let by_default = config("").replace(
        "subscriptions",
        "defaults: {signature: none}\nsubscriptions",
    );
    write(folder, &by_default);
    assert_eq!(check(folder).1, "config.yaml: valid, 1 subscription\n");
}

#[test]
fn what_stores_nothing_is_refused_for_the_store_and_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("file"), "").unwrap();
    let listen = "listen: {events: '127.0.0.1:0', admin: '127.0.0.1:0'}";
    let long = "x".repeat(300);
    let stores = [
        "/proc/sidehook",
        "/proc",
        "/sys/a/b",
        "file/store",
        &long,
        &format!("a/{long}"),
    ];
    for store in stores {
        let config = format!("{listen}\nstore: {{path: {store}}}\n{NONE}");
        refused(folder, &config, "store.path: ", "cannot be used");
    }
    let config = format!(
        "listen: {{events: 'unix:/proc/a.sock', admin: '127.0.0.1:0'}}\nstore: {{path: store}}\n{NONE}"
    );
    refused(folder, &config, "listen.events: ", "stores nothing");
}

#[test]
fn where_a_configuration_can_be_is_said_only_to_who_named_none() {
    let folder = tempfile::tempdir().unwrap();
    let hint = "name one with -c FILE";
    for command in ["check", "run", "status", "explain"] {
        let mut given = vec![command, "-c", "gone.yaml"];
        given.extend((command == "explain").then_some("a.b"));
        let done = output(folder.path(), &given);
        let said = [text(&done.stdout), text(&done.stderr)].concat();
        assert!(
            said.contains("gone.yaml:1:1: the file cannot be read"),
            "{said}"
        );
        assert!(!said.contains(hint), "{said}");
    }
    for command in ["check", "run"] {
        let done = output(folder.path(), &[command]);
        let said = [text(&done.stdout), text(&done.stderr)].concat();
        let places = [
            "$SIDEHOOK_CONFIG",
            "/etc/sidehook/config.yaml",
            "./sidehook.yaml",
        ];
        for said_place in [hint].iter().chain(&places) {
            assert!(said.contains(said_place), "{said}");
        }
    }
}
