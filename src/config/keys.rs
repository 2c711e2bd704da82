//! The keys `secret` and `previous_secrets` of a subscription, and what must hold between them and `signature`.

use serde_json::{Map, Value as Json, json};

use crate::config::document::{Mark, Node};
use crate::config::form::{By, Form, Key};
use crate::config::given::Given;
use crate::config::keyed::{Mapping, keys};
use crate::config::reader::{Context, Fields, items, text};
use crate::config::schema::forms::{self, For, described, object, or_null, read_only, require};
use crate::config::secrets::{self, SecretText};
use crate::domain::{Secret, Timestamp};
use crate::signing::{Scheme, SigningError};

/// The fewest characters of a secret.
const MIN_LENGTH: usize = 12;

const TOO_SHORT: &str = "The webhook secret must be at least 12 characters.";

const UNSIGNED: &str = "nothing is signed, so that the endpoint cannot tell who sends: set a secret, or say signature: none";

const FINGERPRINT: &str = "The first 8 hexadecimal digits of the secret's SHA-256.";

/// `secret`: only its presence and its fingerprint are shown.
#[derive(Debug)]
pub(super) struct SigningSecret;

impl Form for SigningSecret {
    type Value = Given<Secret>;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Given<Secret>> {
        if node.text() == Some("") {
            return Some(Given::Null);
        }
        Some(long_enough(node, context).map_or(Given::Wrong, Given::Value))
    }

    fn show(&self, value: &Given<Secret>) -> Json {
        match value {
            Given::Value(secret) => json!(secret.fingerprint()),
            Given::Absent | Given::Null | Given::Wrong => Json::Null,
        }
    }

    fn schema(&self, writer: For) -> Json {
        match writer {
            For::File => json!({"anyOf": [{"type": "string"}, forms::reference()]}),
            For::Api => {
                json!({"type": "string", "pattern": format!("^([\\s\\S]{{{MIN_LENGTH},}})?$")})
            }
        }
    }

    fn put(&self, key: &str, value: &Given<Secret>, shown: &mut Map<String, Json>) {
        let is_set = matches!(value, Given::Value(_));
        shown.insert(format!("{key}_set"), json!(is_set));
        shown.insert(format!("{key}_fingerprint"), self.show(value));
    }

    fn declare(&self, key: Key<'_>, writer: For, properties: &mut Map<String, Json>) {
        let name = key.name;
        if writer == For::File {
            properties.insert(name.to_owned(), key.schema(self.schema(writer)));
            return;
        }
        let mut schema = or_null(described(key.sentence, self.schema(writer)));
        if let Json::Object(schema) = &mut schema {
            schema.insert("writeOnly".to_owned(), json!(true));
        }
        let is_set = read_only("It has a secret.", json!({"type": "boolean"}));
        let fingerprint = read_only(FINGERPRINT, or_null(json!({"type": "string"})));
        properties.insert(name.to_owned(), schema);
        properties.insert(format!("{name}_set"), is_set);
        properties.insert(format!("{name}_fingerprint"), fingerprint);
    }
}

keys! {
    #[derive(Debug)]
    record struct OldSecret {
        "The secret."
        secret: Secret => SecretText(long_enough);
        "RFC 3339."
        until: Timestamp => UNTIL;
    }
}

const UNTIL: By<Timestamp> = By {
    read: until,
    show: |time| json!(time.to_string()),
    schema: |_| json!({"type": "string", "format": "date-time"}),
};

/// A previous secret with its place.
#[derive(Debug, Clone)]
pub(super) struct Previous {
    mark: Mark,
    secret: Secret,
    until: Timestamp,
}

/// `previous_secrets`
pub(super) const PREVIOUS_SECRETS: By<Vec<Previous>> = By {
    read: |node, context| items(node, "a list of {secret, until}", context, previous),
    show: |secrets| {
        let shown = secrets.iter().map(|old| {
            json!({"secret_fingerprint": old.secret.fingerprint(), "until": UNTIL.show(&old.until)})
        });
        shown.collect()
    },
    schema: |writer| {
        let item = match writer {
            For::File => Mapping::<OldSecret>::NEW.schema(writer),
            For::Api => {
                let fingerprint = described(FINGERPRINT, json!({"type": "string"}));
                let properties = Map::from_iter([
                    ("secret_fingerprint".to_owned(), fingerprint),
                    (
                        "until".to_owned(),
                        described("RFC 3339.", UNTIL.schema(writer)),
                    ),
                ]);
                require(object(properties), &["secret_fingerprint", "until"])
            }
        };
        json!({"type": "array", "items": item})
    },
};

/// The keys that a subscription signs with.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) secret: Given<Secret>,
    pub(super) previous: Vec<Previous>,
    pub(super) signature: Given<Vec<Scheme>>,
}

impl Keys {
    /// Checks the keys of the subscription whose name stands at `name`, and chooses the schemes if `signature` is left
    /// out. Warns of a subscription that is active and unsigned without `signature: none`.
    pub(super) fn judged(
        self,
        fields: Fields<'_>,
        name: Mark,
        is_active: bool,
        context: &mut Context<'_>,
    ) -> (Option<Secret>, Vec<(Secret, Timestamp)>, Vec<Scheme>) {
        let is_wrong =
            matches!(self.secret, Given::Wrong) || matches!(self.signature, Given::Wrong);
        let is_given = !matches!(self.secret, Given::Absent);
        if !is_given && !is_wrong && is_active && !matches!(self.signature, Given::Value(_)) {
            context.report.warning(name, UNSIGNED);
        }
        let secret = self.secret.value();
        let schemes = self.signature.value().unwrap_or_else(|| {
            let standard = secret.as_ref().map(|_| Scheme::standard());
            standard.into_iter().collect()
        });
        if !is_wrong {
            let mark = fields.node("secret").map_or(name, |node| node.mark);
            check_secret(secret.as_ref(), mark, &schemes, (fields, name), context);
            check_previous(&self.previous, &schemes, context);
        }
        let previous = self.previous.into_iter();
        let previous = previous.map(|old| (old.secret, old.until)).collect();
        (secret, previous, schemes)
    }
}

fn long_enough(node: &Node, context: &mut Context<'_>) -> Option<Secret> {
    let secret = secrets::secret(node, context)?;
    let characters = String::from_utf8_lossy(secret.expose()).chars().count();
    if characters < MIN_LENGTH {
        context.error(node, TOO_SHORT);
        return None;
    }
    Some(secret)
}

fn previous(node: &Node, context: &mut Context<'_>) -> Option<Previous> {
    let OldSecret { secret, until } = Mapping::NEW.read(node, context)?;
    Some(Previous {
        mark: node.mark,
        secret,
        until,
    })
}

fn until(node: &Node, context: &mut Context<'_>) -> Option<Timestamp> {
    let time = text(node, context)?.parse().ok();
    if time.is_none() {
        let message = "expected an RFC 3339 time such as 2027-01-31T12:00:00Z";
        context.error(node, message);
    }
    time
}

fn check_secret(
    secret: Option<&Secret>,
    mark: Mark,
    schemes: &[Scheme],
    (fields, name): (Fields<'_>, Mark),
    context: &mut Context<'_>,
) {
    let signature = fields.node("signature");
    for (index, scheme) in schemes.iter().enumerate() {
        match secret.map(|secret| scheme.check_secret(secret)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let bytes = secret.map_or(&[][..], Secret::expose);
                context.report.error(mark, secrets::refused(bytes, &error));
            }
            None => {
                let message = SigningError::NoSecret(scheme.name()).to_string();
                match signature.map(|node| node.items().get(index).unwrap_or(node)) {
                    Some(node) => context.error(node, message),
                    None => context.report.error_at_field(name, "secret", message),
                }
            }
        }
    }
}

fn check_previous(previous: &[Previous], schemes: &[Scheme], context: &mut Context<'_>) {
    for old in previous {
        if schemes.is_empty() {
            let message = "without effect, as nothing is signed";
            context.report.warning(old.mark, message);
        }
        for scheme in schemes {
            if !scheme.carries_several() {
                let name = scheme.name();
                let message =
                    format!("without effect in the scheme {name}, which carries one signature");
                context.report.warning(old.mark, message);
            } else if let Err(error) = scheme.check_secret(&old.secret) {
                let message = secrets::refused(old.secret.expose(), &error);
                context.report.error(old.mark, message);
            }
        }
    }
}
