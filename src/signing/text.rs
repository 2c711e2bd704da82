//! Text for headers, built without `format!`: decimal numbers, ids that are safe to send, header values.
//!
//! Invariant: what is built here is visible ASCII and spaces, so that it is a header value whatever went in.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use http::HeaderValue;

/// A number in decimal, on the stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal {
    digits: [u8; Self::MAX_LEN],
    start: usize,
}

impl Decimal {
    /// The digits of `u64::MAX`.
    const MAX_LEN: usize = 20;

    pub(super) fn new(mut number: u64) -> Self {
        let mut decimal = Self {
            digits: [b'0'; Self::MAX_LEN],
            start: Self::MAX_LEN,
        };
        for digit in decimal.digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            decimal.start -= 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        decimal
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

/// An id as it is sent and signed: `.`, which separates the parts of signed content, and `%` are written `%2E` and
/// `%25`, and so is whatever is not visible ASCII.
pub(super) fn escaped_id(id: &str) -> Cow<'_, str> {
    escaped(id, |byte| {
        byte.is_ascii_graphic() && byte != b'.' && byte != b'%'
    })
}

/// A text as a header can carry it: what is not visible ASCII is percent-encoded.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |byte| byte.is_ascii_graphic())
}

fn escaped(text: &str, is_kept: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if text.bytes().all(&is_kept) {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_kept(byte) {
            result.push(char::from(byte));
        } else {
            result.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
    Cow::Owned(result)
}

/// The header value of text that was built from what this module and the signatures give.
#[expect(
    clippy::expect_used,
    reason = "every writer pushes visible ASCII and spaces only"
)]
pub(super) fn header_value(text: BytesMut) -> HeaderValue {
    HeaderValue::from_maybe_shared(text.freeze()).expect("visible ASCII is a header value")
}

/// The same for text that lies elsewhere.
pub(super) fn header_value_of(text: &[u8]) -> HeaderValue {
    let mut copy = BytesMut::with_capacity(text.len());
    copy.put_slice(text);
    header_value(copy)
}

/// The header value of signatures: marked sensitive, so that it shows in no log.
pub(super) fn signature_value(text: BytesMut) -> HeaderValue {
    let mut value = header_value(text);
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_separator_of_signed_content_and_the_escape_itself_are_escaped_in_ids() {
        assert_eq!(escaped_id("order.7%"), "order%2E7%25");
        assert_eq!(escaped_id("a b\n\u{e9}"), "a%20b%0A%C3%A9");
        assert!(matches!(
            escaped_id("evt_019a-7"),
            Cow::Borrowed("evt_019a-7")
        ));
    }

    #[test]
    fn types_keep_their_dots() {
        assert_eq!(visible("invoice.paid"), "invoice.paid");
        assert_eq!(visible("a\r\nb"), "a%0D%0Ab");
    }

    #[test]
    fn signatures_do_not_show_in_debug() {
        let value = signature_value(BytesMut::from("v1,abc"));
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    proptest! {
        #[test]
        fn decimals_are_what_format_writes(number: u64) {
            let decimal = Decimal::new(number);
            prop_assert_eq!(String::from_utf8_lossy(decimal.as_bytes()), number.to_string());
        }

        #[test]
        fn different_ids_stay_different(one in "[.%2E5a]{0,8}", other in "[.%2E5a]{0,8}") {
            prop_assert_eq!(escaped_id(&one) == escaped_id(&other), one == other);
        }

        #[test]
        fn any_text_becomes_a_header_value(text: String) {
            header_value_of(escaped_id(&text).as_bytes());
            header_value_of(visible(&text).as_bytes());
        }
    }
}
