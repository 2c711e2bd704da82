//! Keys and the signatures they make: HMAC states that are keyed once, and the text forms of their results.
//!
//! Invariant: nothing here allocates; a signature is text on the stack.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use crate::domain::Timestamp;

/// The digest inside an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `sha1`, for receivers that support nothing better.
    Sha1,
    /// `sha256`
    Sha256,
    /// `sha512`
    Sha512,
}

/// How the bytes of an HMAC become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Two lower-case hexadecimal digits a byte.
    Hex,
    /// The standard alphabet with padding (RFC 4648, section 4).
    Base64,
}

/// A keyed HMAC state: made once per secret, cloned per signature.
#[derive(Clone)]
pub(super) enum Key {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl Key {
    /// Runs the key schedule.
    pub(super) fn new(algorithm: Algorithm, secret: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(keyed(secret)),
            Algorithm::Sha256 => Self::Sha256(keyed(secret)),
            Algorithm::Sha512 => Self::Sha512(keyed(secret)),
        }
    }

    /// The signature of the parts, one after the other.
    pub(super) fn signature<'p>(
        &self,
        parts: impl IntoIterator<Item = &'p [u8]>,
        encoding: Encoding,
    ) -> Signature {
        match self {
            Self::Sha1(state) => finish(state.clone(), parts, encoding),
            Self::Sha256(state) => finish(state.clone(), parts, encoding),
            Self::Sha512(state) => finish(state.clone(), parts, encoding),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

#[expect(
    clippy::expect_used,
    reason = "HMAC takes keys of any length (RFC 2104, section 2)"
)]
fn keyed<M: KeyInit>(secret: &[u8]) -> M {
    M::new_from_slice(secret).expect("any length is a key")
}

fn finish<'p, M: Mac>(
    mut state: M,
    parts: impl IntoIterator<Item = &'p [u8]>,
    encoding: Encoding,
) -> Signature {
    for part in parts {
        state.update(part);
    }
    Signature::encode(&state.finalize().into_bytes(), encoding)
}

/// The keys of one scheme: the current secret's and those of previous secrets, each with the time it ends.
#[derive(Debug, Clone)]
pub(super) struct KeyRing {
    pub(super) current: Key,
    pub(super) previous: Vec<(Key, Timestamp)>,
}

impl KeyRing {
    /// The keys that sign at this time, the current one first.
    pub(super) fn live(&self, at: Timestamp) -> impl Iterator<Item = &Key> {
        let previous = self.previous.iter().filter(move |(_, until)| at < *until);
        std::iter::once(&self.current).chain(previous.map(|(key, _)| key))
    }
}

/// A signature as text: at most the 128 hexadecimal digits of SHA-512.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signature {
    text: [u8; Self::MAX_LEN],
    length: usize,
}

impl Signature {
    const MAX_LEN: usize = 128;

    fn encode(bytes: &[u8], encoding: Encoding) -> Self {
        let mut text = [0; Self::MAX_LEN];
        let length = match encoding {
            Encoding::Hex => encode_hex(bytes, &mut text),
            Encoding::Base64 => encode_base64(bytes, &mut text),
        };
        Self { text, length }
    }

    /// The text, ASCII.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// Whether `received` is this signature, whole; takes the same time wherever they differ.
    pub(super) fn is(&self, received: &[u8]) -> Choice {
        // Slices of different lengths are unequal: a beginning of the signature never passes (RUSTSEC-2024-0010).
        self.as_bytes().ct_eq(received)
    }
}

fn encode_hex(bytes: &[u8], text: &mut [u8; Signature::MAX_LEN]) -> usize {
    let (pairs, _) = text.as_chunks_mut::<2>();
    for ([high, low], byte) in pairs.iter_mut().zip(bytes) {
        *high = hex_digit(byte >> 4);
        *low = hex_digit(byte & 0x0f);
    }
    bytes.len() * 2
}

const fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' - 10 + nibble,
    }
}

#[expect(
    clippy::expect_used,
    reason = "the base64 of the longest digest, 64 bytes, takes 88 of 128"
)]
fn encode_base64(bytes: &[u8], text: &mut [u8; Signature::MAX_LEN]) -> usize {
    STANDARD
        .encode_slice(bytes, text)
        .expect("the base64 of a digest fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(algorithm: Algorithm, encoding: Encoding) -> String {
        let key = Key::new(algorithm, b"Jefe");
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        String::from_utf8(key.signature(parts, encoding).as_bytes().to_vec()).unwrap()
    }

    /// Source: RFC 2202, section 3, and RFC 4231, section 4.3, test case 2.
    #[test]
    fn published_vectors_of_each_algorithm_come_out() {
        assert_eq!(
            text(Algorithm::Sha1, Encoding::Hex),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        assert_eq!(
            text(Algorithm::Sha256, Encoding::Hex),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            text(Algorithm::Sha512, Encoding::Hex),
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        );
    }

    #[test]
    fn the_longest_digest_fits_both_encodings() {
        assert_eq!(text(Algorithm::Sha512, Encoding::Hex).len(), 128);
        assert_eq!(text(Algorithm::Sha512, Encoding::Base64).len(), 88);
    }

    #[test]
    fn only_the_whole_signature_is_accepted() {
        let key = Key::new(Algorithm::Sha256, b"key");
        let parts: [&[u8]; 1] = [b"body"];
        let signature = key.signature(parts, Encoding::Base64);
        let text = signature.as_bytes();
        assert!(bool::from(signature.is(text)));
        for length in 0..text.len() {
            assert!(!bool::from(signature.is(&text[..length])), "{length} bytes");
        }
        assert!(!bool::from(signature.is(&[text, b"="].concat())));
    }

    #[test]
    fn a_previous_key_signs_along_until_its_time_after_the_current_one() {
        let until = Timestamp::from_millis(1_000);
        let ring = KeyRing {
            current: Key::new(Algorithm::Sha256, b"new"),
            previous: vec![(Key::new(Algorithm::Sha256, b"old"), until)],
        };
        assert_eq!(ring.live(Timestamp::from_millis(999)).count(), 2);
        assert_eq!(ring.live(until).count(), 1);
        let first = ring.live(Timestamp::from_millis(0)).next().unwrap();
        let empty: [&[u8]; 0] = [];
        let expected = ring.current.signature(empty, Encoding::Hex);
        assert!(bool::from(
            first
                .signature(empty, Encoding::Hex)
                .is(expected.as_bytes())
        ));
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        assert_eq!(
            format!("{:?}", Key::new(Algorithm::Sha1, b"hunter2")),
            "Key(redacted)"
        );
    }
}
