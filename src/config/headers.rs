//! The fields `headers` and `forward_headers`. The policy itself is in `request`.

use std::collections::HashSet;

use http::{HeaderName, HeaderValue};
use serde_json::{Value as Json, json};

use crate::config::document::{Mark, Node, Value};
use crate::config::form::By;
use crate::config::reader::{Context, Fields, any_mapping, items, text};
use crate::config::schema::forms::{self, For};
use crate::config::secrets;
use crate::request::{check_header_name, check_header_value};
use crate::signing::Scheme;

/// The most static headers of a subscription.
const MAX_HEADERS: usize = 32;

/// Expected of a header's text, in the words of Hookshot, for users who come from there.
const PAIR: &str = "colon separated key value pair";
/// The same, for a text that YAML reads as something else without quotes.
const QUOTED_PAIR: &str =
    "expected a colon separated key value pair in quotes, such as \"X-Team: billing\"";

/// A header's name with its place, as the same name may still clash with a signature scheme.
#[derive(Debug, Clone)]
pub(super) struct Named {
    mark: Mark,
    pub(super) written: String,
    pub(super) name: HeaderName,
}

/// A static header.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) named: Named,
    pub(super) value: HeaderValue,
}

/// A header's name. Source: RFC 9110, section 5.6.2.
pub(super) const NAME_PATTERN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// `headers`
pub(super) const HEADERS: By<Vec<Header>> = By {
    read: static_headers,
    show: |headers| Json::Object(headers.iter().map(Header::shown).collect()),
    schema: headers_schema,
};

/// `forward_headers`
pub(super) const FORWARDED: By<Vec<Named>> = By {
    read: forward_headers,
    show: |names| names.iter().map(|named| json!(named.written)).collect(),
    schema: |_| json!({"type": "array", "items": {"type": "string", "pattern": NAME_PATTERN}}),
};

impl Header {
    fn shown(&self) -> (String, Json) {
        let value = if self.value.is_sensitive() {
            forms::redacted()
        } else {
            json!(String::from_utf8_lossy(self.value.as_bytes()))
        };
        (self.named.written.clone(), value)
    }
}

fn headers_schema(writer: For) -> Json {
    let value = json!({"type": "string", "minLength": 1, "maxLength": 1024});
    let hidden = match writer {
        For::File => forms::reference(),
        For::Api => forms::redacted_schema(),
    };
    let mapping = json!({
        "type": "object",
        "maxProperties": MAX_HEADERS,
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": {"anyOf": [value, hidden]},
    });
    let pairs = json!({
        "type": "array",
        "maxItems": MAX_HEADERS,
        "items": {"type": "string", "description": "Name: Value", "pattern": "^[^:]*[^:\\s][^:]*:\\s*\\S"},
    });
    json!({"anyOf": [mapping, pairs]})
}

/// Reads a mapping of names to values or a list of `Name: Value` texts.
fn static_headers(node: &Node, context: &mut Context<'_>) -> Option<Vec<Header>> {
    let headers = match &node.value {
        Value::Sequence(_) => items(node, "headers", context, pair)?,
        Value::Mapping(_) | Value::Scalar(_) => mapped(node, context)?,
    };
    if headers.len() > MAX_HEADERS {
        context.error(
            node,
            format!(
                "expected at most {MAX_HEADERS} headers, found {}",
                headers.len()
            ),
        );
    }
    report_twice(headers.iter().map(|header| &header.named), context);
    Some(headers)
}

/// Reads a list of names.
fn forward_headers(node: &Node, context: &mut Context<'_>) -> Option<Vec<Named>> {
    let names = items(node, "a list of header names", context, |item, context| {
        let written = text(item, context)?;
        named(item, written, context)
    })?;
    report_twice(names.iter(), context);
    Some(names)
}

/// Reports headers that one of the subscription's schemes writes: where they are written or, for those of `defaults`,
/// where the subscription, whose fields these are, names the scheme.
pub(super) fn check_clashes(
    headers: &[Header],
    forwarded: &[Named],
    schemes: &[Scheme],
    fields: Fields<'_>,
    context: &mut Context<'_>,
) {
    let signature = fields.node("signature").map(|node| node.mark);
    let by_default = |key: &str| signature.filter(|_| fields.node(key).is_none());
    let (header_place, forwarded_place) = (by_default("headers"), by_default("forward_headers"));
    let signed: Vec<HeaderName> = schemes.iter().flat_map(Scheme::headers).collect();
    let headers = headers.iter().map(|header| (&header.named, header_place));
    let forwarded = forwarded.iter().map(|named| (named, forwarded_place));
    for (named, place) in headers.chain(forwarded) {
        let Err(error) = check_header_name(&named.written, &signed) else {
            continue;
        };
        match place {
            Some(mark) => context
                .report
                .error(mark, format!("{error} It is in defaults.")),
            None => context.report.error(named.mark, error.to_string()),
        }
    }
}

fn mapped(node: &Node, context: &mut Context<'_>) -> Option<Vec<Header>> {
    let fields = any_mapping(node, context)?;
    // Duplicate keys and keys that are not text are reported already.
    let mut seen = HashSet::new();
    let entries = fields
        .entries
        .iter()
        .filter(|entry| !entry.key.refused && !entry.is_merge() && seen.insert(entry.name()));
    let headers = entries.filter_map(|entry| {
        let named = named(&entry.key, entry.name(), context);
        let value = if secrets::is_reference(&entry.value) {
            secret_value(&entry.value, context)
        } else {
            text(&entry.value, context).and_then(|written| value(&entry.value, written, context))
        };
        Some(Header {
            named: named?,
            value: value?,
        })
    });
    Some(headers.collect())
}

fn pair(item: &Node, context: &mut Context<'_>) -> Option<Header> {
    let split = match &item.value {
        _ if item.refused => return None,
        Value::Scalar(scalar) => scalar.text.split_once(':'),
        Value::Sequence(_) | Value::Mapping(_) => None,
    };
    let split = split.map(|(name, value)| (name.trim(), value.trim()));
    let Some((name, written)) = split.filter(|(name, value)| !name.is_empty() && !value.is_empty())
    else {
        let is_text = matches!(item.value, Value::Scalar(_));
        context.error(item, if is_text { PAIR } else { QUOTED_PAIR });
        return None;
    };
    let named = named(item, name, context);
    let value = value(item, written, context);
    Some(Header {
        named: named?,
        value: value?,
    })
}

fn named(node: &Node, written: &str, context: &mut Context<'_>) -> Option<Named> {
    match check_header_name(written, &[]) {
        Ok(name) => Some(Named {
            mark: node.mark,
            written: written.to_owned(),
            name,
        }),
        Err(error) => {
            context.error(node, error.to_string());
            None
        }
    }
}

fn value(node: &Node, written: &str, context: &mut Context<'_>) -> Option<HeaderValue> {
    if written.contains("{{") || written.contains("{%") {
        context.error(
            node,
            "templates are not supported: a value must not contain {{ or {%",
        );
        return None;
    }
    check_header_value(written.as_bytes())
        .map_err(|error| context.error(node, error.to_string()))
        .ok()
}

fn secret_value(node: &Node, context: &mut Context<'_>) -> Option<HeaderValue> {
    let bytes = secrets::referred(node, context)?;
    let checked = check_header_value(&bytes);
    let refused = |error| context.error(node, secrets::refused(&bytes, &error));
    let mut value = checked.map_err(refused).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn report_twice<'h>(names: impl Iterator<Item = &'h Named>, context: &mut Context<'_>) {
    let mut seen = HashSet::new();
    for named in names {
        if !seen.insert(&named.name) {
            context
                .report
                .error(named.mark, "the header is given twice");
        }
    }
}
