//! The schemes as the `signature:` field names them, and what can be wrong with one.
//!
//! Leaves the formats themselves to the files of the families; this is the one place that maps names to them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;

use crate::domain::Secret;
use crate::signing::body::Body;
use crate::signing::custom::CustomHmac;
use crate::signing::error::SigningError;
use crate::signing::format::Format;
use crate::signing::key::{Algorithm, Encoding, Key};
use crate::signing::standard::Standard;
use crate::signing::timestamped::Timestamped;

/// One configured signature scheme (SPEC section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// Standard Webhooks 1.0: `<prefix>-id`, `<prefix>-timestamp`, `<prefix>-signature`.
    Standard {
        /// The prefix of the header names: `webhook`, or `svix` for receivers that expect Svix's names.
        prefix: String,
        /// How the secret becomes the key.
        key: KeyForm,
    },
    /// GitHub: `X-Hub-Signature-256: sha256=<hex>` over the body.
    Github,
    /// Stripe: `Stripe-Signature: t=<unix>,v1=<hex>` over `t.body`.
    Stripe,
    /// Slack: `X-Slack-Request-Timestamp` and `X-Slack-Signature: v0=<hex>` over `v0:t:body`.
    Slack,
    /// Shopify: `X-Shopify-Hmac-Sha256: <base64>` over the body.
    Shopify,
    /// OpnForm: `X-Webhook-Signature: sha256=<hex>` over the body.
    Opnform,
    /// Bold Penguin Hookshot: `X-Signature: <hex>` over the body.
    Hookshot {
        /// The digest; `sha256` unless configured.
        algorithm: Algorithm,
    },
    /// OpenTrain: `X-OpenTrain-Signature: t=<unix>,v1=<hex>` over `t.body`, with event type and delivery id beside it.
    Opentrain,
    /// The form that the user describes: `hmac: {…}`.
    Hmac(CustomHmac),
}

/// How the secret of `standard` becomes its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// `whsec_` followed by the base64 of the key's 24 to 64 bytes.
    Whsec,
    /// The secret's bytes as written.
    Text,
}

impl Scheme {
    /// The scheme `standard` without options: headers `webhook-…`, a `whsec_` secret.
    #[must_use]
    pub fn standard() -> Self {
        Self::Standard {
            prefix: "webhook".to_owned(),
            key: KeyForm::Whsec,
        }
    }

    /// A scheme by its name, with its options at their defaults. None for names that are unknown, and for `hmac`,
    /// which has no defaults.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "standard" => Self::standard(),
            "github" => Self::Github,
            "stripe" => Self::Stripe,
            "slack" => Self::Slack,
            "shopify" => Self::Shopify,
            "opnform" => Self::Opnform,
            "hookshot" => Self::Hookshot {
                algorithm: Algorithm::Sha256,
            },
            "opentrain" => Self::Opentrain,
            _ => return None,
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Standard { .. } => "standard",
            Self::Github => "github",
            Self::Stripe => "stripe",
            Self::Slack => "slack",
            Self::Shopify => "shopify",
            Self::Opnform => "opnform",
            Self::Hookshot { .. } => "hookshot",
            Self::Opentrain => "opentrain",
            Self::Hmac(_) => "hmac",
        }
    }

    /// The headers it writes: blocked in `headers` and `forward_headers`. Empty while its prefix is invalid.
    #[must_use]
    pub fn headers(&self) -> Vec<HeaderName> {
        self.format()
            .map(|format| format.headers())
            .unwrap_or_default()
    }

    /// Whether it can carry signatures of previous secrets.
    #[must_use]
    pub fn carries_several(&self) -> bool {
        match self {
            Self::Standard { .. } | Self::Stripe | Self::Opentrain => true,
            Self::Github
            | Self::Slack
            | Self::Shopify
            | Self::Opnform
            | Self::Hookshot { .. }
            | Self::Hmac(_) => false,
        }
    }

    /// Checks that its options are valid and that the secret fits.
    ///
    /// # Errors
    /// The prefix of `standard` is no header name, or its secret is not of the form that `key` asks for.
    pub fn check_secret(&self, secret: &Secret) -> Result<(), SigningError> {
        self.format()?;
        self.key(secret).map(drop)
    }

    /// How it writes and reads, without keys.
    pub(super) fn format(&self) -> Result<Arc<dyn Format>, SigningError> {
        Ok(match self {
            Self::Standard { prefix, .. } => Arc::new(Standard::new(prefix)?),
            Self::Github => Arc::new(Body::GITHUB),
            Self::Shopify => Arc::new(Body::SHOPIFY),
            Self::Opnform => Arc::new(Body::OPNFORM),
            Self::Hookshot { .. } => Arc::new(Body::HOOKSHOT),
            Self::Stripe => Arc::new(Timestamped::Stripe),
            Self::Slack => Arc::new(Timestamped::Slack),
            Self::Opentrain => Arc::new(Timestamped::Opentrain),
            Self::Hmac(custom) => Arc::new(custom.clone()),
        })
    }

    /// The keyed state of a secret.
    pub(super) fn key(&self, secret: &Secret) -> Result<Key, SigningError> {
        let bytes = secret.expose();
        match self {
            Self::Standard { key, .. } => match key {
                KeyForm::Whsec => whsec(bytes).map(|key| Key::new(Algorithm::Sha256, key.expose())),
                KeyForm::Text => Ok(Key::new(Algorithm::Sha256, bytes)),
            },
            Self::Hookshot { algorithm } => Ok(Key::new(*algorithm, bytes)),
            Self::Hmac(custom) => Ok(Key::new(custom.algorithm(), bytes)),
            Self::Github
            | Self::Stripe
            | Self::Slack
            | Self::Shopify
            | Self::Opnform
            | Self::Opentrain => Ok(Key::new(Algorithm::Sha256, bytes)),
        }
    }
}

/// The key inside `whsec_<base64>`. Source: Standard Webhooks 1.0, "Signature scheme": 24 to 64 bytes, padded base64.
fn whsec(secret: &[u8]) -> Result<Secret, SigningError> {
    let encoded = secret
        .strip_prefix(b"whsec_")
        .ok_or(SigningError::NotWhsec)?;
    let key = STANDARD
        .decode(encoded)
        .map(Secret::new)
        .map_err(|_| SigningError::NotWhsec)?;
    match key.expose().len() {
        24..=64 => Ok(key),
        length => Err(SigningError::WhsecLength(length)),
    }
}

impl std::str::FromStr for Algorithm {
    type Err = SigningError;

    fn from_str(text: &str) -> Result<Self, SigningError> {
        match text {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(SigningError::Algorithm(text.to_owned())),
        }
    }
}

impl std::str::FromStr for Encoding {
    type Err = SigningError;

    fn from_str(text: &str) -> Result<Self, SigningError> {
        match text {
            "hex" => Ok(Self::Hex),
            "base64" => Ok(Self::Base64),
            _ => Err(SigningError::Encoding(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 8] = [
        "standard",
        "github",
        "stripe",
        "slack",
        "shopify",
        "opnform",
        "hookshot",
        "opentrain",
    ];

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn whsec_of(length: usize) -> Secret {
        secret(&format!("whsec_{}", STANDARD.encode(vec![7; length])))
    }

    #[test]
    fn names_lead_to_schemes_and_back() {
        for name in NAMES {
            assert_eq!(Scheme::by_name(name).unwrap().name(), name);
        }
        assert_eq!(Scheme::by_name("hmac"), None);
        assert_eq!(Scheme::by_name("Standard"), None);
    }

    #[test]
    fn only_three_schemes_carry_signatures_of_previous_secrets() {
        let several: Vec<_> = NAMES
            .into_iter()
            .filter(|name| Scheme::by_name(name).unwrap().carries_several())
            .collect();
        assert_eq!(several, ["standard", "stripe", "opentrain"]);
    }

    #[test]
    fn a_whsec_secret_holds_24_to_64_bytes() {
        let standard = Scheme::standard();
        for length in [24, 32, 64] {
            assert_eq!(standard.check_secret(&whsec_of(length)), Ok(()));
        }
        for length in [0, 23, 65] {
            assert_eq!(
                standard.check_secret(&whsec_of(length)),
                Err(SigningError::WhsecLength(length))
            );
        }
    }

    #[test]
    fn a_secret_without_whsec_or_with_broken_base64_is_refused_unless_the_key_is_text() {
        let unpadded = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for text in [
            "correct horse battery",
            "whsec_not base64!",
            unpadded,
            "WHSEC_AAAA",
        ] {
            let text = secret(text);
            assert_eq!(
                Scheme::standard().check_secret(&text),
                Err(SigningError::NotWhsec)
            );
            let as_written = Scheme::Standard {
                prefix: "webhook".into(),
                key: KeyForm::Text,
            };
            assert_eq!(as_written.check_secret(&text), Ok(()));
        }
    }

    #[test]
    fn a_prefix_that_begins_no_header_name_is_refused() {
        for prefix in ["", "web hook", "wéb", "a:b", &"x".repeat(33)] {
            let scheme = Scheme::Standard {
                prefix: prefix.into(),
                key: KeyForm::Whsec,
            };
            assert_eq!(
                scheme.check_secret(&whsec_of(24)),
                Err(SigningError::Prefix(prefix.into()))
            );
            assert_eq!(scheme.headers(), Vec::<HeaderName>::new());
        }
    }

    #[test]
    fn algorithms_and_encodings_are_read_by_name() {
        assert_eq!("sha512".parse(), Ok(Algorithm::Sha512));
        assert_eq!("sha1".parse(), Ok(Algorithm::Sha1));
        assert_eq!("base64".parse(), Ok(Encoding::Base64));
        assert_eq!(
            "md5".parse::<Algorithm>().unwrap_err().to_string(),
            "expected algorithm sha1, sha256 or sha512, found \"md5\""
        );
        assert_eq!(
            "HEX".parse::<Encoding>().unwrap_err().to_string(),
            "expected encoding hex or base64, found \"HEX\""
        );
    }
}
