//! The section `admin`: the tokens for the API, and what it may change.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::{Value as Json, json};
use url::Host;

use crate::config::document::{Node, Value};
use crate::config::form::{By, Choice, FLAG, Form, List, Optional};
use crate::config::ingest::TOKEN;
use crate::config::keyed::{Mapping, keys};
use crate::config::reader::{Context, items, text};
use crate::config::secrets::SecretText;
use crate::config::store::{ResolvedPath, StoreConfig};
use crate::domain::Secret;

/// The fewest characters of a token: one that cannot be guessed.
const MIN_TOKEN: usize = 32;

/// The most characters of a token's name.
const MAX_NAME: usize = 64;

keys! {
    /// `admin`: who may use the API, and what it may change.
    #[derive(Debug, Clone, PartialEq, Eq)]
    section pub struct AdminConfig {
        "Who may use the API. None: a token with both scopes is made at the first start, in admin.token in the folder of the store."
        tokens: Vec<AdminToken> = Vec::new() => TOKENS;
        "false: the API never writes the configuration files."
        edit_config: bool = true => FLAG;
        "The included file that receives subscriptions created by the API; null: the main file."
        write_to: Option<PathBuf> = None => Optional(INCLUDED_FILE);
        "Where secrets made or set by the API are kept, 0600; null: secrets in the folder of the store."
        secrets_dir: PathBuf = StoreConfig::default().path.join("secrets") => ResolvedPath;
        "Host names besides `localhost`, `127.0.0.1` and `[::1]` on the events and admin listeners, without port."
        allowed_hosts: Vec<String> = Vec::new() => List { what: "a list of host names", item: HOST_NAME };
    }
}

keys! {
    /// One of `admin.tokens`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    record pub struct AdminToken {
        "Its name in logs and messages; unique."
        name: String => TOKEN_NAME;
        "A secret of at least 32 visible ASCII characters."
        token: Secret => SecretText(long_token);
        "read: to look; manage: to change, and to see bodies and headers of events."
        scopes: Scopes => SCOPES;
    }
}

/// The scopes of a token; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    /// `read`: to look, without bodies and headers of events.
    pub read: bool,
    /// `manage`: to change, and to see bodies and headers of events.
    pub manage: bool,
}

const ANY_TOKENS: List<Mapping<AdminToken>> = List {
    what: "a list of {name, token, scopes}",
    item: Mapping::NEW,
};

/// Tokens with distinct names and values.
const TOKENS: By<Vec<AdminToken>> = By {
    read: tokens,
    show: |value| ANY_TOKENS.show(value),
    schema: |writer| ANY_TOKENS.schema(writer),
};

fn tokens(node: &Node, context: &mut Context<'_>) -> Option<Vec<AdminToken>> {
    let mut names = HashSet::new();
    let mut seen: Vec<Secret> = Vec::new();
    items(node, ANY_TOKENS.what, context, |node, context| {
        let token = ANY_TOKENS.item.read(node, context)?;
        if !names.insert(token.name.clone()) {
            context.error(node, "another token has this name already");
        }
        if seen.contains(&token.token) {
            context.error(node, "another name has the same token");
        }
        seen.push(token.token.clone());
        Some(token)
    })
}

/// A name that logs and messages can carry.
const TOKEN_NAME: By<String> = By {
    read: name,
    show: |value| json!(value),
    schema: |_| json!({"type": "string", "minLength": 1, "maxLength": MAX_NAME}),
};

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
    let token = (TOKEN.read)(node, context)?;
    let is_long = token.expose().len() >= MIN_TOKEN;
    if !is_long {
        let message = format!("expected a token of at least {MIN_TOKEN} characters");
        context.error(node, message);
    }
    is_long.then_some(token)
}

/// `manage` is true.
const SCOPE: Choice<bool> = Choice(&[("read", false), ("manage", true)]);

/// The scopes of a token, as the file has them.
const SCOPES: By<Scopes> = By {
    read: scopes,
    show: |value| {
        let scopes = [("read", value.read), ("manage", value.manage)];
        let scopes = scopes.iter().filter(|(_, has)| *has);
        Json::Array(scopes.map(|(scope, _)| json!(scope)).collect())
    },
    schema: |writer| json!({"type": "array", "minItems": 1, "items": SCOPE.schema(writer)}),
};

fn scopes(node: &Node, context: &mut Context<'_>) -> Option<Scopes> {
    let words = items(node, "a list of read, manage", context, |node, context| {
        SCOPE.read(node, context)
    })?;
    if matches!(&node.value, Value::Sequence(items) if items.is_empty()) {
        context.error(node, "expected at least one of read, manage");
        return None;
    }
    Some(Scopes {
        read: words.contains(&false),
        manage: words.contains(&true),
    })
}

/// A file that is read because `include` matches it.
const INCLUDED_FILE: By<PathBuf> = By {
    read: included_file,
    show: |value| ResolvedPath.show(value),
    schema: |writer| ResolvedPath.schema(writer),
};

fn included_file(node: &Node, context: &mut Context<'_>) -> Option<PathBuf> {
    let path = ResolvedPath.read(node, context)?;
    if !context.includes(&path) {
        context.error(
            node,
            "expected a file that include matches: what is written there would not be read",
        );
        return None;
    }
    Some(path)
}

/// A host name or address as `Host` carries it, without port, in lower case.
const HOST_NAME: By<String> = By {
    read: allowed_host,
    show: |value| json!(value),
    schema: |_| json!({"type": "string", "pattern": "^([A-Za-z0-9._-]+|\\[[0-9a-fA-F:.]+\\])$"}),
};

fn allowed_host(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let host = host_name(text(node, context)?);
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
