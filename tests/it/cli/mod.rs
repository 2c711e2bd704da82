//! The real binary: commands, messages and exit codes.

mod check;
mod finding;
mod log_reader;
mod operate;
mod run;
mod runtime;
mod scripted;
mod send;
mod tour;

use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::DEADLINE;
use crate::support::http::post;
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
    let line = demo.printed("sidehook status -c ");
    let config = line.rsplit(' ').next().unwrap();
    let done = output(folder.path(), &["status", "-c", config]);
    let shown = text(&done.stdout);
    assert!(
        shown.contains("\naudit    active"),
        "{shown}{}",
        text(&done.stderr)
    );
    demo.signal(Signal::INT);
    assert_eq!(demo.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_delivers_what_is_posted_and_shows_each_attempt() {
    let receiver = Receiver::queue([Reply::status(500), Reply::status(200)]).await;
    let folder = tempfile::tempdir().unwrap();
    let url = receiver.url("/hooks?a='b'");
    let arguments = [
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--events",
        "invoice.*",
        "--forward-to",
        &url,
    ];
    let mut command = sidehook(folder.path(), &arguments);
    command.env("TMPDIR", folder.path());
    let dev = Program::start(command);
    let line = dev.printed("events posted to http://");
    let address = line
        .split(['/', ' '])
        .find(|part| part.starts_with("127."))
        .unwrap();
    let secret = dev.printed("  secret  whsec_");
    let line = dev.printed("sidehook status -c ");
    let config = line.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(
        post(address, "/events/invoice.paid", "{}").await.status,
        202
    );
    assert!(
        dev.printed("failed   500")
            .contains("retry in 1s  http_5xx")
    );
    assert!(dev.printed("success  200").contains("dev  evt_"));
    let received = receiver.wait_for(2, DEADLINE).await;
    assert!(received[1].header("webhook-signature").starts_with("v1,"));
    let done =
        tokio::task::block_in_place(|| output(folder.path(), &["attempts", "dev", "-c", &config]));
    assert_eq!(
        text(&done.stdout).lines().count(),
        3,
        "{}",
        text(&done.stderr)
    );
    assert!(secret.len() > 40, "{secret}");
    dev.signal(Signal::INT);
    assert_eq!(dev.end().0, Some(0));
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "the temporary folder is removed");
}

#[test]
fn dev_says_what_is_wrong_with_its_address() {
    let folder = tempfile::tempdir().unwrap();
    for (url, expected) in [
        ("localhost:3000/x", "such as http://localhost:3000/x"),
        ("ftp://example.com/", "error: --forward-to: expected https"),
        (
            "https://user:pass@example.com/",
            "error: --forward-to: a URL with",
        ),
    ] {
        let done = output(
            folder.path(),
            &["dev", "--listen", "127.0.0.1:0", "--forward-to", url],
        );
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains(expected) && !said.contains("user:"), "{said}");
    }
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
    let version = output(folder.path(), &["-V"]);
    assert_eq!(version.status.code(), Some(0));
    let name = concat!("sidehook ", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&version.stdout), format!("{name}\n"));
    let version = output(folder.path(), &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let commit = env!("SIDEHOOK_REVISION_SHORT");
    assert_eq!(text(&version.stdout), format!("{name} ({commit})\n"));
    for command in ["run", "check", "demo", "send", "listen", "verify", "secret"] {
        let help = output(folder.path(), &[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(text(&help.stdout).contains("Usage: sidehook"), "{command}");
    }
}

/// What an option requires does not count for clap when it conflicts with what is there.
#[test]
fn options_that_would_be_passed_over_are_usage_errors() {
    let folder = folder(OFF);
    for (usage, wrong) in [
        ("events --body <ID>", &["events", "--body"][..]),
        ("events --body <ID>", &["events", "--body", "--limit", "3"]),
        ("events --body <ID>", &["events", "--body", "--type", "a"]),
        (
            "events --body <ID>",
            &["events", "--body", "--given-id", "a"],
        ),
        ("events --body <ID>", &["events", "--body", "--since", "1h"]),
        (
            "events --body <ID>",
            &["events", "e", "--body", "--until", "1h"],
        ),
        ("replay", &["replay", "--list", "--rate", "100/s"]),
        ("replay", &["replay", "--list", "--state", "dead"]),
        ("replay", &["replay", "--list", "--type", "a"]),
        ("replay", &["replay", "--list", "--dry-run"]),
        ("replay", &["replay", "--list", "--wait"]),
    ] {
        let done = output(folder.path(), wrong);
        assert_eq!(done.status.code(), Some(2), "{wrong:?}");
        let said = text(&done.stderr);
        let usage = format!("Usage: sidehook {usage}");
        assert!(said.contains(&usage), "{wrong:?}: {said}");
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
