//! Every scheme in both directions: what is signed verifies, what was changed on the way does not.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::domain::{DeliveryId, EventId, Secret, Timestamp};
use crate::signing::{
    Algorithm, CustomHmac, CustomHmacOptions, Encoding, KeyForm, Scheme, SignInput, Signer,
    SigningError, VerifyError, verify,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A message for tests that care about one or two of its fields.
pub(super) fn input() -> SignInput<'static> {
    static DELIVERY: LazyLock<DeliveryId> = LazyLock::new(|| DeliveryId {
        event: EventId::new(NOW, [7; 10]),
        subscription: "billing".parse().unwrap(),
    });
    SignInput {
        id: "evt_1",
        delivery_id: &DELIVERY,
        event_type: "invoice.paid",
        url: "https://partner.example.com/hooks",
        body: b"{}",
        at: NOW,
    }
}

/// The headers of a message signed by one scheme.
pub(super) fn signed(scheme: &Scheme, secret: &str, input: &SignInput<'_>) -> HeaderMap {
    let secret = Secret::new(secret.as_bytes().to_vec());
    let signer = Signer::new(std::slice::from_ref(scheme), Some(&secret), &[]).unwrap();
    let mut headers = HeaderMap::new();
    signer.sign(input, &mut headers);
    headers
}

fn custom(
    algorithm: Algorithm,
    encoding: Encoding,
    signed: &str,
    value: &str,
    timestamp_header: Option<&str>,
) -> Scheme {
    let options = CustomHmacOptions {
        header: "X-Custom".into(),
        algorithm,
        encoding,
        signed: signed.into(),
        value: value.into(),
        timestamp_header: timestamp_header.map(Into::into),
    };
    Scheme::Hmac(CustomHmac::new(options).unwrap())
}

/// Every scheme, and forms of `hmac` that use every placeholder.
fn schemes() -> Vec<Scheme> {
    let named = [
        "standard",
        "github",
        "stripe",
        "slack",
        "shopify",
        "opnform",
        "hookshot",
        "opentrain",
    ];
    let mut all: Vec<_> = named.map(|name| Scheme::by_name(name).unwrap()).into();
    all.push(Scheme::Standard {
        prefix: "svix".into(),
        key: KeyForm::Whsec,
    });
    for algorithm in [Algorithm::Sha1, Algorithm::Sha512] {
        all.push(Scheme::Hookshot { algorithm });
    }
    let all_in_value = "id={id},t={timestamp} s={signature}";
    all.extend([
        custom(
            Algorithm::Sha1,
            Encoding::Base64,
            "{url}{body}",
            "{signature}",
            None,
        ),
        custom(
            Algorithm::Sha256,
            Encoding::Hex,
            "{timestamp}{body}",
            "v0={signature}",
            Some("X-Time"),
        ),
        custom(
            Algorithm::Sha512,
            Encoding::Base64,
            "{id}|{timestamp}|{url}|{body}",
            all_in_value,
            None,
        ),
    ]);
    all
}

fn secret_of(key: &[u8; 32]) -> Secret {
    Secret::new(format!("whsec_{}", STANDARD.encode(key)).into_bytes())
}

/// A scheme, a secret that fits it, and a message.
#[derive(Debug, Clone)]
struct Case {
    scheme: Scheme,
    secret: Secret,
    id: String,
    url: String,
    body: Vec<u8>,
    at: Timestamp,
}

impl Case {
    fn sign(&self) -> HeaderMap {
        let message = SignInput {
            id: &self.id,
            url: &self.url,
            body: &self.body,
            at: self.at,
            ..input()
        };
        let signer =
            Signer::new(std::slice::from_ref(&self.scheme), Some(&self.secret), &[]).unwrap();
        let mut headers = HeaderMap::new();
        signer.sign(&message, &mut headers);
        headers
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), VerifyError> {
        let secrets = std::slice::from_ref(&self.secret);
        let any_age = i64::MAX;
        verify(
            &self.scheme,
            secrets,
            headers,
            body,
            &self.url,
            self.at,
            any_age,
        )
    }

    /// The header with the signature: the last that the scheme names, but for `hmac`, which names it first.
    fn signature_header(&self) -> HeaderName {
        let mut headers = self.scheme.headers();
        match self.scheme {
            Scheme::Hmac(_) => headers.remove(0),
            _ => headers.pop().unwrap(),
        }
    }
}

prop_compose! {
    fn case()(
        scheme in select(schemes()),
        key: [u8; 32],
        id in "[!-~]{1,40}",
        url in "https://[a-z]{1,10}/[!-~]{0,20}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
        seconds in 0_i64..4_000_000_000,
    ) -> Case {
        let at = Timestamp::from_millis(seconds * 1000 + 999);
        Case { scheme, secret: secret_of(&key), id, url, body, at }
    }
}

/// The headers with one value changed; `None` when the change makes no header value.
fn with(headers: &HeaderMap, name: &HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let mut headers = headers.clone();
    headers.insert(name.clone(), HeaderValue::from_bytes(value).ok()?);
    Some(headers)
}

proptest! {
    #[test]
    fn what_is_signed_verifies(case in case()) {
        let headers = case.sign();
        prop_assert_eq!(case.verify(&headers, &case.body), Ok(()));
        let mut written: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        let named = case.scheme.headers();
        let mut named: Vec<_> = named.iter().map(HeaderName::as_str).collect();
        written.sort_unstable();
        named.sort_unstable();
        prop_assert_eq!(written, named);
    }

    #[test]
    fn a_changed_body_does_not_verify(case in case(), at: Index, bit in 0..8_u8) {
        let headers = case.sign();
        let mut longer = case.body.clone();
        longer.push(0);
        prop_assert_eq!(case.verify(&headers, &longer), Err(VerifyError::NoMatch));
        if !case.body.is_empty() {
            let mut flipped = case.body.clone();
            flipped[at.index(case.body.len())] ^= 1 << bit;
            prop_assert_eq!(case.verify(&headers, &flipped), Err(VerifyError::NoMatch));
        }
    }

    #[test]
    fn a_changed_byte_in_any_signature_header_does_not_verify(case in case(), at: Index, bit in 0..8_u8) {
        let headers = case.sign();
        for (name, value) in &headers {
            // Named for the receiver's convenience, not signed by OpenTrain.
            if ["x-opentrain-event", "x-opentrain-delivery"].contains(&name.as_str()) {
                continue;
            }
            let mut flipped = value.as_bytes().to_vec();
            flipped[at.index(value.len())] ^= 1 << bit;
            if let Some(changed) = with(&headers, name, &flipped) {
                prop_assert!(case.verify(&changed, &case.body).is_err(), "{name}: {changed:?}");
            }
        }
    }

    #[test]
    fn a_shortened_signature_does_not_verify(case in case(), length: Index) {
        let headers = case.sign();
        let name = case.signature_header();
        let value = headers[&name].as_bytes();
        let shorter = with(&headers, &name, &value[..length.index(value.len())]).unwrap();
        prop_assert!(case.verify(&shorter, &case.body).is_err());
    }

    #[test]
    fn a_missing_header_is_named(case in case()) {
        let name = case.signature_header();
        let mut headers = case.sign();
        headers.remove(&name);
        prop_assert_eq!(case.verify(&headers, &case.body), Err(VerifyError::MissingHeader(name)));
    }

    #[test]
    fn another_secret_does_not_verify_unless_it_is_one_of_several(mut case in case(), other: [u8; 32]) {
        let headers = case.sign();
        let own = std::mem::replace(&mut case.secret, secret_of(&other));
        prop_assume!(own != case.secret);
        prop_assert_eq!(case.verify(&headers, &case.body), Err(VerifyError::NoMatch));
        let both = [case.secret.clone(), own];
        prop_assert_eq!(
            verify(&case.scheme, &both, &headers, &case.body, &case.url, case.at, 0),
            Ok(())
        );
    }
}

#[test]
fn a_timestamp_outside_the_tolerance_is_refused_by_how_much() {
    let scheme = Scheme::Slack;
    let headers = signed(&scheme, "secret", &input());
    let secret = [Secret::new(b"secret".to_vec())];
    let at = |seconds: i64, tolerance| {
        let now = Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
        verify(&scheme, &secret, &headers, b"{}", "", now, tolerance)
    };
    assert_eq!(at(300, 300), Ok(()));
    assert_eq!(at(-300, 300), Ok(()));
    assert_eq!(at(301, 300), Err(VerifyError::TooOld(1)));
    assert_eq!(at(-310, 300), Err(VerifyError::TooNew(10)));
    assert_eq!(at(1, 0), Err(VerifyError::TooOld(1)));
    assert_eq!(
        at(307, 300).unwrap_err().to_string(),
        "timestamp too old by 7 s"
    );
    let end_of_time = Timestamp::from_millis(i64::MAX);
    assert_eq!(
        verify(&scheme, &secret, &headers, b"{}", "", end_of_time, i64::MAX),
        Ok(())
    );
}

#[test]
fn a_timestamp_that_is_no_number_is_malformed() {
    let mut headers = signed(&Scheme::Slack, "secret", &input());
    let secret = [Secret::new(b"secret".to_vec())];
    for text in ["", "+1700000000", "17e8", "99999999999999999999"] {
        headers.insert("x-slack-request-timestamp", text.parse().unwrap());
        assert_eq!(
            verify(&Scheme::Slack, &secret, &headers, b"{}", "", NOW, 0)
                .unwrap_err()
                .to_string(),
            "header x-slack-request-timestamp is malformed: expected unix seconds"
        );
    }
}

#[test]
fn a_repeated_signature_header_is_refused() {
    let mut headers = signed(&Scheme::Github, "secret", &input());
    headers.append("x-hub-signature-256", "sha256=00".parse().unwrap());
    let secret = [Secret::new(b"secret".to_vec())];
    assert_eq!(
        verify(&Scheme::Github, &secret, &headers, b"{}", "", NOW, 0)
            .unwrap_err()
            .to_string(),
        "header x-hub-signature-256 is there more than once"
    );
}

#[test]
fn verifying_without_a_secret_or_with_one_that_does_not_fit_says_so() {
    let scheme = Scheme::standard();
    let key = secret_of(&[7; 32]);
    let headers = signed(
        &scheme,
        std::str::from_utf8(key.expose()).unwrap(),
        &input(),
    );
    assert_eq!(
        verify(&scheme, &[], &headers, b"{}", "", NOW, 0),
        Err(VerifyError::NoSecret)
    );
    let text = [Secret::new(b"not a whsec secret".to_vec())];
    assert_eq!(
        verify(&scheme, &text, &headers, b"{}", "", NOW, 0),
        Err(VerifyError::Scheme(SigningError::NotWhsec))
    );
}

#[test]
fn several_schemes_sign_at_once_and_each_verifies() {
    let schemes = [Scheme::standard(), Scheme::Github, Scheme::Opentrain];
    let secret = secret_of(&[1; 32]);
    let signer = Signer::new(&schemes, Some(&secret), &[]).unwrap();
    let mut headers = HeaderMap::new();
    signer.sign(&input(), &mut headers);
    assert_eq!(headers.len(), signer.headers().count());
    for scheme in &schemes {
        let secrets = std::slice::from_ref(&secret);
        assert_eq!(verify(scheme, secrets, &headers, b"{}", "", NOW, 0), Ok(()));
    }
}

#[test]
fn previous_secrets_sign_along_only_in_schemes_that_carry_several() {
    let previous = [(secret_of(&[2; 32]), Timestamp::from_millis(i64::MAX))];
    for scheme in schemes() {
        let signer = Signer::new(
            std::slice::from_ref(&scheme),
            Some(&secret_of(&[1; 32])),
            &previous,
        )
        .unwrap();
        let mut headers = HeaderMap::new();
        signer.sign(&input(), &mut headers);
        let old = [previous[0].0.clone()];
        let message = input();
        let verdict = verify(&scheme, &old, &headers, b"{}", message.url, NOW, 0);
        assert_eq!(verdict.is_ok(), scheme.carries_several(), "{scheme:?}");
    }
}

#[test]
fn a_signer_without_schemes_adds_nothing_and_needs_no_secret() {
    let signer = Signer::new(&[], None, &[]).unwrap();
    let mut headers = HeaderMap::new();
    signer.sign(&input(), &mut headers);
    assert!(headers.is_empty());
}

#[test]
fn a_scheme_without_a_secret_or_a_header_written_twice_is_refused() {
    let error = |schemes: &[Scheme], secret: Option<&Secret>| {
        Signer::new(schemes, secret, &[]).unwrap_err().to_string()
    };
    let secret = secret_of(&[1; 32]);
    assert_eq!(
        error(&[Scheme::Github], None),
        "signature scheme github needs a secret"
    );
    assert_eq!(
        error(&[Scheme::Slack, Scheme::Slack], Some(&secret)),
        "the header x-slack-request-timestamp is written by more than one signature scheme or option"
    );
}

#[test]
fn signatures_do_not_show_in_debug() {
    for scheme in schemes() {
        let key = secret_of(&[1; 32]);
        let headers = signed(
            &scheme,
            std::str::from_utf8(key.expose()).unwrap(),
            &input(),
        );
        let name = Case {
            scheme,
            secret: key,
            id: String::new(),
            url: String::new(),
            body: Vec::new(),
            at: NOW,
        }
        .signature_header();
        assert!(headers[&name].is_sensitive(), "{name}");
    }
}
