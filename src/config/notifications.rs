//! The section `notifications` and the fields `notify`, `notify_after`: who is told how deliveries go.

use std::collections::HashSet;
use std::net::IpAddr;

use url::Host;

use crate::config::document::{Mark, Node};
use crate::config::endpoint::{endpoint, read_as as read_as_another};
use crate::config::model::{NotificationWebhook, Notifications, Smtp, SmtpTls, name_and_address};
use crate::config::reader::{Context, Fields, choice, items, mapping, text, whole};
use crate::config::secrets;
use crate::domain::{Secret, is_localhost};
use crate::egress::AddressPolicy;
use crate::signing::{Scheme, SigningError};

const NOT_WHSEC: &str = "expected whsec_ followed by base64 (`sidehook secret` makes one)";

/// The keys of the section.
pub(super) const KNOWN: [&str; 2] = ["smtp", "webhook"];

/// The keys of `smtp`.
pub(super) const SMTP: [&str; 6] = ["host", "port", "tls", "username", "password", "from"];

/// The keys of `webhook`.
pub(super) const WEBHOOK: [&str; 2] = ["url", "secret"];

/// How connections to a mail server are protected.
pub(super) const SMTP_TLS: [(&str, SmtpTls); 3] = [
    ("starttls", SmtpTls::StartTls),
    ("implicit", SmtpTls::Implicit),
    ("none", SmtpTls::None),
];

/// The most addresses of `notify`.
pub(super) const MAX_ADDRESSES: usize = 32;

/// The largest `notify_after`.
pub(super) const MAX_NOTIFY_AFTER: u64 = 1000;

/// The longest address. Source: RFC 5321, section 4.5.3.1.3, without the brackets of a path.
const MAX_ADDRESS: usize = 254;

/// The longest part before the `@`. Source: RFC 5321, section 4.5.3.1.1.
const MAX_LOCAL: usize = 64;

/// Reads the section.
pub(super) fn notifications(
    node: &Node,
    policy: &AddressPolicy,
    context: &mut Context<'_>,
) -> Option<Notifications> {
    let fields = mapping(node, &KNOWN, context)?;
    Some(Notifications {
        smtp: fields.read("smtp", context, smtp),
        webhook: fields.read("webhook", context, |node, context| {
            webhook(node, policy, context)
        }),
    })
}

fn smtp(node: &Node, context: &mut Context<'_>) -> Option<Smtp> {
    let fields = mapping(node, &SMTP, context)?;
    report_missing(fields, &["host", "from"], context);
    let host = fields.read("host", context, host);
    let tls = fields.read("tls", context, choice(&SMTP_TLS));
    let port = fields.read("port", context, |node, context| {
        u16::try_from(whole(1..=65_535)(node, context)?).ok()
    });
    let username = fields.read("username", context, text).map(str::to_owned);
    let password = fields.read("password", context, secrets::secret);
    let from = fields.read("from", context, sender);
    let (names_user, has_password) = (
        fields.node("username").is_some(),
        fields.node("password").is_some(),
    );
    if names_user != has_password {
        context.error(node, "expected both username and password, or neither");
    }
    let host = host?;
    let tls = tls.unwrap_or(SmtpTls::StartTls);
    if tls == SmtpTls::None && has_password && !is_this_machine(&host) {
        let message =
            "the password would go over the network unencrypted: expected tls starttls or implicit";
        context.error(node, message);
    }
    let port = port.unwrap_or(match tls {
        SmtpTls::StartTls => 587,
        SmtpTls::Implicit => 465,
        SmtpTls::None => 25,
    });
    Some(Smtp {
        host,
        port,
        tls,
        username,
        password,
        from: from?,
    })
}

fn report_missing(fields: Fields<'_>, needed: &[&'static str], context: &mut Context<'_>) {
    for field in needed {
        if fields.node(field).is_none() {
            context.report.error_at_field(fields.mark, field, "missing");
        }
    }
}

fn host(node: &Node, context: &mut Context<'_>) -> Option<String> {
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

fn is_this_machine(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => is_localhost(host),
    }
}

fn webhook(
    node: &Node,
    policy: &AddressPolicy,
    context: &mut Context<'_>,
) -> Option<NotificationWebhook> {
    let fields = mapping(node, &WEBHOOK, context)?;
    report_missing(fields, &WEBHOOK, context);
    let url = fields.read("url", context, |node, context| {
        endpoint(node, policy, context)
    });
    let secret = fields.read("secret", context, standard_secret);
    Some(NotificationWebhook {
        url: url?,
        secret: secret?,
    })
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
        // Without the advice of the other variant: here are no options.
        Err(_) => {
            context.error(node, secrets::refused(secret.expose(), &NOT_WHSEC));
            None
        }
    }
}

/// The field `notify`, with its place.
#[derive(Debug, Clone)]
pub(super) struct Notify {
    pub(super) mark: Mark,
    pub(super) addresses: Vec<String>,
}

/// Reads a list of e-mail addresses.
pub(super) fn notify(node: &Node, context: &mut Context<'_>) -> Option<Notify> {
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
    let mark = node.mark;
    Some(Notify { mark, addresses })
}

/// Reads a number of failed attempts.
pub(super) fn notify_after(node: &Node, context: &mut Context<'_>) -> Option<u32> {
    u32::try_from(whole(1..=MAX_NOTIFY_AFTER)(node, context)?).ok()
}

fn address(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let address = text(node, context)?;
    let fits = is_address(address);
    if !fits {
        context.error(node, "expected an e-mail address such as ops@example.com");
    }
    fits.then(|| address.to_owned())
}

/// The longest name of a sender, bytes.
const MAX_NAME: usize = 128;

/// Reads an address that may have a name.
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

/// `local@domain` as mail is sent to: a dot-atom, `@`, and a host name. Neither comments nor quoted local parts, which
/// nobody has. Letters and digits of any script. Source: RFC 5322, sections 3.2.3 and 3.4.1; RFC 6531, section 3.3.
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
