//! A configuration that comes through a pipe: read once, and what would read it again says so.

use std::fs::File;
use std::io::{PipeWriter, Write, pipe};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::http::{Answer, get, post, request};
use crate::support::program::{Program, sidehook};

const CONFIG: &str = "\
listen: {events: 127.0.0.1:0, admin: 127.0.0.1:0}
store: {path: store}
subscriptions:
  a: {url: https://a.example, events: ['*'], active: false, secret: {file: secret}}
";

/// What stands in the folder of the configuration.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(
        &secret,
        "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(secret, mode).unwrap();
    folder
}

/// A command that reads this from standard input.
fn reading(folder: &Path, arguments: &[&str], text: &str) -> Command {
    let (reader, mut writer): (_, PipeWriter) = pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    let mut command = sidehook(folder, arguments);
    command.stdin(Stdio::from(reader));
    command
}

fn output(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap())
}

#[test]
fn a_pipe_can_be_checked() {
    let folder = folder();
    for path in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let command = reading(folder.path(), &["check", "--strict", "-c", path], CONFIG);
        let expected = format!("{path}: valid, 1 subscription\n");
        assert_eq!(output(command), (Some(0), expected));
    }
    let (code, said) = output(reading(folder.path(), &["check", "-c", "-"], "lg: {}\n"));
    assert_eq!(code, Some(2));
    assert!(said.contains("error: -:1:1: lg: unknown key"), "{said}");
    // Also a file in the place of a pipe.
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    for path in ["-", "/dev/stdin"] {
        let mut command = sidehook(folder.path(), &["explain", "x", "-c", path]);
        command.stdin(File::open(&file).unwrap());
        assert_eq!(command.output().unwrap().status.code(), Some(0), "{path}");
    }
    // Only what the operator gives may be a pipe, not what a configuration names.
    let named = "include: [/dev/stdin]\nsubscriptions: {}\n";
    std::fs::write(&file, named).unwrap();
    let (code, said) = output(reading(
        folder.path(),
        &["check", "-c", "config.yaml"],
        CONFIG,
    ));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("expected a regular file"), "{said}");
}

#[test]
fn too_much_through_a_pipe_is_refused() {
    let folder = folder();
    let (code, said) = output({
        let mut command = sidehook(folder.path(), &["check", "-c", "-"]);
        command.stdin(File::open("/dev/zero").unwrap());
        command
    });
    assert_eq!(code, Some(2));
    assert!(
        said.contains("is too large, expected at most 16MiB"),
        "{said}"
    );
}

async fn call(admin: &str, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let body = if method == "GET" {
        String::new()
    } else {
        body.to_string()
    };
    request(admin, method, path, &headers, &body).await.unwrap()
}

#[tokio::test]
async fn a_relay_from_a_pipe_runs_on_whatever_would_read_it_again() {
    const AGAIN: &str = "cannot be read again";
    let folder = folder();
    let program = Program::start(reading(folder.path(), &["run", "-c", "-"], CONFIG));
    program
        .log_line("the configuration came through a pipe: it is not watched, and not read again");
    let line = program.log_line("accepting events");
    let (events, admin) = (
        line["events"].as_str().unwrap(),
        line["admin"].as_str().unwrap(),
    );
    assert_eq!(get(admin, "/readyz").await.body, "ok\n");
    program.signal(Signal::HUP);
    let problem = program.log_line("the configuration is wrong");
    assert!(
        problem["problem"].as_str().unwrap().contains(AGAIN),
        "{problem}"
    );

    let token = std::fs::read_to_string(folder.path().join("store/admin.token")).unwrap();
    let token = token.trim_end();
    for (method, path, status) in [
        ("POST", "/v1/config/reload", 422),
        ("GET", "/v1/config/diff", 422),
        ("POST", "/v1/config/check", 200),
    ] {
        let answer = call(admin, token, method, path, json!({})).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains(AGAIN), "{path}: {}", answer.body);
    }
    let title = json!({"title": "new"});
    let one = "/v1/subscriptions/a";
    let edits = [
        ("PATCH", one, title.clone()),
        ("DELETE", one, json!({})),
        ("POST", "/v1/subscriptions/a/rotate-secret", json!({})),
    ];
    for (method, path, body) in edits {
        let answer = call(admin, token, method, path, body).await;
        assert_eq!(answer.status, 409, "{method} {path}: {}", answer.body);
        assert!(answer.body.contains("through a pipe"), "{}", answer.body);
    }
    // What is written to a file that it names is not read by itself, either.
    std::fs::write(folder.path().join("secret"), "changed").unwrap();
    assert_eq!(post(events, "/events/x", "{}").await.status, 202);
}
