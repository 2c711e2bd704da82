//! Schemes that sign a timestamp and the body in a form of their own: `stripe`, `slack`, `opentrain`.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName};

use crate::signing::error::VerifyError;
use crate::signing::format::{Format, Message, Received, SignInput, malformed, single};
use crate::signing::key::{Encoding, Key, Signature};
use crate::signing::text::{header_value, header_value_of, signature_value, visible};

const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
const SLACK_TIMESTAMP: HeaderName = HeaderName::from_static("x-slack-request-timestamp");
const SLACK_SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");
const OPENTRAIN_EVENT: HeaderName = HeaderName::from_static("x-opentrain-event");
const OPENTRAIN_DELIVERY: HeaderName = HeaderName::from_static("x-opentrain-delivery");
const OPENTRAIN_SIGNATURE: HeaderName = HeaderName::from_static("x-opentrain-signature");

/// `t=`, ten digits, `,v1=` and 64 hexadecimal digits.
const LIST_LEN: usize = 80;
/// An event id, a dot and the longest subscription name.
const DELIVERY_LEN_MAX: usize = 105;

/// Which of them.
#[derive(Debug)]
pub(super) enum Timestamped {
    /// `t=<unix>,v1=<hex>[,v1=<hex>…]` over `t.body`. Source: Stripe, "Verify webhook signatures manually".
    Stripe,
    /// `v0=<hex>` over `v0:t:body`. Source: Slack, "Verifying requests from Slack".
    Slack,
    /// Stripe's form under its own name, with event type and delivery id beside it. Source: OpenTrain, "Webhooks".
    Opentrain,
}

impl Format for Timestamped {
    fn headers(&self) -> Vec<HeaderName> {
        match self {
            Self::Stripe => vec![STRIPE_SIGNATURE],
            Self::Slack => vec![SLACK_TIMESTAMP, SLACK_SIGNATURE],
            Self::Opentrain => vec![OPENTRAIN_EVENT, OPENTRAIN_DELIVERY, OPENTRAIN_SIGNATURE],
        }
    }

    fn signature(&self, key: &Key, message: &Message<'_>) -> Signature {
        let (before, between): (&[u8], &[u8]) = match self {
            Self::Stripe | Self::Opentrain => (b"", b"."),
            Self::Slack => (b"v0:", b":"),
        };
        let parts = [before, message.timestamp, between, message.body];
        key.signature(parts, Encoding::Hex)
    }

    fn write(
        &self,
        input: &SignInput<'_>,
        message: &Message<'_>,
        signatures: &mut dyn Iterator<Item = Signature>,
        headers: &mut HeaderMap,
    ) {
        let mut value = BytesMut::with_capacity(LIST_LEN);
        match self {
            Self::Stripe => {
                write_list(message, signatures, &mut value);
                headers.insert(STRIPE_SIGNATURE, signature_value(value));
            }
            Self::Slack => {
                value.put_slice(b"v0=");
                if let Some(signature) = signatures.next() {
                    value.put_slice(signature.as_bytes());
                }
                headers.insert(SLACK_TIMESTAMP, header_value_of(message.timestamp));
                headers.insert(SLACK_SIGNATURE, signature_value(value));
            }
            Self::Opentrain => {
                write_list(message, signatures, &mut value);
                let event_type = header_value_of(visible(input.event_type).as_bytes());
                headers.insert(OPENTRAIN_EVENT, event_type);
                headers.insert(OPENTRAIN_DELIVERY, header_value(delivery_id(input)));
                headers.insert(OPENTRAIN_SIGNATURE, signature_value(value));
            }
        }
    }

    fn read<'h>(&self, headers: &'h HeaderMap) -> Result<Received<'h>, VerifyError> {
        match self {
            Self::Stripe => read_list(headers, STRIPE_SIGNATURE),
            Self::Opentrain => read_list(headers, OPENTRAIN_SIGNATURE),
            Self::Slack => {
                let timestamp = single(headers, &SLACK_TIMESTAMP)?;
                let signature = single(headers, &SLACK_SIGNATURE)?
                    .strip_prefix("v0=")
                    .ok_or_else(|| malformed(&SLACK_SIGNATURE, "v0=<hex>"))?;
                Ok(Received {
                    id: None,
                    timestamp: Some((SLACK_TIMESTAMP, timestamp)),
                    signatures: vec![signature],
                })
            }
        }
    }
}

fn delivery_id(input: &SignInput<'_>) -> BytesMut {
    let mut text = BytesMut::with_capacity(DELIVERY_LEN_MAX);
    #[expect(
        clippy::expect_used,
        reason = "writing to a buffer in memory cannot fail"
    )]
    write!(text, "{}", input.delivery_id).expect("memory takes text");
    text
}

fn write_list(
    message: &Message<'_>,
    signatures: &mut dyn Iterator<Item = Signature>,
    value: &mut BytesMut,
) {
    value.put_slice(b"t=");
    value.put_slice(message.timestamp);
    for signature in signatures {
        value.put_slice(b",v1=");
        value.put_slice(signature.as_bytes());
    }
}

/// Reads `t=<unix>,v1=<hex>…`; entries of other names, such as Stripe's `v0`, are passed over.
fn read_list(headers: &HeaderMap, name: HeaderName) -> Result<Received<'_>, VerifyError> {
    let mut timestamps = Vec::new();
    let mut signatures = Vec::new();
    for entry in single(headers, &name)?.split(',') {
        match entry.trim().split_once('=') {
            Some(("t", timestamp)) => timestamps.push(timestamp),
            Some(("v1", signature)) => signatures.push(signature),
            _ => {}
        }
    }
    match timestamps.as_slice() {
        [timestamp] if !signatures.is_empty() => Ok(Received {
            id: None,
            timestamp: Some((name, timestamp)),
            signatures,
        }),
        _ => Err(malformed(&name, "t=<unix seconds>,v1=<hex>[,v1=<hex>…]")),
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{Secret, Timestamp};
    use crate::signing::tests::{input, signed};
    use crate::signing::{Scheme, SignInput, Signer, VerifyError, verify};
    use http::HeaderMap;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn stripe_vector() -> SignInput<'static> {
        SignInput {
            body: br#"{"test": 2432232314}"#,
            at: at(1_614_265_330),
            ..input()
        }
    }

    const STRIPE_VALUE: &str =
        "t=1614265330,v1=10c96c6fd3f320fcfc264cdc4f476c15060ede8e8a08404cea2ddf3b72544a9c";

    /// Computed from Stripe's documented algorithm: the key is the whole text, `whsec_` included.
    #[test]
    fn stripe_signs_timestamp_and_body_with_the_secret_as_text() {
        let headers = signed(&Scheme::Stripe, "whsec_test_secret", &stripe_vector());
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["stripe-signature"], STRIPE_VALUE);
    }

    /// Source: Slack, "Verifying requests from Slack", the example there.
    #[test]
    fn the_published_vector_of_slack_comes_out() {
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let message = SignInput {
            body,
            at: at(1_531_420_618),
            ..input()
        };
        let headers = signed(&Scheme::Slack, "8f742231b10e8888abcd99yyyzzz85a5", &message);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers["x-slack-request-timestamp"], "1531420618");
        assert_eq!(
            headers["x-slack-signature"],
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        );
    }

    #[test]
    fn opentrain_names_type_and_delivery_beside_the_form_of_stripe() {
        let message = stripe_vector();
        let headers = signed(&Scheme::Opentrain, "whsec_test_secret", &message);
        assert_eq!(headers.len(), 3);
        assert_eq!(headers["x-opentrain-event"], "invoice.paid");
        assert_eq!(
            headers["x-opentrain-delivery"],
            message.delivery_id.to_string()
        );
        assert_eq!(headers["x-opentrain-signature"], STRIPE_VALUE);
    }

    #[test]
    fn previous_secrets_add_signatures_to_the_list_until_their_time() {
        let (new, old) = (
            Secret::new(b"new secret 12".to_vec()),
            Secret::new(b"old secret 12".to_vec()),
        );
        let message = stripe_vector();
        let ends = at(1_614_265_331);
        let signer = Signer::new(&[Scheme::Stripe], Some(&new), &[(old.clone(), ends)]).unwrap();
        let value = |at: Timestamp| {
            let mut headers = HeaderMap::new();
            signer.sign(&SignInput { at, ..message }, &mut headers);
            headers
        };
        let both = value(message.at);
        assert_eq!(
            both["stripe-signature"]
                .to_str()
                .unwrap()
                .matches(",v1=")
                .count(),
            2
        );
        for secret in [new, old] {
            let url = message.url;
            assert_eq!(
                verify(
                    &Scheme::Stripe,
                    &[secret],
                    &both,
                    message.body,
                    url,
                    message.at,
                    0
                ),
                Ok(())
            );
        }
        let after = value(ends);
        assert_eq!(
            after["stripe-signature"]
                .to_str()
                .unwrap()
                .matches(",v1=")
                .count(),
            1
        );
    }

    #[test]
    fn a_list_without_exactly_one_timestamp_and_a_signature_is_malformed() {
        let secret = [Secret::new(b"whsec_test_secret".to_vec())];
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("stripe-signature", value.parse().unwrap());
            let message = stripe_vector();
            verify(
                &Scheme::Stripe,
                &secret,
                &headers,
                message.body,
                "",
                message.at,
                300,
            )
        };
        let hex = STRIPE_VALUE.split_once(",v1=").unwrap().1;
        assert_eq!(check(STRIPE_VALUE), Ok(()));
        assert_eq!(
            check(&format!("t=1614265330, v0=00, v1=00, v1={hex}")),
            Ok(())
        );
        for value in [
            format!("v1={hex}"),
            "t=1614265330".to_owned(),
            format!("t=1614265330,t=1614265330,v1={hex}"),
        ] {
            assert!(matches!(
                check(&value),
                Err(VerifyError::MalformedHeader { .. })
            ));
        }
    }
}
