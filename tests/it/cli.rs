//! The real binary: commands, messages and exit codes.

use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::DEADLINE;
use crate::support::http::{get, post};
use crate::support::program::{Program, output, sidehook};
use crate::support::receiver::{Receiver, Reply};

/// A folder with a configuration, all ports free ones.
fn folder(subscriptions: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), subscriptions);
    folder
}

fn write_config(folder: &Path, subscriptions: &str) {
    let text = format!(
        "listen: {{events: 127.0.0.1:0, admin: 127.0.0.1:0}}\nstore: {{path: store}}\nnetwork: {{allow_private: [127.0.0.1/32]}}\nsubscriptions:\n{subscriptions}"
    );
    std::fs::write(folder.join("config.yaml"), text).unwrap();
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

const OFF: &str = "  off: {active: false}\n";

#[test]
fn demo_delivers_verifies_retries_and_ends_with_success() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = sidehook(folder.path(), &["demo", "--exit"]);
    let done = command.env("TMPDIR", folder.path()).output().unwrap();
    let shown = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{shown}{}", text(&done.stderr));
    assert_eq!(shown.matches("answered 200").count(), 4, "{shown}");
    assert_eq!(
        shown.matches("answered 503, on purpose").count(),
        1,
        "{shown}"
    );
    assert!(
        shown.contains("attempt 2  standard signature verified"),
        "{shown}"
    );
    assert!(shown.contains("github signature verified"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours without a terminal");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "the temporary folder is removed");
}

#[test]
fn demo_runs_until_a_signal_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Program::start(sidehook(folder.path(), &["demo"]));
    demo.printed("/metrics");
    demo.signal(Signal::INT);
    assert_eq!(demo.end().0, Some(0));
}

#[test]
fn usage_errors_are_2_and_help_and_version_are_0() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [
        &["fly"][..],
        &["send"],
        &["send", "a", "--data", "{"],
        &["send", "a", "--url", "https://a"],
        &["send", "a", "--wait", "61"],
        &["listen", "--fail", "2"],
        &["listen", "--scheme", "hmac"],
        &["verify", "--body", ""],
        &[],
    ] {
        let done = output(folder.path(), wrong);
        assert_eq!(done.status.code(), Some(2), "{wrong:?}");
        assert!(done.stdout.is_empty(), "{wrong:?}");
        assert!(!done.stderr.is_empty(), "{wrong:?}");
    }
    let version = output(folder.path(), &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(
        text(&version.stdout),
        concat!("sidehook ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for command in ["run", "check", "demo", "send", "listen", "verify", "secret"] {
        let help = output(folder.path(), &[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(text(&help.stdout).contains("Usage: sidehook"), "{command}");
    }
}

#[test]
fn a_wrong_configuration_is_2_and_every_problem_is_said() {
    let folder = folder("  a: {url: 7, colour: blue}\n");
    let done = output(folder.path(), &["run", "--config", "config.yaml"]);
    assert_eq!(done.status.code(), Some(2));
    let said = text(&done.stderr);
    assert!(said.contains("config.yaml:5:"), "{said}");
    assert!(said.contains("subscriptions.a.colour"), "{said}");
    assert!(said.contains("subscriptions.a.url"), "{said}");
    let done = output(folder.path(), &["check", "--config", "config.yaml"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stdout).contains("subscriptions.a.colour"));
}

#[test]
fn send_says_every_problem_of_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let config = "listen: {events: here}\ningest: {colour: blue}\nsubscriptions: {}\n";
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    let done = output(folder.path(), &["send", "a", "--config", "config.yaml"]);
    assert_eq!(done.status.code(), Some(2));
    let said = text(&done.stderr);
    assert!(said.contains("config.yaml:1:"), "{said}");
    assert!(said.contains("listen.events"), "{said}");
    assert!(said.contains("ingest.colour"), "{said}");
}

#[test]
fn a_missing_configuration_is_2_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let done = output(folder.path(), &["run", "--config", "nowhere.yaml"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("nowhere.yaml"));
}

#[test]
fn check_says_that_a_valid_configuration_is_valid() {
    let folder = folder(OFF);
    let done = output(folder.path(), &["check", "--config", "config.yaml"]);
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(text(&done.stdout), "config.yaml: valid, 1 subscription\n");
}

#[test]
fn a_secret_is_made_and_fits() {
    let folder = tempfile::tempdir().unwrap();
    let done = output(folder.path(), &["secret"]);
    assert_eq!(done.status.code(), Some(0));
    assert!(text(&done.stdout).starts_with("whsec_"));
}

#[test]
fn a_second_process_on_the_same_store_says_so_and_fails() {
    let folder = folder(OFF);
    let (_first, _) = Program::relay(folder.path());
    let second = output(folder.path(), &["run", "--config", "config.yaml"]);
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    let expected = "the store folder store is in use by another process";
    assert!(said.contains(expected), "{said}");
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
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
    assert!(said.contains("in use"), "{said}");
}

#[test]
fn what_is_sent_is_delivered_verified_and_printed() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["listen", "--secret-env", "SECRET", "--json"];
    let mut command = sidehook(folder.path(), &arguments);
    command.env("SECRET", secret);
    let listener = Program::start(command);
    let line = listener.complained("listening on ");
    let url = line.split([' ', ',']).nth(2).unwrap();
    write_config(
        folder.path(),
        &format!("  a: {{url: '{url}/hook', events: ['*'], secret: {secret}}}\n"),
    );
    let (_relay, line) = Program::relay(folder.path());
    let events = format!("http://{}", line["events"].as_str().unwrap());
    let data = r#"{"total":7}"#;
    let arguments = [
        "send",
        "invoice.paid",
        "--data",
        data,
        "--id",
        "inv-7",
        "--wait",
        "20",
        "--url",
        &events,
    ];
    let sent = output(folder.path(), &arguments);
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent.stderr));
    let said = text(&sent.stdout);
    assert!(
        said.ends_with(": accepted, 1 delivery\n  a: delivered, success, 200\n"),
        "{said}"
    );
    let arrived: serde_json::Value = serde_json::from_str(&listener.printed("{")).unwrap();
    assert_eq!(arrived["verified"], true, "{arrived}");
    assert_eq!(arrived["path"], "/hook");
    assert_eq!(arrived["headers"]["webhook-id"], "inv-7");
    assert_eq!(arrived["body"], data);

    let again = output(folder.path(), &[&arguments[..], &["--json"]].concat());
    let answer: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(answer["duplicate"], true);
    listener.signal(Signal::INT);
    assert_eq!(listener.end().0, Some(0));
}

#[test]
fn send_finds_the_sidecar_and_its_token_through_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = "\
listen: {events: 'unix:events.sock', admin: 'unix:admin.sock'}
store: {path: store}
ingest: {tokens: [a-token-of-thirty-two-characters]}
subscriptions: {off: {active: false, secret: {env: ONLY_THE_RELAY_HAS_IT}}}
";
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    let mut command = sidehook(folder.path(), &["run", "--config", "config.yaml"]);
    command.env(
        "ONLY_THE_RELAY_HAS_IT",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    );
    let relay = Program::start(command);
    relay.log_line("accepting events");
    let sent = output(folder.path(), &["send", "a", "--config", "config.yaml"]);
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent.stderr));
    let url = format!("unix:{}/events.sock", folder.path().display());
    let refused = output(folder.path(), &["send", "a", "--url", &url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).starts_with("refused with 401"),
        "{}",
        text(&refused.stderr)
    );
    let spaced = output(folder.path(), &["send", "a b", "--config", "config.yaml"]);
    assert_eq!(spaced.status.code(), Some(1));
    let said = text(&spaced.stderr);
    assert!(
        said.contains("\n  type: "),
        "what is wrong is named: {said}"
    );
}

#[test]
fn a_sidecar_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let done = output(
        folder.path(),
        &["send", "a", "--url", &format!("http://{free}")],
    );
    assert_eq!(done.status.code(), Some(1));
    let expected = format!("error: cannot reach a sidecar at {free}: ");
    assert!(
        text(&done.stderr).starts_with(&expected),
        "{}",
        text(&done.stderr)
    );
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
