//! Secrets: `{env: NAME}`, `{file: path}`, `{credential: name}` or a literal text.
//!
//! No message of this file contains a secret. Names of variables and paths of files are shown only if they look like
//! such: secrets are often put in their place.

use std::fmt::Display;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::config::document::{Node, Value};
use crate::config::form::Form;
use crate::config::reader::{Context, mapping, text};
use crate::config::report::KEYS_OF_SECRETS;
use crate::config::schema::forms::{self, For};
use crate::domain::{Secret, is_format, looks_secret};

/// The most bytes of a secret's file: 64 KiB.
const MAX_BYTES: usize = 64 * 1024;

/// A secret, shown by its fingerprint.
#[derive(Debug)]
pub(super) struct SecretText(pub(super) fn(&Node, &mut Context<'_>) -> Option<Secret>);

impl Form for SecretText {
    type Value = Secret;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Secret> {
        (self.0)(node, context)
    }

    fn show(&self, value: &Secret) -> Json {
        json!(value.fingerprint())
    }

    fn schema(&self, _: For) -> Json {
        forms::secret()
    }

    fn shown_name(&self, key: &str) -> String {
        format!("{key}_fingerprint")
    }
}

/// Reads a secret that must be there. Warns of a literal one, and of invisible characters at its ends.
pub(super) fn secret(node: &Node, context: &mut Context<'_>) -> Option<Secret> {
    let bytes = if is_reference(node) {
        referred(node, context)?
    } else {
        let bytes = literal(node, context)?;
        warn_of_unseen(node, &bytes, context);
        bytes
    };
    Some(Secret::new(bytes))
}

fn warn_of_unseen(node: &Node, bytes: &[u8], context: &mut Context<'_>) {
    if let Some(what) = unseen(bytes) {
        let message = format!(
            "the secret {what}, which is taken as part of it: remove that unless it is meant"
        );
        context.report.warning(node.mark, message);
    }
}

/// Why the text of a secret is refused: invisible characters at its ends are the likely cause, else it is `error`.
pub(crate) fn refused(bytes: &[u8], error: &dyn Display) -> String {
    match unseen(bytes) {
        Some(what) => format!("the secret {what}: remove that ({error})"),
        None => error.to_string(),
    }
}

/// Invisible characters at the beginning or end of a secret that are hardly intended.
fn unseen(bytes: &[u8]) -> Option<&'static str> {
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    if is_utf16 || (bytes.len() > 3 && bytes.iter().skip(1).step_by(2).all(|byte| *byte == 0)) {
        return Some("is UTF-16 text");
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let (first, last) = (text.chars().next()?, text.chars().next_back()?);
    let is_blank = |character: char| {
        character.is_whitespace() || character.is_control() || is_format(character)
    };
    match (first, last) {
        ('\u{feff}', _) => Some("begins with a byte order mark"),
        (_, '\n' | '\r') => Some("ends with a line break"),
        (first, _) if is_blank(first) => Some("begins with a space or an invisible character"),
        (_, last) if is_blank(last) => Some("ends with a space or an invisible character"),
        _ => None,
    }
}

fn literal(node: &Node, context: &mut Context<'_>) -> Option<Vec<u8>> {
    if matches!(node.value, Value::Sequence(_)) {
        context.error(
            node,
            "expected {env: NAME}, {file: path}, {credential: name} or text, found a list",
        );
        return None;
    }
    let literal = text(node, context)?;
    let mark = node.mark;
    context.report.warning(
        mark,
        "a secret in the file itself, better {env: NAME}, {file: path} or {credential: name}",
    );
    Some(literal.as_bytes().to_vec())
}

/// Whether a value is written as a reference to a secret.
pub(super) fn is_reference(node: &Node) -> bool {
    matches!(node.value, Value::Mapping(_))
}

/// The bytes that a reference stands for; never empty. Warns of invisible characters at their ends.
pub(super) fn referred(node: &Node, context: &mut Context<'_>) -> Option<Vec<u8>> {
    let bytes = found(node, context)?;
    warn_of_unseen(node, &bytes, context);
    Some(bytes)
}

fn found(node: &Node, context: &mut Context<'_>) -> Option<Vec<u8>> {
    let fields = mapping(node, &KEYS_OF_SECRETS, context)?;
    let [entry] = fields.entries else {
        context.error(node, "expected exactly one of env, file, credential");
        return None;
    };
    let named = text(&entry.value, context)?;
    match entry.name() {
        "env" => variable(&entry.value, named, context),
        "file" => {
            let path = context.resolve(entry.value.mark, named);
            // A name that does not look like a path may be the secret itself.
            let is_path = named.contains(['/', '.']);
            let shown = is_path.then(|| path.display().to_string());
            in_file(
                &entry.value,
                path,
                shown.as_deref().unwrap_or("the file"),
                context,
            )
        }
        "credential" => credential(&entry.value, named, context),
        _ => None,
    }
}

fn variable(node: &Node, name: &str, context: &mut Context<'_>) -> Option<Vec<u8>> {
    let value = context
        .environment
        .get(name)
        .map(|value| value.as_bytes().to_vec());
    if let Some(value) = &value
        && let Err(error) = context.spend(value.len())
    {
        context.error(node, format!("the environment variable {error}"));
        return None;
    }
    if value.is_none() {
        let named = if is_usual(name) {
            name
        } else {
            "that is named"
        };
        context.error(
            node,
            format!("the environment variable {named} is not set, or empty"),
        );
    }
    value
}

/// Whether a name is usual for a variable, and hardly a secret in its place.
pub(super) fn is_usual(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().all(is_usual) && !looks_secret(name)
}

fn credential(node: &Node, name: &str, context: &mut Context<'_>) -> Option<Vec<u8>> {
    if name.contains('/') || name == "." || name == ".." {
        context.error(node, "expected the name of a credential, without a folder");
        return None;
    }
    let Some(folder) = context.environment.get("CREDENTIALS_DIRECTORY") else {
        context.error(
            node,
            "$CREDENTIALS_DIRECTORY is not set, expected LoadCredential= in the systemd unit",
        );
        return None;
    };
    let path = PathBuf::from(folder).join(name);
    in_file(node, path, "the credential", context)
}

/// A file's content without one newline at its end.
fn in_file(node: &Node, path: PathBuf, shown: &str, context: &mut Context<'_>) -> Option<Vec<u8>> {
    let content = match context.read_file(&path, MAX_BYTES) {
        Ok(content) => content,
        Err(error) => {
            context.error(node, format!("{shown} {error}"));
            return None;
        }
    };
    if content.is_open_to_others {
        let message = format!(
            "{} is open to other users, expected mode 0600 or 0400",
            path.display()
        );
        context.report.warning(node.mark, message);
    }
    let mut bytes = content.bytes;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        context.error(node, format!("{shown} is empty, expected a secret"));
        return None;
    }
    Some(bytes)
}
