//! The section `ingest`: what is accepted on the events listener.

use crate::config::document::{Node, Value};
use crate::config::file::shown;
use crate::config::model::Ingest;
use crate::config::reader::{Context, items, mapping, parsed, text, whole};
use crate::config::retry::positive;
use crate::config::secrets;
use crate::config::units;
use crate::domain::{BODY_BYTES_MAX, Secret};
use crate::matching::pointer::Pointer;

/// The keys of the section.
pub(super) const KNOWN: [&str; 7] = [
    "max_body",
    "tokens",
    "type_pointer",
    "id_pointer",
    "key_pointer",
    "dedup_window",
    "dedup_max",
];

/// The most given ids that may be remembered; each takes some 12 bytes of memory.
const MAX_IDS: u64 = 10_000_000;

/// Whether the section names tokens, be they readable or not.
pub(super) fn has_tokens(section: Option<&Node>) -> bool {
    let Some(Value::Mapping(entries)) = section.map(|node| &node.value) else {
        return false;
    };
    let tokens = entries.iter().find(|entry| entry.name() == "tokens");
    matches!(tokens.map(|entry| &entry.value.value), Some(Value::Sequence(items)) if !items.is_empty())
}

/// Reads the section.
pub(super) fn ingest(node: &Node, context: &mut Context<'_>) -> Option<Ingest> {
    let fields = mapping(node, &KNOWN, context)?;
    let mut ingest = Ingest::default();
    if let Some(bytes) = fields.read("max_body", context, max_body) {
        ingest.max_body = bytes;
    }
    if let Some(tokens) = fields.read("tokens", context, |node, context| {
        items(node, "a list of secrets", context, token)
    }) {
        ingest.tokens = tokens;
    }
    for (key, place) in [
        ("type_pointer", &mut ingest.type_pointer),
        ("id_pointer", &mut ingest.id_pointer),
        ("key_pointer", &mut ingest.key_pointer),
    ] {
        match fields.given(key) {
            // A null switches the look into the body off, also where it is on by default.
            Some(node) if node.is_null() => *place = None,
            Some(node) => *place = pointer(node, context),
            None => {}
        }
    }
    if let Some(window) = fields.read("dedup_window", context, positive) {
        ingest.dedup_window = window;
    }
    if let Some(count) = fields.read("dedup_max", context, whole(1..=MAX_IDS)) {
        ingest.dedup_max = usize::try_from(count).unwrap_or(usize::MAX);
    }
    Some(ingest)
}

fn max_body(node: &Node, context: &mut Context<'_>) -> Option<u64> {
    let bytes = parsed(units::size)(node, context)?;
    let fits = usize::try_from(bytes).is_ok_and(|bytes| (1..=BODY_BYTES_MAX).contains(&bytes));
    if !fits {
        let most = shown(BODY_BYTES_MAX);
        context.error(node, format!("expected a size from 1B to {most}"));
    }
    fits.then_some(bytes)
}

/// A token has to fit into an `Authorization` header.
pub(super) fn token(node: &Node, context: &mut Context<'_>) -> Option<Secret> {
    let token = secrets::secret(node, context)?;
    let fits = token.expose().iter().all(u8::is_ascii_graphic);
    if !fits {
        let expected = "expected a token of visible ASCII characters, without spaces";
        context.error(node, secrets::refused(token.expose(), &expected));
    }
    fits.then_some(token)
}

fn pointer(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let pointer = text(node, context)?;
    if !Pointer::is_valid(pointer) {
        context.error(node, "expected a JSON pointer (RFC 6901) such as /event/id");
        return None;
    }
    Some(pointer.to_owned())
}
