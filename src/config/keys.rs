//! The fields `secret` and `previous_secrets` of a subscription, and what must hold between them and `signature`.

use crate::config::document::{Mark, Node, Value};
use crate::config::reader::{Context, Fields, items, mapping, text};
use crate::config::secrets;
use crate::config::settings::Given;
use crate::domain::{Secret, Timestamp};
use crate::signing::{Scheme, SigningError};

/// The fewest characters of a secret.
const MIN_LENGTH: usize = 12;

/// The keys of one of `previous_secrets`.
pub(super) const PREVIOUS: [&str; 2] = ["secret", "until"];

const TOO_SHORT: &str = "The webhook secret must be at least 12 characters.";

const UNSIGNED: &str = "nothing is signed, so that the endpoint cannot tell who sends: set a secret, or say signature: none";

/// With what a subscription signs.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) secret: Option<Secret>,
    pub(super) previous: Vec<(Secret, Timestamp)>,
    pub(super) schemes: Vec<Scheme>,
}

/// A previous secret with its place.
struct Previous {
    mark: Mark,
    secret: Secret,
    until: Timestamp,
}

/// Reads the secrets of the subscription whose name stands at `name`; `signature` is what was said of its schemes. One that
/// is active and unsigned without saying so is warned of.
pub(super) fn keys(
    fields: Fields<'_>,
    name: Mark,
    (signature, is_active): (Given<Vec<Scheme>>, bool),
    context: &mut Context<'_>,
) -> Keys {
    let secret = fields
        .given("secret")
        .map_or(Given::Absent, |node| current(node, context));
    let previous = fields.read("previous_secrets", context, |node, context| {
        items(node, "a list of {secret, until}", context, previous)
    });
    let previous = previous.unwrap_or_default();
    let is_wrong = matches!(secret, Given::Wrong) || matches!(signature, Given::Wrong);
    let is_said = matches!(signature, Given::Value(_)) || fields.node("secret").is_some();
    if !is_said && !is_wrong && is_active {
        context.report.warning(name, UNSIGNED);
    }
    let secret_mark = fields.node("secret").map_or(name, |node| node.mark);
    let secret = secret.value();
    let schemes = signature.value().unwrap_or_else(|| {
        let standard = secret.as_ref().map(|_| Scheme::standard());
        standard.into_iter().collect()
    });
    if !is_wrong {
        check_secret(secret.as_ref(), secret_mark, &schemes, name, context);
        check_previous(&previous, &schemes, context);
    }
    Keys {
        secret,
        previous: previous
            .into_iter()
            .map(|old| (old.secret, old.until))
            .collect(),
        schemes,
    }
}

fn current(node: &Node, context: &mut Context<'_>) -> Given<Secret> {
    let is_empty = matches!(&node.value, Value::Scalar(scalar) if scalar.text.is_empty());
    if node.is_null() || is_empty {
        return Given::Null;
    }
    long_enough(node, context).map_or(Given::Wrong, Given::Value)
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
    let fields = mapping(node, &PREVIOUS, context)?;
    for field in PREVIOUS {
        if fields.node(field).is_none() {
            context.report.error_at_field(fields.mark, field, "missing");
        }
    }
    let secret = fields.read("secret", context, long_enough);
    let until = fields.read("until", context, until);
    Some(Previous {
        mark: fields.mark,
        secret: secret?,
        until: until?,
    })
}

fn until(node: &Node, context: &mut Context<'_>) -> Option<Timestamp> {
    match text(node, context)?.parse() {
        Ok(time) => Some(time),
        Err(_) => {
            context.error(
                node,
                "expected an RFC 3339 time such as 2027-01-31T12:00:00Z",
            );
            None
        }
    }
}

fn check_secret(
    secret: Option<&Secret>,
    mark: Mark,
    schemes: &[Scheme],
    name: Mark,
    context: &mut Context<'_>,
) {
    for scheme in schemes {
        match secret.map(|secret| scheme.check_secret(secret)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let bytes = secret.map_or(&[][..], Secret::expose);
                context.report.error(mark, secrets::refused(bytes, &error));
            }
            None => {
                let message = SigningError::NoSecret(scheme.name()).to_string();
                context.report.error_at_field(name, "secret", message);
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
