//! Schemes that sign the body and nothing else, in one header: `github`, `shopify`, `opnform`, `hookshot`.
//!
//! They prove who sent a body, not when: a request that was recorded once can be sent again. `standard` is the scheme
//! to choose where the receiver has a choice.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName};

use crate::signing::error::VerifyError;
use crate::signing::format::{Format, Message, Received, SignInput, malformed, single};
use crate::signing::key::{Encoding, Key, Signature};
use crate::signing::text::signature_value;

/// A header and what its value looks like: `prefix`, then the signature of the body.
#[derive(Debug)]
pub(super) struct Body {
    header: HeaderName,
    prefix: &'static str,
    encoding: Encoding,
    form: &'static str,
}

impl Body {
    /// Source: GitHub, "Validating webhook deliveries".
    pub(super) const GITHUB: Self = Self::sha256_hex("x-hub-signature-256");
    /// Source: OpnForm, webhook integration, "Verifying signatures".
    pub(super) const OPNFORM: Self = Self::sha256_hex("x-webhook-signature");
    /// Source: Shopify, "Verify webhook deliveries".
    pub(super) const SHOPIFY: Self = Self {
        header: HeaderName::from_static("x-shopify-hmac-sha256"),
        prefix: "",
        encoding: Encoding::Base64,
        form: "<base64>",
    };
    /// Source: Bold Penguin, Hookshot, "Signature".
    pub(super) const HOOKSHOT: Self = Self {
        header: HeaderName::from_static("x-signature"),
        prefix: "",
        encoding: Encoding::Hex,
        form: "<hex>",
    };

    const fn sha256_hex(header: &'static str) -> Self {
        Self {
            header: HeaderName::from_static(header),
            prefix: "sha256=",
            encoding: Encoding::Hex,
            form: "sha256=<hex>",
        }
    }
}

impl Format for Body {
    fn headers(&self) -> Vec<HeaderName> {
        vec![self.header.clone()]
    }

    fn signature(&self, key: &Key, message: &Message<'_>) -> Signature {
        key.signature([message.body], self.encoding)
    }

    fn write(
        &self,
        _input: &SignInput<'_>,
        _message: &Message<'_>,
        signatures: &mut dyn Iterator<Item = Signature>,
        headers: &mut HeaderMap,
    ) {
        if let Some(signature) = signatures.next() {
            let text = signature.as_bytes();
            let mut value = BytesMut::with_capacity(self.prefix.len() + text.len());
            value.put_slice(self.prefix.as_bytes());
            value.put_slice(text);
            headers.insert(self.header.clone(), signature_value(value));
        }
    }

    fn read<'h>(&self, headers: &'h HeaderMap) -> Result<Received<'h>, VerifyError> {
        let signature = single(headers, &self.header)?
            .strip_prefix(self.prefix)
            .ok_or_else(|| malformed(&self.header, self.form))?;
        Ok(Received {
            signatures: vec![signature],
            ..Received::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::signing::tests::{input, signed};
    use crate::signing::{Algorithm, Scheme, SignInput};

    fn value(scheme: &Scheme, secret: &str, body: &[u8], header: &str) -> String {
        let headers = signed(scheme, secret, &SignInput { body, ..input() });
        assert_eq!(headers.len(), 1);
        headers[header].to_str().unwrap().to_owned()
    }

    /// Source: GitHub, "Validating webhook deliveries", "Testing the webhook payload validation".
    #[test]
    fn the_published_vector_of_github_comes_out_and_opnform_is_the_same_elsewhere() {
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
        assert_eq!(
            value(&Scheme::Github, secret, body, "x-hub-signature-256"),
            expected
        );
        assert_eq!(
            value(&Scheme::Opnform, secret, body, "x-webhook-signature"),
            expected
        );
    }

    #[test]
    fn shopify_sends_base64() {
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            value(&Scheme::Shopify, "hush", body, "x-shopify-hmac-sha256"),
            "GSMkouYq910XCW7wBeiXYHW1KhmYc/L3xj5h5r26zw4="
        );
    }

    /// Source: RFC 2202, section 3, and RFC 4231, section 4.3, test case 2.
    #[test]
    fn hookshot_sends_bare_hex_of_the_chosen_digest() {
        let expected = [
            (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Algorithm::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ];
        for (algorithm, hex) in expected {
            let scheme = Scheme::Hookshot { algorithm };
            let body = b"what do ya want for nothing?";
            assert_eq!(value(&scheme, "Jefe", body, "x-signature"), hex);
        }
    }

    #[test]
    fn a_whsec_secret_is_a_text_like_any_other_here() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_ne!(
            value(
                &Scheme::Hookshot {
                    algorithm: Algorithm::Sha256
                },
                secret,
                b"",
                "x-signature"
            ),
            value(
                &Scheme::Hookshot {
                    algorithm: Algorithm::Sha256
                },
                secret.trim_start_matches("whsec_"),
                b"",
                "x-signature"
            ),
        );
    }
}
