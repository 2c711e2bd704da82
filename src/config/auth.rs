//! The key `auth`: how a subscription authenticates at its endpoint. Nothing else sets `Authorization`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use crate::config::document::Node;
use crate::config::form::{By, Form, Optional, Text};
use crate::config::headers::NAME_PATTERN;
use crate::config::keyed::{Keyed as _, Mapping, keys};
use crate::config::reader::{Context, Fields, text};
use crate::config::schema::forms::{self, For};
use crate::config::secrets;
use crate::domain::Secret;

/// The most bytes of a token, a value or a password: servers take headers of 8 KiB, and base64 makes a third more.
const MAX_BYTES: usize = 4096;

const ONE_WAY: &str =
    "expected exactly one of {bearer: …}, {basic: {username, password}} and {scheme: …, value: …}";

keys! {
    /// `auth`: one way, checked.
    #[derive(Debug, Clone)]
    section pub(super) struct Auth then one_way {
        "A token: `Authorization: Bearer` and the token."
        bearer: Option<Secret> = None => Optional(Hidden(one_word));
        "A user's name and password (RFC 7617)."
        basic: Option<Basic> = None => Optional(Mapping::<Basic>::NEW);
        "The name of another scheme, such as ApiKey; with value."
        scheme: Option<String> = None => Optional(SCHEME);
        "What follows the scheme's name."
        value: Option<Secret> = None => Optional(Hidden(one_line));
    }
}

keys! {
    /// `auth.basic`
    #[derive(Debug, Clone)]
    record pub(super) struct Basic {
        "Without a colon."
        username: String => USERNAME;
        "Its password."
        password: Secret => Hidden(printable);
    }
}

/// `auth`, without what is not set.
pub(super) const AUTH: By<Auth> = By {
    read: |node, context| Mapping::<Auth>::NEW.read(node, context),
    show: |auth| {
        let mut shown = auth.show();
        shown.retain(|_, value| !value.is_null());
        Json::Object(shown)
    },
    schema: |writer| Mapping::<Auth>::NEW.schema(writer),
};

impl Auth {
    /// Returns the value of `Authorization`.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let written = if let Some(token) = &self.bearer {
            after("Bearer", token.expose())
        } else if let Some(basic) = &self.basic {
            let name = basic.username.as_bytes();
            let pair = Zeroizing::new([name, b":", basic.password.expose()].concat());
            after("Basic", Zeroizing::new(STANDARD.encode(&pair)).as_bytes())
        } else {
            after(self.scheme.as_ref()?, self.value.as_ref()?.expose())
        };
        let mut value = HeaderValue::from_bytes(&written).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Credentials behind the name of their scheme. Source: RFC 9110, section 11.4.
fn after(scheme: &str, credentials: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([scheme.as_bytes(), b" ", credentials].concat())
}

fn one_way(read: Option<Auth>, fields: Fields<'_>, context: &mut Context<'_>) -> Option<Auth> {
    // Uses the written keys, so that it is reported also if a value is wrong.
    let written = ["bearer", "basic", "scheme", "value"].map(|key| fields.node(key).is_some());
    let is_one = matches!(
        written,
        [true, false, false, false] | [false, true, false, false] | [false, false, true, true]
    );
    if !is_one {
        context.report.error(fields.mark, ONE_WAY);
    }
    read.filter(|auth| is_one && auth.header().is_some())
}

/// A secret of which nothing is shown but that it is there.
#[derive(Debug)]
struct Hidden(fn(&[u8]) -> Result<(), &'static str>);

impl Form for Hidden {
    type Value = Secret;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Secret> {
        let secret = secrets::secret(node, context)?;
        let bytes = secret.expose();
        let checked = match bytes.len() {
            0..=MAX_BYTES => (self.0)(bytes),
            _ => Err("expected at most 4096 bytes"),
        };
        if let Err(error) = checked {
            let message = secrets::refused(bytes, &error);
            context.error(node, message);
            return None;
        }
        Some(secret)
    }

    fn show(&self, _: &Secret) -> Json {
        forms::redacted()
    }

    fn schema(&self, writer: For) -> Json {
        match writer {
            For::File => forms::secret(),
            For::Api => json!({"anyOf": [forms::text(), forms::redacted_schema()]}),
        }
    }
}

/// Tokens are of more characters than RFC 6750 lists: all that end no header and begin no parameter.
fn one_word(bytes: &[u8]) -> Result<(), &'static str> {
    let fits = bytes.iter().all(|byte| byte.is_ascii_graphic());
    fits.then_some(())
        .ok_or("expected a token of visible ASCII characters, without spaces")
}

fn one_line(bytes: &[u8]) -> Result<(), &'static str> {
    let is_visible = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let has_ends = bytes.first() != Some(&b' ') && bytes.last() != Some(&b' ');
    let fits = has_ends && bytes.iter().all(is_visible);
    fits.then_some(())
        .ok_or("expected visible ASCII characters, and spaces only between them")
}

/// Source: RFC 7617, section 2.
fn printable(bytes: &[u8]) -> Result<(), &'static str> {
    let text = str::from_utf8(bytes).map_err(|_| "expected UTF-8")?;
    let has_control = text.chars().any(char::is_control);
    (!has_control)
        .then_some(())
        .ok_or("expected a password without control characters")
}

const USERNAME: By<String> = By {
    read: username,
    show: |name| json!(name),
    schema: |_| json!({"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[^:]+$"}),
};

fn username(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let name = Text { most: Some(256) }.read(node, context)?;
    let fits = !name.contains(|character: char| character == ':' || character.is_control());
    if !fits {
        context.error(
            node,
            "expected a name without colons and control characters",
        );
    }
    fits.then_some(name)
}

const SCHEME: By<String> = By {
    read: scheme,
    show: |scheme| json!(scheme),
    schema: |_| json!({"type": "string", "maxLength": 64, "pattern": NAME_PATTERN}),
};

/// A token, as names of headers are. Source: RFC 9110, section 11.1.
fn scheme(node: &Node, context: &mut Context<'_>) -> Option<String> {
    let scheme = text(node, context)?;
    let fits = scheme.len() <= 64 && scheme.parse::<HeaderName>().is_ok();
    if !fits {
        let message =
            "expected the name of a scheme, such as ApiKey: what follows it belongs into value";
        context.error(node, message);
    }
    fits.then(|| scheme.to_owned())
}
