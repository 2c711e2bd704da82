//! The scheme `hmac`: an HMAC whose header, content and value the user describes.
//!
//! Templates are text with placeholders, taken apart when the configuration is loaded: `signed` may have `{id}`,
//! `{timestamp}`, `{body}` and `{url}`, `value` may have `{id}`, `{timestamp}` and `{signature}`. There is no escape
//! for a literal `{`.
//!
//! Refused, because the signature would be worth nothing or could not be checked: `signed` without `{body}`,
//! `value` without `{signature}`, a signed timestamp that is not sent. A signed `{id}` may be left out of `value`, for
//! receivers that take it from the body or from `webhook-id` of the scheme `standard` beside this one.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName};

use crate::signing::error::SigningError;
use crate::signing::error::VerifyError;
use crate::signing::format::{Format, Message, Received, SignInput, malformed, single};
use crate::signing::key::{Algorithm, Encoding, Key, Signature};
use crate::signing::reserved::is_reserved;
use crate::signing::template::{Allowed, Placeholder, Template};
use crate::signing::text::{header_value_of, signature_value};

/// Where the id of a request is looked for when `value` does not carry it.
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// The length that is enough for most values; longer ones grow.
const VALUE_LEN: usize = 160;

/// The options of `hmac` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomHmacOptions {
    /// The header that carries `value`.
    pub header: String,
    /// The digest.
    pub algorithm: Algorithm,
    /// How the signature is written.
    pub encoding: Encoding,
    /// The signed content, such as `{timestamp}.{body}`.
    pub signed: String,
    /// The header's value, such as `t={timestamp},v1={signature}`.
    pub value: String,
    /// A header of its own for the timestamp.
    pub timestamp_header: Option<String>,
}

/// A described HMAC, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomHmac {
    header: HeaderName,
    algorithm: Algorithm,
    encoding: Encoding,
    signed: Template,
    value: Template,
    timestamp_header: Option<HeaderName>,
    options: Box<CustomHmacOptions>,
}

impl CustomHmac {
    /// Checks header names and takes the templates apart.
    ///
    /// # Errors
    /// A name is no header name or is reserved, a template has something that is no placeholder of its field, or lacks
    /// or repeats one; see the head of this file for the reasons.
    pub fn new(options: CustomHmacOptions) -> Result<Self, SigningError> {
        let written = Box::new(options.clone());
        let custom = Self {
            options: written,
            header: header_name("header", options.header)?,
            algorithm: options.algorithm,
            encoding: options.encoding,
            signed: Template::parse(&options.signed, Allowed::SIGNED)?,
            value: Template::parse(&options.value, Allowed::VALUE)?,
            timestamp_header: options
                .timestamp_header
                .map(|name| header_name("timestamp_header", name))
                .transpose()?,
        };
        custom.signed.require("signed", Placeholder::Body)?;
        custom.value.require("value", Placeholder::Signature)?;
        custom.value.check_header_value()?;
        custom.check_headers()?;
        Ok(custom)
    }

    fn check_headers(&self) -> Result<(), SigningError> {
        if self.timestamp_header.as_ref() == Some(&self.header) {
            return Err(SigningError::SameHeader(self.header.clone()));
        }
        let is_sent =
            self.timestamp_header.is_some() || self.value.contains(Placeholder::Timestamp);
        if self.signed.contains(Placeholder::Timestamp) && !is_sent {
            return Err(SigningError::UnsentTimestamp);
        }
        Ok(())
    }

    /// The options as written.
    #[must_use]
    pub fn options(&self) -> &CustomHmacOptions {
        &self.options
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The timestamp as sent; where it is sent twice, both must be the same.
    fn received_timestamp<'h>(
        &self,
        headers: &'h HeaderMap,
        in_value: Option<&'h str>,
    ) -> Result<Option<(HeaderName, &'h str)>, VerifyError> {
        let in_value = in_value.map(|text| (self.header.clone(), text));
        let Some(name) = &self.timestamp_header else {
            return Ok(in_value);
        };
        let own = single(headers, name)?;
        match in_value {
            Some((_, text)) if text != own => {
                Err(malformed(name, "the timestamp of the signature"))
            }
            _ => Ok(Some((name.clone(), own))),
        }
    }
}

impl Format for CustomHmac {
    fn headers(&self) -> Vec<HeaderName> {
        let first = std::iter::once(&self.header);
        first.chain(&self.timestamp_header).cloned().collect()
    }

    fn signature(&self, key: &Key, message: &Message<'_>) -> Signature {
        key.signature(self.signed.fill(message, b""), self.encoding)
    }

    fn write(
        &self,
        _input: &SignInput<'_>,
        message: &Message<'_>,
        signatures: &mut dyn Iterator<Item = Signature>,
        headers: &mut HeaderMap,
    ) {
        let Some(signature) = signatures.next() else {
            return;
        };
        let mut value = BytesMut::with_capacity(VALUE_LEN);
        for part in self.value.fill(message, signature.as_bytes()) {
            value.put_slice(part);
        }
        headers.insert(self.header.clone(), signature_value(value));
        if let Some(name) = &self.timestamp_header {
            headers.insert(name.clone(), header_value_of(message.timestamp));
        }
    }

    fn read<'h>(&self, headers: &'h HeaderMap) -> Result<Received<'h>, VerifyError> {
        let value = single(headers, &self.header)?;
        let found = self
            .value
            .take_apart(value)
            .ok_or_else(|| malformed(&self.header, &self.value.to_string()))?;
        let id = match found.id {
            None if self.signed.contains(Placeholder::Id) => Some(single(headers, &WEBHOOK_ID)?),
            id => id,
        };
        Ok(Received {
            id,
            timestamp: self.received_timestamp(headers, found.timestamp)?,
            signatures: found.signature.into_iter().collect(),
        })
    }
}

/// The header name of a field, if a signature may take it.
fn header_name(field: &'static str, name: String) -> Result<HeaderName, SigningError> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(parsed) if is_reserved(&parsed) => Err(SigningError::ReservedHeader { field, name }),
        Ok(parsed) => Ok(parsed),
        Err(_) => Err(SigningError::HeaderName { field, name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Secret, Timestamp};
    use crate::signing::tests::{input, signed};
    use crate::signing::{Scheme, verify};

    fn options() -> CustomHmacOptions {
        CustomHmacOptions {
            header: "X-Signed".into(),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            signed: "{timestamp}.{body}".into(),
            value: "t={timestamp},v1={signature}".into(),
            timestamp_header: None,
        }
    }

    fn scheme(options: CustomHmacOptions) -> Scheme {
        Scheme::Hmac(CustomHmac::new(options).unwrap())
    }

    fn error(options: CustomHmacOptions) -> String {
        CustomHmac::new(options).unwrap_err().to_string()
    }

    #[test]
    fn the_described_form_of_stripe_is_that_of_stripe() {
        let described = scheme(CustomHmacOptions {
            header: "Stripe-Signature".into(),
            ..options()
        });
        let secret = "whsec_test_secret";
        assert_eq!(
            signed(&described, secret, &input()),
            signed(&Scheme::Stripe, secret, &input())
        );
    }

    /// The algorithm of Twilio for a request without parameters; key and text are those of RFC 2202, section 3, test 2.
    #[test]
    fn sha1_in_base64_over_the_url_comes_out() {
        let described = scheme(CustomHmacOptions {
            header: "X-Twilio-Signature".into(),
            algorithm: Algorithm::Sha1,
            encoding: Encoding::Base64,
            signed: "{url}{body}".into(),
            value: "{signature}".into(),
            timestamp_header: None,
        });
        let message = SignInput {
            url: "what do ya want ",
            body: b"for nothing?",
            ..input()
        };
        let headers = signed(&described, "Jefe", &message);
        assert_eq!(
            headers["x-twilio-signature"],
            "7/zfauXrL6LSdBbV8YTfnCWafHk="
        );
    }

    #[test]
    fn a_timestamp_header_carries_what_is_signed() {
        let described = scheme(CustomHmacOptions {
            value: "{signature}".into(),
            timestamp_header: Some("X-Time".into()),
            ..options()
        });
        let message = SignInput {
            at: Timestamp::from_millis(1_700_000_000_000),
            ..input()
        };
        let headers = signed(&described, "secret", &message);
        assert_eq!(headers["x-time"], "1700000000");
        assert_eq!(
            described.headers(),
            [
                HeaderName::from_static("x-signed"),
                HeaderName::from_static("x-time")
            ]
        );
    }

    #[test]
    fn a_signed_id_that_value_does_not_carry_is_looked_for_in_webhook_id() {
        let described = scheme(CustomHmacOptions {
            signed: "{id}.{body}".into(),
            value: "{signature}".into(),
            ..options()
        });
        let message = input();
        let mut headers = signed(&described, "secret", &message);
        let check = |headers: &HeaderMap| {
            let secret = [Secret::new(b"secret".to_vec())];
            verify(
                &described,
                &secret,
                headers,
                message.body,
                "",
                message.at,
                0,
            )
        };
        assert_eq!(
            check(&headers).unwrap_err().to_string(),
            "missing header webhook-id"
        );
        headers.insert("webhook-id", message.id.parse().unwrap());
        assert_eq!(check(&headers), Ok(()));
    }

    #[test]
    fn two_timestamps_must_agree() {
        let described = scheme(CustomHmacOptions {
            timestamp_header: Some("X-Time".into()),
            ..options()
        });
        let message = input();
        let mut headers = signed(&described, "secret", &message);
        headers.insert("x-time", "1".parse().unwrap());
        let secret = [Secret::new(b"secret".to_vec())];
        assert_eq!(
            verify(
                &described,
                &secret,
                &headers,
                message.body,
                "",
                message.at,
                i64::MAX
            )
            .unwrap_err()
            .to_string(),
            "header x-time is malformed: expected the timestamp of the signature"
        );
    }

    #[test]
    fn a_value_of_another_form_is_named_with_the_expected_one() {
        let described = scheme(options());
        let mut headers = HeaderMap::new();
        headers.insert("x-signed", "v1=ab".parse().unwrap());
        let secret = [Secret::new(b"secret".to_vec())];
        let message = input();
        assert_eq!(
            verify(&described, &secret, &headers, b"", "", message.at, 0)
                .unwrap_err()
                .to_string(),
            "header x-signed is malformed: expected t={timestamp},v1={signature}"
        );
    }

    #[test]
    fn what_would_sign_nothing_or_could_not_be_checked_is_refused() {
        let signed = |text: &str| CustomHmacOptions {
            signed: text.into(),
            ..options()
        };
        let value = |text: &str| CustomHmacOptions {
            value: text.into(),
            ..options()
        };
        assert_eq!(error(signed("{timestamp}")), "signed must contain {body}");
        assert_eq!(error(signed("")), "signed must contain {body}");
        assert_eq!(
            error(value("t={timestamp}")),
            "value must contain {signature}"
        );
        assert_eq!(
            error(value("v1={signature}")),
            "signed contains {timestamp}, so value must contain it too or timestamp_header must name a header for it"
        );
        assert_eq!(
            error(value("{timestamp}{signature}")),
            "value needs text between {timestamp} and {signature}"
        );
        assert_eq!(
            error(value("{signature},{signature}")),
            "value may contain {signature} only once"
        );
        for text in [
            "é={signature}",
            "{signature}\r\nX-Other: 1",
            " {signature}",
            "{signature} ",
        ] {
            assert_eq!(
                error(value(text)),
                "value must be visible ASCII characters, with spaces only in between"
            );
        }
    }

    #[test]
    fn headers_that_are_not_for_signatures_are_refused() {
        let header = |name: &str| CustomHmacOptions {
            header: name.into(),
            ..options()
        };
        for name in [
            "Authorization",
            "content-length",
            "HOST",
            "X-Forwarded-For",
            "Proxy-Auth",
        ] {
            assert_eq!(
                CustomHmac::new(header(name)),
                Err(SigningError::ReservedHeader {
                    field: "header",
                    name: name.into()
                })
            );
        }
        for name in ["", "X Signed", "X-Signed:", "X-Signéd"] {
            assert_eq!(
                CustomHmac::new(header(name)),
                Err(SigningError::HeaderName {
                    field: "header",
                    name: name.into()
                })
            );
        }
        let twice = CustomHmacOptions {
            timestamp_header: Some("x-signed".into()),
            ..options()
        };
        assert_eq!(
            error(twice),
            "the header x-signed is written by more than one signature scheme or option"
        );
    }
}
