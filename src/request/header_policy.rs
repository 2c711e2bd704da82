//! Which headers a user may configure, static or forwarded (SPEC section 5, "Blocked").

use http::{HeaderName, HeaderValue};

use crate::signing::is_reserved;

/// The most bytes a configured value may have.
const VALUE_MAX_LEN: usize = 1024;

/// Why a header may not be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The name is blocked; carries it as the user wrote it.
    #[error("The '{0}' header cannot be customized for security reasons.{hint}", hint = hint(.0))]
    Blocked(String),
    /// The name is no header name (RFC 9110, section 5.1).
    #[error("expected a header name (letters, digits and !#$%&'*+-.^_`|~), found {name:?}", name = before_colon(.0))]
    Name(String),
    /// The value is too long; carries its length in bytes.
    #[error("expected a header value of at most 1024 bytes, found {0}")]
    ValueLength(usize),
    /// The value has a control character other than tab; carries its position in bytes, from 0.
    #[error("expected a header value without control characters, found one at position {0}")]
    ValueCharacter(usize),
}

/// A name up to a colon: what follows may be a value, and secret.
fn before_colon(name: &str) -> &str {
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// A hint at an alternative.
fn hint(name: &str) -> &'static str {
    if name.eq_ignore_ascii_case("authorization") {
        " Use auth."
    } else {
        ""
    }
}

/// Checks a configured header name, of `headers` or `forward_headers`, against the policy. `scheme_headers` are those
/// of the subscription's signature schemes.
///
/// # Errors
/// The name is no header name, or blocked.
pub(crate) fn check_header_name(
    name: &str,
    scheme_headers: &[HeaderName],
) -> Result<HeaderName, HeaderError> {
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::Name(name.to_owned()))?;
    let is_blocked = is_reserved(&parsed)
        || parsed == "x-webhook-signature"
        || parsed.as_str().starts_with("webhook-")
        || scheme_headers.contains(&parsed);
    if is_blocked {
        return Err(HeaderError::Blocked(name.to_owned()));
    }
    Ok(parsed)
}

/// Checks a configured header value: at most 1024 bytes, no control character but tab. Other bytes, such as those of
/// UTF-8, pass as they are.
///
/// # Errors
/// The value is too long, or has a control character.
pub(crate) fn check_header_value(value: &[u8]) -> Result<HeaderValue, HeaderError> {
    if value.len() > VALUE_MAX_LEN {
        return Err(HeaderError::ValueLength(value.len()));
    }
    HeaderValue::from_bytes(value).map_err(|_| {
        let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        HeaderError::ValueCharacter(value.iter().position(is_control).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(name: &str) -> String {
        check_header_name(name, &[]).unwrap_err().to_string()
    }

    #[test]
    fn every_blocked_name_is_refused_in_any_case() {
        let blocked = [
            "Authorization",
            "X-Webhook-Signature",
            "Content-Type",
            "Content-Length",
            "Host",
            "Cookie",
            "X-CSRF-Token",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Real-IP",
            "Set-Cookie",
            "X-Forwarded-Anything",
            "Forwarded",
            "Connection",
            "Keep-Alive",
            "Proxy-Authorization",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "Expect",
            "Content-Encoding",
            "Date",
            "webhook-id",
            "Webhook-Anything",
        ];
        for name in blocked {
            for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(
                    check_header_name(&name, &[]),
                    Err(HeaderError::Blocked(name))
                );
            }
        }
    }

    #[test]
    fn the_message_names_the_header_as_written_and_another_where_it_helps() {
        assert_eq!(
            message("Authorization"),
            "The 'Authorization' header cannot be customized for security reasons. Use auth."
        );
        assert_eq!(
            message("x-csrf-TOKEN"),
            "The 'x-csrf-TOKEN' header cannot be customized for security reasons."
        );
    }

    #[test]
    fn headers_of_the_subscriptions_own_schemes_are_blocked_too() {
        let own = [HeaderName::from_static("x-signature")];
        assert!(check_header_name("X-Signature", &[]).is_ok());
        assert_eq!(
            check_header_name("X-Signature", &own),
            Err(HeaderError::Blocked("X-Signature".into()))
        );
    }

    #[test]
    fn names_that_only_resemble_blocked_ones_are_allowed() {
        for name in [
            "X-Forwarded",
            "Proxy",
            "Webhook",
            "X-Date",
            "TEA",
            "User-Agent",
        ] {
            assert!(check_header_name(name, &[]).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_no_header_name_is_said() {
        assert_eq!(
            message("X Tenant"),
            "expected a header name (letters, digits and !#$%&'*+-.^_`|~), found \"X Tenant\""
        );
        for name in ["", "X:", "X-\r\nHost", "é"] {
            assert_eq!(
                check_header_name(name, &[]),
                Err(HeaderError::Name(name.into()))
            );
        }
    }

    #[test]
    fn values_are_limited_in_length() {
        assert!(check_header_value(&[b'a'; 1024]).is_ok());
        assert_eq!(
            check_header_value(&[b'a'; 1025]).unwrap_err().to_string(),
            "expected a header value of at most 1024 bytes, found 1025"
        );
    }

    #[test]
    fn values_keep_tabs_and_utf_8() {
        for value in ["a\tb", "Gr\u{fc}\u{df}e", ""] {
            assert_eq!(check_header_value(value.as_bytes()).unwrap(), value);
        }
    }

    proptest! {
        #[test]
        fn a_value_that_could_inject_is_refused_where_it_does(before in "[a-z]{0,10}", control in 0_u8..0x20, after: String) {
            for control in [control, 0x7f] {
                prop_assume!(control != b'\t');
                let value = [before.as_bytes(), &[control], after.as_bytes()].concat();
                prop_assert_eq!(
                    check_header_value(&value),
                    Err(HeaderError::ValueCharacter(before.len()))
                );
            }
        }
    }
}
