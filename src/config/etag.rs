//! The version of a subscription, and its secret parts.

use serde_json::Value;

use crate::config::subscription::Subscription;
use crate::domain::Secret;

/// The version of a subscription's definition, secrets included: the value of `ETag`, strong and in its quotes. The same
/// as long as nothing in the files changes it, over restarts too.
#[must_use]
pub fn etag(subscription: &Subscription) -> String {
    let mut bytes = Value::Object(subscription.definition.fields())
        .to_string()
        .into_bytes();
    for (kind, _, hidden) in hidden(subscription) {
        bytes.push(kind);
        bytes.extend_from_slice(&hidden.digest());
    }
    let digest = Secret::new(bytes).digest();
    let hex: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{hex}\"")
}

/// Returns everything that a definition does not show, each with a byte for its kind and its key.
pub(super) fn hidden(of: &Subscription) -> Vec<(u8, &'static str, Secret)> {
    let mut hidden = Vec::new();
    let copy = |bytes: &[u8]| Secret::new(bytes.to_vec());
    hidden.extend(
        of.secret
            .iter()
            .map(|secret| (b's', "secret", secret.clone())),
    );
    let previous = of.previous_secrets.iter();
    hidden.extend(previous.map(|(secret, _)| (b'p', "previous_secrets", secret.clone())));
    let url = of.url.iter().filter(|url| url.is_secret);
    hidden.extend(url.map(|url| (b'u', "url", copy(url.url.as_str().as_bytes()))));
    let values = of.headers.iter().map(|(_, value)| value);
    let values = values.filter(|value| value.is_sensitive());
    hidden.extend(values.map(|value| (b'h', "headers", copy(value.as_bytes()))));
    let authorization = of.authorization.iter();
    hidden.extend(authorization.map(|value| (b'a', "auth", copy(value.as_bytes()))));
    hidden.extend(
        of.roots
            .iter()
            .map(|roots| (b'c', "tls", copy(roots.pem()))),
    );
    hidden
}
