//! The section `admin`: who may use the API, and what it may change.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use url::Host;

use crate::config::document::{Node, Value};
use crate::config::include::would_include;
use crate::config::ingest::token;
use crate::config::model::{AdminConfig, AdminToken, Scopes};
use crate::config::reader::{Context, Fields, boolean, choice, items, mapping, text};
use crate::domain::Secret;

/// The keys of the section.
pub(super) const KNOWN: [&str; 5] = [
    "tokens",
    "edit_config",
    "write_to",
    "secrets_dir",
    "allowed_hosts",
];

/// The keys of one of `tokens`.
pub(super) const TOKEN: [&str; 3] = ["name", "token", "scopes"];

/// The fewest characters of a token: one that cannot be guessed.
const MIN_TOKEN: usize = 32;

/// The most characters of a token's name.
const MAX_NAME: usize = 64;

/// Reads the section of the main file, whose outermost mapping is `root`. `store`: the store's folder.
pub(super) fn admin(root: Fields<'_>, store: &Path, context: &mut Context<'_>) -> AdminConfig {
    let mut admin = AdminConfig {
        secrets_dir: store.join("secrets"),
        ..AdminConfig::default()
    };
    root.read("admin", context, |node, context| {
        read_into(&mut admin, node, root.node("include"), context)
    });
    admin
}

fn read_into(
    admin: &mut AdminConfig,
    node: &Node,
    include: Option<&Node>,
    context: &mut Context<'_>,
) -> Option<()> {
    let fields = mapping(node, &KNOWN, context)?;
    if let Some(tokens) = fields.read("tokens", context, tokens) {
        admin.tokens = tokens;
    }
    if let Some(may_edit) = fields.read("edit_config", context, boolean) {
        admin.edit_config = may_edit;
    }
    admin.write_to = fields.read("write_to", context, |node, context| {
        write_to(node, include, context)
    });
    if let Some(folder) = fields.read("secrets_dir", context, |node, context| {
        let path = text(node, context)?;
        Some(context.resolve(node.mark, path))
    }) {
        admin.secrets_dir = folder;
    }
    if let Some(hosts) = fields.read("allowed_hosts", context, |node, context| {
        items(node, "a list of host names", context, allowed_host)
    }) {
        admin.allowed_hosts = hosts;
    }
    Some(())
}

fn tokens(node: &Node, context: &mut Context<'_>) -> Option<Vec<AdminToken>> {
    let mut names = HashSet::new();
    let mut seen: Vec<Secret> = Vec::new();
    items(
        node,
        "a list of {name, token, scopes}",
        context,
        |node, context| {
            let token = one_token(node, context)?;
            if !names.insert(token.name.clone()) {
                context.error(node, "another token has this name already");
            }
            if seen.contains(&token.token) {
                context.error(node, "another name has the same token");
            }
            seen.push(token.token.clone());
            Some(token)
        },
    )
}

fn one_token(node: &Node, context: &mut Context<'_>) -> Option<AdminToken> {
    let fields = mapping(node, &TOKEN, context)?;
    for field in TOKEN {
        if fields.node(field).is_none() {
            context.report.error_at_field(fields.mark, field, "missing");
        }
    }
    let name = fields.read("name", context, name);
    let token = fields.read("token", context, long_token);
    let scopes = fields.read("scopes", context, scopes);
    Some(AdminToken {
        name: name?,
        token: token?,
        scopes: scopes?,
    })
}

/// A name that logs and messages can carry.
fn name(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let name = text(node, context)?;
    let fits = name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    if !fits {
        let message = format!("expected 1 to {MAX_NAME} characters, none of them a control one");
        context.error(node, message);
    }
    fits.then(|| name.to_owned())
}

fn long_token(node: &Node, context: &mut Context<'_>) -> Option<Secret> {
    let token = token(node, context)?;
    let is_long = token.expose().len() >= MIN_TOKEN;
    if !is_long {
        let message = format!("expected a token of at least {MIN_TOKEN} characters");
        context.error(node, message);
    }
    is_long.then_some(token)
}

fn scopes(node: &Node, context: &mut Context<'_>) -> Option<Scopes> {
    let mut scopes = Scopes {
        read: false,
        manage: false,
    };
    let words = items(
        node,
        "a list of read, manage",
        context,
        choice(&[("read", false), ("manage", true)]),
    )?;
    if matches!(&node.value, Value::Sequence(items) if items.is_empty()) {
        context.error(node, "expected at least one of read, manage");
        return None;
    }
    for is_manage in words {
        if is_manage {
            scopes.manage = true;
        } else {
            scopes.read = true;
        }
    }
    Some(scopes)
}

/// The file for new subscriptions has to be one that is read.
fn write_to(node: &Node, include: Option<&Node>, context: &mut Context<'_>) -> Option<PathBuf> {
    let path = text(node, context)?;
    let path = context.resolve(node.mark, path);
    if !would_include(include, &path, context) {
        context.error(
            node,
            "expected a file that include matches: what is written there would not be read",
        );
        return None;
    }
    Some(path)
}

/// A host name or address as `Host` carries it, without port, in lower case.
fn allowed_host(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let written = text(node, context)?;
    let host = host_name(written);
    if host.is_none() {
        context.error(
            node,
            "expected a host name such as hooks.internal, or an address, without port",
        );
    }
    host
}

fn host_name(written: &str) -> Option<String> {
    match Host::parse(written).ok()? {
        // Only what looks the same in a Host header: `Host::parse` takes escapes, wildcards and 0x7f.1 as well.
        Host::Domain(name) => {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            written.bytes().all(is_plain).then_some(name)
        }
        Host::Ipv4(_) => {
            let is_plain = written.parse::<Ipv4Addr>().is_ok();
            is_plain.then(|| written.to_owned())
        }
        Host::Ipv6(ip) => Some(format!("[{ip}]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_without_port() {
        for (written, host) in [
            ("Hooks.Internal", "hooks.internal"),
            ("relay", "relay"),
            ("10.0.0.7", "10.0.0.7"),
            ("[FD00::0:1]", "[fd00::1]"),
        ] {
            assert_eq!(host_name(written).as_deref(), Some(host), "{written}");
        }
        for wrong in [
            "",
            "relay:8780",
            "http://relay",
            "a b",
            "*.internal",
            "0x7f.1",
            "fd00::1",
            "relay/",
            "b%75cher",
        ] {
            assert_eq!(host_name(wrong), None, "{wrong}");
        }
    }
}
