//! The field `signature`: one scheme or a list, each its name or `name: {options}`. What a scheme does is in `signing`.

use http::HeaderName;

use crate::config::document::{Entry, Node, Value};
use crate::config::reader::{Context, Fields, choice, items, mapping, text};
use crate::config::report::quoted;
use crate::domain::similar;

use crate::signing::{
    Algorithm, CustomHmac, CustomHmacOptions, Encoding, KeyForm, Scheme, SigningError,
};

/// The names of the schemes, and of none.
pub(super) const KNOWN: [&str; 10] = [
    "standard",
    "github",
    "stripe",
    "slack",
    "shopify",
    "opnform",
    "hookshot",
    "opentrain",
    "hmac",
    "none",
];

/// The options of `standard`.
pub(super) const STANDARD: [&str; 2] = ["prefix", "key"];

/// The options of `hookshot`.
pub(super) const HOOKSHOT: [&str; 1] = ["algorithm"];

/// The options of `hmac`.
pub(super) const HMAC: [&str; 6] = [
    "header",
    "algorithm",
    "encoding",
    "signed",
    "value",
    "timestamp_header",
];

pub(super) const ALGORITHMS: [(&str, Algorithm); 3] = [
    ("sha1", Algorithm::Sha1),
    ("sha256", Algorithm::Sha256),
    ("sha512", Algorithm::Sha512),
];

pub(super) const ENCODINGS: [(&str, Encoding); 2] =
    [("hex", Encoding::Hex), ("base64", Encoding::Base64)];

pub(super) const KEY_FORMS: [(&str, KeyForm); 2] =
    [("whsec", KeyForm::Whsec), ("text", KeyForm::Text)];

/// Reads the schemes; none of them for `none`.
pub(super) fn signature(node: &Node, context: &mut Context<'_>) -> Option<Vec<Scheme>> {
    match &node.value {
        Value::Scalar(scalar) if scalar.text == "none" => Some(Vec::new()),
        Value::Scalar(_) | Value::Mapping(_) => scheme(node, context).map(|scheme| vec![scheme]),
        Value::Sequence(nodes) => {
            let schemes = items(node, "a list of schemes", context, scheme)?;
            report_clash(node, &schemes, context);
            if nodes.is_empty() {
                context.error(
                    node,
                    "expected at least one scheme, or none instead of a list",
                );
            }
            let is_whole = !nodes.is_empty() && schemes.len() == nodes.len();
            is_whole.then_some(schemes)
        }
    }
}

fn scheme(node: &Node, context: &mut Context<'_>) -> Option<Scheme> {
    match &node.value {
        _ if node.refused => None,
        Value::Mapping(entries) => match entries.as_slice() {
            [entry] => with_options(entry, context),
            _ => {
                context.error(
                    node,
                    "expected one scheme with its options, such as hookshot: {algorithm: sha1}",
                );
                None
            }
        },
        Value::Scalar(_) | Value::Sequence(_) => {
            let name = text(node, context)?;
            let scheme = Scheme::by_name(name);
            if scheme.is_none() {
                refuse_name(node, name, context);
            }
            scheme
        }
    }
}

fn with_options(entry: &Entry, context: &mut Context<'_>) -> Option<Scheme> {
    let options = &entry.value;
    match entry.name() {
        _ if entry.key.refused => None,
        "standard" => standard(options, context),
        "hookshot" => {
            let fields = mapping(options, &HOOKSHOT, context)?;
            let algorithm = fields.read("algorithm", context, choice(&ALGORITHMS));
            let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
            Some(Scheme::Hookshot { algorithm })
        }
        "hmac" => hmac(options, context),
        name => {
            let scheme = Scheme::by_name(name);
            match scheme {
                Some(_) => {
                    mapping(options, &[], context)?;
                }
                None => refuse_name(&entry.key, name, context),
            }
            scheme
        }
    }
}

fn refuse_name(node: &Node, name: &str, context: &mut Context<'_>) {
    let message = match name {
        "hmac" => "hmac needs options, at least {header: X-Signature}".to_owned(),
        "none" => "none stands alone, not in a list and without options".to_owned(),
        _ => {
            let meant = similar(name, KNOWN).map(|meant| format!("did you mean {meant}? "));
            let meant = meant.unwrap_or_default();
            format!(
                "unknown scheme {}, {meant}expected one of {}",
                quoted(name),
                KNOWN.join(", ")
            )
        }
    };
    context.error(node, message);
}

fn standard(options: &Node, context: &mut Context<'_>) -> Option<Scheme> {
    let fields = mapping(options, &STANDARD, context)?;
    let prefix = fields.read("prefix", context, text);
    let key = fields.read("key", context, choice(&KEY_FORMS));
    let scheme = Scheme::Standard {
        prefix: prefix.unwrap_or("webhook").to_owned(),
        key: key.unwrap_or(KeyForm::Whsec),
    };
    // Header names it cannot make are none.
    match (fields.node("prefix"), prefix) {
        (Some(node), Some(prefix)) if scheme.headers().is_empty() => {
            context.error(node, SigningError::Prefix(prefix.to_owned()).to_string());
            None
        }
        _ => Some(scheme),
    }
}

fn hmac(options: &Node, context: &mut Context<'_>) -> Option<Scheme> {
    let fields = mapping(options, &HMAC, context)?;
    let owned = |key: &str, context: &mut Context<'_>| owned_text(fields, key, context);
    let header = owned("header", context);
    let algorithm = fields.read("algorithm", context, choice(&ALGORITHMS));
    let encoding = fields.read("encoding", context, choice(&ENCODINGS));
    let signed = owned("signed", context);
    let value = owned("value", context);
    let timestamp_header = owned("timestamp_header", context);
    if fields.node("header").is_none() {
        context.report.error_at_field(
            fields.mark,
            "header",
            "missing, expected the name of the header, such as X-Signature",
        );
    }
    let custom = CustomHmac::new(CustomHmacOptions {
        header: header?,
        algorithm: algorithm.unwrap_or(Algorithm::Sha256),
        encoding: encoding.unwrap_or(Encoding::Hex),
        signed: signed.unwrap_or_else(|| "{body}".to_owned()),
        value: value.unwrap_or_else(|| "{signature}".to_owned()),
        timestamp_header,
    });
    custom
        .map(Scheme::Hmac)
        .map_err(|error| context.error(options, error.to_string()))
        .ok()
}

fn owned_text(fields: Fields<'_>, key: &str, context: &mut Context<'_>) -> Option<String> {
    fields.read(key, context, text).map(str::to_owned)
}

/// Two schemes that write the same header would overwrite each other.
fn report_clash(node: &Node, schemes: &[Scheme], context: &mut Context<'_>) {
    let mut written: Vec<HeaderName> = schemes.iter().flat_map(Scheme::headers).collect();
    written.sort_by(|left, right| left.as_str().cmp(right.as_str()));
    let twice = written.windows(2).find_map(|pair| match pair {
        [left, right] if left == right => Some(left),
        _ => None,
    });
    if let Some(header) = twice {
        context.error(node, SigningError::SameHeader(header.clone()).to_string());
    }
}
