//! E-mail through an SMTP server: one connection per attempt, one letter per connection.
//!
//! - `letter`: the content of an e-mail, as an event of sidehook's own carries it
//! - `outcome`: how an e-mail was taken, or why not
//! - `session`: the exchange with the server
//! - `wire`: lines to it and replies from it, bounded
//!
//! Leaves to `delivery` when it is attempted, and to `notify` the content. The server is named in the file, which the
//! API cannot change here, so `network.allow_private` does not apply to it. Invariants: no password goes over a
//! connection without TLS, except to this machine; with `starttls` only the exchange before it does. The recipients are
//! those of the configuration in force at the attempt. The data kept from the server is bounded. Its replies are shown
//! cut and printable, and its reply to a password is never shown.

mod letter;
mod outcome;
mod session;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;
use tokio::time::timeout;
use url::Host;

use crate::config::Smtp;
use crate::domain::{Event, FailureReason, SubscriptionName};

pub use letter::{Letter, Recipient};
pub use outcome::{MailFailure, Mailed};

use session::Server;

/// Why e-mails cannot be sent as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailerError {
    /// `notifications.smtp.from` is not an address.
    #[error(
        "notifications.smtp.from is no e-mail address: expected one such as sidehook@example.com"
    )]
    From,
}

/// Sends the e-mails of one configuration; a cheap handle.
#[derive(Clone)]
pub struct Mailer(Arc<Inner>);

struct Inner {
    smtp: Smtp,
    addresses: BTreeMap<SubscriptionName, Vec<String>>,
    from: Mailbox,
    server: Server,
}

impl Mailer {
    /// Prepares it; `addresses` are the recipients by the subscription that a letter is about. Connects to nothing.
    ///
    /// # Errors
    /// [`MailerError`]; does not occur if the configuration was validated.
    pub fn new(
        smtp: &Smtp,
        addresses: BTreeMap<SubscriptionName, Vec<String>>,
    ) -> Result<Self, MailerError> {
        let (name, address) = smtp.sender();
        let address = mailable(address).ok_or(MailerError::From)?;
        let from = Mailbox::new(name.map(str::to_owned), address);
        Ok(Self(Arc::new(Inner {
            smtp: smtp.clone(),
            addresses,
            from,
            server: Server::new(smtp.clone()),
        })))
    }

    /// Sends the letter in the body of `event`, within `limit`, to its current recipient. Each event has one, so
    /// that a refusal affects no other. A letter of an earlier version is for all recipients: it counts as sent if the
    /// server took it for at least one and refused the others permanently. A temporary refusal fails the attempt before
    /// any recipient gets the letter.
    ///
    /// # Errors
    /// Why the server did not take it.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. The server may have taken the letter.
    pub async fn send(&self, event: &Event, limit: Duration) -> Result<Mailed, MailFailure> {
        let unreadable = || MailFailure::new(FailureReason::Template, "the event is no letter");
        let letter = Letter::read(&event.body).ok_or_else(unreadable)?;
        let to = self.recipients(&letter);
        if to.is_empty() {
            return Ok(Mailed {
                code: None,
                reply: "nobody is to get it any more".to_owned(),
            });
        }
        let Inner { from, server, .. } = &*self.0;
        let message = letter.compose(event, from, &to).ok_or_else(|| {
            MailFailure::new(FailureReason::Template, "no letter can be made of it")
        })?;
        let to: Vec<Address> = to.into_iter().map(|mailbox| mailbox.email).collect();
        match timeout(limit, server.send(&from.email, &to, &message)).await {
            Ok(sent) => sent,
            Err(_) => {
                let message = format!("the mail server did not take it within {limit:?}");
                Err(MailFailure::new(FailureReason::Timeout, message))
            }
        }
    }

    /// The recipients for the subscription of the letter, as configured now. Invalid addresses are left out.
    fn recipients(&self, letter: &Letter) -> Vec<Mailbox> {
        let name = SubscriptionName::known(&letter.subscription).ok();
        let addresses = name.and_then(|name| self.0.addresses.get(&name));
        let configured = addresses.map_or(&[][..], Vec::as_slice);
        let addresses = letter.recipients(configured).into_iter();
        addresses.filter_map(mailable).map(Mailbox::from).collect()
    }
}

/// Two are equal when they send in the same way.
impl PartialEq for Mailer {
    fn eq(&self, other: &Self) -> bool {
        self.0.smtp == other.0.smtp && self.0.addresses == other.0.addresses
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer")
            .field("host", &self.0.smtp.host)
            .field("port", &self.0.smtp.port)
            .finish_non_exhaustive()
    }
}

/// The address as servers expect it: the name of its host in ASCII. Source: RFC 5890.
fn mailable(address: &str) -> Option<Address> {
    let (local, host) = address.rsplit_once('@')?;
    match Host::parse(host) {
        Ok(Host::Domain(host)) => Address::new(local, host).ok(),
        Ok(Host::Ipv4(_) | Host::Ipv6(_)) | Err(_) => Address::new(local, host).ok(),
    }
}
