//! `sidehook run`: its start, its signals and its end.

use std::path::Path;

use rustix::process::Signal;

use crate::cli::{OFF, folder, text, write_config};
use crate::support::http::{get, post};
use crate::support::program::{Program, output, sidehook};
use crate::support::receiver::{Receiver, Reply};
use crate::support::{DEADLINE, until};

#[test]
fn a_second_process_on_the_same_store_says_so_and_fails() {
    let folder = folder(OFF);
    let (first, _) = Program::relay(folder.path());
    let second = output(folder.path(), &["run", "--config", "config.yaml"]);
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    let store = folder.path().join("store");
    let expected = format!("the store folder {} is in use by ", store.display());
    assert!(said.contains(&expected), "{said}");
    // Where the system does not show locks it cannot be told.
    if std::fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.contains("FLOCK")) {
        let process = format!("is in use by process {}", first.id());
        assert!(said.contains(&process), "{said}");
    }
}

#[test]
fn a_service_manager_that_cannot_be_reached_is_named() {
    let folder = folder(OFF);
    let mut command = sidehook(folder.path(), &["run", "--config", "config.yaml"]);
    let done = command.env("NOTIFY_SOCKET", "/nowhere/notify").output();
    let done = done.unwrap();
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    assert!(
        said.contains("$NOTIFY_SOCKET cannot be reached: "),
        "{said}"
    );
}

/// `run` with a socket that systemd would hand over as `events`.
fn run_with_socket(folder: &Path, socket: std::net::TcpListener) -> std::process::Command {
    let mut command = sidehook(folder, &["run", "--config", "config.yaml"]);
    command
        .env_remove("LISTEN_PID")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDS_FIRST_FD", "0")
        .env("LISTEN_FDNAMES", "events")
        .stdin(std::os::fd::OwnedFd::from(socket));
    command
}

#[test]
fn a_socket_of_systemd_that_other_machines_reach_needs_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let bind = || std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let write = |ingest: &str| {
        let config = format!(
            "listen: {{events: 'systemd:events', admin: 127.0.0.1:0}}\nstore: {{path: store}}\ningest: {ingest}\nsubscriptions: {{}}\n"
        );
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    };
    write("{}");
    let refused = run_with_socket(folder.path(), bind()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    let expected = "other machines can reach the events listener 0.0.0.0:";
    assert!(said.contains(expected), "{said}");
    write("{tokens: [a-token-of-thirty-two-characters]}");
    let relay = Program::start(run_with_socket(folder.path(), bind()));
    relay.log_line("accepting events");
    write("{}");
    relay.signal(Signal::HUP);
    assert_eq!(
        relay.log_line("the configuration is wrong")["path"],
        "ingest.tokens"
    );
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "listen: {{events: {address}, admin: 127.0.0.1:0}}\nstore: {{path: store}}\nsubscriptions: {{off: {{active: false}}}}\n"
    );
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    let done = output(folder.path(), &["run", "--config", "config.yaml"]);
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    let expected = format!("listen.events: {address} is in use by process ");
    assert!(said.contains(&expected), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_in_flight_and_exits_with_0() {
    let slow = |_: &_| Reply::status(200).after(std::time::Duration::from_millis(300));
    let receiver = Receiver::start(slow).await;
    let folder = folder(&format!(
        "  a: {{url: '{}', events: ['*']}}\n",
        receiver.url("/")
    ));
    let (relay, line) = Program::relay(folder.path());
    let events = line["events"].as_str().unwrap();
    assert_eq!(post(events, "/events/a", "1").await.status, 202);
    receiver.wait_for(1, DEADLINE).await;
    relay.signal(Signal::TERM);
    let ended = tokio::task::block_in_place(|| relay.end());
    assert_eq!(ended.0, Some(0), "{:?}", ended.1);
    let (relay, line) = Program::relay(folder.path());
    let events = line["events"].as_str().unwrap();
    assert_eq!(post(events, "/events/a", "2").await.status, 202);
    let received = receiver.wait_for(2, DEADLINE).await;
    assert_eq!(received[1].body, "2", "the first was not repeated");
    drop(relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_and_recovering_are_logged_with_their_cause() {
    let receiver = Receiver::start(|_| Reply::status(503)).await;
    let fields = "events: ['*'], retry: {schedule: [100ms, 100ms]}";
    let folder = folder(&format!(
        "  a: {{url: '{}', {fields}}}\n  b: {{url: 'https://127.0.0.2/', events: ['*'], retry: none}}\n",
        receiver.url("/")
    ));
    let (relay, line) = Program::relay(folder.path());
    let events = line["events"].as_str().unwrap();
    assert_eq!(post(events, "/events/a", "1").await.status, 202);
    let logged = |text: &str| tokio::task::block_in_place(|| relay.log_line(text));
    let mut failing = [logged("attempts fail"), logged("attempts fail")];
    failing.sort_by_key(|line| line["subscription"].as_str().map(str::to_owned));
    assert_eq!(failing[0]["level"], "WARN");
    assert_eq!(failing[0]["reason"], "http_5xx");
    assert_eq!(failing[0]["code"], 503);
    assert_eq!(failing[0]["error"], "Service Unavailable");
    assert_eq!(failing[1]["reason"], "blocked");
    let error = "127.0.0.2 is not a public address and not in network.allow_private";
    assert_eq!(failing[1]["error"], error);
    receiver.now(|_| Reply::status(200));
    assert_eq!(post(events, "/events/a", "2").await.status, 202);
    assert_eq!(logged("the endpoint works again")["subscription"], "a");
}

#[tokio::test]
async fn a_killed_relay_delivers_what_it_accepted_after_its_restart() {
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let fields = "events: ['*'], retry: {schedule: [100ms, 100ms, 100ms, 100ms]}";
    let folder = folder(&format!(
        "  a: {{url: '{}', {fields}}}\n",
        receiver.url("/")
    ));
    let (relay, line) = Program::relay(folder.path());
    let events = line["events"].as_str().unwrap();
    assert_eq!(post(events, "/events/a", "1").await.status, 202);
    receiver.wait_for(1, DEADLINE).await;
    drop(relay);
    receiver.now(|_| Reply::status(200));
    let before = receiver.count();
    let (_relay, _) = Program::relay(folder.path());
    let received = receiver.wait_for(before + 1, DEADLINE).await;
    assert_eq!(received[before].body, "1");
}

#[tokio::test]
async fn sighup_reloads_a_good_file_and_refuses_a_bad_one() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let folder = folder(OFF);
    // A change of the file alone would reload too, half a second later: so this is the signal.
    let (relay, line) = Program::relay(folder.path());
    let (events, admin) = (
        line["events"].as_str().unwrap(),
        line["admin"].as_str().unwrap(),
    );
    let subscription = format!("  a: {{url: '{}', events: ['*']}}\n", receiver.url("/"));
    write_config(folder.path(), &subscription);
    relay.signal(Signal::HUP);
    let line = relay.log_line("configuration reloaded");
    assert_eq!((&line["added"], &line["removed"]), (&1.into(), &1.into()));
    assert_eq!(post(events, "/events/a", "1").await.json()["deliveries"], 1);
    write_config(folder.path(), "  a: {colour: blue}\n");
    relay.signal(Signal::HUP);
    let line = relay.log_line("the configuration is wrong");
    assert_eq!(
        (&line["level"], &line["line"]),
        (&"ERROR".into(), &5.into())
    );
    relay.log_line("configuration not reloaded: the running one stays in place");
    assert_eq!(post(events, "/events/a", "2").await.json()["deliveries"], 1);
    let metrics = get(admin, "/metrics").await.body;
    assert!(metrics.contains("sidehook_config_last_reload_successful 0\n"));
}

/// Bytes of memory that a process has.
fn resident(pid: &serde_json::Value) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn wrong_files_cost_the_relay_neither_memory_nor_log() {
    let folder = folder(OFF);
    let (relay, _) = Program::relay(folder.path());
    let pid = relay.id().into();
    let before = resident(&pid);
    let wrong: String = (0..20_000)
        .map(|number| format!("  s{number}: {{url: x, evnts: [\"*\"]}}\n"))
        .collect();
    let everything = "  a: {active: false}\ninclude: [\"/**/*\"]\n";
    for text in [&wrong, everything, &wrong, &wrong] {
        write_config(folder.path(), text);
        relay.signal(Signal::HUP);
        relay.log_line("configuration not reloaded: the running one stays in place");
        // Without bounds it is some 250 MiB; what the allocator keeps does not grow with the number of tries. The watcher
        // may be reading the same file once more: what counts is what stays.
        let grown = || resident(&pid).saturating_sub(before) >> 20;
        until("memory returns", async || grown() < 100).await;
    }
    relay.signal(Signal::TERM);
    let (code, rest) = relay.end();
    assert_eq!(code, Some(0), "{rest:?}");
}

#[tokio::test]
async fn a_changed_file_reloads_by_itself_and_says_what_needs_a_restart() {
    let folder = folder(OFF);
    let (relay, _) = Program::relay(folder.path());
    let config = std::fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    let changed = config.replace("path: store", "path: elsewhere");
    std::fs::write(folder.path().join("config.yaml"), changed).unwrap();
    let line = relay.log_line("a change of this key takes effect at the next start");
    assert_eq!(line["key"], "store");
    relay.log_line("configuration reloaded");
}

#[test]
fn systemd_is_told_of_start_progress_reload_and_stop() {
    let folder = folder(OFF);
    let socket = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let received = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        text(&buffer[..length]).to_owned()
    };
    let expect = |begin: &str| while !received().starts_with(begin) {};
    let mut command = sidehook(folder.path(), &["run", "--config", "config.yaml"]);
    command
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .env("WATCHDOG_USEC", "100000");
    let relay = Program::start(command);
    expect("READY=1\n");
    expect("WATCHDOG=1\n");
    expect("WATCHDOG=1\n");
    relay.signal(Signal::HUP);
    expect("RELOADING=1\nMONOTONIC_USEC=");
    expect("READY=1\n");
    relay.signal(Signal::TERM);
    expect("STOPPING=1\n");
    assert_eq!(relay.end().0, Some(0));
}
