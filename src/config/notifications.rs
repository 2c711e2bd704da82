//! The section `notifications` and the forms of `notify`: where operational events go, and which addresses get e-mails.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::json;
use url::Host;

use crate::config::document::{Mark, Node};
use crate::config::endpoint::{Endpoint, read_as as read_as_another};
use crate::config::form::{By, ByOthers, Choice, Optional, TEXT, Whole};
use crate::config::keyed::{Mapping, keys};
use crate::config::reader::{Context, Fields, items, text};
use crate::config::secrets::{self, SecretText};
use crate::config::url::WebhookUrl;
use crate::domain::{Secret, is_localhost};
use crate::signing::{Scheme, SigningError};

const NOT_WHSEC: &str = "expected whsec_ followed by base64 (`sidehook secret` makes one)";

/// The most addresses of `notify`.
const MAX_ADDRESSES: usize = 32;

/// The longest address. Source: RFC 5321, section 4.5.3.1.3, without the brackets of a path.
const MAX_ADDRESS: usize = 254;

/// The longest part before the `@`. Source: RFC 5321, section 4.5.3.1.1.
const MAX_LOCAL: usize = 64;

/// The longest name of a sender, bytes.
const MAX_NAME: usize = 128;

keys! {
    /// `notifications`: where operational events go.
    #[derive(Debug, Clone, PartialEq, Eq)]
    section pub struct Notifications {
        "The mail server for alerts to the addresses in notify; null: no e-mails."
        smtp: Option<Smtp> = None => Optional(Mapping::<Smtp>::NEW);
        "Where operational events are posted."
        webhook: Option<NotificationWebhook> = None => Optional(Mapping::<NotificationWebhook>::NEW);
    }
}

keys! {
    /// `notifications.smtp`
    #[derive(Debug, Clone, PartialEq, Eq)]
    record pub struct Smtp then judged {
        "Name or address of the mail server."
        host: String => MAIL_SERVER;
        "Its port; 587 by default, 465 with implicit, 25 with none."
        port: u16 = 587 => ByOthers(Whole::<u16>::of(1..=65_535));
        "starttls: TLS is started in the open connection, and required; implicit: TLS from the first byte; none: for servers on this machine."
        tls: SmtpTls = SmtpTls::StartTls => SMTP_TLS;
        "With password; null: no authentication."
        username: Option<String> = None => Optional(TEXT);
        "With username."
        password: Option<Secret> = None => ByOthers(Optional(SecretText(secrets::secret)));
        "The sender: an address, or a name and an address in angle brackets."
        from: String => SENDER;
    }
}

keys! {
    /// `notifications.webhook`
    #[derive(Debug, Clone, PartialEq, Eq)]
    record pub struct NotificationWebhook {
        "The endpoint, https."
        url: Endpoint => WebhookUrl;
        "Signs as scheme standard: whsec_ and the base64 of 24 to 64 bytes."
        secret: Secret => SecretText(standard_secret);
    }
}

const SMTP_TLS: Choice<SmtpTls> = Choice(&[
    ("starttls", SmtpTls::StartTls),
    ("implicit", SmtpTls::Implicit),
    ("none", SmtpTls::None),
]);

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

impl Smtp {
    /// The sender's name, if it has one, and address.
    pub(crate) fn sender(&self) -> (Option<&str>, &str) {
        name_and_address(&self.from)
    }
}

/// The parts of `Name <address>`, of `"Name" <address>`, and of an address alone. Source: RFC 5322, section 3.4.
fn name_and_address(text: &str) -> (Option<&str>, &str) {
    let bracketed = text.trim_end().strip_suffix('>');
    let Some((name, address)) = bracketed.and_then(|text| text.rsplit_once('<')) else {
        return (None, text);
    };
    let name = name.trim();
    let unquoted = name.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let name = unquoted.unwrap_or(name);
    (Some(name).filter(|name| !name.is_empty()), address)
}

/// Checks the keys of `smtp` together, and completes the port.
fn judged(read: Option<Smtp>, fields: Fields<'_>, context: &mut Context<'_>) -> Option<Smtp> {
    let is_given = |key| fields.node(key).is_some();
    let has_password = is_given("password");
    if is_given("username") != has_password {
        let message = "expected both username and password, or neither";
        context.report.error(fields.mark, message);
    }
    // Uses the written values, so that it is reported also if another key is wrong.
    let written = |key| fields.node(key).and_then(Node::text);
    let is_far = written("host").is_some_and(|host| !is_this_machine(host));
    if written("tls") == Some("none") && has_password && is_far {
        let message =
            "the password would go over the network unencrypted: expected tls starttls or implicit";
        context.report.error(fields.mark, message);
    }
    let mut smtp = read?;
    if !is_given("port") {
        smtp.port = match smtp.tls {
            SmtpTls::StartTls => 587,
            SmtpTls::Implicit => 465,
            SmtpTls::None => 25,
        };
    }
    Some(smtp)
}

fn is_this_machine(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => is_localhost(host),
    }
}

/// A mail server.
const MAIL_SERVER: By<String> = By {
    read: mail_server,
    show: |value| json!(value),
    schema: |_| json!({"type": "string", "minLength": 1, "maxLength": 253}),
};

fn mail_server(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let host = text(node, context)?;
    let is_host = host.parse::<IpAddr>().is_ok() || is_domain(host);
    // A resolver takes a shorthand such as 127.1 for an address.
    let read_as = Host::parse(host).ok().filter(|_| is_host);
    if let Some(other) = read_as.and_then(|read| read_as_another(host, &read)) {
        let message = format!("the host is read as {other}: write that if it is meant");
        context.error(node, message);
        return None;
    }
    if !is_host {
        let message = "expected the name or address of a mail server, such as mail.example.com";
        context.error(node, message);
    }
    is_host.then(|| host.to_owned())
}

/// A secret with which the scheme `standard` can sign.
fn standard_secret(node: &Node, context: &mut Context<'_>) -> Option<Secret> {
    let secret = secrets::secret(node, context)?;
    match Scheme::standard().check_secret(&secret) {
        Ok(()) => Some(secret),
        Err(SigningError::WhsecLength(found)) => {
            context.error(node, SigningError::WhsecLength(found).to_string());
            None
        }
        // Without the advice of the other variant: there are no options here.
        Err(_) => {
            context.error(node, secrets::refused(secret.expose(), &NOT_WHSEC));
            None
        }
    }
}

/// The addresses of `notify`, with the place where they are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Notify {
    pub(super) mark: Option<Mark>,
    pub(super) addresses: Vec<String>,
}

/// A list of e-mail addresses.
pub(super) const ADDRESSES: By<Notify> = By {
    read: addresses,
    show: |value| json!(value.addresses),
    schema: |_| {
        let address = json!({"type": "string", "format": "idn-email", "maxLength": MAX_ADDRESS, "pattern": "^[^@\\s]+@[^@\\s]+$"});
        json!({"type": "array", "items": address, "maxItems": MAX_ADDRESSES, "uniqueItems": true})
    },
};

fn addresses(node: &Node, context: &mut Context<'_>) -> Option<Notify> {
    let mut seen = HashSet::new();
    let addresses = items(
        node,
        "a list of e-mail addresses",
        context,
        |node, context| {
            let address = address(node, context)?;
            if !seen.insert(address.to_ascii_lowercase()) {
                context.error(node, "the address is given twice");
            }
            Some(address)
        },
    )?;
    if addresses.len() > MAX_ADDRESSES {
        let found = addresses.len();
        let message = format!("expected at most {MAX_ADDRESSES} addresses, found {found}");
        context.error(node, message);
    }
    let mark = Some(node.mark);
    Some(Notify { mark, addresses })
}

fn address(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let address = text(node, context)?;
    let fits = is_address(address);
    if !fits {
        context.error(node, "expected an e-mail address such as ops@example.com");
    }
    fits.then(|| address.to_owned())
}

/// An e-mail address that may have a name.
const SENDER: By<String> = By {
    read: sender,
    show: |value| json!(value),
    schema: |_| json!({"type": "string", "pattern": "^[^@\\s]+@[^@\\s]+$|^[^\\r\\n]*<[^@\\s]+@[^@\\s]+>\\s*$"}),
};

fn sender(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let text = text(node, context)?;
    let (name, address) = name_and_address(text);
    let is_name = |name: &str| name.len() <= MAX_NAME && !name.contains(char::is_control);
    let fits = is_address(address) && name.is_none_or(is_name);
    if !fits {
        let message =
            "expected an e-mail address such as ops@example.com or Operations <ops@example.com>";
        context.error(node, message);
    }
    fits.then(|| text.to_owned())
}

/// `local@domain` as mail is sent to: a dot-atom, `@`, and a host name. Letters and digits of any script. Comments and
/// rarely used quoted local parts are refused. Source: RFC 5322, sections 3.2.3 and 3.4.1; RFC 6531, section 3.3.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let is_atom_char = |char: char| char.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(char);
    let is_atom = |atom: &str| !atom.is_empty() && atom.chars().all(is_atom_char);
    text.len() <= MAX_ADDRESS
        && local.len() <= MAX_LOCAL
        && local.split('.').all(is_atom)
        && is_mail_domain(domain)
}

/// A host name, also of another script.
fn is_mail_domain(name: &str) -> bool {
    name.is_ascii() && is_domain(name)
        || !name.is_ascii()
            && matches!(Host::parse(name), Ok(Host::Domain(ascii)) if is_domain(&ascii))
}

/// Labels of letters, digits and inner hyphens. Source: RFC 1123, section 2.1.
fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_local_part_and_a_host() {
        for good in [
            "ops@example.com",
            "a.b+c_d@sub.example.com",
            "root@localhost",
            "o'neil@x-y.example",
            "jürgen@grün.example",
            "用户@例え.jp",
        ] {
            assert!(is_address(good), "{good}");
        }
        let long = format!("{}@example.com", "x".repeat(65));
        for wrong in [
            "",
            "ops",
            "@example.com",
            "ops@",
            "a b@example.com",
            "ops@exa mple.com",
            "a..b@example.com",
            ".a@example.com",
            "ops@-x.example",
            "ops@example..com",
            "Ops <ops@example.com>",
            "a@b@example.com",
            "ops@example.com\nBcc: x@example.com",
            "ops@gr\u{fc}n\u{200b}\u{2028}.example",
            "o\u{a0}ps@example.com",
            "o\u{202e}ps@example.com",
            &long,
        ] {
            assert!(!is_address(wrong), "{wrong}");
        }
    }
}
