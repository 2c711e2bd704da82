//! The key `signature`: one scheme or a list, each its name or `name: {options}`. The schemes are in `signing`.

use http::HeaderName;
use serde_json::{Map, Value as Json, json};

use crate::config::document::{Entry, Node, Value};
use crate::config::form::{By, Choice, Form, Optional, TEXT};
use crate::config::given::Given;
use crate::config::headers::NAME_PATTERN;
use crate::config::keyed::{Keyed as _, Mapping, keys};
use crate::config::reader::{Context, items, mapping, text};
use crate::config::report::quoted;
use crate::config::schema::forms::{For, object, or_null, require};
use crate::domain::similar;
use crate::signing::{
    Algorithm, CustomHmac, CustomHmacOptions, Encoding, KeyForm, Scheme, SigningError,
};

/// The names of the schemes, and of none.
const KNOWN: [&str; 10] = [
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

keys! {
    #[derive(Debug)]
    record struct StandardOptions {
        "The prefix of the header names."
        prefix: String = "webhook".to_owned() => PREFIX;
        "whsec: the secret is whsec_ and base64; text: its bytes as written."
        key: KeyForm = KeyForm::Whsec => KEY_FORMS;
    }
}

keys! {
    #[derive(Debug)]
    record struct HookshotOptions {
        "The digest."
        algorithm: Algorithm = Algorithm::Sha256 => ALGORITHMS;
    }
}

keys! {
    record of CustomHmacOptions {
        "The header that carries value."
        header: String => Header;
        "The digest."
        algorithm: Algorithm = Algorithm::Sha256 => ALGORITHMS;
        "How the signature is written."
        encoding: Encoding = Encoding::Hex => ENCODINGS;
        "The signed content, of {id}, {timestamp}, {body}, {url}."
        signed: String = "{body}".to_owned() => TEXT;
        "The header's value, of {id}, {timestamp}, {signature}."
        value: String = "{signature}".to_owned() => TEXT;
        "A header of its own for the timestamp."
        timestamp_header: Option<String> = None => Optional(Header);
    }
}

const PREFIX: By<String> = By {
    read: |node, context| TEXT.read(node, context),
    show: |prefix| json!(prefix),
    schema: |_| json!({"type": "string", "pattern": "^[a-z0-9-]{1,32}$"}),
};

const ALGORITHMS: Choice<Algorithm> = Choice(&[
    ("sha1", Algorithm::Sha1),
    ("sha256", Algorithm::Sha256),
    ("sha512", Algorithm::Sha512),
]);

const ENCODINGS: Choice<Encoding> = Choice(&[("hex", Encoding::Hex), ("base64", Encoding::Base64)]);

const KEY_FORMS: Choice<KeyForm> = Choice(&[("whsec", KeyForm::Whsec), ("text", KeyForm::Text)]);

/// A header's name.
#[derive(Debug)]
struct Header;

impl Form for Header {
    type Value = String;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<String> {
        TEXT.read(node, context)
    }

    fn show(&self, value: &String) -> Json {
        json!(value)
    }

    fn schema(&self, _: For) -> Json {
        json!({"type": "string", "pattern": NAME_PATTERN})
    }

    fn missing(&self) -> &'static str {
        "missing, expected the name of the header, such as X-Signature"
    }
}

/// `signature`. The default scheme depends on the secret.
#[derive(Debug)]
pub(super) struct Signature;

impl Form for Signature {
    type Value = Given<Vec<Scheme>>;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Given<Vec<Scheme>>> {
        Some(signature(node, context).map_or(Given::Wrong, Given::Value))
    }

    /// `none`, one scheme, or a list of them.
    fn show(&self, schemes: &Given<Vec<Scheme>>) -> Json {
        match schemes {
            Given::Value(schemes) if schemes.len() > 1 => schemes.iter().map(one_shown).collect(),
            Given::Value(schemes) => schemes.first().map_or_else(|| json!("none"), one_shown),
            Given::Absent | Given::Null | Given::Wrong => json!("none"),
        }
    }

    fn schema(&self, writer: For) -> Json {
        schema(writer)
    }

    fn documented(&self, _: &Given<Vec<Scheme>>) -> Option<Json> {
        None
    }
}

/// Its name, with options where they are not all at their defaults.
fn one_shown(scheme: &Scheme) -> Json {
    let name = scheme.name();
    let options = match scheme {
        _ if Scheme::by_name(name).as_ref() == Some(scheme) => return json!(name),
        Scheme::Standard { prefix, key } => {
            let (prefix, key) = (prefix.clone(), *key);
            StandardOptions { prefix, key }.show()
        }
        Scheme::Hookshot { algorithm } => {
            let algorithm = *algorithm;
            HookshotOptions { algorithm }.show()
        }
        Scheme::Hmac(custom) => {
            let mut options = custom.options().show();
            options.retain(|_, value| !value.is_null());
            options
        }
        Scheme::Github
        | Scheme::Stripe
        | Scheme::Slack
        | Scheme::Shopify
        | Scheme::Opnform
        | Scheme::Opentrain => return json!(name),
    };
    json!({name: options})
}

fn schema(writer: For) -> Json {
    let with_options = ["standard", "hookshot", "hmac", "none"];
    let plain = KNOWN.iter().filter(|name| !with_options.contains(name));
    let names: Vec<_> = ["standard", "hookshot"]
        .iter()
        .chain(plain.clone())
        .collect();
    let mut schemes = vec![
        json!({"type": "string", "enum": names}),
        one_of(
            "standard",
            or_null(Mapping::<StandardOptions>::NEW.schema(writer)),
        ),
        one_of(
            "hookshot",
            or_null(Mapping::<HookshotOptions>::NEW.schema(writer)),
        ),
        one_of("hmac", Mapping::<CustomHmacOptions>::NEW.schema(writer)),
    ];
    schemes.extend(plain.map(|name| one_of(name, or_null(object(Map::new())))));
    let several = json!({"type": "array", "minItems": 1, "items": {"anyOf": schemes.clone()}});
    let mut forms = vec![json!({"type": "string", "enum": ["none"]})];
    forms.extend(schemes);
    forms.push(several);
    json!({"anyOf": forms})
}

/// A mapping of a scheme's name to its options.
fn one_of(name: &str, options: Json) -> Json {
    let properties = Map::from_iter([(name.to_owned(), options)]);
    require(object(properties), &[name])
}

/// Reads the schemes; an empty list for `none`.
fn signature(node: &Node, context: &mut Context<'_>) -> Option<Vec<Scheme>> {
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
            let read = Mapping::<HookshotOptions>::NEW.read(options, context)?;
            let algorithm = read.algorithm;
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
    let StandardOptions { prefix, key } = Mapping::NEW.read(options, context)?;
    let scheme = Scheme::Standard { prefix, key };
    // A prefix that makes invalid header names gives no headers.
    match (options.child("prefix"), &scheme) {
        (Some(node), Scheme::Standard { prefix, .. }) if scheme.headers().is_empty() => {
            context.error(node, SigningError::Prefix(prefix.clone()).to_string());
            None
        }
        _ => Some(scheme),
    }
}

fn hmac(options: &Node, context: &mut Context<'_>) -> Option<Scheme> {
    let custom = CustomHmac::new(Mapping::NEW.read(options, context)?);
    custom
        .map(Scheme::Hmac)
        .map_err(|error| context.error(options, error.to_string()))
        .ok()
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
