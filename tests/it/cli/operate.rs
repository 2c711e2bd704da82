//! Commands that operate a running sidecar: what they ask of its admin API, print and return.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::scripted::Scripted;
use crate::cli::text;
use crate::support::program::{Program, output, sidehook};
use crate::support::until;

const TOKEN: &str = "canary-token-of-thirty-two-characters";

fn command(sidecar: &Scripted, folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = sidehook(folder.path(), arguments);
    command
        .args(["--admin", &sidecar.url])
        .env("SIDEHOOK_TOKEN", TOKEN);
    command
}

/// Runs a command against an API with these answers; gives what it printed and what it asked.
fn run(answers: Vec<(u16, Value)>, arguments: &[&str]) -> (Output, Scripted) {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Scripted::start(answers);
    let done = command(&sidecar, &folder, arguments).output().unwrap();
    (done, sidecar)
}

fn succeeded(done: &Output) -> &str {
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    text(&done.stdout)
}

fn failed(done: &Output) -> &str {
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stdout));
    text(&done.stderr)
}

/// As what is wrong with values, or with the configuration.
fn wrong(done: &Output) -> &str {
    assert_eq!(done.status.code(), Some(2), "{}", text(&done.stdout));
    text(&done.stderr)
}

fn page(data: Value) -> Value {
    json!({"data": data, "next_cursor": null})
}

/// All fields of all answers, those of others being passed over, with these changed.
fn whole(fields: Value) -> Value {
    let at = "2026-11-24T10:00:00.250Z";
    let mut whole = json!({"id": "7", "event_id": "evt_1", "subscription": "a", "event": "t", "type": "t", "attempt": 1,
        "status": "failed", "duration_ms": 7, "created_at": at, "delivery_state": "dead", "delivery_id": "evt_1.a", "state": "pending",
        "name": "a", "held": 0, "blocked": 0, "pending": 0, "dead": 0, "consecutive_failures": 0,
        "success_rate": {"last_1000": null, "last_24h": null}, "content_type": "a/b", "deliveries": [], "attempts": [],
        "body_bytes": 1, "delivery_count": 0, "matched": 2, "replayed": 0, "skipped": 0, "version": "0", "started_at": at,
        "uptime_seconds": 1, "in_flight": 0, "store": {"health": "healthy", "path": "/", "size_bytes": 1, "pending_bytes": 0},
        "subscriptions": {"active": 0, "probing": 0, "paused": 0, "disabled": 0, "blocked": 0},
        "config": {"file": "/", "on_disk": "in_force", "at_next_start": []}});
    let fields = fields.as_object().unwrap().clone();
    whole.as_object_mut().unwrap().extend(fields);
    whole
}

fn attempt(number: u32) -> Value {
    whole(
        json!({"id": format!("evt_1.a.{number}"), "attempt": number, "reason": "http_5xx", "response_code": 503,
        "error_message": "Service\u{1b}[2J", "duration_ms": 12}),
    )
}

#[test]
fn a_list_follows_its_cursors_and_is_one_object_a_line_for_programs() {
    let first = json!({"data": [{"n": 1}], "next_cursor": "c1"});
    let empty = json!({"data": [], "next_cursor": "c2"});
    let answers = vec![(200, first), (200, empty), (200, page(json!([{"n": 2}])))];
    let arguments = ["deliveries", "--state", "dead", "--limit", "300", "--json"];
    let (done, sidecar) = run(answers, &arguments);
    assert_eq!(succeeded(&done), "{\"n\":1}\n{\"n\":2}\n");
    let lines: Vec<String> = sidecar
        .asked()
        .into_iter()
        .map(|asked| asked.line)
        .collect();
    assert_eq!(
        lines,
        [
            "GET /v1/deliveries?state=dead&limit=200",
            "GET /v1/deliveries?state=dead&cursor=c1&limit=200",
            "GET /v1/deliveries?state=dead&cursor=c2&limit=200",
        ]
    );
    let bearer = format!("Bearer {TOKEN}");
    assert!(
        sidecar
            .asked()
            .iter()
            .all(|asked| asked.token.as_ref() == Some(&bearer))
    );
}

#[test]
fn two_pages_with_one_cursor_end_instead_of_going_on_forever() {
    let again = json!({"data": [{"n": 1}], "next_cursor": "c"});
    let (done, _) = run(
        vec![(200, again)],
        &["events", "--limit", "1000000", "--json"],
    );
    assert!(failed(&done).contains("two pages with one cursor"));
}

#[test]
fn nothing_that_came_from_outside_steers_the_terminal() {
    let held = json!(false);
    for (arguments, held) in [
        (&["attempts", "a"][..], &held),
        (&["events"], &held),
        (&["deliveries"], &held),
        (&["status"], &json!(0)),
    ] {
        let nasty = json!({"id": "\u{1b}[2J", "name": "\u{1b}[2J", "type": "\u{1b}[2J", "event": "\u{9b}2J", "held": held,
            "reason": "\u{1b}[2J", "state": "\u{1b}[2J"});
        let (done, _) = run(vec![(200, whole(page(json!([whole(nasty)]))))], arguments);
        let shown = succeeded(&done);
        assert!(shown.contains("\\u{1b}[2J"), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{9b}']), "{shown}");
    }
    for (arguments, held) in [
        (&["status", "a"][..], &json!(0)),
        (&["events", "e"], &held),
        (&["deliveries", "d"], &held),
    ] {
        let inner = whole(
            json!({"id": "\u{1b}", "held": false, "response_body": "\u{1b}", "error_message": "\u{1b}"}),
        );
        let nasty = json!({"name": "\u{1b}[2J", "deep": {"\u{1b}": ["\u{1b}"]}, "flat": {"\u{1b}": "\u{1b}"}, "held": held,
            "deliveries": [inner], "attempts": [inner]});
        let (done, _) = run(vec![(200, whole(nasty))], arguments);
        assert!(
            !succeeded(&done).contains('\u{1b}'),
            "{}",
            text(&done.stdout)
        );
    }
    let nasty = json!({"detail": "\u{1b}[2J", "errors": {"\u{1b}": ["\u{1b}"]}});
    let (done, _) = run(vec![(422, nasty)], &["enable", "a"]);
    assert!(!wrong(&done).contains('\u{1b}'));
}

#[test]
fn a_refusal_is_said_with_every_field() {
    let problem = json!({"title": "Unprocessable", "status": 422, "detail": "some values are not valid",
        "errors": {"rate_limit": ["expected a whole number"]}});
    let arguments = ["replay", "--subscription", "a", "--rate", "fast"];
    let (done, _) = run(vec![(422, problem)], &arguments);
    assert_eq!(
        wrong(&done),
        "error: some values are not valid\n  rate_limit: expected a whole number\n"
    );
}

#[test]
fn who_is_not_let_in_learns_where_a_token_comes_from_and_sees_none() {
    let problem = json!({"title": "Unauthorized", "status": 401, "detail": "a token is needed"});
    let (done, _) = run(vec![(401, problem)], &["status"]);
    let said = failed(&done);
    assert!(said.starts_with("error: a token is needed\n"), "{said}");
    assert!(said.contains("$SIDEHOOK_TOKEN"), "{said}");
    assert!(!said.contains("canary"), "{said}");
}

#[test]
fn a_sidecar_that_does_not_run_is_said_with_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let done = output(folder.path(), &["status", "--admin", &url]);
    let said = failed(&done);
    let expected = format!("error: no sidecar seems to run: {url} does not answer");
    assert!(said.starts_with(&expected), "{said}");
    assert!(said.contains("refused"), "{said}");
    let done = output(folder.path(), &["status", "--admin", "unix:/nowhere.sock"]);
    assert!(failed(&done).contains("unix:/nowhere.sock does not answer"));
}

#[test]
fn what_answers_and_is_no_sidecar_is_said() {
    let (done, _) = run(vec![(200, json!("hello"))], &["events"]);
    assert!(failed(&done).contains("not that of a sidecar"));
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Scripted::raw(vec!["SSH-2.0-OpenSSH\r\n\r\n".to_owned()]);
    let done = command(&sidecar, &folder, &["status"]).output().unwrap();
    assert!(
        failed(&done).contains("broke off"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn arguments_that_make_no_sense_are_2_and_nothing_is_asked() {
    for wrong in [
        &["replay"][..],
        &["replay", "evt_1.a", "--subscription", "a"],
        &["replay", "evt_1.a", "--dry-run"],
        &["replay", "--subscription", "a", "--state", "held"],
        &["attempts"],
        &["attempts", "a", "--since", "yesterday"],
        &["events", "--body"],
        &["rotate-secret", "a", "--grace", "1"],
        &["reload", "--yes"],
        &["cancel"],
        &["completions", "tcl"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let sidecar = Scripted::start(vec![(200, json!({}))]);
        let mut done = sidehook(folder.path(), wrong);
        if wrong[0] != "completions" {
            done.args(["--admin", &sidecar.url]);
        }
        let done = done.output().unwrap();
        assert_eq!(
            done.status.code(),
            Some(2),
            "{wrong:?}: {}",
            text(&done.stderr)
        );
        assert!(sidecar.asked().is_empty(), "{wrong:?}");
    }
}

#[test]
fn one_delivery_is_replayed_and_cancelled_by_its_id() {
    let delivery = whole(json!({"id": "evt_1.a", "held": false}));
    let (done, sidecar) = run(vec![(200, delivery)], &["replay", "evt_1.a"]);
    assert_eq!(succeeded(&done), "evt_1.a: pending, it is attempted now\n");
    assert_eq!(
        sidecar.asked()[0].line,
        "POST /v1/deliveries/evt_1.a/replay"
    );
    assert_eq!(sidecar.asked()[0].body, "{}");
    let delivery = whole(json!({"id": "evt_1.a", "state": "cancelled", "held": false}));
    let (done, sidecar) = run(vec![(200, delivery)], &["cancel", "evt_1.a"]);
    assert_eq!(succeeded(&done), "evt_1.a: cancelled\n");
    assert_eq!(
        sidecar.asked()[0].line,
        "POST /v1/deliveries/evt_1.a/cancel"
    );
    let stopped = whole(json!({"status": "stopped", "replayed": 3}));
    let (done, sidecar) = run(vec![(200, stopped)], &["cancel", "7"]);
    assert_eq!(
        succeeded(&done),
        "replay 7 is stopped: 3 deliveries replayed\n"
    );
    assert_eq!(sidecar.asked()[0].line, "DELETE /v1/replays/7");
}

#[test]
fn many_are_counted_begun_and_waited_for() {
    let arguments = [
        "replay",
        "--subscription",
        "a",
        "--type",
        "t",
        "--rate",
        "9/s",
    ];
    let dry = [&arguments[..], &["--dry-run"]].concat();
    let (done, sidecar) = run(vec![(200, json!({"matched": 1234}))], &dry);
    assert_eq!(succeeded(&done), "1,234 dead deliveries of a\n");
    let asked: Value = serde_json::from_str(&sidecar.asked()[0].body).unwrap();
    assert_eq!(
        asked,
        json!({"subscription": "a", "state": "dead", "event_type": "t", "rate_limit": "9/s", "dry_run": true})
    );
    let running = whole(json!({"status": "running", "replayed": 1}));
    let ended = whole(json!({"status": "done", "replayed": 2}));
    let answers = vec![
        (202, json!({"id": "7", "matched": 2})),
        (200, running),
        (200, ended),
    ];
    let (done, sidecar) = run(answers, &arguments);
    assert_eq!(succeeded(&done), "2 deliveries replayed\n");
    let asked = sidecar.asked();
    assert!(asked[0].body.contains("\"dry_run\":false"), "{asked:?}");
    assert_eq!(asked[2].line, "GET /v1/replays/7");
    let begun = vec![(202, json!({"id": "7", "matched": 2}))];
    let (done, _) = run(begun, &[&arguments[..], &["--no-wait"]].concat());
    assert_eq!(
        succeeded(&done),
        "replay 7: 2 deliveries; to stop it: sidehook cancel 7\n"
    );
    let stopped = whole(json!({"status": "stopped", "replayed": 1}));
    let answers = vec![(202, json!({"id": "7", "matched": 2})), (200, stopped)];
    let (done, _) = run(answers, &arguments);
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(text(&done.stdout), "1 delivery replayed; it was stopped\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_the_waiting_and_says_how_to_end_the_replay() {
    let running = whole(json!({"status": "running", "replayed": 1}));
    let begun = json!({"id": "7", "matched": 2});
    let sidecar = Scripted::start(vec![(202, begun), (200, running)]);
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["replay", "--subscription", "a"];
    let waiting = Program::start(command(&sidecar, &folder, &arguments));
    until("it waits", async || sidecar.asked().len() >= 3).await;
    waiting.signal(rustix::process::Signal::INT);
    waiting.complained("to stop it: sidehook cancel 7");
    assert_eq!(waiting.end().0, Some(1));
    assert!(
        sidecar
            .asked()
            .iter()
            .all(|asked| !asked.line.starts_with("DELETE"))
    );
}

#[test]
fn enable_and_disable_set_the_status() {
    for (operation, status, waiting) in [
        ("enable", "active", "pending"),
        ("disable", "disabled", "held"),
    ] {
        let answer = whole(json!({"name": "a b", "status": status, "pending": 1, "held": 1}));
        let (done, sidecar) = run(vec![(200, answer)], &[operation, "a b"]);
        assert_eq!(
            succeeded(&done),
            format!("a b: {status}, 1 delivery {waiting}\n")
        );
        let asked = &sidecar.asked()[0];
        assert_eq!(asked.line, "PATCH /v1/subscriptions/a%20b");
        assert_eq!(asked.body, format!("{{\"status\":\"{status}\"}}"));
    }
}

#[test]
fn a_new_secret_is_printed_once_and_a_given_one_never() {
    let answer = whole(json!({"secret": "whsec_made", "secret_fingerprint": "01234567"}));
    let (done, sidecar) = run(
        vec![(200, answer)],
        &["rotate-secret", "a", "--grace", "1h"],
    );
    assert_eq!(succeeded(&done), "whsec_made\n");
    assert!(!text(&done.stderr).contains("whsec"));
    assert!(text(&done.stderr).contains("01234567"));
    assert_eq!(sidecar.asked()[0].body, "{\"grace\":\"1h\"}");

    let sidecar = Scripted::start(vec![(
        200,
        whole(json!({"secret_fingerprint": "01234567"})),
    )]);
    let folder = tempfile::tempdir().unwrap();
    let mut rotate = command(
        &sidecar,
        &folder,
        &["rotate-secret", "a", "--secret-file", "-"],
    );
    let given = "whsec_canary\n";
    std::fs::write(folder.path().join("given"), given).unwrap();
    let file = std::fs::File::open(folder.path().join("given")).unwrap();
    let done = rotate.stdin(Stdio::from(file)).output().unwrap();
    assert_eq!(succeeded(&done), "");
    assert!(!text(&done.stderr).contains("canary"));
    assert_eq!(
        sidecar.asked()[0].body,
        "{\"grace\":\"24h\",\"secret\":\"whsec_canary\"}"
    );
}

#[test]
fn a_test_that_fails_is_1() {
    let attempt = whole(json!({"status": "success", "response_code": 204}));
    let (done, sidecar) = run(vec![(200, attempt)], &["test", "a"]);
    assert_eq!(succeeded(&done), "a: success 204, took 7ms\n");
    assert_eq!(sidecar.asked()[0].line, "POST /v1/subscriptions/a/test");
    let attempt = whole(
        json!({"response_code": 500, "reason": "http_5xx", "error_message": "Internal Server Error"}),
    );
    let (done, _) = run(vec![(200, attempt)], &["test", "a"]);
    assert_eq!(done.status.code(), Some(1));
    let expected = "a: failed 500, http_5xx: Internal Server Error, took 7ms\n";
    assert_eq!(text(&done.stdout), expected);
}

#[test]
fn a_reload_that_cancels_something_wants_a_yes() {
    let diff = json!({"subscriptions": [{"name": "b", "change": "removed", "fields": [], "pending": 12}], "settings": [], "gone": []});
    let reloaded = json!({"added": 0, "changed": 0, "removed": 1, "cancelled_deliveries": 12, "in_flight": [],
        "at_next_start": []});
    let (done, sidecar) = run(vec![(200, diff.clone())], &["reload", "--cancel-removed"]);
    let said = failed(&done);
    assert!(
        said.contains("- b, gone: 12 pending deliveries would be cancelled\n"),
        "{said}"
    );
    assert!(said.contains("use --yes"), "{said}");
    assert_eq!(sidecar.asked().len(), 1);
    let arguments = ["reload", "--cancel-removed", "--yes"];
    let (done, sidecar) = run(vec![(200, reloaded.clone())], &arguments);
    let expected = "reloaded: 0 added, 0 changed, 1 removed, 12 deliveries cancelled\n";
    assert_eq!(succeeded(&done), expected);
    assert_eq!(sidecar.asked()[0].body, "{\"cancel_removed\":true}");
    let nothing = json!({"subscriptions": [], "settings": [], "gone": []});
    let (done, _) = run(
        vec![(200, nothing), (200, reloaded)],
        &["reload", "--cancel-removed"],
    );
    assert_eq!(succeeded(&done), expected);
    let (done, _) = run(vec![(200, diff.clone())], &["diff", "--exit-code"]);
    assert_eq!(done.status.code(), Some(1));
    let (done, _) = run(vec![(200, diff)], &["diff"]);
    assert!(succeeded(&done).starts_with("- b, gone: 12 pending"));
}

#[test]
fn following_goes_on_after_the_stream_ends_and_shows_nothing_twice() {
    let json = |body: Value| {
        let body = body.to_string();
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    };
    let stream = |attempts: &[Value]| {
        let events: String = attempts
            .iter()
            .map(|attempt| format!("event: attempt\ndata: {attempt}\n\n"))
            .collect();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: listening\n\n{events}"
        )
    };
    let mut other = attempt(9);
    other["subscription"] = json!("b");
    let refused = json!({"detail": "the end of this test"}).to_string();
    let sidecar = Scripted::raw(vec![
        stream(&[attempt(2), other, attempt(3)]),
        json(page(json!([attempt(2), attempt(1)]))),
        stream(&[attempt(5)]),
        json(page(json!([attempt(4), attempt(3)]))),
        format!("HTTP/1.1 401 No\r\nConnection: close\r\n\r\n{refused}"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let done = command(&sidecar, &folder, &["attempts", "a", "-f"])
        .output()
        .unwrap();
    assert!(
        failed(&done).contains("the end of this test"),
        "{}",
        text(&done.stderr)
    );
    let numbers: Vec<&str> = text(&done.stdout)
        .lines()
        .map(|line| line.split_whitespace().nth(4).unwrap())
        .collect();
    assert_eq!(numbers, ["#1", "#2", "#3", "#4", "#5"]);
    assert!(
        sidecar.asked()[3]
            .line
            .contains("since=2026-11-24T10%3A00%3A00.250Z")
    );
}

#[test]
fn pages_completions_and_the_schema_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let page = output(folder.path(), &["man", "replay"]);
    assert!(succeeded(&page).contains("sidehook\\-replay"));
    let page = output(folder.path(), &["man", "fly"]);
    assert!(failed(&page).contains("no command \"fly\""));
    let schema = output(folder.path(), &["schema"]);
    let schema: Value = serde_json::from_str(succeeded(&schema)).unwrap();
    assert!(schema["properties"]["subscriptions"].is_object());
    let script = output(folder.path(), &["completions", "bash"]);
    assert!(succeeded(&script).contains("rotate-secret"));
    let done = output(folder.path(), &["man", "--out", "."]);
    assert_eq!(succeeded(&done), "");
    assert!(folder.path().join("sidehook-status.1").exists());
    assert!(folder.path().join("sidehook.1").exists());
}
