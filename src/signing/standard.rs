//! Standard Webhooks 1.0 (`v1`): `webhook-id`, `webhook-timestamp`, `webhook-signature` over `id.timestamp.body`.
//! With the prefix `svix` the same under the names that Svix's libraries look for.
//!
//! Source: Standard Webhooks specification 1.0, "Webhook headers" and "Signature scheme".

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName};

use crate::signing::error::SigningError;
use crate::signing::error::VerifyError;
use crate::signing::format::{Format, Message, Received, SignInput, malformed, single};
use crate::signing::key::{Encoding, Key, Signature};
use crate::signing::text::{header_value_of, signature_value};

/// Names of symmetric signatures; others in the list, such as `v1a,`, are passed over.
const VERSION: &str = "v1,";
/// `v1,` and the base64 of a SHA-256, with a space before the next one.
const ENTRY_LEN: usize = 48;
const PREFIX_MAX_LEN: usize = 32;

/// The format with its header names.
#[derive(Debug)]
pub(super) struct Standard {
    id: HeaderName,
    timestamp: HeaderName,
    signature: HeaderName,
}

impl Standard {
    /// The format whose headers begin with `prefix`.
    pub(super) fn new(prefix: &str) -> Result<Self, SigningError> {
        let fits = (1..=PREFIX_MAX_LEN).contains(&prefix.len())
            && prefix
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let name = |suffix: &str| {
            HeaderName::try_from(format!("{prefix}-{suffix}"))
                .ok()
                .filter(|_| fits)
                .ok_or_else(|| SigningError::Prefix(prefix.to_owned()))
        };
        Ok(Self {
            id: name("id")?,
            timestamp: name("timestamp")?,
            signature: name("signature")?,
        })
    }
}

impl Format for Standard {
    fn headers(&self) -> Vec<HeaderName> {
        vec![
            self.id.clone(),
            self.timestamp.clone(),
            self.signature.clone(),
        ]
    }

    fn signature(&self, key: &Key, message: &Message<'_>) -> Signature {
        let parts: [&[u8]; 5] = [
            message.id.as_bytes(),
            b".",
            message.timestamp,
            b".",
            message.body,
        ];
        key.signature(parts, Encoding::Base64)
    }

    fn write(
        &self,
        _input: &SignInput<'_>,
        message: &Message<'_>,
        signatures: &mut dyn Iterator<Item = Signature>,
        headers: &mut HeaderMap,
    ) {
        let mut list = BytesMut::with_capacity(ENTRY_LEN);
        for signature in signatures {
            if !list.is_empty() {
                list.put_u8(b' ');
            }
            list.put_slice(VERSION.as_bytes());
            list.put_slice(signature.as_bytes());
        }
        headers.insert(self.id.clone(), header_value_of(message.id.as_bytes()));
        headers.insert(self.timestamp.clone(), header_value_of(message.timestamp));
        headers.insert(self.signature.clone(), signature_value(list));
    }

    fn read<'h>(&self, headers: &'h HeaderMap) -> Result<Received<'h>, VerifyError> {
        let id = single(headers, &self.id)?;
        let timestamp = single(headers, &self.timestamp)?;
        let signatures: Vec<_> = single(headers, &self.signature)?
            .split(' ')
            .filter_map(|entry| entry.strip_prefix(VERSION))
            .collect();
        if signatures.is_empty() {
            return Err(malformed(&self.signature, "v1,<base64>[ v1,<base64>…]"));
        }
        Ok(Received {
            id: Some(id),
            timestamp: Some((self.timestamp.clone(), timestamp)),
            signatures,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{Secret, Timestamp};
    use crate::signing::tests::{input, signed};
    use crate::signing::{KeyForm, Scheme, SignInput, VerifyError, verify};

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn vector() -> SignInput<'static> {
        SignInput {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            body: BODY,
            at: Timestamp::from_millis(1_614_265_330_999),
            ..input()
        }
    }

    /// Source: the test vector of the Standard Webhooks reference libraries.
    #[test]
    fn the_published_vector_comes_out() {
        let headers = signed(&Scheme::standard(), KEY, &vector());
        assert_eq!(headers["webhook-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        assert_eq!(
            headers["webhook-signature"],
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn the_prefix_svix_renames_the_headers_and_nothing_else() {
        let svix = Scheme::Standard {
            prefix: "svix".into(),
            key: KeyForm::Whsec,
        };
        let headers = signed(&svix, KEY, &vector());
        assert_eq!(headers.len(), 3);
        assert_eq!(headers["svix-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(headers["svix-timestamp"], "1614265330");
        assert_eq!(
            headers["svix-signature"],
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(svix.headers(), headers.keys().cloned().collect::<Vec<_>>());
    }

    #[test]
    fn an_id_with_a_dot_is_sent_escaped_and_verifies_as_sent() {
        let scheme = Scheme::standard();
        let dotted = SignInput {
            id: "order.7",
            ..vector()
        };
        let headers = signed(&scheme, KEY, &dotted);
        assert_eq!(headers["webhook-id"], "order%2E7");
        let secret = [Secret::new(KEY.into())];
        assert_eq!(
            verify(&scheme, &secret, &headers, BODY, "", dotted.at, 0),
            Ok(())
        );
    }

    #[test]
    fn signatures_of_other_versions_are_passed_over() {
        let scheme = Scheme::standard();
        let mut headers = signed(&scheme, KEY, &vector());
        let mine = headers["webhook-signature"].to_str().unwrap().to_owned();
        let check = |headers: &http::HeaderMap| {
            let secret = [Secret::new(KEY.into())];
            verify(&scheme, &secret, headers, BODY, "", vector().at, 0)
        };
        headers.insert(
            "webhook-signature",
            format!("v1a,AAAA v1,BBBB {mine}").parse().unwrap(),
        );
        assert_eq!(check(&headers), Ok(()));
        headers.insert("webhook-signature", "v1a,AAAA".parse().unwrap());
        assert!(matches!(
            check(&headers),
            Err(VerifyError::MalformedHeader { .. })
        ));
    }
}
