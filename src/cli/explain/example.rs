//! The request that an endpoint would get now, without secrets.

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::config::Subscription;
use crate::domain::{Event, Timestamp};
use crate::request::RequestPlan;
use crate::signing::{Scheme, Signer};

/// A request as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Example {
    pub(super) method: String,
    /// Of a secret URL scheme and host.
    pub(super) url: String,
    /// Names and values; of a secret value none.
    pub(super) headers: Vec<(String, Option<String>)>,
    pub(super) body_bytes: usize,
}

/// Makes the request of a first attempt, signed at `now`; `None` without a URL.
///
/// # Errors
/// The configuration allows a value that cannot be signed or requested.
pub(super) fn example(
    of: &Subscription,
    event: &Event,
    now: Timestamp,
) -> anyhow::Result<Option<Example>> {
    let Some(endpoint) = &of.url else {
        return Ok(None);
    };
    let signer = Signer::new(&of.signature, of.secret.as_ref(), &of.previous_secrets)?;
    let plan = RequestPlan::new(
        of.name.clone(),
        of.method.clone(),
        &endpoint.url,
        of.request_headers(),
        of.forward_headers.clone(),
        signer,
    )?;
    let request = plan.build(event, now);
    let shown = if endpoint.is_secret {
        endpoint.url.origin().ascii_serialization()
    } else {
        endpoint.url.to_string()
    };
    // Signatures are kept out of logs as secrets are, and are what is asked for here.
    let signed: Vec<HeaderName> = of.signature.iter().flat_map(Scheme::headers).collect();
    let value = |name: &HeaderName, value: &HeaderValue| {
        let is_shown = !value.is_sensitive() || signed.contains(name);
        is_shown.then(|| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, it)| (name.to_string(), value(name, it)))
        .collect();
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Some(Example {
        method: request.method().to_string(),
        url: shown,
        headers,
        body_bytes: event.body.len(),
    }))
}

impl Example {
    /// For programs.
    pub(super) fn json(&self, now: Timestamp) -> Value {
        let headers = self.headers.iter().map(|(name, value)| match value {
            Some(value) => json!([name, value]),
            None => json!([name, {"redacted": true}]),
        });
        json!({
            "method": self.method,
            "url": self.url,
            "headers": headers.collect::<Vec<_>>(),
            "body_bytes": self.body_bytes,
            "signed_at": now.to_string(),
        })
    }

    /// For people, line by line.
    pub(super) fn lines(&self, now: Timestamp) -> Vec<String> {
        let mut lines = vec![format!("{} {}", self.method, self.url)];
        for (name, value) in &self.headers {
            let value = value.as_deref().unwrap_or("[redacted]");
            lines.push(format!("{name}: {value}"));
        }
        let bytes = self.body_bytes;
        lines.push(format!(
            "({bytes} bytes of body; times and signatures are examples, made for {now})"
        ));
        lines
    }
}
