//! The output and exit codes of `sidehook verify`.

use super::*;
use clap::Parser;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = r#"{"test": 2432232314}"#;
const SIGNED_AT: i64 = 1_614_265_330;
/// The vector of Standard Webhooks, as `curl -v` would show it.
const HEAD: &str = "> POST /hooks HTTP/1.1\r\n> Host: example.com\r\n> webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek\r\n> webhook-timestamp: 1614265330\r\n> webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\r\n>\r\nnot a header";

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: VerifyArgs,
}

struct Answer {
    code: u8,
    out: String,
    err: String,
}

/// Runs the command with the key in `$KEY`, 7 s beyond the usual tolerance, with `input` as standard input.
fn answer_to(input: &str, arguments: &[&str]) -> Answer {
    let arguments = [&["verify"], arguments].concat();
    let args = Command::try_parse_from(arguments).unwrap().args;
    let environment = Environment {
        variables: [("KEY".to_owned(), KEY.to_owned())].into(),
    };
    let now = Timestamp::from_millis((SIGNED_AT + 307) * 1000);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut input = input.as_bytes();
    let code = run(&args, &environment, now, &mut input, &mut out, &mut err).unwrap();
    Answer {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

fn answer(arguments: &[&str]) -> Answer {
    answer_to("", arguments)
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[test]
fn a_captured_request_is_valid() {
    let head = file(HEAD);
    let given = [
        "--headers-file",
        path(&head),
        "--at",
        "2021-02-25T15:02:10Z",
    ];
    let answer = answer(&[&given[..], &["--secret-env", "KEY", "--body", BODY]].concat());
    assert_eq!(answer.out, "ok: standard signature is valid\n");
    assert_eq!(answer.err, "");
    assert_eq!(answer.code, 0);
}

#[test]
fn secret_and_body_may_come_from_files_and_the_body_from_standard_input() {
    let (head, secret, body) = (file(HEAD), file(&format!("{KEY}\n")), file(BODY));
    let from_file = format!("@{}", path(&body));
    for source in [from_file.as_str(), "-"] {
        let answer = answer_to(
            BODY,
            &[
                "--headers-file",
                path(&head),
                "--secret-file",
                path(&secret),
                "--body",
                source,
                "--tolerance",
                "0",
            ],
        );
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{source}");
    }
}

#[test]
fn the_reason_is_exact() {
    let head = file(HEAD);
    let late = answer(&[
        "--headers-file",
        path(&head),
        "--secret-env",
        "KEY",
        "--body",
        BODY,
    ]);
    assert_eq!(late.out, "not valid: timestamp too old by 7 s\n");
    assert_eq!(late.code, 1);

    let other_body = answer(&[
        "--headers-file",
        path(&head),
        "--secret-env",
        "KEY",
        "--body",
        "{}",
    ]);
    assert_eq!(
        other_body.out,
        "not valid: no signature matches: the secret or the body is not the one that was signed\n"
    );

    let no_header = answer(&["-H", "webhook-id: a", "--secret-env", "KEY", "--body", ""]);
    assert_eq!(
        no_header.out,
        "not valid: missing header webhook-timestamp\n"
    );
}

#[test]
fn programs_get_json() {
    let head = file(HEAD);
    let given = [
        "--headers-file",
        path(&head),
        "--secret-env",
        "KEY",
        "--json",
    ];
    let late = answer(&[&given[..], &["--body", BODY]].concat());
    let parsed: serde_json::Value = serde_json::from_str(&late.out).unwrap();
    assert_eq!(
        parsed,
        serde_json::json!({"valid": false, "scheme": "standard", "reason": "timestamp too old by 7 s"})
    );
    assert_eq!(late.code, 1);
    let valid = answer(&[&given[..], &["--body", BODY, "--tolerance", "307"]].concat());
    let parsed: serde_json::Value = serde_json::from_str(&valid.out).unwrap();
    assert_eq!(
        parsed,
        serde_json::json!({"valid": true, "scheme": "standard", "reason": null})
    );
}

#[test]
fn a_secret_on_the_command_line_is_warned_of_and_any_of_several_will_do() {
    let answer = answer(&[
        "--scheme",
        "github",
        "--secret",
        "another secret",
        "--secret",
        "It's a Secret to Everybody",
        "--body",
        "Hello, World!",
        "--header",
        "X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    ]);
    assert_eq!(answer.out, "ok: github signature is valid\n");
    assert!(answer.err.starts_with("warning: other users can see"));
}

#[test]
fn options_of_schemes_reach_them() {
    let svix = HEAD.replace("webhook-", "svix-");
    let head = file(&svix);
    let answer_svix = answer(&[
        "--prefix",
        "svix",
        "--headers-file",
        path(&head),
        "--secret-env",
        "KEY",
        "--body",
        BODY,
        "--tolerance",
        "0",
    ]);
    assert_eq!(answer_svix.code, 0, "{}", answer_svix.out);
    // Source: RFC 2202, section 3, test case 2.
    let hookshot = answer(&[
        "--scheme",
        "hookshot",
        "--algorithm",
        "sha1",
        "--secret",
        "Jefe",
        "--body",
        "what do ya want for nothing?",
        "-H",
        "X-Signature: effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
    ]);
    assert_eq!(hookshot.code, 0, "{}", hookshot.out);
}

#[test]
fn a_question_that_cannot_be_answered_is_an_error() {
    let error = |arguments: &[&str]| {
        let answer = answer(&[arguments, &["--body", ""]].concat());
        assert_eq!((answer.code, answer.out.as_str()), (2, ""));
        answer.err
    };
    let key = ["--secret-env", "KEY"];
    assert_eq!(
        error(&["--secret-env", "NOPE"]),
        "error: the environment has no variable NOPE\n"
    );
    assert!(error(&["--secret-file", "/does/not/exist"]).starts_with("error: /does/not/exist: "));
    assert_eq!(
        error(&[&key[..], &["--scheme", "hmac"]].concat()),
        "error: unknown scheme \"hmac\", see --help\n"
    );
    assert_eq!(
        error(&[&key[..], &["--scheme", "slack", "--prefix", "svix"]].concat()),
        "error: --prefix and --text-key are for scheme standard\n"
    );
    assert_eq!(
        error(&[&key[..], &["--algorithm", "sha1"]].concat()),
        "error: --algorithm is for scheme hookshot\n"
    );
    assert_eq!(
        error(&[&key[..], &["-H", "no colon"]].concat()),
        "error: expected a header as 'Name: value', found \"no colon\"\n"
    );
    let lines = file("A: 1\nB C: 2\n");
    assert_eq!(
        error(&[&key[..], &["--headers-file", path(&lines)]].concat()),
        format!(
            "error: {}: line 2: expected a header name, found \"B C\"\n",
            path(&lines)
        )
    );
}

#[test]
fn a_secret_that_does_not_fit_is_an_error_not_a_verdict() {
    let (head, short) = (file(HEAD), file("short"));
    let answer = answer(&[
        "--headers-file",
        path(&head),
        "--secret-file",
        path(&short),
        "--body",
        BODY,
    ]);
    assert_eq!(answer.code, 2);
    assert!(
        answer
            .err
            .starts_with("error: the secret of scheme standard must be whsec_"),
        "{}",
        answer.err
    );
}

#[test]
fn a_secret_and_a_body_must_be_given_and_a_time_must_be_one() {
    let parses = |arguments: &[&str]| {
        let arguments = [&["verify"], arguments].concat();
        Command::try_parse_from(arguments).is_ok()
    };
    let complete = ["--secret", "a", "--body", "b"];
    assert!(parses(&complete));
    assert!(!parses(&complete[..2]));
    assert!(!parses(&complete[2..]));
    assert!(parses(&[&complete[..], &["--at", "1700000000"]].concat()));
    assert!(!parses(&[&complete[..], &["--at", "yesterday"]].concat()));
    assert!(!parses(&[&complete[..], &["--algorithm", "md5"]].concat()));
}

#[test]
fn arguments_do_not_show_their_secret_in_debug() {
    let args = Command::try_parse_from(["verify", "--secret", "hunter2", "--body", ""]).unwrap();
    assert!(!format!("{args:?}").contains("hunter2"));
}
