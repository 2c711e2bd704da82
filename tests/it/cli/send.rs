//! `sidehook send` and `sidehook listen`, and what they need to know.

use rustix::process::Signal;

use crate::cli::{text, write_config};
use crate::support::program::{Program, output, sidehook};

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

/// A sender must see that its signature is wrong, and who tries a port that is taken by whom.
#[test]
fn listen_refuses_what_is_not_signed_and_says_who_has_its_port() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = sidehook(
        folder.path(),
        &["listen", "--secret-env", "SECRET", "--json"],
    );
    command.env("SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let listener = Program::start(command);
    let line = listener.complained("listening on ");
    let url = line.split([' ', ',']).nth(2).unwrap();
    let port = url.rsplit_once(':').unwrap().1;
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let request =
        "POST /hook HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let arrived: serde_json::Value = serde_json::from_str(&listener.printed("{")).unwrap();
    assert_eq!(
        (&arrived["verified"], &arrived["status"]),
        (&false.into(), &401.into())
    );
    let second = output(folder.path(), &["listen", "--port", port]);
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(
        said.contains(&format!("127.0.0.1:{port} is in use by process ")),
        "{said}"
    );
    listener.signal(Signal::INT);
    listener.end();
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
    let expected = format!("error: cannot reach a sidecar at http://{free}: ");
    assert!(
        text(&done.stderr).starts_with(&expected),
        "{}",
        text(&done.stderr)
    );
}
