//! A mail server that follows a script: it records the letters that it takes, and answers commands as it is told.
//!
//! It knows EHLO, AUTH PLAIN, STARTTLS (with a certificate), MAIL, RCPT, DATA, NOOP, QUIT. Dropped, it closes everything.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use sidehook::domain::{Event, EventHead, EventId, Timestamp};
use sidehook::mail::Letter;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// A letter that was taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// What AUTH PLAIN gave, in base64; empty without.
    pub(crate) auth: String,
    /// Headers and text, lines ended by `\n`.
    pub(crate) text: String,
}

impl Mail {
    /// The value of a header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let head = self.text.split("\n\n").next().unwrap();
        let mut values = head.lines().filter_map(|line| line.strip_prefix(name));
        values
            .find_map(|value| value.strip_prefix(": "))
            .unwrap_or("")
    }
}

/// Answers a command otherwise than usual.
type Script = Box<dyn Fn(&str) -> Option<&'static str> + Send + Sync>;

/// The running server.
pub(crate) struct MailServer {
    port: u16,
    shared: Arc<Shared>,
    count: watch::Receiver<usize>,
    _accepting: AbortOnDropHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    mails: Mutex<Vec<Mail>>,
    commands: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
    tls: Option<Arc<ServerConfig>>,
}

impl MailServer {
    /// A server without TLS that takes everything but what `script` answers otherwise.
    pub(crate) async fn start(
        script: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Box::new(script), None).await
    }

    /// One that offers STARTTLS with this certificate.
    pub(crate) async fn start_tls(tls: Arc<ServerConfig>) -> Self {
        Self::listen(Box::new(|_| None), Some(tls)).await
    }

    async fn listen(script: Script, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, count) = watch::channel(0);
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            mails: Mutex::default(),
            commands: Mutex::default(),
            count: sender,
            tls,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            port,
            shared,
            count,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Answers as this script says from the next command on.
    pub(crate) fn now(
        &self,
        script: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
    ) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// The commands of all connections so far, in order.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.shared.commands.lock().unwrap().clone()
    }

    /// How many letters were taken so far.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until `n` letters were taken; gives all that were. Fails the test after `deadline`.
    pub(crate) async fn wait_for(&self, n: usize, deadline: Duration) -> Vec<Mail> {
        let mut count = self.count.clone();
        let enough = timeout(deadline, count.wait_for(|count| *count >= n)).await;
        let (found, commands) = (self.count(), self.commands());
        assert!(enough.is_ok(), "{found} of {n} mails, {commands:?}");
        self.shared.mails.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // How a connection ends is the client's to judge.
            let _ended = serve(stream, &shared).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 mail.example").await?;
    if converse(&mut stream, shared, shared.tls.is_some()).await? {
        let config = shared.tls.clone().unwrap();
        let acceptor = TlsAcceptor::from(config);
        let mut stream = BufReader::new(acceptor.accept(stream.into_inner()).await?);
        converse(&mut stream, shared, false).await?;
    }
    Ok(())
}

/// Answers commands until the client leaves; whether it wants to begin TLS.
async fn converse<S>(
    stream: &mut BufReader<S>,
    shared: &Shared,
    offers_tls: bool,
) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut mail = Mail::default();
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let command = line.trim_end();
        shared.commands.lock().unwrap().push(command.to_owned());
        let told = (shared.script.lock().unwrap())(command);
        if let Some(answer) = told {
            say(stream, answer).await?;
            continue;
        }
        let argument = |prefix: &str| command.strip_prefix(prefix).map(str::to_owned);
        if command.starts_with("EHLO") {
            let tls = if offers_tls { "250-STARTTLS\r\n" } else { "" };
            say(
                stream,
                &format!("250-mail.example\r\n{tls}250-8BITMIME\r\n250 AUTH PLAIN"),
            )
            .await?;
        } else if command == "STARTTLS" && offers_tls {
            say(stream, "220 go on").await?;
            return Ok(true);
        } else if let Some(given) = argument("AUTH PLAIN ") {
            mail.auth = given;
            say(stream, "235 welcome").await?;
        } else if let Some(from) = argument("MAIL FROM:") {
            mail.from = from;
            say(stream, "250 fine").await?;
        } else if let Some(to) = argument("RCPT TO:") {
            mail.to.push(to);
            say(stream, "250 fine").await?;
        } else if command == "DATA" {
            say(stream, "354 go on").await?;
            mail.text = text(stream).await?;
            take(shared, &mail);
            say(stream, "250 queued as 1").await?;
        } else if command == "QUIT" {
            say(stream, "221 bye").await?;
            return Ok(false);
        } else {
            say(stream, "500 what?").await?;
        }
    }
}

fn take(shared: &Shared, mail: &Mail) {
    let mut mails = shared.mails.lock().unwrap();
    mails.push(mail.clone());
    shared.count.send_replace(mails.len());
}

/// Reads a letter up to the line with a dot.
async fn text<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "." => return Ok(text),
            line => {
                text.push_str(line.strip_prefix('.').unwrap_or(line));
                text.push('\n');
            }
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, answer: &str) -> io::Result<()> {
    stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// The letter about a subscription, as an event.
pub(crate) fn letter(about: &str) -> Event {
    let letter = Letter {
        subscription: about.to_owned(),
        subject: format!("[sidehook] {about} is failing"),
        text: "one\n.two\nthree: grün\n".to_owned(),
        recipient: None,
    };
    let at = Timestamp::from_millis(1_700_000_000_000);
    Event {
        head: EventHead {
            id: EventId::new(at, [7; 10]),
            given_id: None,
            event_type: "sidehook.subscription.failing".parse().unwrap(),
            key: None,
            source: None,
            subject: None,
            content_type: "application/json".into(),
            headers: Vec::new(),
            accepted_at: at,
        },
        body: letter.body().unwrap(),
    }
}
