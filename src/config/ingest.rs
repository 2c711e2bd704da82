//! The section `ingest`: what is accepted on the events listener.

use std::time::Duration;

use serde_json::json;

use crate::config::document::{Node, Value};
use crate::config::form::{By, List, Optional, POSITIVE, Size, Whole};
use crate::config::keyed::keys;
use crate::config::reader::{Context, text};
use crate::config::schema::forms;
use crate::config::secrets;
use crate::domain::{BODY_BYTES_MAX, Secret};
use crate::matching::pointer::Pointer;

/// The most given ids that may be remembered; each takes some 12 bytes of memory.
const MAX_IDS: u64 = 10_000_000;

const MAX_BODY: Size = Size {
    most: Some((BODY_BYTES_MAX, "expected a size from 1B to 16MiB")),
};

keys! {
    /// `ingest`: what is accepted on the events listener.
    #[derive(Debug, Clone, PartialEq, Eq)]
    section pub struct Ingest {
        "The largest body of an event, 1B to 16MiB."
        max_body: u64 = 1 << 20 => MAX_BODY;
        "Secrets: one of them is required as `Authorization: Bearer`, if there are any."
        tokens: Vec<Secret> = Vec::new() => List { what: "a list of secrets", item: TOKEN };
        "JSON pointer (RFC 6901) of an event's type in its body, where neither path nor header has it; null: not looked for."
        type_pointer: Option<String> = Some("/type".to_owned()) => Optional(POINTER);
        "JSON pointer (RFC 6901) of an event's id in its body, such as /event_id, where no header has it; null: not looked for."
        id_pointer: Option<String> = None => Optional(POINTER);
        "JSON pointer (RFC 6901) of an event's key in its body, where no header has it; null: not looked for."
        key_pointer: Option<String> = None => Optional(POINTER);
        "How long a given id is remembered."
        dedup_window: Duration = Duration::from_secs(3600) => POSITIVE, restart;
        "How many given ids are remembered at most."
        dedup_max: usize = 1_000_000 => Whole::<usize>::of(1..=MAX_IDS), restart;
    }
}

/// Whether the section names tokens, be they readable or not.
pub(super) fn has_tokens(section: Option<&Node>) -> bool {
    let tokens = section.and_then(|section| section.child("tokens"));
    matches!(tokens.map(|node| &node.value), Some(Value::Sequence(items)) if !items.is_empty())
}

/// A secret that fits into an `Authorization` header.
pub(super) const TOKEN: By<Secret> = By {
    read: token,
    show: |value| json!({"secret_fingerprint": value.fingerprint()}),
    schema: |_| forms::secret(),
};

fn token(node: &Node, context: &mut Context<'_>) -> Option<Secret> {
    let token = secrets::secret(node, context)?;
    let fits = token.expose().iter().all(u8::is_ascii_graphic);
    if !fits {
        let expected = "expected a token of visible ASCII characters, without spaces";
        context.error(node, secrets::refused(token.expose(), &expected));
    }
    fits.then_some(token)
}

/// A JSON pointer.
const POINTER: By<String> = By {
    read: pointer,
    show: |value| json!(value),
    schema: |_| json!({"type": "string", "pattern": "^(/([^/~]|~[01])*)+$"}),
};

fn pointer(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let pointer = text(node, context)?;
    if !Pointer::is_valid(pointer) {
        context.error(node, "expected a JSON pointer (RFC 6901) such as /event/id");
        return None;
    }
    Some(pointer.to_owned())
}
