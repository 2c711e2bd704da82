//! E-mails: how a letter gets to a mail server, what its failures are called, and who is told of what.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sidehook::config::{Smtp, SmtpTls};
use sidehook::domain::{Event, FailureReason, Secret};
use sidehook::mail::{MailFailure, Mailed, Mailer};
use tokio::net::TcpListener;

use crate::support::certificates::Authority;
use crate::support::lanes::within;
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::smtp::{Mail, MailServer, letter};
use crate::support::{DEADLINE, until};

const LIMIT: Duration = Duration::from_secs(10);
const PASSWORD: &str = "canary-of-the-mail-server";

fn smtp(port: u16, tls: SmtpTls) -> Smtp {
    Smtp {
        host: "127.0.0.1".to_owned(),
        port,
        tls,
        username: None,
        password: None,
        from: "sidehook@example.com".to_owned(),
    }
}

fn with_password(smtp: Smtp) -> Smtp {
    Smtp {
        username: Some("relay".to_owned()),
        password: Some(Secret::new(PASSWORD.into())),
        ..smtp
    }
}

async fn send(smtp: &Smtp, to: &[&str]) -> Result<Mailed, MailFailure> {
    let to = to.iter().map(|to| (*to).to_owned()).collect();
    let addresses = BTreeMap::from([("billing".parse().unwrap(), to)]);
    let mailer = Mailer::new(smtp, addresses).unwrap();
    let shown = format!("{mailer:?}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    within(mailer.send(&letter("billing"), LIMIT)).await
}

async fn failure(smtp: &Smtp) -> (FailureReason, Option<u16>, String) {
    let failure = send(smtp, &["ops@example.org"]).await.unwrap_err();
    assert!(!failure.message.contains(PASSWORD), "{}", failure.message);
    (failure.reason, failure.code, failure.message)
}

#[tokio::test]
async fn a_letter_is_handed_over_whole() {
    let server = MailServer::start(|_| None).await;
    let smtp = with_password(smtp(server.port(), SmtpTls::None));
    let mailed = send(&smtp, &["ops@example.org", "dev@example.org"]).await;
    assert_eq!(mailed.unwrap().code, Some(250));
    let mail = server.wait_for(1, DEADLINE).await.remove(0);
    assert!(mail.from.starts_with("<sidehook@example.com>"), "{mail:?}");
    assert_eq!(mail.to, ["<ops@example.org>", "<dev@example.org>"]);
    // echo -ne '\0relay\0canary-of-the-mail-server' | base64
    assert_eq!(mail.auth, "AHJlbGF5AGNhbmFyeS1vZi10aGUtbWFpbC1zZXJ2ZXI=");
    assert_eq!(mail.header("Subject"), "[sidehook] billing is failing");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(mail.header("Message-ID").starts_with("<evt_"));
    assert!(mail.text.contains("\none\n.two\nthree: gr=C3=BCn\n"));
    assert!(server.commands().iter().any(|it| it == "QUIT"));
}

#[tokio::test]
async fn what_the_server_refuses_is_a_failure_with_its_code_and_words() {
    for (command, answer, code) in [
        ("EHLO", "554 go away", 554),
        ("MAIL", "451 not\x1b[31m now", 451),
        ("RCPT", "450 grey", 450),
        ("RCPT", "550 nobody", 550),
        ("DATA", "452 full", 452),
    ] {
        let script = move |said: &str| said.starts_with(command).then_some(answer);
        let server = MailServer::start(script).await;
        let (reason, found, message) = failure(&smtp(server.port(), SmtpTls::None)).await;
        assert_eq!((reason, found), (FailureReason::Protocol, Some(code)));
        let words: String = answer.chars().skip(4).filter(|c| !c.is_control()).collect();
        let last = words.split(' ').next_back().unwrap();
        assert!(message.ends_with(last), "{message}");
        assert!(!message.contains('\x1b'), "{message:?}");
        assert_eq!(server.count(), 0);
    }
}

#[tokio::test]
async fn a_recipient_that_is_refused_for_good_does_not_hold_up_the_others() {
    let script = |said: &str| said.contains("gone@").then_some("550 nobody");
    let server = MailServer::start(script).await;
    let smtp = smtp(server.port(), SmtpTls::None);
    let mailed = send(&smtp, &["gone@example.org", "ops@example.org"]).await;
    assert_eq!(mailed.unwrap().code, Some(250));
    let mail = server.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(mail.to, ["<ops@example.org>"]);
    let alone = send(&smtp, &["gone@example.org"]).await.unwrap_err();
    assert_eq!(alone.code, Some(550));
}

#[tokio::test]
async fn a_server_that_knows_no_ehlo_is_greeted_the_old_way() {
    for refusal in ["500 what?", "502 no", "550 not here"] {
        let server = MailServer::start(move |said: &str| match said.get(..4) {
            Some("EHLO") => Some(refusal),
            Some("HELO") => Some("250 hello"),
            _ => None,
        })
        .await;
        let mailed = send(&smtp(server.port(), SmtpTls::None), &["ops@example.org"]).await;
        assert_eq!(mailed.unwrap().code, Some(250), "{refusal}");
        assert_eq!(server.commands()[1], "HELO [127.0.0.1]");
        let secured = smtp(server.port(), SmtpTls::StartTls);
        assert_eq!(failure(&secured).await.0, FailureReason::Tls);
        let protected = with_password(smtp(server.port(), SmtpTls::None));
        assert_eq!(failure(&protected).await.0, FailureReason::Auth);
    }
}

#[tokio::test]
async fn the_sender_may_have_a_name() {
    let server = MailServer::start(|_| None).await;
    let smtp = Smtp {
        from: "\"Relay, the\" <sidehook@example.com>".to_owned(),
        ..smtp(server.port(), SmtpTls::None)
    };
    send(&smtp, &["ops@example.org"]).await.unwrap();
    let mail = server.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(mail.from, "<sidehook@example.com>");
    // echo -n "Relay, the" | base64
    let shown = "=?utf-8?b?UmVsYXksIHRoZQ==?= <sidehook@example.com>";
    assert_eq!(mail.header("From"), shown);
    assert_eq!(mail.header("MIME-Version"), "1.0");
}

#[tokio::test]
async fn an_address_of_another_script_is_mailed_to_if_the_server_can() {
    let server = MailServer::start(|_| None).await;
    let smtp = smtp(server.port(), SmtpTls::None);
    let mailed = send(&smtp, &["jürgen@grün.example"]).await.unwrap_err();
    assert!(mailed.message.contains("SMTPUTF8"), "{mailed:?}");
    // A host has an ASCII name always.
    send(&smtp, &["ops@grün.example"]).await.unwrap();
    server.now(|said| {
        said.starts_with("EHLO")
            .then_some("250-mail.example\r\n250 SMTPUTF8")
    });
    send(&smtp, &["jürgen@grün.example"]).await.unwrap();
    let mails = server.wait_for(2, DEADLINE).await;
    assert_eq!(mails[0].to, ["<ops@xn--grn-ioa.example>"]);
    assert_eq!(mails[1].to, ["<jürgen@xn--grn-ioa.example>"]);
    assert_eq!(mails[1].from, "<sidehook@example.com> SMTPUTF8");
}

#[tokio::test]
async fn nobody_left_to_tell_is_no_failure() {
    // Nothing listens there.
    let mailed = send(&smtp(1, SmtpTls::None), &[]).await.unwrap();
    assert_eq!(mailed.code, None);
}

#[tokio::test]
async fn a_password_that_is_refused_is_a_failure_of_auth_without_a_word_of_the_server() {
    let script = |said: &str| said.starts_with("AUTH").then_some("535 AHJlbGF5AGNhbmFyeS");
    let server = MailServer::start(script).await;
    let smtp = with_password(smtp(server.port(), SmtpTls::None));
    let (reason, code, message) = failure(&smtp).await;
    assert_eq!((reason, code), (FailureReason::Auth, Some(535)));
    assert!(!message.contains("AHJl"), "{message}");
}

#[tokio::test]
async fn starttls_is_required_and_its_certificate_verified() {
    let plain = MailServer::start(|_| None).await;
    let smtp = |port| with_password(smtp(port, SmtpTls::StartTls));
    let (reason, _, _) = failure(&smtp(plain.port())).await;
    assert_eq!(reason, FailureReason::Tls);
    let untrusted = MailServer::start_tls(Authority::new().server(&[])).await;
    let (reason, _, message) = failure(&smtp(untrusted.port())).await;
    assert_eq!(reason, FailureReason::Tls, "{message}");
    for server in [plain, untrusted] {
        let is_greeting = |said: &String| {
            said.starts_with("EHLO") || ["STARTTLS", "QUIT"].contains(&said.as_str())
        };
        let commands = server.commands();
        assert!(commands.iter().all(is_greeting), "{commands:?}");
        assert_eq!(server.count(), 0);
    }
}

#[tokio::test]
async fn implicit_tls_to_a_server_without_is_a_failure_of_tls() {
    let server = MailServer::start(|_| None).await;
    let (reason, _, message) = failure(&smtp(server.port(), SmtpTls::Implicit)).await;
    assert_eq!(reason, FailureReason::Tls, "{message}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_or_says_nothing_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = smtp(listener.local_addr().unwrap().port(), SmtpTls::None);
    let addresses = BTreeMap::from([(
        "billing".parse().unwrap(),
        vec!["ops@example.org".to_owned()],
    )]);
    let mailer = Mailer::new(&silent, addresses).unwrap();
    let limit = Duration::from_millis(100);
    let late = within(mailer.send(&letter("billing"), limit)).await;
    assert_eq!(late.unwrap_err().reason, FailureReason::Timeout);
    drop(listener);
    assert_eq!(failure(&silent).await.0, FailureReason::Connect);
    let nowhere = Smtp {
        host: "no..name".to_owned(),
        ..silent
    };
    assert_eq!(failure(&nowhere).await.0, FailureReason::Dns);
}

#[tokio::test]
async fn an_event_that_is_no_letter_is_not_sent() {
    let mailer = Mailer::new(&smtp(1, SmtpTls::None), BTreeMap::new()).unwrap();
    let event = Event {
        body: Bytes::from_static(b"{}"),
        ..letter("billing")
    };
    let failure = within(mailer.send(&event, LIMIT)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Template);
}

/// The section `notifications` with this server.
fn notifications(port: u16) -> String {
    format!(
        "notifications: {{smtp: {{host: 127.0.0.1, port: {port}, tls: none, username: relay, \
         password: {PASSWORD}, from: sidehook@example.com}}}}\n"
    )
}

/// Attempts 10 ms apart, of which the second is told and the third is the last and disables.
const TOLD: &str = ", retry: {schedule: [10ms, 10ms]}, notify: [ops@example.org], notify_after: 2, \
                    auto_disable: {dead: 1}";

#[tokio::test]
async fn the_mailing_list_is_told_of_failure_and_of_disabling() {
    let server = MailServer::start(|_| None).await;
    let endpoint = Receiver::start(|_| Reply::status(500)).await;
    let quiet = Receiver::start(|_| Reply::status(410)).await;
    let told = subscription("billing", &endpoint.url("/"), TOLD);
    let quiet = subscription("quiet", &quiet.url("/"), "");
    let relay = Relay::start(&format!("{told}{quiet}{}", notifications(server.port()))).await;
    relay.post("a", "{}").await;
    let mail = server.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(mail.to, ["<ops@example.org>"]);
    assert_eq!(mail.header("Subject"), "[sidehook] billing is disabled");
    assert!(mail.text.contains("2 attempts in a row failed"));
    assert!(mail.text.contains("http_5xx 500 Internal Server Error"));
    let disabled = r#"sidehook_subscription_enabled{subscription="quiet"}"#;
    until("the other one is disabled, too", async || {
        relay.metric(disabled).await == Some(0.0)
    })
    .await;
    // In order: it stores what is left to tell, and no mail about the quiet one is.
    let folder = relay.stop().await;
    let relay = Relay::start_on(folder).await;
    relay.stop().await;
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_mail_that_was_not_taken_is_sent_again_to_those_named_then() {
    let server = MailServer::start(|said| said.starts_with("MAIL").then_some("451 later")).await;
    let endpoint = Receiver::start(|_| Reply::status(500)).await;
    let billing = |fields: &str| subscription("billing", &endpoint.url("/"), fields);
    let notifications = notifications(server.port());
    let relay = Relay::start(&format!("{}{notifications}", billing(TOLD))).await;
    relay.post("a", "{}").await;
    until("it was tried", async || {
        server
            .commands()
            .iter()
            .any(|said| said.starts_with("MAIL"))
    })
    .await;
    server.now(|_| None);
    let other = TOLD.replace("ops@", "dev@");
    relay.rewrite(&format!("{}{notifications}", billing(&other)));
    relay.handle.reload().await.unwrap().unwrap();
    let mail = server.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(mail.to, ["<dev@example.org>"]);
}

#[tokio::test]
async fn a_recipient_that_is_refused_for_now_holds_up_nobody_and_nobody_gets_it_twice() {
    let server = MailServer::start(|said| said.contains("grey@").then_some("451 later")).await;
    let endpoint = Receiver::start(|_| Reply::status(410)).await;
    let fields = ", notify: [grey@example.org, ops@example.org, dev@example.org]";
    let told = subscription("billing", &endpoint.url("/"), fields);
    let relay = Relay::start(&format!("{told}{}", notifications(server.port()))).await;
    relay.post("a", "{}").await;
    let to = |mails: Vec<Mail>| {
        let mut to: Vec<_> = mails.into_iter().flat_map(|mail| mail.to).collect();
        to.sort();
        to
    };
    let first = to(server.wait_for(2, DEADLINE).await);
    assert_eq!(first, ["<dev@example.org>", "<ops@example.org>"]);
    server.now(|_| None);
    server.wait_for(3, DEADLINE).await;
    relay.stop().await;
    let all = to(server.wait_for(3, DEADLINE).await);
    assert_eq!(
        all,
        [
            "<dev@example.org>",
            "<grey@example.org>",
            "<ops@example.org>"
        ]
    );
}

#[tokio::test]
async fn a_mail_server_that_says_nothing_delays_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let fails = Receiver::start(|_| Reply::status(410)).await;
    let works = Receiver::start(|_| Reply::status(200)).await;
    let told = subscription("billing", &fails.url("/"), ", notify: [ops@example.org]");
    let other = subscription("other", &works.url("/"), "");
    let relay = Relay::start(&format!("{told}{other}{}", notifications(port))).await;
    relay.post("a", "{}").await;
    let (connection, _) = within(silent.accept()).await.unwrap();
    for number in 2..=20 {
        let answer = relay.post("a", "{}").await;
        assert_eq!(answer.status, 202);
        works.wait_for(number, Duration::from_secs(5)).await;
    }
    let metrics = crate::support::http::get(&relay.admin, "/metrics").await;
    assert!(!metrics.body.contains("_mail"), "{}", metrics.body);
    drop(connection);
}
