//! One exchange with the mail server: connect, secure, authenticate, hand over one letter, leave.
//!
//! Each step names its own failures, so that they are told apart by where they came up and not by their text.
//!
//! Source: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 8314 (implicit TLS).

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::config::{Smtp, SmtpTls};
use crate::domain::FailureReason;
use crate::egress::source_of;
use crate::mail::{MailFailure, Mailed, printable};

/// Connecting to one address may take this long.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Saying goodbye may take this long: the letter is taken by then.
const QUIT_LIMIT: Duration = Duration::from_secs(1);
/// Addresses of the server's name that are tried.
const ADDRESSES_MAX: usize = 4;

/// The mail server.
pub(super) struct Server {
    smtp: Smtp,
    /// Made when first needed: it reads the roots of the machine.
    tls: Mutex<Option<TlsParameters>>,
}

impl Server {
    pub(super) fn new(smtp: Smtp) -> Self {
        let tls = Mutex::default();
        Self { smtp, tls }
    }

    /// Hands one letter over.
    pub(super) async fn send(
        &self,
        from: &Address,
        to: &[Address],
        letter: &[u8],
    ) -> Result<Mailed, MailFailure> {
        let mut connection = self.connect().await?;
        let sent = hand_over(&mut connection, from, to, letter).await;
        // The letter is taken or refused: what becomes of the connection is of no concern.
        timeout(QUIT_LIMIT, connection.abort())
            .await
            .unwrap_or_default();
        let reply = sent?;
        Ok(Mailed {
            code: Some(code(&reply)),
            reply: printable(&text(&reply)),
        })
    }

    /// A connection that is secured and authenticated as configured.
    async fn connect(&self) -> Result<AsyncSmtpConnection, MailFailure> {
        let (mut connection, address) = self.dial().await?;
        let hello = hello();
        if self.smtp.tls == SmtpTls::StartTls {
            let secured = connection.starttls(self.tls()?, &hello).await;
            secured
                .map_err(|error| failed(&error, FailureReason::Tls, "TLS could not be begun"))?;
        }
        let (Some(username), Some(password)) = (&self.smtp.username, &self.smtp.password) else {
            return Ok(connection);
        };
        if !connection.is_encrypted() && !address.ip().to_canonical().is_loopback() {
            let message = "the password is not sent without TLS, except to this machine";
            return Err(MailFailure::new(FailureReason::Auth, message));
        }
        let password = String::from_utf8(password.expose().to_vec()).map_err(|_| {
            let message = "the password is not UTF-8";
            MailFailure::new(FailureReason::Auth, message)
        })?;
        let credentials = Credentials::new(username.clone(), password);
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        match connection.auth(&mechanisms, &credentials).await {
            Ok(_) => Ok(connection),
            Err(error) => Err(unauthenticated(&error)),
        }
    }

    /// Connects to the first address of the server that can be connected to.
    async fn dial(&self) -> Result<(AsyncSmtpConnection, SocketAddr), MailFailure> {
        let (host, port) = (self.smtp.host.as_str(), self.smtp.port);
        let unresolved = |cause: String| {
            let message = format!("{host} could not be resolved: {cause}");
            MailFailure::new(FailureReason::Dns, message)
        };
        let found = lookup_host((host, port)).await;
        let found = found.map_err(|error| unresolved(error.to_string()))?;
        let mut failure = unresolved("it has no address".to_owned());
        let tls = match self.smtp.tls {
            SmtpTls::Implicit => Some(self.tls()?),
            SmtpTls::StartTls | SmtpTls::None => None,
        };
        for address in found.take(ADDRESSES_MAX) {
            let (limit, tls) = (Some(CONNECT_LIMIT), tls.clone());
            let opened =
                AsyncSmtpConnection::connect_tokio1(address, limit, &hello(), tls, None).await;
            match opened {
                Ok(connection) => return Ok((connection, address)),
                Err(error) => {
                    let what = format!("could not connect to {address}");
                    failure = failed(&error, FailureReason::Connect, &what);
                }
            }
        }
        Err(failure)
    }

    fn tls(&self) -> Result<TlsParameters, MailFailure> {
        let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = &*tls {
            return Ok(tls.clone());
        }
        let made = TlsParameters::new(self.smtp.host.clone());
        let made =
            made.map_err(|error| failed(&error, FailureReason::Tls, "TLS cannot be used"))?;
        Ok(tls.insert(made).clone())
    }
}

/// How sidehook introduces itself: an address literal, as it need not have a name (RFC 5321, section 4.1.4).
fn hello() -> ClientId {
    ClientId::default()
}

async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    from: &Address,
    to: &[Address],
    letter: &[u8],
) -> Result<Response, MailFailure> {
    let parameters = parameters(connection, from, to, letter)?;
    let begun = connection.command(Mail::new(Some(from.clone()), parameters));
    begun.await.map_err(|error| refused(&error, "the sender"))?;
    let mut last_refusal = None;
    let mut has_recipient = false;
    for address in to {
        match connection
            .command(Rcpt::new(address.clone(), Vec::new()))
            .await
        {
            Ok(_) => has_recipient = true,
            // The others are to get it all the same; this one never will.
            Err(error) if error.is_permanent() => {
                last_refusal = Some(refused(&error, "the recipient"));
            }
            Err(error) => return Err(refused(&error, "the recipient")),
        }
    }
    if let Some(refusal) = last_refusal.filter(|_| !has_recipient) {
        return Err(refusal);
    }
    let ready = connection.command(Data).await;
    ready.map_err(|error| refused(&error, "the letter"))?;
    let taken = connection.message(letter).await;
    taken.map_err(|error| refused(&error, "the letter"))
}

/// What the server must be able to do for this letter.
fn parameters(
    connection: &AsyncSmtpConnection,
    from: &Address,
    to: &[Address],
    letter: &[u8],
) -> Result<Vec<MailParameter>, MailFailure> {
    let can = |extension| connection.server_info().supports_feature(extension);
    let mut parameters = Vec::new();
    let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
    if !is_ascii(from) || !to.iter().all(is_ascii) {
        if !can(Extension::SmtpUtfEight) {
            let message = "an address is not ASCII, and the mail server does not know SMTPUTF8";
            return Err(MailFailure::new(FailureReason::Protocol, message));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !letter.is_ascii() && can(Extension::EightBitMime) {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

/// What the server did not take, and why.
fn refused(error: &Error, what: &str) -> MailFailure {
    let what = format!("the mail server did not take {what}");
    failed(error, FailureReason::Reset, &what)
}

/// No word of the server: it may repeat what it was given.
fn unauthenticated(error: &Error) -> MailFailure {
    match error.status() {
        Some(_) => MailFailure {
            code: error.status().map(u16::from),
            ..MailFailure::new(
                FailureReason::Auth,
                "the mail server refused username and password",
            )
        },
        None if error.is_client() => MailFailure::new(
            FailureReason::Auth,
            "the mail server offers neither AUTH PLAIN nor AUTH LOGIN",
        ),
        None => failed(error, FailureReason::Reset, "authentication was cut short"),
    }
}

/// A failure by what lies behind it, else by `otherwise`: where it came up.
fn failed(error: &Error, otherwise: FailureReason, what: &str) -> MailFailure {
    let source = error.source();
    if let Some(code) = error.status() {
        let said = source.map(ToString::to_string).unwrap_or_default();
        let message = format!("{what}: {code} {said}");
        return MailFailure {
            code: Some(code.into()),
            ..MailFailure::new(FailureReason::Protocol, message)
        };
    }
    if let Some(error) = source_of::<rustls::Error>(error) {
        let message = format!("{what}: {error}");
        return MailFailure::new(FailureReason::Tls, message);
    }
    if error.is_response() {
        let message = format!("{what}: the answer is not SMTP");
        return MailFailure::new(FailureReason::Protocol, message);
    }
    if let Some(error) = source_of::<io::Error>(error) {
        let message = format!("{what}: {}", error.kind());
        return MailFailure::new(otherwise, message);
    }
    let message = match source {
        Some(source) => format!("{what}: {source}"),
        None => what.to_owned(),
    };
    MailFailure::new(otherwise, message)
}

fn code(reply: &Response) -> u16 {
    reply.code().into()
}

fn text(reply: &Response) -> String {
    reply.message().collect::<Vec<_>>().join(" ")
}
