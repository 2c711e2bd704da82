//! Commands against the real sidecar, as its operator goes about: look, disable, replay, rotate, change the file, reload.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::cli::text;
use crate::support::http::post;
use crate::support::program::{Program, output, sidehook};
use crate::support::receiver::{Receiver, Reply};
use crate::support::{DEADLINE, until};

/// A relay in a folder of its own, found by its address and the token in its store.
struct Tour {
    _relay: Program,
    events: String,
    admin: String,
    folder: tempfile::TempDir,
}

impl Tour {
    fn start(subscriptions: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        crate::cli::write_config(folder.path(), subscriptions);
        let (relay, line) = Program::relay(folder.path());
        let address = |listener| line.get(listener).unwrap().as_str().unwrap().to_owned();
        Self {
            _relay: relay,
            events: address("events"),
            admin: format!("http://{}", address("admin")),
            folder,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let found = ["--config", "config.yaml", "--admin", &self.admin];
        let arguments = [arguments, &found].concat();
        tokio::task::block_in_place(|| output(self.folder.path(), &arguments))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {said}");
        text(&done.stdout).to_owned()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.status.code(), Some(1), "{arguments:?}");
        text(&done.stderr).to_owned()
    }

    /// As what is wrong with values, or with the configuration.
    fn wrong(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}");
        text(&done.stderr).to_owned()
    }

    /// The objects of a list.
    fn listed(&self, arguments: &[&str]) -> Vec<Value> {
        let lines = self.ok(&[arguments, &["--json"]].concat());
        let read = |line| serde_json::from_str(line).unwrap();
        lines.lines().map(read).collect()
    }

    /// The beginning of an id stands for the whole, as long as it is that of one event.
    fn takes_beginnings_of(&self, event: &str) {
        let begun = event.get(..22).unwrap();
        assert!(self.ok(&["events", begun]).contains(event));
        let delivery = self.ok(&["deliveries", &format!("{begun}.a")]);
        assert!(delivery.contains(event));
        // It has one delivery.
        assert!(self.ok(&["deliveries", begun]).contains(event));
        assert!(
            self.refused(&["deliveries", &format!("{begun}.b")])
                .contains("no such delivery")
        );
        let several = self.refused(&["events", event.get(..12).unwrap()]);
        assert!(
            several.contains("several events begin so") && several.contains(event),
            "{several}"
        );
        assert!(
            self.refused(&["events", "evt_00000000"])
                .contains("no such event")
        );
    }

    async fn until_state(&self, state: &str, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        until("so many deliveries have that state", async || {
            found = self.listed(&["deliveries", "--state", state]);
            found.len() == count
        })
        .await;
        found
    }
}

fn subscription(name: &str, url: &str) -> String {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    format!("  {name}: {{url: '{url}', events: ['*'], retry: none, secret: {secret}}}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_replays_and_cancels_what_failed() {
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let tour = Tour::start(&subscription("a", &receiver.url("/")));
    for _ in 0..3 {
        let answer = post(&tour.events, "/events/invoice.paid", r#"{"total":7}"#).await;
        assert_eq!(answer.status, 202);
    }
    let dead = tour.until_state("dead", 3).await;
    // The state is written now and then.
    until("failures are counted", async || {
        let status = tour.ok(&["status"]);
        status.contains("\na     active        0     0     3         3     0.0%")
            && status.contains("config.yaml is in force\n")
    })
    .await;
    assert!(
        tour.ok(&["status", "a"])
            .contains("http_5xx: Internal Server Error")
    );
    let attempts = tour.ok(&["attempts", "a", "--status", "failed", "--since", "1h"]);
    assert_eq!(
        attempts.matches("http_5xx: Internal Server Error").count(),
        3
    );
    assert_eq!(
        tour.ok(&["attempts", "a", "--status", "success"]),
        "nothing found\n"
    );

    let event = dead[0]["event_id"].as_str().unwrap();
    let shown = tour.ok(&["events", event]);
    assert!(shown.contains("dead (exhausted)"), "{shown}");
    assert_eq!(tour.ok(&["events", event, "--body"]), r#"{"total":7}"#);
    assert_eq!(tour.listed(&["events", "--type", "invoice.paid"]).len(), 3);
    assert_eq!(tour.listed(&["events", "--type", "other"]).len(), 0);

    tour.takes_beginnings_of(event);

    receiver.now(|_| Reply::status(200));
    let id = dead[0]["id"].as_str().unwrap();
    assert!(tour.ok(&["replay", id]).ends_with("it is attempted now\n"));
    tour.until_state("delivered", 1).await;
    let shown = tour.ok(&["deliveries", id]);
    assert!(
        shown.contains("attempt 2") && shown.contains("attempt 1"),
        "{shown}"
    );
    let dry = tour.ok(&["replay", "--subscription", "a", "--dry-run"]);
    assert_eq!(dry, "2 dead deliveries of a\n");
    let done = tour.ok(&["replay", "--subscription", "a", "--rate", "100/s"]);
    assert_eq!(done, "2 deliveries replayed\n");
    assert_eq!(tour.listed(&["replay", "--list"])[0]["status"], "done");
    tour.until_state("delivered", 3).await;
    assert!(tour.refused(&["cancel", id]).contains("it was delivered"));

    assert_eq!(
        tour.ok(&["disable", "a"]),
        "a: disabled, 0 deliveries held\n"
    );
    assert_eq!(post(&tour.events, "/events/b", "{}").await.status, 202);
    let held = tour.until_state("pending", 1).await;
    assert_eq!(held[0]["held"], true);
    let id = held[0]["id"].as_str().unwrap();
    assert!(tour.refused(&["replay", id]).contains("disabled"));
    assert!(tour.ok(&["cancel", id]).ends_with(": cancelled\n"));
    assert_eq!(
        tour.ok(&["enable", "a"]),
        "a: active, 0 deliveries pending\n"
    );
    assert!(tour.ok(&["test", "a"]).starts_with("a: success 200"));
    assert!(
        tour.refused(&["status", "nobody"])
            .contains("no subscription has this name")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_attempts_as_they_end() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let tour = Tour::start(&subscription("a", &receiver.url("/")));
    assert_eq!(post(&tour.events, "/events/first", "1").await.status, 202);
    tour.until_state("delivered", 1).await;
    let arguments = [
        "attempts",
        "a",
        "-f",
        "--config",
        "config.yaml",
        "--admin",
        &tour.admin,
    ];
    let following = Program::start(sidehook(tour.folder.path(), &arguments));
    let printed = |text: &str| tokio::task::block_in_place(|| following.printed(text));
    assert!(printed("first").contains("success  200"));
    assert_eq!(post(&tour.events, "/events/second", "2").await.status, 202);
    assert!(printed("second").contains("success  200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_rotates_a_secret_and_reloads_what_changed() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let both = [
        subscription("a", &receiver.url("/")),
        subscription("b", &receiver.url("/")),
    ]
    .concat();
    let tour = Tour::start(&both);
    assert_eq!(tour.ok(&["diff"]), "nothing differs\n");
    let secret = tour.ok(&["rotate-secret", "a", "--grace", "1h"]);
    assert!(secret.starts_with("whsec_"), "{secret}");
    let fingerprint = |name: &str| tour.listed(&["status", name])[0]["secret_fingerprint"].clone();
    assert_ne!(fingerprint("a"), fingerprint("b"));
    assert_eq!(post(&tour.events, "/events/t", "{}").await.status, 202);
    let received = receiver.wait_for(2, DEADLINE).await;
    let signatures: Vec<usize> = received
        .iter()
        .map(|request| {
            request.headers["webhook-signature"]
                .to_str()
                .unwrap()
                .split(' ')
                .count()
        })
        .collect();
    assert!(
        signatures.contains(&2) && signatures.contains(&1),
        "{signatures:?}"
    );
    tour.until_state("delivered", 2).await;

    tour.ok(&["disable", "b"]);
    assert_eq!(post(&tour.events, "/events/t", "{}").await.status, 202);
    tour.until_state("pending", 1).await;
    crate::cli::write_config(tour.folder.path(), &subscription("c", &receiver.url("/")));
    // The relay may have noticed the new file by itself: then they were gone before.
    let refused = tour.refused(&["reload", "--cancel-removed"]);
    assert!(
        refused.contains("- b, gone: 1 pending delivery would be cancelled"),
        "{refused}"
    );
    assert!(refused.contains("use --yes"), "{refused}");
    let reloaded = tour.ok(&["reload", "--cancel-removed", "--yes"]);
    assert!(reloaded.ends_with("1 delivery cancelled\n"), "{reloaded}");
    assert_eq!(tour.ok(&["diff", "--exit-code"]), "nothing differs\n");
    tour.until_state("cancelled", 1).await;
    assert!(tour.ok(&["status"]).contains("\nc     active"));

    crate::cli::write_config(tour.folder.path(), "  c: {url: 7}\n");
    let refused = tour.wrong(&["reload"]);
    assert!(refused.contains("subscriptions.c.url: "), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_open_what_their_scopes_allow_and_a_socket_needs_none() {
    let folder = tempfile::tempdir().unwrap();
    let write = |tokens: &str| {
        let config = format!(
            "listen: {{events: 127.0.0.1:0, admin: 'unix:admin.sock'}}\nstore: {{path: store}}\n{tokens}subscriptions: {{off: {{active: false}}}}\n"
        );
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    };
    write("");
    let relay = Program::relay(folder.path());
    let done = output(folder.path(), &["status", "--config", "config.yaml"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(text(&done.stdout).contains("disabled (config)"));
    drop(relay);

    let tokens = "\
admin:
  tokens:
    - {name: look, token: canary-look-0123456789-0123456789, scopes: [read]}
    - {name: change, token: {file: change.token}, scopes: [read, manage]}
";
    let tcp = "listen: {events: 127.0.0.1:0, admin: 127.0.0.1:0}";
    write(tokens);
    let file = folder.path().join("config.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    let config = config.replace(
        "listen: {events: 127.0.0.1:0, admin: 'unix:admin.sock'}",
        tcp,
    );
    std::fs::write(&file, config).unwrap();
    let token = folder.path().join("change.token");
    std::fs::write(&token, "canary-change-0123456789-0123456789\n").unwrap();
    let (_relay, line) = Program::relay(folder.path());
    let admin = format!("http://{}", line["admin"].as_str().unwrap());
    let run =
        |arguments: &[&str], given: Option<&str>| ran(folder.path(), &admin, arguments, given);
    let look = run(&["status"], None);
    assert_eq!(look.status.code(), Some(0), "{}", text(&look.stderr));
    let change = run(&["reload"], None);
    assert_eq!(change.status.code(), Some(0), "{}", text(&change.stderr));
    std::fs::remove_file(&token).unwrap();
    let hidden = text(&run(&["reload"], None).stderr).to_owned();
    assert!(hidden.contains("\n  change: config.yaml:"), "{hidden}");
    assert!(!hidden.contains("canary"), "{hidden}");
    let wrong = run(&["status"], Some("canary-wrong"));
    let said = text(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        said.contains("the token comes from $SIDEHOOK_TOKEN"),
        "{said}"
    );
    assert!(!said.contains("canary"), "{said}");
    let scope = run(&["reload"], Some("canary-look-0123456789-0123456789"));
    assert!(
        text(&scope.stderr).contains("scope manage"),
        "{}",
        text(&scope.stderr)
    );
}

fn ran(folder: &Path, admin: &str, arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = sidehook(folder, arguments);
    command.args(["--config", "config.yaml", "--admin", admin]);
    command.envs(token.map(|token| ("SIDEHOOK_TOKEN", token)));
    command.output().unwrap()
}
