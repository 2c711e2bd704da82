//! Mail servers that go on for ever: whatever step they do it at, and however, the attempt fails soon, with the reason, and
//! little was read.

use std::collections::BTreeMap;
use std::time::Duration;

use sidehook::config::{Smtp, SmtpTls};
use sidehook::domain::{FailureReason, Secret};
use sidehook::mail::{MailFailure, Mailer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::support::lanes::within;
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::smtp::letter;

/// What a server says at each step: greeting, EHLO, AUTH, MAIL, RCPT, DATA, after the letter.
const ANSWERS: [&str; 7] = [
    "220 mail.example",
    "250-mail.example\r\n250 AUTH PLAIN",
    "235 welcome",
    "250 fine",
    "250 fine",
    "354 go on",
    "250 queued",
];
/// More than the buffers of a connection on this machine.
const WRITTEN_MAX: usize = 64 << 20;
const LIMIT: Duration = Duration::from_secs(20);

/// A server that behaves up to this step and then says `piece` until the connection closes; how many bytes it could say.
async fn flooding(step: usize, piece: Vec<u8>) -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let flood = async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        for answer in &ANSWERS[..step] {
            let answer = format!("{answer}\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let is_text = answer.starts_with("354");
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap() > 0 && is_text && line != ".\r\n" {
                line.clear();
            }
        }
        let mut written = 0;
        while written < WRITTEN_MAX {
            match stream.write(&piece).await {
                Ok(count) => written += count,
                Err(_) => break,
            }
        }
        written
    };
    (port, tokio::spawn(flood))
}

async fn failure(port: u16) -> MailFailure {
    let smtp = Smtp {
        host: "127.0.0.1".to_owned(),
        port,
        tls: SmtpTls::None,
        username: Some("relay".to_owned()),
        password: Some(Secret::new(b"canary".to_vec())),
        from: "sidehook@example.com".to_owned(),
    };
    let to = BTreeMap::from([("billing".parse().unwrap(), vec!["a@example.org".to_owned()])]);
    let mailer = Mailer::new(&smtp, to).unwrap();
    within(mailer.send(&letter("billing"), LIMIT))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_server_that_never_ends_what_it_says_is_left_soon_at_every_step() {
    for step in 0..ANSWERS.len() {
        for piece in [
            b"2".repeat(60_000),
            b"250-more\r\n".repeat(5_000),
            [b"250-".to_vec(), b"x".repeat(1_900), b"\r\n".to_vec()]
                .concat()
                .repeat(30),
            b"\0".repeat(60_000),
            b"\r\n".repeat(60_000),
        ] {
            let (port, flood) = flooding(step, piece).await;
            let failure = failure(port).await;
            assert_eq!(
                failure.reason,
                FailureReason::Protocol,
                "{step}: {failure:?}"
            );
            assert!(failure.message.contains("answer"), "{failure:?}");
            let written = within(flood).await.unwrap();
            assert!(written < WRITTEN_MAX, "{step}: {written} bytes were read");
        }
    }
}

#[tokio::test]
async fn a_stored_mail_to_such_a_server_stops_no_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (left, mut lefts) = watch::channel(0);
    let _server = AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut written = 0;
            while written < WRITTEN_MAX
                && let Ok(count) = stream.write(&[b'2'; 60_000]).await
            {
                written += count;
            }
            left.send_modify(|left| *left += usize::from(written < WRITTEN_MAX));
        }
    }));
    let endpoint = Receiver::start(|_| Reply::status(410)).await;
    let told = subscription("billing", &endpoint.url("/"), ", notify: [a@example.org]");
    let smtp = format!("{{host: 127.0.0.1, port: {port}, tls: none, from: a@example.com}}");
    let mut relay = Relay::start(&format!("{told}notifications: {{smtp: {smtp}}}\n")).await;
    relay.post("a", "{}").await;
    for attempts in 1..=2 {
        within(lefts.wait_for(|left| *left >= attempts))
            .await
            .unwrap();
        relay = Relay::start_on(relay.stop().await).await;
        assert_eq!(relay.post("a", "{}").await.status, 202);
    }
    relay.stop().await;
}
