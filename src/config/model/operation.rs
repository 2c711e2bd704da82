//! `admin` and `notifications`: how people and programs operate the relay, and who is told how it goes.

use std::path::PathBuf;

use crate::config::model::Endpoint;
use crate::domain::Secret;

/// `admin`: who may use the API, and what it may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Who may use it. None: one with both scopes is made at the first start, in the folder of the store.
    pub tokens: Vec<AdminToken>,
    /// Whether the API may write the configuration files.
    pub edit_config: bool,
    /// The included file that receives subscriptions created by the API, resolved; none: the main file.
    pub write_to: Option<PathBuf>,
    /// Where secrets made or set by the API are kept, resolved; by default `secrets` in the folder of the store.
    pub secrets_dir: PathBuf,
    /// `Host` names besides localhost, 127.0.0.1 and `[::1]`, for the events and admin listeners; lower case, without port.
    pub allowed_hosts: Vec<String>,
}

/// One of `admin.tokens`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// What it is called in logs and messages; each once.
    pub name: String,
    /// At least 32 characters, visible ASCII.
    pub token: Secret,
    /// What it allows.
    pub scopes: Scopes,
}

/// What a token allows; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    /// `read`: to look, without bodies and headers of events.
    pub read: bool,
    /// `manage`: to change, and to see bodies and headers of events.
    pub manage: bool,
}

/// `notifications`: where operational events go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notifications {
    /// How e-mails to the addresses in `notify` are sent; none: they are not.
    pub smtp: Option<Smtp>,
    /// Where operational events are posted.
    pub webhook: Option<NotificationWebhook>,
}

/// `notifications.webhook`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationWebhook {
    /// The endpoint.
    pub url: Endpoint,
    /// Signs as scheme `standard`.
    pub secret: Secret,
}

/// `notifications.smtp`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// Name or address of the server.
    pub host: String,
    /// Default 587, 465 with `implicit`, 25 with `none`.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// With `password`; none: no authentication.
    pub username: Option<String>,
    /// With `username`.
    pub password: Option<Secret>,
    /// The sender: an address, or a name and an address in angle brackets.
    pub from: String,
}

impl Smtp {
    /// The sender's name, if it has one, and address.
    pub(crate) fn sender(&self) -> (Option<&str>, &str) {
        name_and_address(&self.from)
    }
}

/// The parts of `Name <address>`, of `"Name" <address>`, and of an address alone. Source: RFC 5322, section 3.4.
pub(crate) fn name_and_address(text: &str) -> (Option<&str>, &str) {
    let bracketed = text.trim_end().strip_suffix('>');
    let Some((name, address)) = bracketed.and_then(|text| text.rsplit_once('<')) else {
        return (None, text);
    };
    let name = name.trim();
    let unquoted = name.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let name = unquoted.unwrap_or(name);
    (Some(name).filter(|name| !name.is_empty()), address)
}

/// `notifications.smtp.tls`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS is begun in the open connection, and required.
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// No TLS: for servers on this machine.
    None,
}
