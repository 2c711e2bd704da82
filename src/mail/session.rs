//! One exchange with the mail server: connect, secure, authenticate, hand over one letter, leave.
//!
//! Each step names its own failures, so that they are distinguished by the step and not by their text.
//!
//! Source: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 4616 (AUTH PLAIN), RFC 4954 (AUTH), RFC 6152 (8BITMIME), RFC 6531
//! (SMTPUTF8), RFC 8314 (implicit TLS).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::config::{Smtp, SmtpTls};
use crate::domain::{FailureReason, Secret};
use crate::egress::MailTls;
use crate::mail::outcome::{MailFailure, Mailed, printable};
use crate::mail::wire::{Channel, Reply, Wire, WireError};

/// Connecting to one address may take this long.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Greeting may take this long while there is another address.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// QUIT may take this long: the letter is taken by then.
const QUIT_LIMIT: Duration = Duration::from_secs(1);
/// Addresses of the server's name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Refusals of EHLO after which HELO is not tried: the server has no service for us. Source: RFC 5321, section 3.1;
/// RFC 7504.
const NO_SERVICE: [u16; 2] = [521, 554];

/// The mail server.
pub(super) struct Server {
    smtp: Smtp,
    tls: MailTls,
}

impl Server {
    pub(super) fn new(smtp: Smtp) -> Self {
        let tls = MailTls::default();
        Self { smtp, tls }
    }

    /// Hands one letter over.
    pub(super) async fn send(
        &self,
        from: &Address,
        to: &[Address],
        letter: &[u8],
    ) -> Result<Mailed, MailFailure> {
        let mut session = self.connect().await?;
        let sent = session.hand_over(from, to, letter).await;
        // The letter is taken or refused: a failure to close the connection does not matter.
        drop(timeout(QUIT_LIMIT, session.wire.command("QUIT")).await);
        let reply = sent?;
        Ok(Mailed {
            code: Some(reply.code),
            reply: printable(&reply.lines.join(" ")),
        })
    }

    /// A connection that is secured and authenticated as configured.
    async fn connect(&self) -> Result<Session, MailFailure> {
        let mut session = self.dial().await?;
        if self.smtp.tls == SmtpTls::StartTls {
            session = self.begin_tls(session).await?;
        }
        let (Some(username), Some(password)) = (&self.smtp.username, &self.smtp.password) else {
            return Ok(session);
        };
        if self.smtp.tls == SmtpTls::None && !session.peer.ip().to_canonical().is_loopback() {
            let message = "the password is not sent without TLS, except to this machine";
            return Err(MailFailure::new(FailureReason::Auth, message));
        }
        session.authenticate(username, password).await?;
        Ok(session)
    }

    /// Connects to the first address of the server that greets.
    async fn dial(&self) -> Result<Session, MailFailure> {
        let (host, port) = (self.smtp.host.as_str(), self.smtp.port);
        let unresolved = |cause: String| {
            let message = format!("{host} could not be resolved: {cause}");
            MailFailure::new(FailureReason::Dns, message)
        };
        let found = lookup_host((host, port)).await;
        let found = found.map_err(|error| unresolved(error.to_string()))?;
        let mut failure = unresolved("it has no address".to_owned());
        let mut addresses = found.take(ADDRESSES_MAX).peekable();
        while let Some(address) = addresses.next() {
            let opened = match addresses.peek() {
                None => self.open(address).await,
                Some(_) => timeout(OPEN_LIMIT, self.open(address))
                    .await
                    .unwrap_or_else(|_| {
                        let message = format!("{address} did not greet within {OPEN_LIMIT:?}");
                        Err(MailFailure::new(FailureReason::Timeout, message))
                    }),
            };
            match opened {
                Ok(session) => return Ok(session),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Connects, is greeted and introduces itself.
    async fn open(&self, peer: SocketAddr) -> Result<Session, MailFailure> {
        let what = format!("could not connect to {peer}");
        let failed = |error: WireError| broken(&error, FailureReason::Connect, &what);
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(peer)).await;
        let stream = stream.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| failed(error.into()))?;
        let own = stream.local_addr().map_err(|error| failed(error.into()))?;
        let mut wire = match self.smtp.tls {
            SmtpTls::Implicit => Wire::new(self.secured(stream, &what).await?),
            SmtpTls::StartTls | SmtpTls::None => Wire::new(stream),
        };
        let what = format!("{peer} did not greet as a mail server");
        let greeting = wire.reply().await;
        let greeting = greeting.map_err(|error| broken(&error, FailureReason::Connect, &what))?;
        accepted(greeting, &what)?;
        let hello = hello(own.ip());
        let offers = introduce(&mut wire, &hello).await?;
        Ok(Session {
            wire,
            peer,
            hello,
            offers,
        })
    }

    /// Begins TLS in an open connection. The extensions offered before are forgotten.
    async fn begin_tls(&self, mut session: Session) -> Result<Session, MailFailure> {
        let what = "TLS could not be begun";
        let failed = |error: WireError| broken(&error, FailureReason::Tls, what);
        if !session.offers.starttls {
            let message = format!("{what}: the mail server does not offer STARTTLS");
            return Err(MailFailure::new(FailureReason::Tls, message));
        }
        let begun = session.wire.command("STARTTLS").await.map_err(failed)?;
        accepted(begun, what)?;
        let bare = session.wire.into_bare().map_err(failed)?;
        let mut wire = Wire::new(self.secured(bare, what).await?);
        let offers = introduce(&mut wire, &session.hello).await?;
        Ok(Session {
            wire,
            offers,
            ..session
        })
    }

    async fn secured(
        &self,
        stream: impl Channel + 'static,
        what: &str,
    ) -> Result<impl Channel + 'static, MailFailure> {
        let host = self.smtp.host.clone();
        let name = ServerName::try_from(host).map_err(|_| {
            let message = format!("{what}: the host is no name that a certificate can have");
            MailFailure::new(FailureReason::Tls, message)
        })?;
        let secured = self.tls.connect(name, stream).await;
        secured.map_err(|error| {
            let message = format!("{what}: {}", error.message);
            MailFailure::new(error.reason, message)
        })
    }
}

/// An open connection.
struct Session {
    wire: Wire,
    peer: SocketAddr,
    hello: Arc<str>,
    offers: Offers,
}

impl Session {
    async fn authenticate(&mut self, username: &str, password: &Secret) -> Result<(), MailFailure> {
        let password = std::str::from_utf8(password.expose()).map_err(|_| {
            let message = "the password is not UTF-8";
            MailFailure::new(FailureReason::Auth, message)
        })?;
        let answered = if self.offers.auth_plain {
            self.auth_plain(username, password).await
        } else if self.offers.auth_login {
            self.auth_login(username, password).await
        } else {
            let message = "the mail server offers neither AUTH PLAIN nor AUTH LOGIN";
            return Err(MailFailure::new(FailureReason::Auth, message));
        };
        let reply = answered.map_err(|error| {
            broken(&error, FailureReason::Reset, "authentication was cut short")
        })?;
        if (200..300).contains(&reply.code) {
            return Ok(());
        }
        // The server's text is left out: it may repeat the password.
        let message = "the mail server refused username and password";
        Err(MailFailure {
            code: Some(reply.code),
            ..MailFailure::new(FailureReason::Auth, message)
        })
    }

    async fn auth_plain(&mut self, username: &str, password: &str) -> Result<Reply, WireError> {
        let plain = Zeroizing::new(format!("\0{username}\0{password}"));
        let encoded = Zeroizing::new(STANDARD.encode(plain.as_bytes()));
        let line = Zeroizing::new(format!("AUTH PLAIN {}", *encoded));
        let reply = self.wire.command(&line).await?;
        // A server that ignored the initial response of `AUTH` requests it.
        match reply.code {
            334 => self.wire.command(&encoded).await,
            _ => Ok(reply),
        }
    }

    async fn auth_login(&mut self, username: &str, password: &str) -> Result<Reply, WireError> {
        let mut reply = self.wire.command("AUTH LOGIN").await?;
        for word in [username, password] {
            if reply.code != 334 {
                break;
            }
            let encoded = Zeroizing::new(STANDARD.encode(word));
            reply = self.wire.command(&encoded).await?;
        }
        Ok(reply)
    }

    async fn hand_over(
        &mut self,
        from: &Address,
        to: &[Address],
        letter: &[u8],
    ) -> Result<Reply, MailFailure> {
        let parameters = self.offers.parameters(from, to, letter)?;
        self.ask(&format!("MAIL FROM:<{from}>{parameters}"), "the sender")
            .await?;
        let mut last_refusal = None;
        let mut has_recipient = false;
        for address in to {
            let line = format!("RCPT TO:<{address}>");
            let reply = self.said(&line, "the recipient").await?;
            // The others still get it; this one never will.
            if reply.is_permanent() {
                last_refusal = Some(refused(&reply, "the recipient"));
                continue;
            }
            accepted(reply, &not_taken("the recipient"))?;
            has_recipient = true;
        }
        if let Some(refusal) = last_refusal.filter(|_| !has_recipient) {
            return Err(refusal);
        }
        self.ask("DATA", "the letter").await?;
        let what = not_taken("the letter");
        let taken = self.wire.text(letter).await;
        let taken = taken.map_err(|error| broken(&error, FailureReason::Reset, &what))?;
        accepted(taken, &what)
    }

    /// Sends a line that the server must accept.
    async fn ask(&mut self, line: &str, what: &str) -> Result<Reply, MailFailure> {
        let reply = self.said(line, what).await?;
        accepted(reply, &not_taken(what))
    }

    async fn said(&mut self, line: &str, what: &str) -> Result<Reply, MailFailure> {
        let reply = self.wire.command(line).await;
        reply.map_err(|error| broken(&error, FailureReason::Reset, &not_taken(what)))
    }
}

/// The extensions that the server offers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Offers {
    starttls: bool,
    auth_plain: bool,
    auth_login: bool,
    eight_bit: bool,
    utf8: bool,
}

impl Offers {
    /// Reads the answer to EHLO: an extension on each line but the first.
    fn read(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            // `AUTH=`: older than the standard, and still sent.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("STARTTLS") => offers.starttls = true,
                Some("8BITMIME") => offers.eight_bit = true,
                Some("SMTPUTF8") => offers.utf8 = true,
                Some("AUTH") => {
                    for mechanism in words {
                        offers.auth_plain |= mechanism == "PLAIN";
                        offers.auth_login |= mechanism == "LOGIN";
                    }
                }
                _ => {}
            }
        }
        offers
    }

    /// The parameters of `MAIL` for this letter, if the server supports them.
    fn parameters(
        self,
        from: &Address,
        to: &[Address],
        letter: &[u8],
    ) -> Result<String, MailFailure> {
        let mut parameters = String::new();
        let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        if !is_ascii(from) || !to.iter().all(is_ascii) {
            if !self.utf8 {
                let message = "an address is not ASCII, and the mail server does not know SMTPUTF8";
                return Err(MailFailure::new(FailureReason::Protocol, message));
            }
            parameters.push_str(" SMTPUTF8");
        }
        if !letter.is_ascii() && self.eight_bit {
            parameters.push_str(" BODY=8BITMIME");
        }
        Ok(parameters)
    }
}

/// Sends EHLO, and HELO to a server that does not support it.
async fn introduce(wire: &mut Wire, hello: &str) -> Result<Offers, MailFailure> {
    let what = "the mail server does not talk with us";
    let failed = |error: WireError| broken(&error, FailureReason::Reset, what);
    let reply = wire.command(&format!("EHLO {hello}")).await;
    let reply = reply.map_err(failed)?;
    if !reply.is_permanent() || NO_SERVICE.contains(&reply.code) {
        return Ok(Offers::read(&accepted(reply, what)?));
    }
    let reply = wire.command(&format!("HELO {hello}")).await;
    accepted(reply.map_err(failed)?, what)?;
    Ok(Offers::default())
}

/// How sidehook introduces itself: an address literal, as it need not have a name (RFC 5321, section 4.1.4).
fn hello(own: IpAddr) -> Arc<str> {
    match own.to_canonical() {
        IpAddr::V4(own) => format!("[{own}]").into(),
        IpAddr::V6(own) => format!("[IPv6:{own}]").into(),
    }
}

fn not_taken(what: &str) -> String {
    format!("the mail server did not take {what}")
}

/// The reply, if it is positive.
fn accepted(reply: Reply, what: &str) -> Result<Reply, MailFailure> {
    if reply.is_positive() {
        return Ok(reply);
    }
    Err(refusal(&reply, what))
}

fn refused(reply: &Reply, what: &str) -> MailFailure {
    refusal(reply, &not_taken(what))
}

fn refusal(reply: &Reply, what: &str) -> MailFailure {
    MailFailure {
        code: Some(reply.code),
        ..MailFailure::new(FailureReason::Protocol, format!("{what}: {reply}"))
    }
}

/// A failure with the reason behind the error, else with `otherwise`, the reason of the step.
fn broken(error: &WireError, otherwise: FailureReason, what: &str) -> MailFailure {
    let reason = match error {
        WireError::Io(_) | WireError::Closed => otherwise,
        WireError::BeforeTls => FailureReason::Tls,
        WireError::NotSmtp
        | WireError::LineTooLong
        | WireError::TooManyLines
        | WireError::TooMuch => FailureReason::Protocol,
    };
    MailFailure::new(reason, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_offers_is_read_in_any_notation() {
        let lines = [
            "mail.example STARTTLS",
            "AUTH=LOGIN",
            "auth plain x",
            "smtputf8",
        ];
        let reply = Reply {
            code: 250,
            lines: lines.map(str::to_owned).to_vec(),
        };
        let expected = Offers {
            auth_plain: true,
            auth_login: true,
            utf8: true,
            ..Offers::default()
        };
        assert_eq!(Offers::read(&reply), expected);
    }

    #[test]
    fn an_address_literal_is_how_it_introduces_itself() {
        let hello = |ip: &str| hello(ip.parse().unwrap());
        assert_eq!(&*hello("::ffff:10.0.0.7"), "[10.0.0.7]");
        assert_eq!(&*hello("fd00::1"), "[IPv6:fd00::1]");
    }
}
